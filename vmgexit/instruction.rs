// SPDX-License-Identifier: GPL-2.0

//! Instructions that KVM emulates on registers: CPUID, RDMSR, WRMSR, RDPMC, INVD, WBINVD, MONITOR,
//! MWAIT and VMMCALL.

use super::{
    kind::Kind,
    vcpu::{Fulfilment, Registers, Vcpu},
};
use crate::ghcb_abi::{exit_code::ExitCode, reply::EventInjection, snapshot::Snapshot};

/// Which instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// CPUID.
    Cpuid,
    /// RDMSR.
    ReadMsr,
    /// WRMSR.
    WriteMsr,
    /// RDPMC.
    Rdpmc,
    /// INVD.
    Invd,
    /// WBINVD.
    Wbinvd,
    /// MONITOR or MONITORX.
    Monitor,
    /// MWAIT or MWAITX.
    Mwait,
    /// VMMCALL: a hypercall.
    Vmmcall,
}

impl Instruction {
    /// The intercept's exit code.
    #[inline(always)]
    pub const fn exit_code(self) -> ExitCode {
        match self {
            Self::Cpuid => ExitCode::CPUID,
            Self::ReadMsr | Self::WriteMsr => ExitCode::MSR,
            Self::Rdpmc => ExitCode::RDPMC,
            Self::Invd => ExitCode::INVD,
            Self::Wbinvd => ExitCode::WBINVD,
            Self::Monitor => ExitCode::MONITOR,
            Self::Mwait => ExitCode::MWAIT,
            Self::Vmmcall => ExitCode::VMMCALL,
        }
    }

    /// The intercept's EXITINFO1: only that of MSR accesses means anything.
    #[inline(always)]
    pub const fn info1(self) -> u64 {
        matches!(self, Self::WriteMsr) as u64
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
    pub(super) fn new(instruction: Instruction, snapshot: &Snapshot) -> Self {
        Self(Emulation {
            instruction,
            registers: Registers::of(snapshot),
        })
    }

    /// What the request is counted as.
    #[inline(always)]
    pub const fn kind(&self) -> Kind {
        match self.0.instruction {
            Instruction::Cpuid => Kind::Cpuid,
            Instruction::ReadMsr => Kind::ReadMsr,
            Instruction::WriteMsr => Kind::WriteMsr,
            Instruction::Rdpmc => Kind::Rdpmc,
            Instruction::Invd => Kind::Invd,
            Instruction::Wbinvd => Kind::Wbinvd,
            Instruction::Monitor => Kind::Monitor,
            Instruction::Mwait => Kind::Mwait,
            Instruction::Vmmcall => Kind::Vmmcall,
        }
    }

    /// Lets KVM emulate it.
    #[inline(always)]
    pub(super) fn emulate<V: Vcpu>(&self, vcpu: &mut V) -> Fulfilment {
        match (vcpu.emulate(&self.0), self.0.instruction) {
            // An MSR access that KVM will not do is one that faults.
            (Fulfilment::Refused, Instruction::ReadMsr | Instruction::WriteMsr) => {
                Fulfilment::Exception(EventInjection::GP_WITHOUT_ERROR_CODE)
            }
            (fulfilment, _) => fulfilment,
        }
    }
}
