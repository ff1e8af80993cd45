// SPDX-License-Identifier: GPL-2.0

//! What takes the place of functions of kvm_amd.

use crate::{
    ghcb_abi::reply::Action,
    kvm::{
        bindings::{kvm_vcpu, vcpu_svm},
        deferral, imports, KvmVcpu,
    },
    observe::{self, Counters},
    vmgexit::{self, kind::Kind, vcpu::Waiting, waiting},
};
use core::{
    ptr::NonNull,
    sync::atomic::{AtomicBool, Ordering},
};
use kernel::ffi::c_int;

/// Whether VMGEXITs are answered here; if not, each goes on to C, counted.
///
/// Not the kernel crate's atomic, whose load is a call.
static ACTIVE: AtomicBool = AtomicBool::new(true);

/// Calls that have begun, and calls that are over.
#[link_section = ".data..percpu"]
// SAFETY: A static in that section.
static CALLS: Counters<2> = unsafe { Counters::new() };

/// Indices into [`CALLS`].
const BEGUN: usize = 0;
const OVER: usize = 1;

/// Says whether VMGEXITs are answered here or go on to C. To be called before anything is replaced.
pub(crate) fn set_active(active: bool) {
    ACTIVE.store(active, Ordering::Relaxed);
}

/// Whether VMGEXITs are answered here.
pub(super) fn is_active() -> bool {
    ACTIVE.load(Ordering::Relaxed)
}

/// Address of what replaces `sev_handle_vmgexit()`.
pub(super) fn of_sev_handle_vmgexit() -> Option<usize> {
    Some(if is_active() {
        sev_handle_vmgexit as usize
    } else {
        stand_aside as usize
    })
}

/// Address of what replaces `sev_es_unmap_ghcb()`, unless all is left to C.
pub(super) fn of_sev_es_unmap_ghcb() -> Option<usize> {
    is_active().then_some(sev_es_unmap_ghcb as usize)
}

/// Address of what replaces `sev_vcpu_needs_initialization()`, unless all is left to C.
pub(super) fn of_sev_vcpu_needs_initialization() -> Option<usize> {
    is_active().then_some(sev_vcpu_needs_initialization as usize)
}

/// Address of what replaces `svm_complete_emulated_msr()`, unless all is left to C.
pub(super) fn of_svm_complete_emulated_msr() -> Option<usize> {
    is_active().then_some(svm_complete_emulated_msr as usize)
}

/// Number of calls that have begun and are not over, awake or asleep.
///
/// Exact once no new call can begin; before, it may be too large.
pub(super) fn calls_in_flight() -> u64 {
    // In this order: a call that is over was counted as begun before.
    let over = CALLS.sum(OVER);
    CALLS.sum(BEGUN).wrapping_sub(over)
}

/// A call that is in flight for as long as this exists.
struct Call;

impl Call {
    #[inline(always)]
    fn begin() -> Self {
        CALLS.increment_at::<BEGUN>();
        Self
    }
}

impl Drop for Call {
    #[inline(always)]
    fn drop(&mut self) {
        CALLS.increment_at::<OVER>();
    }
}

/// Replaces `sev_handle_vmgexit()`.
///
/// # Safety
///
/// As for the original: called by KVM for the vCPU of an SEV-ES guest that executed VMGEXIT.
pub(super) unsafe extern "C" fn sev_handle_vmgexit(vcpu: *mut kvm_vcpu) -> c_int {
    // SAFETY: The vCPU is the first member of a `vcpu_svm`, and KVM calls with what `KvmVcpu` wants.
    let mut vcpu = unsafe { KvmVcpu::new(NonNull::new_unchecked(vcpu.cast())) };
    if vcpu.is_snp() {
        return pass_on(vcpu, Kind::SnpGuest);
    }
    vmgexit::handle(&mut vcpu, Call::begin).to_kvm()
}

