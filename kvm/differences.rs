// SPDX-License-Identifier: GPL-2.0

//! What kernels have differently, each by the property in which they differ, never by their version.
//!
//! `kvm_amd_has = "NAME"` is set if the kvm-amd.ko that the module is built for has a function of that name:
//! `scripts/kvm-features` looks.

use super::{
    bindings::kvm_vcpu,
    relocation::{klp_section, klp_symbol, replaced, slot, trampoline},
};
use core::borrow::Borrow;

// What KVM calls of kvm_amd when userspace lets a vCPU run, and what userspace did for the last exit has been taken in:
// a question of its own, or the last of the checks before a run.
#[cfg(kvm_amd_has = "sev_vcpu_needs_initialization")]
replaced! {
    kvm_amd {
        fn sev_vcpu_needs_initialization(vcpu: *mut kvm_vcpu) -> bool;
    }
}

#[cfg(not(kvm_amd_has = "sev_vcpu_needs_initialization"))]
replaced! {
    kvm_amd {
        fn svm_vcpu_pre_run(vcpu: *mut kvm_vcpu) -> kernel::ffi::c_int;
    }
}

/// What `c_before_run()` returns.
#[cfg(kvm_amd_has = "sev_vcpu_needs_initialization")]
pub(crate) type BeforeRun = bool;
#[cfg(kvm_amd_has = "sev_vcpu_needs_initialization")]
pub(crate) use {
    c_sev_vcpu_needs_initialization as c_before_run,
    entry::SEV_VCPU_NEEDS_INITIALIZATION as BEFORE_RUN,
};

/// What `c_before_run()` returns.
#[cfg(not(kvm_amd_has = "sev_vcpu_needs_initialization"))]
pub(crate) type BeforeRun = kernel::ffi::c_int;
#[cfg(not(kvm_amd_has = "sev_vcpu_needs_initialization"))]
pub(crate) use {c_svm_vcpu_pre_run as c_before_run, entry::SVM_VCPU_PRE_RUN as BEFORE_RUN};

/// The value of a module parameter, of which the kernel crate returns a copy or a reference.
pub(crate) fn value_of<T: Copy>(parameter: impl Borrow<T>) -> T {
    *parameter.borrow()
}
