// SPDX-License-Identifier: GPL-2.0

//! vCPUs whose VMSA another one replaces.

/// The VM has no vCPU with that APIC ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchVcpu;

/// A vCPU that may change the VMSA of any vCPU of its VM.
pub trait ApCreation {
    /// The SEV features that each VMSA of this VM has. C: `kvm_sev_info.vmsa_features`.
    fn vmsa_features(&self) -> u64;

    /// Whether a page of the guest may lie at `gpa`, which is aligned: whether it has no reserved bit.
    fn is_legal_gpa(&self, gpa: u64) -> bool;

    /// Has the vCPU with that APIC ID take the VMSA at an address, or stop if there is none: at the next INIT,
    /// or `now`.
    ///
    /// # Errors
    ///
    /// There is no such vCPU.
    fn replace_vmsa(
        &mut self,
        apic_id: u32,
        vmsa: Option<u64>,
        now: bool,
    ) -> Result<(), NoSuchVcpu>;
}
