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
        match vcpu.emulate(&self.0) {
            Fulfilment::Done => Flow::Reply(vcpu.registers().returned_with(
                Reply::no_action(0),
                exit.code,
                exit.info1,
            )),
            Fulfilment::Userspace => Flow::ReplyLater(None),
            // An MSR access that KVM does not allow raises #GP.
            Fulfilment::Error if exit.code == ExitCode::MSR => {
                Flow::ReplyNotDone(Fulfilment::Exception(EventInjection::GP_WITHOUT_ERROR_CODE))
            }
            fulfilment => Flow::ReplyNotDone(fulfilment),
        }
    }
}
