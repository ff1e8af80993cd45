// SPDX-License-Identifier: GPL-2.0

//! Instructions that KVM emulates on registers: CPUID, RDMSR, WRMSR, RDPMC, INVD, WBINVD, MONITOR,
//! MWAIT and VMMCALL.

use super::{
    kind::Kind,
    vcpu::{Fulfilment, Registers, Vcpu},
};
use crate::ghcb_abi::{exit_code::ExitCode, reply::EventInjection, snapshot::Snapshot};

/// Which instruction: the intercept that KVM handles as if the processor had reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    exit_code: ExitCode,
    is_wrmsr: bool,
}

impl Instruction {
    /// The instruction that an event is about.
    #[inline(always)]
    pub const fn of(exit_code: ExitCode, info1: u64) -> Self {
        Self {
            exit_code,
            is_wrmsr: matches!(Kind::of(exit_code, info1), Kind::WriteMsr),
        }
    }

    /// The intercept's exit code.
    #[inline(always)]
    pub const fn exit_code(self) -> ExitCode {
        self.exit_code
    }

    /// The intercept's EXITINFO1: only that of MSR accesses means anything.
    #[inline(always)]
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
pub struct InstructionRequest(Emulation);

impl InstructionRequest {
    /// Takes the operands from a snapshot.
    #[inline(always)]
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let instruction = Instruction::of(snapshot.exit_code(), snapshot.info1());
        Self(Emulation {
            instruction,
            registers: Registers::of(snapshot),
        })
    }

    /// Lets KVM emulate it.
    #[inline(always)]
    pub(super) fn emulate<V: Vcpu>(&self, vcpu: &mut V) -> Fulfilment {
        match (vcpu.emulate(&self.0), self.0.instruction.exit_code) {
            // An MSR access that KVM does not allow raises #GP.
            (Fulfilment::Error, ExitCode::MSR) => {
                Fulfilment::Exception(EventInjection::GP_WITHOUT_ERROR_CODE)
            }
            (fulfilment, _) => fulfilment,
        }
    }
}
