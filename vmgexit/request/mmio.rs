// SPDX-License-Identifier: GPL-2.0

//! Memory-mapped I/O: MMIO read and MMIO write.

use super::port_io::Direction;
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

/// Decodes an MMIO event: `None` if it is about no bytes.
#[inline(always)]
pub(super) fn decode(
    snapshot: &Snapshot,
    version: Version,
    page: u64,
) -> Result<Option<MmioAccess>, ErrorReason> {
    let direction = match snapshot.exit_code() {
        ExitCode::MMIO_WRITE => Direction::Out,
        _ => Direction::In,
    };
    let len = snapshot.info2();
    if len == 0 {
        return Ok(None);
    }
    if version.confines_scratch() && len > MAX_LENGTH {
        return Err(ErrorReason::INVALID_INPUT);
    }
    let area = ScratchArea::locate(version, page, snapshot.scratch(), len)?;
    let len = u32::try_from(len).map_err(|_| ErrorReason::INVALID_SCRATCH_AREA)?;
    Ok(Some(MmioAccess {
        gpa: snapshot.info1(),
        len,
        direction,
        area,
    }))
}
