// SPDX-License-Identifier: GPL-2.0

//! AP creation.

use crate::{
    ghcb_abi::reply::{ErrorReason, Reply},
    vmgexit::{
        flow::Flow,
        host::{Failure, Vcpu},
        request::ap_creation::{ApChange, Change},
    },
};

impl ApChange {
    /// Carries it out.
    pub(crate) fn carry_out<V: Vcpu>(self, vcpu: &mut V) -> Result<Flow<V::Buffer>, Failure> {
        const INVALID: Failure = Failure::Refused(ErrorReason::INVALID_INPUT);
        let (vmsa, now) = match self.change {
            Change::Create {
                vmsa,
                features,
                on_init,
            } => {
                if features != vcpu.vmsa_features() || !vcpu.is_legal_gpa(vmsa) {
                    return Err(INVALID);
                }
                (Some(vmsa), !on_init)
            }
            Change::Destroy => (None, true),
        };
        vcpu.replace_vmsa(self.apic_id, vmsa, now)
            .map_err(|_| INVALID)?;
        Ok(Flow::Reply(Reply::no_action(0)))
    }
}
