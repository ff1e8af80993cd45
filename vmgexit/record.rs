// SPDX-License-Identifier: GPL-2.0

//! The record that a vCPU keeps of an exit whose reply is pending.
//!
//! It is a few words, without a pointer, so that it survives being copied to the vCPU of another VM.

use crate::ghcb_abi::{
    exit_code::ExitCode,
    exit_info::ExitInfo,
    page::{BufferRange, PAGE_SIZE},
    scratch::ScratchArea,
};

/// log2 of the page size. C: `PAGE_SHIFT`.
const PAGE_SHIFT: u32 = PAGE_SIZE.trailing_zeros();

/// Bits of a guest frame number: physical addresses have 52.
const FRAME_BITS: u32 = 52 - PAGE_SHIFT;

/// The mark, above the frame number. No frame number has bits there, and the numbers by which KVM says
/// that there is no frame (`KVM_PFN_ERR_MASK`, `KVM_PFN_NOSLOT`) have others.
const MARK: u64 = 0x67_6863;

/// An exit whose reply is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Guest frame number of the page.
    pub gfn: u64,
    /// What the exit is about.
    pub exit: ExitInfo,
    /// The scratch area, if the exit has one.
    pub area: Option<ScratchArea>,
}

/// A [`Record`] as a vCPU holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The mark, and the page's frame number.
    pub mark: u64,
    /// Exit code.
    pub code: u64,
    /// SW_EXITINFO1 of the request.
    pub info1: u64,
    /// SW_EXITINFO2 of the request.
    pub info2: u64,
    /// Guest physical address of the scratch area.
    pub place: u64,
    /// Length of the scratch area in bytes, zero if there is none.
    pub len: u32,
}

impl Words {
    /// Whether a word is the mark of a pending reply.
    #[inline]
    pub const fn is_mark(word: u64) -> bool {
        word >> FRAME_BITS == MARK
    }

    /// The record, if there is one.
    #[inline]
    pub fn decode(&self) -> Option<Record> {
        if !Self::is_mark(self.mark) {
            return None;
        }
        let gfn = self.mark & ((1 << FRAME_BITS) - 1);
        let area = if self.len == 0 {
            None
        } else if self.place >> PAGE_SHIFT == gfn {
            let offset = self.place as usize % PAGE_SIZE;
            BufferRange::new(offset, self.len as usize).map(ScratchArea::Shared)
        } else {
            Some(ScratchArea::External {
                gpa: self.place,
                len: self.len.into(),
            })
        };
        Some(Record {
            gfn,
            exit: ExitInfo {
                code: ExitCode(self.code),
                info1: self.info1,
                info2: self.info2,
            },
            area,
        })
    }
}

impl Record {
    /// The words for it.
    #[inline]
    pub const fn encode(&self) -> Words {
        let gfn = self.gfn & ((1 << FRAME_BITS) - 1);
        let (place, len) = match self.area {
            None => (0, 0),
            Some(ScratchArea::Shared(range)) => (
                (gfn << PAGE_SHIFT) | range.offset() as u64,
                range.len() as u32,
            ),
            // At most `EXTERNAL_LIMIT`.
            Some(ScratchArea::External { gpa, len }) => (gpa, len as u32),
        };
        Words {
            mark: (MARK << FRAME_BITS) | gfn,
            code: self.exit.code.0,
            info1: self.exit.info1,
            info2: self.exit.info2,
            place,
            len,
        }
    }
}
