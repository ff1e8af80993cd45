// SPDX-License-Identifier: GPL-2.0

//! Port I/O: IN, OUT, INS and OUTS.

use crate::ghcb_abi::{
    ioio::{IoInfo, IoSize},
    reply::ErrorReason,
    scratch::ScratchArea,
    snapshot::Snapshot,
    version::Version,
};

/// Direction of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the device to the guest.
    In,
    /// From the guest to the device.
    Out,
}

impl Direction {
    /// Whether the guest receives.
    #[inline]
    pub const fn is_in(self) -> bool {
        matches!(self, Self::In)
    }
}

/// IN or OUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortAccess {
    /// Port.
    pub port: u16,
    /// Bytes at once.
    pub size: IoSize,
    /// Direction of the data.
    pub direction: Direction,
    /// RAX: the value to write; IN of less than four bytes keeps the rest of it.
    pub rax: u64,
}

/// INS or OUTS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StringTransfer {
    /// Port.
    pub port: u16,
    /// Bytes of an element.
    pub size: IoSize,
    /// Number of elements; not zero.
    pub count: u32,
    /// Direction of the data.
    pub direction: Direction,
    /// Where the data lie: `count` times `size` bytes.
    pub area: ScratchArea,
}

/// Port I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortIo {
    /// IN or OUT.
    Access(PortAccess),
    /// INS or OUTS.
    String(StringTransfer),
    /// No bytes.
    Nothing,
}

/// Decodes an IOIO event.
#[inline(always)]
pub(super) fn decode(
    snapshot: &Snapshot,
    version: Version,
    gpa: u64,
) -> Result<PortIo, ErrorReason> {
    let io = IoInfo(snapshot.info1());
    let direction = if io.is_in() {
        Direction::In
    } else {
        Direction::Out
    };
    let Some(size) = io.size() else {
        // No size: nothing is transferred, as in C. Several size bits: no instruction has such a size.
        return if io.size_bits() == 0 {
            Ok(PortIo::Nothing)
        } else {
            Err(ErrorReason::INVALID_INPUT)
        };
    };
    if !io.is_string() {
        return Ok(PortIo::Access(PortAccess {
            port: io.port(),
            size,
            direction,
            rax: snapshot.rax(),
        }));
    }

    // SW_EXITINFO2 counts elements, not bytes.
    let elements = snapshot.info2();
    if elements == 0 {
        return Ok(PortIo::Nothing);
    }
    let bytes = elements
        .checked_mul(size.bytes() as u64)
        .ok_or(ErrorReason::INVALID_SCRATCH_AREA)?;
    let area = ScratchArea::locate(version, gpa, snapshot.scratch(), bytes)?;
    let count = u32::try_from(elements).map_err(|_| ErrorReason::INVALID_SCRATCH_AREA)?;
    Ok(PortIo::String(StringTransfer {
        port: io.port(),
        size,
        count,
        direction,
        area,
    }))
}