/// Stands in for `sev_handle_vmgexit()` and lets C handle all exits.
///
/// # Safety
///
/// As for the original.
unsafe extern "C" fn stand_aside(vcpu: *mut kvm_vcpu) -> c_int {
    // SAFETY: As for `sev_handle_vmgexit()`.
    let vcpu = unsafe { KvmVcpu::new(NonNull::new_unchecked(vcpu.cast())) };
    let reason = if vcpu.is_snp() {
        Kind::SnpGuest
    } else {
        Kind::StoodAside
    };
    pass_on(vcpu, reason)
}

/// Lets C handle an exit, and counts it.
#[cold]
#[inline(never)]
fn pass_on(vcpu: KvmVcpu, reason: Kind) -> c_int {
    let _call = Call::begin();
    observe::count(reason, Action::NO_ACTION);
    // SAFETY: The argument is that of the original.
    unsafe { imports::c_sev_handle_vmgexit(vcpu.as_ptr().cast()) }
}

/// Replaces `sev_vcpu_needs_initialization()`: before it, a deferred reply is written.
///
/// # Safety
///
/// As for the original: called by KVM when userspace lets a vCPU run, when what it did for the last exit
/// has been taken in.
pub(super) unsafe extern "C" fn sev_vcpu_needs_initialization(vcpu: *mut kvm_vcpu) -> bool {
    // SAFETY: KVM calls for a vCPU of kvm_amd, which is the first member of a `vcpu_svm`. Only an exit of an
    // SEV-ES guest leaves a reply to be written; its vCPU is what `KvmVcpu` wants.
    unsafe {
        if deferral::is_pending(vcpu.cast()) {
            deliver(KvmVcpu::new(NonNull::new_unchecked(vcpu.cast())));
        }
        imports::c_sev_vcpu_needs_initialization(vcpu)
    }
}

/// Replaces `svm_complete_emulated_msr()`: a refusal of userspace is kept for the deferred reply.
///
/// Not counted among the calls in flight: nothing in it sleeps.
///
/// # Safety
///
/// As for the original: called by KVM when an MSR access of any vCPU of kvm_amd has succeeded or failed.
pub(super) unsafe extern "C" fn svm_complete_emulated_msr(
    vcpu: *mut kvm_vcpu,
    error: c_int,
) -> c_int {
    // SAFETY: The vCPU is the first member of a `vcpu_svm`, which this task runs. While an access is
    // emulated, no reply is pending.
    unsafe {
        if error != 0 && deferral::is_pending(vcpu.cast()) {
            deferral::refuse(vcpu.cast());
            return vmgexit::Outcome::Resume.to_kvm();
        }
        imports::c_svm_complete_emulated_msr(vcpu, error)
    }
}

/// Writes a deferred reply.
#[inline(never)]
fn deliver(mut vcpu: KvmVcpu) {
    let _call = Call::begin();
    waiting::deliver(&mut vcpu);
}

/// Replaces `sev_es_unmap_ghcb()`.
///
/// Not counted among the calls in flight: KVM calls it with preemption off, so nobody sleeps in it.
///
/// # Safety
///
/// As for the original: called by KVM before the vCPU of an SEV-ES guest runs.
pub(super) unsafe extern "C" fn sev_es_unmap_ghcb(svm: *mut vcpu_svm) {
    // SAFETY: KVM calls with what `KvmVcpu` wants.
    let mut vcpu = unsafe { KvmVcpu::new(NonNull::new_unchecked(svm)) };
    if vcpu.has_parked_exit() {
        complete(vcpu);
    } else {
        // Before most entries there is nothing else to do, whoever handled the last exit.
        vcpu.end_hold();
    }
}

/// Ends a parked exit, whoever began it.
#[inline(never)]
fn complete(mut vcpu: KvmVcpu) {
    if vcpu.is_snp() {
        // SAFETY: The argument is that of the original.
        unsafe { imports::c_sev_es_unmap_ghcb(vcpu.as_ptr()) };
    } else {
        waiting::complete(&mut vcpu);
    }
}
