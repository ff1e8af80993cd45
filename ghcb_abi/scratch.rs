// SPDX-License-Identifier: GPL-2.0

//! The scratch area: where the data of string IOIO, MMIO and page state changes lie.

use super::{
    page::{BufferRange, PAGE_SIZE},
    reply::ErrorReason,
    version::Version,
};

/// A scratch area whose place has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScratchArea {
    /// Within the shared buffer of the page.
    Shared(BufferRange),
    /// In other guest memory. Protocol version 1 only.
    External {
        /// Guest physical address of the first byte; not zero, and not in the page.
        gpa: u64,
        /// Length in bytes; not zero, and `gpa + len` does not overflow.
        len: u64,
    },
}

impl ScratchArea {
    /// Longest external scratch area that KVM takes, in bytes. C: `GHCB_SCRATCH_AREA_LIMIT`.
    pub const EXTERNAL_LIMIT: u64 = 16 * PAGE_SIZE as u64;

    /// Length in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "an area is never empty")]
    pub const fn len(&self) -> u64 {
        match self {
            Self::Shared(range) => range.len() as u64,
            Self::External { len, .. } => *len,
        }
    }

    /// Finds the `len` bytes at SW_SCRATCH (`scratch`) for a guest whose page is at `ghcb_gpa`.
    ///
    /// An area that begins in the page must lie within the shared buffer altogether. One that begins
    /// elsewhere is for version 1, and at most [`EXTERNAL_LIMIT`](Self::EXTERNAL_LIMIT) long. Neither is
    /// empty, at address zero, or beyond the end of the address space.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::INVALID_SCRATCH_AREA`], for the guest.
    ///
    /// ```
    /// use ghcb_abi::{page::BufferRange, scratch::ScratchArea, version::Version};
    /// let found = ScratchArea::locate(Version::V2, 0x1000, 0x1800, 8);
    /// assert_eq!(found.ok(), BufferRange::new(0x800, 8).map(ScratchArea::Shared));
    /// assert!(ScratchArea::locate(Version::V2, 0x1000, 0x1fe9, 8).is_err());
    /// assert!(ScratchArea::locate(Version::V2, 0x1000, 0x5000, 8).is_err());
    /// ```
    #[inline(always)]
    pub const fn locate(
        version: Version,
        ghcb_gpa: u64,
        scratch: u64,
        len: u64,
    ) -> Result<Self, ErrorReason> {
        const OFFSET_MASK: u64 = PAGE_SIZE as u64 - 1;
        const INVALID: ErrorReason = ErrorReason::INVALID_SCRATCH_AREA;

        if len == 0 || scratch == 0 || scratch.checked_add(len).is_none() {
            return Err(INVALID);
        }
        if scratch & !OFFSET_MASK == ghcb_gpa & !OFFSET_MASK {
            if len > PAGE_SIZE as u64 {
                return Err(INVALID);
            }
            return match BufferRange::new((scratch & OFFSET_MASK) as usize, len as usize) {
                Some(range) => Ok(Self::Shared(range)),
                None => Err(INVALID),
            };
        }
        if version.confines_scratch() || len > Self::EXTERNAL_LIMIT {
            return Err(INVALID);
        }
        Ok(Self::External { gpa: scratch, len })
    }
}
