// SPDX-License-Identifier: GPL-2.0

//! What a host keeps for a guest, and can tell it: clock, DR7, AP jump table.

/// State of a guest that is the host's to keep.
pub trait GuestState {
    /// The guest's time stamp counter.
    fn time_stamp(&self) -> u64;

    /// IA32_TSC_AUX as the guest last wrote it by way of the host.
    fn tsc_aux(&self) -> u64;

    /// DR7 as the guest last reported it, its reset value if it never has.
    fn dr7(&self) -> u64;

    /// Keeps DR7 for the guest.
    fn set_dr7(&mut self, value: u64);

    /// The guest has handled its NMI.
    fn nmi_complete(&mut self);

    /// Address of the VM's AP jump table.
    fn ap_jump_table(&self) -> u64;

    /// Changes the address of the VM's AP jump table.
    fn set_ap_jump_table(&mut self, gpa: u64);

    /// Tells userspace that the guest ends itself.
    fn terminate(&mut self);
}
