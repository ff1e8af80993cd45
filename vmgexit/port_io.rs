// SPDX-License-Identifier: GPL-2.0

//! Port I/O: IN, OUT, INS and OUTS.

use super::{
    request::NaeEvent,
    vcpu::{Failure, Fulfilment, Purpose, Scratch, Vcpu},
    AfterExit, Flow,
};
use crate::ghcb_abi::{
    ioio::{IoInfo, IoSize},
    page::PAGE_SIZE,
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

    /// What a copy of `area` is for, when KVM takes `most` bytes at once.
    #[inline(always)]
    pub(super) const fn purpose(self, area: ScratchArea, most: u64) -> Purpose {
        match self {
            Self::In => Purpose::Receive,
            Self::Out if area.len() <= most => Purpose::Send,
            Self::Out => Purpose::SendInPieces,
        }
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

/// Decodes an IOIO event.
#[inline(always)]
pub(super) fn decode(
    snapshot: &Snapshot,
    version: Version,
    gpa: u64,
) -> Result<NaeEvent, ErrorReason> {
    let io = IoInfo(snapshot.info1());
    let direction = if io.is_in() {
        Direction::In
    } else {
        Direction::Out
    };
    let Some(size) = io.size() else {
        // No size: nothing is transferred, as in C. Several size bits: no instruction has such a size.
        return if io.size_bits() == 0 {
            Ok(NaeEvent::Nothing)
        } else {
            Err(ErrorReason::INVALID_INPUT)
        };
    };
    if !io.is_string() {
        return Ok(NaeEvent::PortIo(PortAccess {
            port: io.port(),
            size,
            direction,
            rax: snapshot.rax(),
        }));
    }

    // SW_EXITINFO2 counts elements, not bytes.
    let elements = snapshot.info2();
    if elements == 0 {
        return Ok(NaeEvent::Nothing);
    }
    let bytes = elements
        .checked_mul(size.bytes() as u64)
        .ok_or(ErrorReason::INVALID_SCRATCH_AREA)?;
    let area = ScratchArea::locate(version, gpa, snapshot.scratch(), bytes)?;
    let count = u32::try_from(elements).map_err(|_| ErrorReason::INVALID_SCRATCH_AREA)?;
    Ok(NaeEvent::StringIo(StringTransfer {
        port: io.port(),
        size,
        count,
        direction,
        area,
    }))
}

impl PortAccess {
    /// Asks KVM to perform the access.
    #[inline(always)]
    pub(super) fn carry_out<V: Vcpu>(&self, vcpu: &mut V) -> Fulfilment {
        vcpu.port_io(self)
    }
}

impl StringTransfer {
    /// Most bytes that KVM takes at once, in C the size of `kvm_vcpu_arch.pio_data`.
    const MOST_AT_ONCE: u64 = PAGE_SIZE as u64;

    /// Asks KVM to perform the transfer on a copy of the scratch area.
    #[inline(always)]
    pub(super) fn carry_out<V: Vcpu>(
        self,
        vcpu: &mut V,
        page: &V::Page,
    ) -> Result<Flow<V::Buffer>, Failure> {
        let purpose = self.direction.purpose(self.area, Self::MOST_AT_ONCE);
        transfer(vcpu, page, self.area, purpose, |vcpu, data| {
            vcpu.string_io(&self, data)
        })
    }
}

/// Copies a scratch area, lets `access` work on the copy, and copies it back when the guest receives.
#[inline(always)]
pub(super) fn transfer<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    area: ScratchArea,
    purpose: Purpose,
    access: impl FnOnce(&mut V, &mut V::Buffer) -> Fulfilment,
) -> Result<Flow<V::Buffer>, Failure> {
    let mut buffer = vcpu.fetch(page, area, purpose)?;
    Ok(match (access(vcpu, &mut buffer), purpose) {
        (Fulfilment::Userspace, Purpose::Send) => Flow::ReplyEarly(AfterExit::Userspace),
        (Fulfilment::Userspace, _) => Flow::ReplyLater(Some(Scratch { area, buffer })),
        (fulfilment, _) => {
            if purpose == Purpose::Receive && fulfilment == Fulfilment::Done {
                vcpu.put_back(page, area, &buffer)?;
            }
            Flow::after(fulfilment)
        }
    })
}
