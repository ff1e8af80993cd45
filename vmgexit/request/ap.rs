// SPDX-License-Identifier: GPL-2.0

//! Application processors: AP reset hold and the AP jump table.

use super::registers::Registers;
use crate::ghcb_abi::{
    ap::JumpTableOperation, exit_code::ExitCode, reply::ErrorReason, snapshot::Snapshot,
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
}
