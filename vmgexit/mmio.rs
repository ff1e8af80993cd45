// SPDX-License-Identifier: GPL-2.0

//! Memory-mapped I/O: MMIO read and MMIO write.

use super::{
    port_io::{self, Direction},
    request::NaeEvent,
    vcpu::{Failure, Vcpu},
    Flow,
};
use crate::ghcb_abi::{
    exit_code::ExitCode, mmio::MAX_LENGTH, reply::ErrorReason, scratch::ScratchArea,
    snapshot::Snapshot, version::Version,
};

/// An access to memory-mapped I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioAccess {
    /// Guest physical address of the device's register.
    pub gpa: u64,
    /// Length in bytes; not zero.
    pub len: u32,
    /// Direction of the data.
    pub direction: Direction,
    /// Where the data lie: `len` bytes.
    pub area: ScratchArea,
}

/// Decodes an MMIO event.
#[inline(always)]
pub(super) fn decode(
    snapshot: &Snapshot,
    version: Version,
    page: u64,
) -> Result<NaeEvent, ErrorReason> {
    let direction = match snapshot.exit_code() {
        ExitCode::MMIO_WRITE => Direction::Out,
        _ => Direction::In,
    };
    let len = snapshot.info2();
    if len == 0 {
        return Ok(NaeEvent::Nothing);
    }
    if version.confines_scratch() && len > MAX_LENGTH {
        return Err(ErrorReason::INVALID_INPUT);
    }
    let area = ScratchArea::locate(version, page, snapshot.scratch(), len)?;
    let len = u32::try_from(len).map_err(|_| ErrorReason::INVALID_SCRATCH_AREA)?;
    Ok(NaeEvent::Mmio(MmioAccess {
        gpa: snapshot.info1(),
        len,
        direction,
        area,
    }))
}

impl MmioAccess {
    /// Asks KVM to perform the access on a copy of the scratch area.
    #[inline(always)]
    pub(super) fn carry_out<V: Vcpu>(
        self,
        vcpu: &mut V,
        page: &V::Page,
    ) -> Result<Flow<V::Buffer>, Failure> {
        let purpose = self.direction.purpose(self.area, MAX_LENGTH);
        port_io::transfer(vcpu, page, self.area, purpose, |vcpu, data| {
            vcpu.mmio(&self, data)
        })
    }
}
