// SPDX-License-Identifier: GPL-2.0

//! AP reset hold and the AP jump table.

use crate::{
    ghcb_abi::{ap::ResetHold, exit_code::ExitCode, exit_info::ExitInfo, reply::Reply},
    vmgexit::{
        flow::Flow,
        host::{AfterExit, Fault, HoldType, Vcpu},
        request::{ap::ApEvent, registers::Registers},
    },
};

impl ApEvent {
    /// Carries the event out.
    #[inline]
    pub(in crate::vmgexit) fn carry_out<V: Vcpu>(self, vcpu: &mut V) -> Flow<V::Buffer> {
        match self {
            Self::ResetHold(registers) => Flow::ReplyByC(registers),
            Self::SetJumpTable(gpa) => {
                vcpu.set_ap_jump_table(gpa);
                Flow::Reply(Reply::no_action(0))
            }
            Self::GetJumpTable => Flow::Reply(Reply::no_action(vcpu.ap_jump_table())),
        }
    }
}

/// Puts a vCPU that asked through its page into AP reset hold.
///
/// KVM writes [`ResetHold::SIPI`] into the page when a SIPI arrives, and completes the exit when the vCPU runs
/// again, so the reply must be in the page, and the page mapped. If it cannot be, the hold ends at once, without
/// a SIPI and with nowhere to say so.
pub(in crate::vmgexit) fn hold_by_page<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    (code, info1, info2): (ExitCode, u64, u64),
    registers: &Registers,
) -> Result<AfterExit, Fault> {
    let exit = ExitInfo { code, info1, info2 };
    Reply::no_action(NOT_YET.0).write(page)?;
    vcpu.park(page, exit, registers)?;
    Ok(vcpu.hold(HoldType::Page))
}

/// What a vCPU in AP reset hold is told unless a SIPI arrives.
pub(in crate::vmgexit) const NOT_YET: ResetHold = ResetHold::NO_SIPI;
