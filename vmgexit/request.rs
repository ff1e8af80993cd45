// SPDX-License-Identifier: GPL-2.0

//! Requests: what a guest may ask for through the page, and nothing else.

use super::{
    ap::ApEvent,
    instruction::{Instruction, InstructionRequest},
    kind::Kind,
    mmio::{self, MmioAccess},
    port_io::{self, PortAccess, StringTransfer},
    system::SystemEvent,
    tsc::TimeStampRead,
};
use crate::ghcb_abi::{
    exit_code::ExitCode, reply::ErrorReason, snapshot::Snapshot, version::Version,
};

/// A request that the specification allows, with every operand checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// An instruction that KVM emulates on registers.
    Instruction(InstructionRequest),
    /// IN or OUT.
    PortIo(PortAccess),
    /// INS or OUTS.
    StringIo(StringTransfer),
    /// Memory-mapped I/O.
    Mmio(MmioAccess),
    /// RDTSC or RDTSCP.
    TimeStamp(TimeStampRead),
    /// Something about application processors.
    Ap(ApEvent),
    /// Something about the guest as a whole, or a register that the host keeps.
    System(SystemEvent),
    /// An I/O of no bytes, which succeeds and does nothing.
    Nothing(Kind),
}

impl Request {
    /// Proves a snapshot whose required fields are present.
    ///
    /// `version` is the highest that the VM may speak, `gpa` the address of the page.
    ///
    /// # Errors
    ///
    /// What the guest is told: the event is not one, or an operand is not what it must be.
    #[inline(always)]
    pub fn decode(snapshot: &Snapshot, version: Version, gpa: u64) -> Result<Self, ErrorReason> {
        let instruction = |instruction| {
            Ok(Self::Instruction(InstructionRequest::new(
                instruction,
                snapshot,
            )))
        };
        match snapshot.exit_code() {
            ExitCode::CPUID => instruction(Instruction::Cpuid),
            ExitCode::MSR if snapshot.info1() == 0 => instruction(Instruction::ReadMsr),
            ExitCode::MSR => instruction(Instruction::WriteMsr),
            ExitCode::IOIO => port_io::decode(snapshot, version, gpa),
            ExitCode::MMIO_READ | ExitCode::MMIO_WRITE => mmio::decode(snapshot, version, gpa),
            ExitCode::RDTSC => Ok(Self::TimeStamp(TimeStampRead::Rdtsc)),
            ExitCode::RDTSCP => Ok(Self::TimeStamp(TimeStampRead::Rdtscp)),
            ExitCode::RDPMC => instruction(Instruction::Rdpmc),
            ExitCode::INVD => instruction(Instruction::Invd),
            ExitCode::WBINVD => instruction(Instruction::Wbinvd),
            ExitCode::MONITOR => instruction(Instruction::Monitor),
            ExitCode::MWAIT => instruction(Instruction::Mwait),
            ExitCode::VMMCALL => instruction(Instruction::Vmmcall),
            ExitCode::AP_RESET_HOLD | ExitCode::AP_JUMP_TABLE => {
                ApEvent::decode(snapshot).map(Self::Ap)
            }
            _ => SystemEvent::decode(snapshot).map(Self::System),
        }
    }

    /// What the request is counted as.
    #[inline(always)]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Instruction(request) => request.kind(),
            Self::PortIo(_) => Kind::PortIo,
            Self::StringIo(_) => Kind::StringIo,
            Self::Mmio(access) => access.kind(),
            Self::TimeStamp(read) => read.kind(),
            Self::Ap(event) => event.kind(),
            Self::System(event) => event.kind(),
            Self::Nothing(kind) => *kind,
        }
    }
}
