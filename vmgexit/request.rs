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

use crate::ghcb_abi::{
    event::Family, reply::ErrorReason, scratch::ScratchArea, snapshot::Snapshot, version::Version,
};
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

/// Where a proved request goes. There is a copy of [`take()`](Self::take) for each variant, in which the compiler knows it.
pub(super) trait Destination {
    /// What it makes of it.
    type Outcome;

    /// Takes the request.
    fn take(self, request: Result<NaeEvent, ErrorReason>) -> Self::Outcome;
}

/// Back to the caller.
struct Return;

impl Destination for Return {
    type Outcome = Result<NaeEvent, ErrorReason>;

    #[inline]
    fn take(self, request: Self::Outcome) -> Self::Outcome {
        request
    }
}

impl NaeEvent {
    /// Proves a snapshot whose required fields are present.
    ///
    /// `version` is the highest that the VM may speak, `gpa` the address of the page.
    ///
    /// # Errors
    ///
    /// What the guest is told: the event is not one, or an operand is not what it must be.
    #[inline]
    pub fn decode(snapshot: &Snapshot, version: Version, gpa: u64) -> Result<Self, ErrorReason> {
        Self::decode_for(snapshot, version, gpa, Return)
    }

    /// Does the same, and hands the result on.
    #[inline(always)]
    pub(super) fn decode_for<D: Destination>(
        snapshot: &Snapshot,
        version: Version,
        gpa: u64,
        to: D,
    ) -> D::Outcome {
        match snapshot.exit_code().family() {
            Some(Family::Instruction) => {
                to.take(Ok(Self::Instruction(InstructionRequest::new(snapshot))))
            }
            Some(Family::TimeStamp) => {
                to.take(Ok(Self::TimeStamp(TimeStampRead::decode(snapshot))))
            }
            Some(Family::PortIo) => match port_io::decode(snapshot, version, gpa) {
                Ok(PortIo::Access(access)) => to.take(Ok(Self::PortIo(access))),
                Ok(PortIo::String(transfer)) => match transfer.area {
                    area @ ScratchArea::Shared(_) => {
                        to.take(Ok(Self::StringIo(StringTransfer { area, ..transfer })))
                    }
                    area => to.take(Ok(Self::StringIo(StringTransfer { area, ..transfer }))),
                },
                Ok(PortIo::Nothing) => to.take(Ok(Self::Nothing)),
                Err(reason) => to.take(Err(reason)),
            },
            Some(Family::Mmio) => match mmio::decode(snapshot, version, gpa) {
                Ok(Some(access)) => match access.area {
                    area @ ScratchArea::Shared(_) => {
                        to.take(Ok(Self::Mmio(MmioAccess { area, ..access })))
                    }
                    area => to.take(Ok(Self::Mmio(MmioAccess { area, ..access }))),
                },
                Ok(None) => to.take(Ok(Self::Nothing)),
                Err(reason) => to.take(Err(reason)),
            },
            Some(Family::Ap) => to.take(ApEvent::decode(snapshot).map(Self::Ap)),
            Some(Family::System) => to.take(SystemEvent::decode(snapshot).map(Self::System)),
            Some(Family::Snp) => to.take(SnpRequest::decode(snapshot, version, gpa).map(Self::Snp)),
            None => to.take(Err(ErrorReason::INVALID_EVENT)),
        }
    }
}
