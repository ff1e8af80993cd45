// SPDX-License-Identifier: GPL-2.0

//! AP reset hold: exits that wait for a SIPI as C leaves them, for C to complete.
//!
//! KVM's delivery of a SIPI writes into the page that is mapped, and a vCPU may be held for as long as its
//! guest keeps a processor offline. The module may be unloaded while C completes such an exit.

use super::{bindings, imports, user_memory::UserPage, KvmVcpu};
use crate::{
    ghcb_abi::exit_info::ExitInfo,
    vmgexit::{
        host::{Fault, HoldType},
        AfterExit,
    },
};

/// `AP_RESET_HOLD_*` of `arch/x86/kvm/svm/sev.c`.
mod reset_hold {
    pub(super) const NAE_EVENT: u32 = 1;
    pub(super) const MSR_PROTO: u32 = 2;
}

impl KvmVcpu {
    /// Puts the vCPU into AP reset hold.
    pub(super) fn begin_hold(&mut self, hold: HoldType) -> AfterExit {
        // SAFETY: By the invariant. For a hold by the page, `map()` has mapped it, as KVM's delivery of a
        // SIPI expects.
        let result = unsafe {
            (*self.svm()).sev_es.ap_reset_hold_type = match hold {
                HoldType::Page => reset_hold::NAE_EVENT,
                HoldType::Msr => reset_hold::MSR_PROTO,
            };
            imports::kvm_emulate_ap_reset_hold(self.vcpu())
        };
        if result > 0 {
            AfterExit::RESUME
        } else {
            AfterExit::USERSPACE
        }
    }

    /// Maps the page, and leaves the exit with it. C: the beginning of `sev_handle_vmgexit()`.
    pub(super) fn map(&mut self, page: &UserPage, exit: ExitInfo) -> Result<(), Fault> {
        self.set_exit(exit.code, exit.info1, exit.info2);
        // SAFETY: By the invariant, the fields are this task's alone, and no page is mapped: the last one
        // was unmapped before the guest ran.
        unsafe {
            let sev_es = &raw mut (*self.svm()).sev_es;
            let map: *mut bindings::kvm_host_map = &raw mut (*sev_es).ghcb_map;
            if imports::__kvm_vcpu_map(self.vcpu(), page.gfn(), map, true) != 0 {
                return Err(Fault);
            }
            (*sev_es).ghcb = (*map).hva.cast();
            Ok(())
        }
    }
}
