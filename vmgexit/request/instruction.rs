// SPDX-License-Identifier: GPL-2.0

//! Instructions that KVM emulates on registers: CPUID, RDMSR, WRMSR, RDPMC, INVD, WBINVD, MONITOR,
//! MWAIT and VMMCALL.

use super::registers::Registers;
use crate::{
    ghcb_abi::{exit_code::ExitCode, snapshot::Snapshot},
    vmgexit::kind::Kind,
};

/// Which instruction: the intercept that KVM handles as if the processor had reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    exit_code: ExitCode,
    is_wrmsr: bool,
}

impl Instruction {
    /// The instruction that an event is about.
    #[inline]
    pub const fn of(exit_code: ExitCode, info1: u64) -> Self {
        Self {
            exit_code,
            is_wrmsr: matches!(Kind::of(exit_code, info1), Kind::WriteMsr),
        }
    }

    /// The intercept's exit code.
    #[inline]
    pub const fn exit_code(self) -> ExitCode {
        self.exit_code
    }

    /// Whether it is WRMSR.
    #[inline]
    pub const fn is_wrmsr(self) -> bool {
        self.is_wrmsr
    }

    /// The intercept's EXITINFO1: only that of MSR accesses means anything.
    #[inline]
    pub const fn info1(self) -> u64 {
        self.is_wrmsr as u64
    }
}

/// What KVM needs to emulate an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emulation {
    /// Which instruction.
    pub instruction: Instruction,
    /// Its operands.
    pub registers: Registers,
}

/// A request to emulate an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstructionRequest(pub(crate) Emulation);

impl InstructionRequest {
    /// Takes the operands from a snapshot.
    #[inline]
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let instruction = Instruction::of(snapshot.exit_code(), snapshot.info1());
        Self(Emulation {
            instruction,
            registers: Registers::of(snapshot),
        })
    }
}
