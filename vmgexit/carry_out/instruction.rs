// SPDX-License-Identifier: GPL-2.0

//! Instructions that KVM emulates on registers.

use crate::{
    ghcb_abi::{
        exit_code::ExitCode,
        exit_info::ExitInfo,
        reply::{EventInjection, Reply},
    },
    vmgexit::{
        flow::Flow,
        host::{Fulfilment, Vcpu},
        request::instruction::InstructionRequest,
    },
};

impl InstructionRequest {
    /// Lets KVM emulate it. The reply holds the registers that the event returns.
    #[inline(always)]
    pub(super) fn carry_out<V: Vcpu>(&self, vcpu: &mut V, exit: ExitInfo) -> Flow<V::Buffer> {
        match self.fulfil(vcpu) {
            Fulfilment::Done => {
                Flow::Reply(vcpu.registers().returned_with(Reply::no_action(0), exit))
            }
            fulfilment => self.not_done(fulfilment, exit),
        }
    }

    /// Lets KVM emulate it.
    #[inline(always)]
    pub(in crate::vmgexit) fn fulfil<V: Vcpu>(&self, vcpu: &mut V) -> Fulfilment {
        vcpu.emulate(&self.0)
    }

    /// What happens to the reply if it is not done.
    #[inline(always)]
    pub(in crate::vmgexit) fn not_done<B>(
        &self,
        fulfilment: Fulfilment,
        exit: ExitInfo,
    ) -> Flow<B> {
        match (fulfilment, exit.code) {
            (Fulfilment::Userspace, _) => Flow::ReplyLater(None),
            // An MSR access that KVM does not allow raises #GP.
            (Fulfilment::Error, ExitCode::MSR) => {
                Flow::ReplyNotDone(Fulfilment::Exception(EventInjection::GP_WITHOUT_ERROR_CODE))
            }
            (fulfilment, _) => Flow::ReplyNotDone(fulfilment),
        }
    }
}
