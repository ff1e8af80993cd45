// SPDX-License-Identifier: GPL-2.0

//! The APIC IDs of a VM's vCPUs, which are their numbers.

use crate::{
    ghcb_abi::apic_ids::ENTRY_SIZE,
    kvm::{buffer::Buffer, KvmVcpu},
    vmgexit::host::{ApicIds, GuestRequests, OutOfReach},
};

impl ApicIds for KvmVcpu {
    fn vcpus(&self) -> u32 {
        self.online_vcpus()
    }

    fn write_apic_ids(&mut self, gpa: u64, count: u32) -> Result<(), OutOfReach> {
        // KVM has some thousand vCPUs in a VM at most.
        let len = (count as usize)
            .saturating_add(1)
            .saturating_mul(ENTRY_SIZE);
        let mut list = Buffer::allocated(len).map_err(|_| OutOfReach)?;
        let ids = self.all_vcpus().map(|vcpu| vcpu.apic_id());
        let places = list.bytes_mut().chunks_exact_mut(ENTRY_SIZE);
        for (place, id) in places.zip([count].into_iter().chain(ids)) {
            if let Some(place) = place.first_chunk_mut() {
                *place = id.to_le_bytes();
            }
        }
        self.write_message(gpa, &list)
    }
}
