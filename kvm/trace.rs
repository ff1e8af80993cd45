// SPDX-License-Identifier: GPL-2.0

//! KVM's tracepoints for VMGEXIT.
//!
//! They read what they show from a `struct ghcb`. None of them gets the guest's page: it would be a
//! second look. They get a copy that holds the three fields of a snapshot or of a reply.

use super::{bindings, imports};
use crate::ghcb_abi::{
    exit_code::ExitCode,
    page::{Field, SAVE_AREA_SIZE},
};
use core::{
    arch::asm,
    ptr,
    sync::atomic::{AtomicI32, Ordering},
};

/// One of the tracepoints.
#[derive(Clone, Copy)]
enum Tracepoint {
    Enter,
    Exit,
    MsrEnter,
    MsrExit,
}

impl Tracepoint {
    /// How many listen; below zero while the first one comes. C: `trace_*_enabled()`.
    #[inline]
    fn listeners(self) -> i32 {
        let slot = match self {
            Self::Enter => &raw const imports::address::__TRACEPOINT_KVM_VMGEXIT_ENTER,
            Self::Exit => &raw const imports::address::__TRACEPOINT_KVM_VMGEXIT_EXIT,
            Self::MsrEnter => {
                &raw const imports::address::__TRACEPOINT_KVM_VMGEXIT_MSR_PROTOCOL_ENTER
            }
            Self::MsrExit => {
                &raw const imports::address::__TRACEPOINT_KVM_VMGEXIT_MSR_PROTOCOL_EXIT
            }
        };
        // SAFETY: The livepatch loader has filled the slot: this runs in functions that replace kvm_amd's
        // and in no others. The tracepoint lives as long as kvm, and the counter in it is an atomic.
        unsafe {
            let tracepoint = slot.read_volatile();
            let counter = &raw const (*tracepoint).key.key.enabled.counter;
            AtomicI32::from_ptr(counter.cast_mut()).load(Ordering::Relaxed)
        }
    }

    /// Whether the tracepoint is enabled.
    #[inline]
    fn is_enabled(self) -> bool {
        self.listeners() > 0
    }
}

/// A reader of `tracepoint_srcu`, which keeps the probes of a tracepoint alive.
struct ProbeGuard(*mut bindings::srcu_ctr);

impl ProbeGuard {
    /// C: `srcu_read_lock_fast_notrace(&tracepoint_srcu)`.
    fn new() -> Self {
        // SAFETY: `tracepoint_srcu` is never freed. The pointer in it changes only between two per-CPU
        // counters, either of which is right.
        unsafe {
            let counters = (&raw const bindings::tracepoint_srcu.srcu_ctrp).read_volatile();
            increment(&raw mut (*counters).srcu_locks);
            Self(counters)
        }
    }
}

impl Drop for ProbeGuard {
    /// C: `srcu_read_unlock_fast_notrace()`.
    fn drop(&mut self) {
        // SAFETY: The pointer is the one that was locked; the counters are never freed.
        unsafe { increment(&raw mut (*self.0).srcu_unlocks) };
    }
}

/// C: `this_cpu_inc()` of a counter of eight bytes; also a compiler barrier.
///
/// # Safety
///
/// `counter` is the per-CPU address of one.
unsafe fn increment<T>(counter: *mut T) {
    // SAFETY: The kernel's GS base plus a per-CPU address is this CPU's instance.
    unsafe { asm!("inc qword ptr gs:[{}]", in(reg) counter, options(nostack)) };
}

/// What the tracepoints for the page read: a save area with three of its fields.
#[repr(C, align(8))]
struct TracedPage([u64; SAVE_AREA_SIZE / 8]);

impl TracedPage {
    /// A save area that says no more than this.
    fn new(exit_code: ExitCode, info1: u64, info2: u64) -> Self {
        let mut page = Self([0; SAVE_AREA_SIZE / 8]);
        for (field, value) in [
            (Field::SwExitCode, exit_code.0),
            (Field::SwExitInfo1, info1),
            (Field::SwExitInfo2, info2),
        ] {
            if let Some(word) = page.0.get_mut(usize::from(field.index())) {
                *word = value;
            }
        }
        page
    }

    /// The argument of the tracepoint.
    fn as_ghcb(&mut self) -> *mut bindings::ghcb {
        ptr::from_mut(self).cast()
    }
}

