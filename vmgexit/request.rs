// SPDX-License-Identifier: GPL-2.0

//! Requests: what a guest may ask for through the page, and nothing else.

pub mod ap;
pub mod ap_creation;
pub mod apic_ids;
pub mod context;
pub mod guest_request;
pub mod instruction;
pub mod mmio;
pub mod page_state;
pub mod port_io;
pub mod registers;
pub mod snp;
pub mod system;
pub mod tsc;

use crate::ghcb_abi::{event::Family, reply::ErrorReason, snapshot::Snapshot, version::Version};
use ap::ApEvent;
use instruction::InstructionRequest;
use mmio::MmioAccess;
use port_io::{PortAccess, PortIo, StringTransfer};
use snp::SnpRequest;
use system::SystemEvent;
use tsc::TimeStampRead;

/// An NAE event that the specification allows, with every operand checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NaeEvent {
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
    /// An event of SEV-SNP.
    Snp(SnpRequest),
    /// An I/O of no bytes, which succeeds and does nothing.
    Nothing,
}

impl NaeEvent {
    /// Proves a snapshot whose required fields are present.
    ///
    /// `version` is the highest that the VM may speak, `gpa` the address of the page.
    ///
    /// # Errors
    ///
    /// What the guest is told: the event is not one, or an operand is not what it must be.
    #[inline(always)]
    pub fn decode(snapshot: &Snapshot, version: Version, gpa: u64) -> Result<Self, ErrorReason> {
        match snapshot.exit_code().family() {
            Some(Family::Instruction) => Ok(Self::Instruction(InstructionRequest::new(snapshot))),
            Some(Family::TimeStamp) => Ok(Self::TimeStamp(TimeStampRead::decode(snapshot))),
            Some(Family::PortIo) => Ok(match port_io::decode(snapshot, version, gpa)? {
                PortIo::Access(access) => Self::PortIo(access),
                PortIo::String(transfer) => Self::StringIo(transfer),
                PortIo::Nothing => Self::Nothing,
            }),
            Some(Family::Mmio) => {
                let access = mmio::decode(snapshot, version, gpa)?;
                Ok(access.map_or(Self::Nothing, Self::Mmio))
            }
            Some(Family::Ap) => ApEvent::decode(snapshot).map(Self::Ap),
            Some(Family::System) => SystemEvent::decode(snapshot).map(Self::System),
            Some(Family::Snp) => SnpRequest::decode(snapshot, version, gpa).map(Self::Snp),
            None => Err(ErrorReason::INVALID_EVENT),
        }
    }
}
