// SPDX-License-Identifier: GPL-2.0

//! Page state changes of SEV-SNP guests.
//!
//! The scratch area of [`PAGE_STATE_CHANGE`](super::exit_code::ExitCode::PAGE_STATE_CHANGE) holds a
//! [`PscHeader`] and then [`PscEntry`]s, eight bytes each. The host works from `cur_entry` up to and with
//! `end_entry`. Its progress goes into `cur_entry`, and into the [`cur_page`](PscEntry::cur_page) of each entry;
//! `end_entry` stays. SW_EXITINFO2 of the reply is a [`PscStatus`]. A guest asks again until `cur_entry` is
//! beyond `end_entry`, or the status is an error.
//! One page alone can be changed through the MSR protocol.

use super::open::open_enum;

/// Entries that the protocol allows in one request. C: `VMGEXIT_PSC_MAX_COUNT`.
///
/// What the scratch area of a request really holds is a second bound, and the one that protects the
/// host.
pub const MAX_COUNT: usize = 253;

/// Size of the header, and of each entry, in bytes.
pub const ELEMENT_SIZE: usize = 8;

open_enum! {
    /// What happens to a page: four bits. Guest to host.
    pub struct PageOperation(u8) {
        /// Make it private. C: `SNP_PAGE_STATE_PRIVATE`, `VMGEXIT_PSC_OP_PRIVATE`.
        PRIVATE = 1, "private";
        /// Make it shared. C: `SNP_PAGE_STATE_SHARED`, `VMGEXIT_PSC_OP_SHARED`.
        SHARED = 2, "shared";
        /// Hint: split the 2 MiB entry of the RMP.
        PSMASH = 3, "psmash";
        /// Hint: join 512 entries of the RMP.
        UNSMASH = 4, "unsmash";
    }
}

open_enum! {
    /// SW_EXITINFO2 of the reply. Host to guest.
    ///
    /// Any other number is an error too: the upper half says of which kind, the lower half details.
    pub struct PscStatus(u64) {
        /// All entries are done, or the guest shall look at `cur_entry` and ask again.
        SUCCESS = 0, "success";
        /// The header is not valid. C: `VMGEXIT_PSC_ERROR_INVALID_HDR`.
        INVALID_HEADER = (1 << 32) | 1, "invalid_header";
        /// The entry at `cur_entry` is not valid. C: `VMGEXIT_PSC_ERROR_INVALID_ENTRY`.
        INVALID_ENTRY = (1 << 32) | 2, "invalid_entry";
        /// The host could not. C: `VMGEXIT_PSC_ERROR_GENERIC`.
        GENERIC = 0x100 << 32, "generic";
    }
}

/// Which entries to work on. Both directions. C: `struct psc_hdr`.
///
/// ```
/// use ghcb_abi::psc::PscHeader;
/// let header = PscHeader::decode(0x0005_0002);
/// assert_eq!((header.cur_entry, header.end_entry), (2, 5));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PscHeader {
    /// The next entry, 2 bytes at offset 0.
    pub cur_entry: u16,
    /// The last entry, 2 bytes at offset 2.
    pub end_entry: u16,
    /// Zero, 4 bytes at offset 4.
    pub reserved: u32,
}

impl PscHeader {
    /// Reads the quad word at the start of the scratch area.
    pub const fn decode(word: u64) -> Self {
        Self {
            cur_entry: word as u16,
            end_entry: (word >> 16) as u16,
            reserved: (word >> 32) as u32,
        }
    }

    /// Makes that quad word.
    pub const fn encode(self) -> u64 {
        self.cur_entry as u64 | ((self.end_entry as u64) << 16) | ((self.reserved as u64) << 32)
    }
}

/// One page to change. Both directions. C: `struct psc_entry`.
///
/// | bits | meaning |
/// |---|---|
/// | 11:0 | 4 KiB pages done so far, written by the host |
/// | 51:12 | guest frame number |
/// | 55:52 | operation |
/// | 56 | size: 0 4 KiB, 1 2 MiB |
/// | 63:57 | reserved |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct PscEntry(pub u64);

impl PscEntry {
    const CUR_PAGE_MASK: u64 = 0xfff;
    const GFN_MASK: u64 = (1 << 40) - 1;
    const RESERVED_BITS: u32 = 7;

    /// A change of one page, none of it done. Takes the low 40 bits of `gfn` and the low 4 of
    /// `operation`.
    pub const fn new(gfn: u64, operation: PageOperation, huge: bool) -> Self {
        Self(
            ((gfn & Self::GFN_MASK) << 12)
                | ((operation.0 as u64 & 0xf) << 52)
                | ((huge as u64) << 56),
        )
    }

    /// Guest physical address of a frame.
    pub const fn address(gfn: u64) -> u64 {
        gfn << 12
    }

    /// 4 KiB pages done so far.
    pub const fn cur_page(self) -> u16 {
        (self.0 & Self::CUR_PAGE_MASK) as u16
    }

    /// The same entry with `pages` done. Takes the low 12 bits.
    #[must_use]
    pub const fn with_cur_page(self, pages: u16) -> Self {
        Self(self.0 & !Self::CUR_PAGE_MASK | pages as u64 & Self::CUR_PAGE_MASK)
    }

    /// Guest frame number, 40 bits.
    pub const fn gfn(self) -> u64 {
        (self.0 >> 12) & Self::GFN_MASK
    }

    /// What to do.
    pub const fn operation(self) -> PageOperation {
        PageOperation(((self.0 >> 52) & 0xf) as u8)
    }

    /// Whether the entry is about a 2 MiB page.
    pub const fn is_huge(self) -> bool {
        (self.0 >> 56) & 1 != 0
    }

    /// How many entries of this one's size there can be one behind the other after it, until there is no such frame.
    pub const fn room_behind(self) -> u64 {
        (Self::GFN_MASK - self.gfn()) >> self.pages().trailing_zeros()
    }

    /// The same entry about what lies `pages` pages of 4 KiB behind. There is to be such a frame.
    #[must_use]
    pub const fn moved(self, pages: u16) -> Self {
        Self(self.0.wrapping_add((pages as u64) << 12))
    }

    /// Whether another entry says the same, but for the reserved bits.
    pub const fn is_same(self, other: Self) -> bool {
        (self.0 ^ other.0) << Self::RESERVED_BITS == 0
    }

    /// Bits 63:57, zero in a legal entry.
    pub const fn reserved(self) -> u8 {
        (self.0 >> 57) as u8
    }

    /// Whether the frame is one that a page of the entry's size begins at.
    pub const fn is_aligned(self) -> bool {
        self.gfn() & (self.pages() as u64 - 1) == 0
    }

    /// 4 KiB pages that the entry covers.
    pub const fn pages(self) -> u16 {
        if self.is_huge() {
            512
        } else {
            1
        }
    }
}
