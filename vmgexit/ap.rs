// SPDX-License-Identifier: GPL-2.0

//! Application processors: AP reset hold and the AP jump table.

use super::{
    vcpu::{AfterExit, ExitInfo, Fault, HoldType, Registers, Vcpu},
    Flow,
};
use crate::ghcb_abi::{
    ap::{JumpTableOperation, ResetHold},
    exit_code::ExitCode,
    reply::{ErrorReason, Reply},
    snapshot::Snapshot,
};

/// An event about application processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApEvent {
    /// Wait for a SIPI, with registers that are the guest's own afterwards.
    ResetHold(Registers),
    /// Store the address of the jump table.
    SetJumpTable(u64),
    /// Return the address of the jump table.
    GetJumpTable,
}

impl ApEvent {
    /// Decodes an AP reset hold or AP jump table event.
    #[inline]
    pub(super) fn decode(snapshot: &Snapshot) -> Result<Self, ErrorReason> {
        match snapshot.exit_code() {
            ExitCode::AP_RESET_HOLD => Ok(Self::ResetHold(Registers {
                rax: snapshot.rax(),
                rbx: snapshot.rbx(),
                rcx: snapshot.rcx(),
                rdx: snapshot.rdx(),
                rsi: 0,
            })),
            ExitCode::AP_JUMP_TABLE => match JumpTableOperation(snapshot.info1()) {
                JumpTableOperation::SET => Ok(Self::SetJumpTable(snapshot.info2())),
                JumpTableOperation::GET => Ok(Self::GetJumpTable),
                _ => Err(ErrorReason::INVALID_INPUT),
            },
            _ => Err(ErrorReason::INVALID_EVENT),
        }
    }

    /// Carries the event out.
    #[inline]
    pub(super) fn carry_out<V: Vcpu>(self, vcpu: &mut V) -> Flow<V::Buffer> {
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
pub(super) fn hold_by_page<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    exit: ExitInfo,
    registers: &Registers,
) -> Result<AfterExit, Fault> {
    Reply::no_action(NOT_YET.0).write(page)?;
    vcpu.park(page, exit, registers)?;
    Ok(vcpu.hold(HoldType::Page))
}

/// What a vCPU in AP reset hold is told unless a SIPI arrives.
pub(super) const NOT_YET: ResetHold = ResetHold::NO_SIPI;
