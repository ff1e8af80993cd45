// SPDX-License-Identifier: GPL-2.0

//! vCPUs whose VMSA another one replaces. C: `sev_snp_ap_creation()`.

use crate::{
    kvm::KvmVcpu,
    vmgexit::host::{ApCreation, NoSuchVcpu},
};

impl ApCreation for KvmVcpu {
    fn vmsa_features(&self) -> u64 {
        // SAFETY: By the invariant; the features are fixed once the VM has vCPUs.
        unsafe { (*self.sev()).vmsa_features }
    }

    /// C: `kvm_vcpu_is_legal_gpa()`.
    fn is_legal_gpa(&self, gpa: u64) -> bool {
        // SAFETY: By the invariant, the field is this task's alone.
        gpa & unsafe { (*self.vcpu()).arch.reserved_gpa_bits } == 0
    }

    fn replace_vmsa(
        &mut self,
        apic_id: u32,
        vmsa: Option<u64>,
        now: bool,
    ) -> Result<(), NoSuchVcpu> {
        let target = self.vcpu_by_apic_id(apic_id).ok_or(NoSuchVcpu)?;
        target.lock_vmsa().set_pending(vmsa);
        // Nobody waits for the other vCPU with its lock held. KVM looks at the request of a vCPU that waits for INIT
        // or SIPI only when these have come, and lets its task spin until then.
        match (now, target.waits_for_start()) {
            (false, _) => {}
            (true, false) => target.update_state(),
            (true, true) if vmsa.is_some() => target.start(),
            // It finds at the INIT that it has none.
            (true, true) => {}
        }
        Ok(())
    }
}
