// SPDX-License-Identifier: GPL-2.0

//! Whether a guest has SEV-SNP, and which page it has registered.

use crate::{
    kvm::{bindings, KvmVcpu},
    vmgexit::host::Registration,
};

impl Registration for KvmVcpu {
    /// C: `is_sev_snp_guest()`.
    #[inline]
    fn is_snp(&self) -> bool {
        // SAFETY: By the invariant; the features are fixed once the VM has vCPUs.
        let features = unsafe { (*self.sev()).vmsa_features };
        features & u64::from(bindings::GHCB_RS_SNP_ACTIVE) != 0
    }

    /// C: `ghcb_gpa_is_registered()`.
    fn is_registered(&self, gpa: u64) -> bool {
        // SAFETY: By the invariant, the field is this task's alone.
        unsafe { (*self.svm()).sev_es.ghcb_registered_gpa == gpa }
    }

    fn register(&mut self, gpa: u64) {
        // SAFETY: By the invariant, the field is this task's alone.
        unsafe { (*self.svm()).sev_es.ghcb_registered_gpa = gpa };
    }
}
