// SPDX-License-Identifier: GPL-2.0

//! APIC-ID list.

use crate::{
    ghcb_abi::{
        apic_ids::pages_for,
        reply::{ErrorReason, Reply},
    },
    vmgexit::{
        flow::Flow,
        host::{Failure, Vcpu},
        request::{apic_ids::ApicIdList, guest_request::is_page_aligned},
    },
};

impl ApicIdList {
    /// Carries it out. The number of pages that the list takes comes with every reply.
    pub(crate) fn carry_out<V: Vcpu>(self, vcpu: &mut V) -> Result<Flow<V::Buffer>, Failure> {
        let count = vcpu.vcpus();
        let needed = pages_for(count);
        if self.pages >= needed {
            if !is_page_aligned(self.gpa) {
                return Err(ErrorReason::INVALID_INPUT.into());
            }
            vcpu.write_apic_ids(self.gpa, count)
                .map_err(|_| ErrorReason::INVALID_INPUT)?;
        }
        Ok(Flow::Reply(Reply::no_action(0).with_rax(needed)))
    }
}
