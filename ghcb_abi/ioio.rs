// SPDX-License-Identifier: GPL-2.0

//! Port I/O: SW_EXITINFO1 of [`IOIO`](super::exit_code::ExitCode::IOIO).
//!
//! IN and OUT pass the value in RAX. INS and OUTS pass SW_EXITINFO2 elements of
//! [`size`](IoInfo::size) bytes each (elements, not bytes) in the scratch area.

use super::open::open_enum;

open_enum! {
    /// Width of the address of INS and OUTS in bits.
    pub struct AddressSize(u8) {
        /// C: `IOIO_ADDR_16`.
        BITS_16 = 16, "16";
        /// C: `IOIO_ADDR_32`.
        BITS_32 = 32, "32";
        /// C: `IOIO_ADDR_64`.
        BITS_64 = 64, "64";
    }
}

open_enum! {
    /// Segment of INS and OUTS: bits 12:10.
    pub struct Segment(u8) {
        /// ES, the only one for INS. C: `IOIO_SEG_ES`.
        ES = 0, "es";
        /// CS.
        CS = 1, "cs";
        /// SS.
        SS = 2, "ss";
        /// DS, the default for OUTS. C: `IOIO_SEG_DS`.
        DS = 3, "ds";
        /// FS.
        FS = 4, "fs";
        /// GS.
        GS = 5, "gs";
    }
}

/// SW_EXITINFO1 of an IOIO request, in the SVM format. Guest to host.
///
/// | bits | meaning |
/// |---|---|
/// | 0 | 1 IN, 0 OUT |
/// | 2 | string |
/// | 3 | REP prefix |
/// | 6:4 | size of an element: 1 one byte, 2 two, 4 four |
/// | 9:7 | address size: 1 16 bits, 2 32, 4 64 |
/// | 12:10 | segment |
/// | 31:16 | port |
///
/// Bits 1, 15:13 and 63:32 are reserved; KVM does not look at them.
///
/// ```
/// use ghcb_abi::ioio::{IoInfo, IoSize};
/// let io = IoInfo::new(0x3f8, IoSize::Byte, true);
/// assert_eq!(io, IoInfo(0x03f8_0011));
/// assert_eq!((io.port(), io.size(), io.is_in()), (0x3f8, Some(IoSize::Byte), true));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct IoInfo(pub u64);

/// Size of one element of port I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IoSize {
    /// 8 bits. C: `IOIO_DATA_8`.
    Byte = 1,
    /// 16 bits. C: `IOIO_DATA_16`.
    Word = 2,
    /// 32 bits. C: `IOIO_DATA_32`.
    Dword = 4,
}

impl IoSize {
    /// All sizes.
    pub const ALL: [Self; 3] = [Self::Byte, Self::Word, Self::Dword];

    /// Size in bytes.
    #[inline]
    pub const fn bytes(self) -> usize {
        self as usize
    }

    /// Bits of RAX that an element fills.
    #[inline]
    pub const fn mask(self) -> u64 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Dword => 0xffff_ffff,
        }
    }
}

impl IoInfo {
    /// Bit 0. C: `SVM_IOIO_TYPE_MASK`.
    pub const TYPE_MASK: u64 = 1;
    /// Bit 2. C: `SVM_IOIO_STR_MASK`.
    pub const STR_MASK: u64 = 1 << 2;
    /// Bit 3. C: `SVM_IOIO_REP_MASK`.
    pub const REP_MASK: u64 = 1 << 3;
    /// Bits 6:4. C: `SVM_IOIO_SIZE_MASK`.
    pub const SIZE_MASK: u64 = 7 << Self::SIZE_SHIFT;
    /// C: `SVM_IOIO_SIZE_SHIFT`.
    pub const SIZE_SHIFT: u32 = 4;
    /// Bits 9:7. C: `SVM_IOIO_ASIZE_MASK`.
    pub const ASIZE_MASK: u64 = 7 << Self::ASIZE_SHIFT;
    /// C: `SVM_IOIO_ASIZE_SHIFT`.
    pub const ASIZE_SHIFT: u32 = 7;
    /// Bits 12:10.
    pub const SEGMENT_MASK: u64 = 7 << Self::SEGMENT_SHIFT;
    /// Lowest bit of the segment.
    pub const SEGMENT_SHIFT: u32 = 10;
    /// Lowest bit of the port.
    pub const PORT_SHIFT: u32 = 16;

    /// IN (`is_in`) or OUT of one element, without string and REP.
    pub const fn new(port: u16, size: IoSize, is_in: bool) -> Self {
        Self(
            ((port as u64) << Self::PORT_SHIFT)
                | ((size as u64) << Self::SIZE_SHIFT)
                | is_in as u64,
        )
    }

    /// The same as a string instruction: what `self` said of REP, address size and segment is replaced.
    #[must_use]
    pub const fn string(self, rep: bool, address: AddressSize, segment: Segment) -> Self {
        let asize = match address {
            AddressSize::BITS_16 => 1,
            AddressSize::BITS_32 => 2,
            AddressSize::BITS_64 => 4,
            _ => 0,
        };
        let rep = if rep { Self::REP_MASK } else { 0 };
        let rest = self.0 & !(Self::REP_MASK | Self::ASIZE_MASK | Self::SEGMENT_MASK);
        Self(
            rest | Self::STR_MASK
                | rep
                | (asize << Self::ASIZE_SHIFT)
                | ((segment.0 as u64 & 7) << Self::SEGMENT_SHIFT),
        )
    }

    /// Port number.
    #[inline]
    pub const fn port(self) -> u16 {
        (self.0 >> Self::PORT_SHIFT) as u16
    }

    /// Whether data goes to the guest.
    #[inline]
    pub const fn is_in(self) -> bool {
        self.0 & Self::TYPE_MASK != 0
    }

    /// Whether this is INS or OUTS.
    #[inline]
    pub const fn is_string(self) -> bool {
        self.0 & Self::STR_MASK != 0
    }

    /// Whether the instruction had a REP prefix.
    #[inline]
    pub const fn is_rep(self) -> bool {
        self.0 & Self::REP_MASK != 0
    }

    /// The size field as it stands: 1, 2 and 4 are legal.
    #[inline]
    pub const fn size_bits(self) -> u8 {
        ((self.0 & Self::SIZE_MASK) >> Self::SIZE_SHIFT) as u8
    }

    /// Size of an element, if exactly one size bit is set.
    #[inline]
    pub const fn size(self) -> Option<IoSize> {
        match self.size_bits() {
            1 => Some(IoSize::Byte),
            2 => Some(IoSize::Word),
            4 => Some(IoSize::Dword),
            _ => None,
        }
    }

    /// Address size, if exactly one of its bits is set.
    pub const fn address_size(self) -> Option<AddressSize> {
        match (self.0 & Self::ASIZE_MASK) >> Self::ASIZE_SHIFT {
            1 => Some(AddressSize::BITS_16),
            2 => Some(AddressSize::BITS_32),
            4 => Some(AddressSize::BITS_64),
            _ => None,
        }
    }

    /// Segment. Meaningful for strings only.
    pub const fn segment(self) -> Segment {
        Segment(((self.0 & Self::SEGMENT_MASK) >> Self::SEGMENT_SHIFT) as u8)
    }
}
