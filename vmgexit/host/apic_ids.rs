// SPDX-License-Identifier: GPL-2.0

//! The vCPUs of a VM, by their APIC IDs.

use super::OutOfReach;

/// A vCPU that knows its siblings.
pub trait ApicIds {
    /// Number of vCPUs that the VM has.
    fn vcpus(&self) -> u32;

    /// Writes a list of `count` APIC IDs, their number first, to guest memory at `gpa`.
    ///
    /// # Errors
    ///
    /// The memory cannot be written to.
    fn write_apic_ids(&mut self, gpa: u64, count: u32) -> Result<(), OutOfReach>;
}
