// SPDX-License-Identifier: GPL-2.0

//! What takes the place of functions of kvm_amd.

use crate::{
    ghcb_abi::reply::Action,
    kvm::{
        bindings::{kvm_vcpu, vcpu_svm},
        imports, KvmVcpu,
    },
    observe::{self, Counters},
    vmgexit::{self, kind::Kind},
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
    CALLS.increment(BEGUN);
    // SAFETY: The vCPU is the first member of a `vcpu_svm`, and KVM calls with what `KvmVcpu` wants.
    let result = match unsafe { take(vcpu.cast(), true) } {
        Some(mut vcpu) => vmgexit::handle(&mut vcpu).to_kvm(),
        // SAFETY: The arguments are those of the original.
        None => unsafe { imports::c_sev_handle_vmgexit(vcpu) },
    };
    CALLS.increment(OVER);
    result
}

/// Replaces `sev_es_unmap_ghcb()`.
///
/// # Safety
///
/// As for the original: called by KVM before the vCPU of an SEV-ES guest runs.
pub(super) unsafe extern "C" fn sev_es_unmap_ghcb(svm: *mut vcpu_svm) {
    CALLS.increment(BEGUN);
    // SAFETY: KVM calls with what `KvmVcpu` wants.
    match unsafe { take(svm, false) } {
        Some(mut vcpu) => vmgexit::complete(&mut vcpu),
        // SAFETY: The argument is that of the original.
        None => unsafe { imports::c_sev_es_unmap_ghcb(svm) },
    }
    CALLS.increment(OVER);
}

/// The vCPU, if its exits are answered here. Counts the others when `is_exit`.
///
/// # Safety
///
/// As for [`KvmVcpu::new`].
#[inline]
unsafe fn take(svm: *mut vcpu_svm, is_exit: bool) -> Option<KvmVcpu> {
    // SAFETY: The caller vouches for it.
    let vcpu = unsafe { KvmVcpu::new(NonNull::new(svm)?) };
    let reason = if vcpu.is_snp() {
        Kind::SnpGuest
    } else if !ACTIVE.load(Ordering::Relaxed) {
        Kind::StoodAside
    } else {
        return Some(vcpu);
    };
    if is_exit {
        observe::count(reason, Action::NO_ACTION);
    }
    None
}
