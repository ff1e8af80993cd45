// SPDX-License-Identifier: GPL-2.0

//! What takes the place of functions of kvm_amd.

use crate::{
    ghcb_abi::reply::Action,
    kvm::{
        bindings::{kvm_vcpu, vcpu_svm},
        imports, KvmVcpu,
    },
    observe::{self, Counters},
    vmgexit::{self, kind::Kind, vcpu::Vcpu},
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

/// Says whether VMGEXITs are answered here or go on to C.
pub(crate) fn set_active(active: bool) {
    ACTIVE.store(active, Ordering::Relaxed);
}

/// Number of calls that have begun and are not over, awake or asleep.
///
/// Exact once no new call can begin; before, it may be too large.
pub(super) fn calls_in_flight() -> u64 {
    // In this order: a call that is over was counted as begun before.
    let over = CALLS.sum(OVER);
    CALLS.sum(BEGUN).wrapping_sub(over)
}

/// Replaces `sev_handle_vmgexit()`.
///
/// # Safety
///
/// As for the original: called by KVM for the vCPU of an SEV-ES guest that executed VMGEXIT.
pub(super) unsafe extern "C" fn sev_handle_vmgexit(vcpu: *mut kvm_vcpu) -> c_int {
    CALLS.increment_at::<BEGUN>();
    // SAFETY: The vCPU is the first member of a `vcpu_svm`, and KVM calls with what `KvmVcpu` wants.
    let mut this = unsafe { KvmVcpu::new(NonNull::new_unchecked(vcpu.cast())) };
    let result = match is_answered_here(&this) {
        Ok(()) => vmgexit::handle(&mut this).to_kvm(),
        Err(reason) => {
            observe::count(reason, Action::NO_ACTION);
            // SAFETY: The argument is that of the original.
            unsafe { imports::c_sev_handle_vmgexit(vcpu) }
        }
    };
    CALLS.increment_at::<OVER>();
    result
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
    if is_answered_here(&vcpu).is_ok() {
        vmgexit::complete(&mut vcpu);
    } else {
        // SAFETY: The argument is that of the original.
        unsafe { imports::c_sev_es_unmap_ghcb(vcpu.as_ptr()) };
    }
}

/// Whether the exits of a vCPU are answered here; if not, what they are counted as.
#[inline]
fn is_answered_here(vcpu: &KvmVcpu) -> Result<(), Kind> {
    if vcpu.is_snp() {
        Err(Kind::SnpGuest)
    } else if !ACTIVE.load(Ordering::Relaxed) {
        Err(Kind::StoodAside)
    } else {
        Ok(())
    }
}