/// Calls the probes of a tracepoint for the page: `iterate` calls its iterator, by name, so that nothing is reached by an
/// indirect call.
#[inline]
fn call_page_probes(
    iterate: impl FnOnce(*mut bindings::ghcb),
    exit_code: ExitCode,
    info1: u64,
    info2: u64,
) {
    let mut page = TracedPage::new(exit_code, info1, info2);
    let _probes = ProbeGuard::new();
    iterate(page.as_ghcb());
}

/// Calls the probes of `kvm_vmgexit_enter`.
#[cold]
#[inline(never)]
fn call_enter_probes(vcpu_id: u32, exit_code: ExitCode, info1: u64, info2: u64) {
    // SAFETY: The probes read `sw_exit_code`, `sw_exit_info_1` and `sw_exit_info_2` of a `struct ghcb`, and
    // keep no pointer to it. `call_page_probes()` keeps them alive.
    let iterate = |page| unsafe {
        _ = imports::__traceiter_kvm_vmgexit_enter(ptr::null_mut(), vcpu_id, page)
    };
    call_page_probes(iterate, exit_code, info1, info2);
}

/// Calls the probes of `kvm_vmgexit_exit`.
#[cold]
#[inline(never)]
fn call_exit_probes(vcpu_id: u32, exit_code: ExitCode, info1: u64, info2: u64) {
    // SAFETY: As for `call_enter_probes()`.
    let iterate =
        |page| unsafe { _ = imports::__traceiter_kvm_vmgexit_exit(ptr::null_mut(), vcpu_id, page) };
    call_page_probes(iterate, exit_code, info1, info2);
}

/// `kvm_vmgexit_enter`.
#[inline]
pub(super) fn enter(vcpu_id: impl FnOnce() -> u32, exit_code: ExitCode, info1: u64, info2: u64) {
    if Tracepoint::Enter.is_enabled() {
        call_enter_probes(vcpu_id(), exit_code, info1, info2);
    }
}

/// `kvm_vmgexit_exit`; `reply` yields both infos.
#[inline]
pub(super) fn exit(
    vcpu_id: impl FnOnce() -> u32,
    exit_code: ExitCode,
    reply: impl FnOnce() -> (u64, u64),
) {
    if Tracepoint::Exit.is_enabled() {
        let (info1, info2) = reply();
        call_exit_probes(vcpu_id(), exit_code, info1, info2);
    }
}

/// Whether either of the MSR tracepoints is enabled.
#[inline]
pub(super) fn is_msr_traced() -> bool {
    Tracepoint::MsrEnter.listeners() | Tracepoint::MsrExit.listeners() != 0
}

/// Calls the probes of `kvm_vmgexit_msr_protocol_enter`.
#[cold]
#[inline(never)]
fn call_msr_enter_probes(vcpu_id: u32, msr: u64) {
    let _probes = ProbeGuard::new();
    // SAFETY: The probes take their arguments by value, and stay alive while the guard does.
    unsafe { imports::__traceiter_kvm_vmgexit_msr_protocol_enter(ptr::null_mut(), vcpu_id, msr) };
}

/// Calls the probes of `kvm_vmgexit_msr_protocol_exit`.
#[cold]
#[inline(never)]
fn call_msr_exit_probes(vcpu_id: u32, msr: u64, result: i32) {
    let _probes = ProbeGuard::new();
    // SAFETY: As for `call_msr_enter_probes()`.
    unsafe {
        imports::__traceiter_kvm_vmgexit_msr_protocol_exit(ptr::null_mut(), vcpu_id, msr, result)
    };
}

/// `kvm_vmgexit_msr_protocol_enter`.
#[inline]
pub(super) fn msr_enter(vcpu_id: impl FnOnce() -> u32, msr: u64) {
    if Tracepoint::MsrEnter.is_enabled() {
        call_msr_enter_probes(vcpu_id(), msr);
    }
}

/// `kvm_vmgexit_msr_protocol_exit`.
#[inline]
pub(super) fn msr_exit(vcpu_id: impl FnOnce() -> u32, msr: impl FnOnce() -> u64, result: i32) {
    if Tracepoint::MsrExit.is_enabled() {
        call_msr_exit_probes(vcpu_id(), msr(), result);
    }
}
