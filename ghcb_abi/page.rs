// SPDX-License-Identifier: GPL-2.0

//! The GHCB page: where each field lies, and the only ways to touch it.

use core::convert::Infallible;

/// Size of a GHCB and of the pages that the protocol counts, in bytes.
pub const PAGE_SIZE: usize = 4096;

/// First byte of the shared buffer, C: `ghcb.shared_buffer`.
pub const SHARED_BUFFER_OFFSET: usize = 0x800;

/// Size of the shared buffer in bytes, C: `GHCB_SHARED_BUF_SIZE`.
pub const SHARED_BUFFER_SIZE: usize = 0x7f0;

/// First byte after the shared buffer, C: `ghcb.reserved_0xff0`.
pub const SHARED_BUFFER_END: usize = SHARED_BUFFER_OFFSET + SHARED_BUFFER_SIZE;

/// Size of the fields before the shared buffer in bytes, C: `sizeof(struct ghcb_save_area)`.
pub const SAVE_AREA_SIZE: usize = 0x408;

/// The 16-byte valid bitmap, C: `ghcb_save_area.valid_bitmap`.
pub const VALID_BITMAP_OFFSET: usize = 0x3f0;

/// Guest physical address of the x87 state, 8 bytes, guest to host, C: `ghcb_save_area.x87_state_gpa`.
///
/// Lies behind the valid bitmap, which therefore has no bit for it. No event needs it.
pub const X87_STATE_GPA_OFFSET: usize = 0x400;

/// Protocol version, 2 bytes, guest to host, C: `ghcb.protocol_version`.
pub const PROTOCOL_VERSION_OFFSET: usize = 0xffa;

/// Usage, that is, the format of the rest of the page; 4 bytes, guest to host, C: `ghcb.ghcb_usage`.
pub const USAGE_OFFSET: usize = 0xffc;

/// A field that has a bit in the valid bitmap.
///
/// The discriminant is that bit's index: the number of the quad word in which the field lies, C:
/// `GHCB_BITMAP_IDX(field)`. A bit outside the bitmap cannot be expressed.
///
/// Fields are eight bytes wide unless a line says otherwise. An event names those that it takes and
/// returns: see [`ExitCode::required`](super::exit_code::ExitCode::required) and
/// [`ExitCode::returned`](super::exit_code::ExitCode::returned).
///
/// ```
/// use ghcb_abi::page::Field;
/// assert_eq!(Field::Rax.index(), 63);
/// assert_eq!(Field::Rax.offset(), 0x1f8);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Field {
    /// Current privilege level, one byte at 0x0cb. Guest to host; VMMCALL, RDPMC.
    Cpl = 25,
    /// IA32_XSS, at 0x140. Guest to host; CPUID function 0xD.
    Xss = 40,
    /// DR7, at 0x160. No event needs it: reads and writes of DR7 pass RAX.
    Dr7 = 44,
    /// RIP, at 0x178. No event needs it.
    Rip = 47,
    /// RSP, at 0x1d8. No event needs it.
    Rsp = 59,
    /// RAX, at 0x1f8. Both directions; the operand or result of most events.
    Rax = 63,
    /// RCX, at 0x308. Both directions; CPUID, MSR, RDPMC, MONITOR, MWAIT, VMMCALL; result of RDTSCP.
    Rcx = 97,
    /// RDX, at 0x310. Both directions; MSR, MONITOR, VMMCALL; result of CPUID, RDTSC, RDPMC.
    Rdx = 98,
    /// RBX, at 0x318. Both directions; VMMCALL, extended guest request, Secure AVIC; result of CPUID.
    Rbx = 99,
    /// RBP, at 0x328. No event needs it.
    Rbp = 101,
    /// RSI, at 0x330. Guest to host; VMMCALL.
    Rsi = 102,
    /// RDI, at 0x338. No event needs it.
    Rdi = 103,
    /// R8, at 0x340. No event needs it.
    R8 = 104,
    /// R9, at 0x348. No event needs it.
    R9 = 105,
    /// R10, at 0x350. No event needs it.
    R10 = 106,
    /// R11, at 0x358. No event needs it.
    R11 = 107,
    /// R12, at 0x360. No event needs it.
    R12 = 108,
    /// R13, at 0x368. No event needs it.
    R13 = 109,
    /// R14, at 0x370. No event needs it.
    R14 = 110,
    /// R15, at 0x378. No event needs it.
    R15 = 111,
    /// SW_EXITCODE, at 0x390: which event this is. Guest to host, every event. C: `sw_exit_code`.
    SwExitCode = 114,
    /// SW_EXITINFO1, at 0x398: first operand of the event, then what the guest shall do. Both
    /// directions, every event. C: `sw_exit_info_1`.
    SwExitInfo1 = 115,
    /// SW_EXITINFO2, at 0x3a0: second operand of the event, then its result. Both directions, every
    /// event. C: `sw_exit_info_2`.
    SwExitInfo2 = 116,
    /// SW_SCRATCH, at 0x3a8: guest physical address of the scratch area. Guest to host; MMIO, string
    /// IOIO, page state change. C: `sw_scratch`.
    SwScratch = 117,
    /// XCR0, at 0x3e8. Guest to host; CPUID function 0xD.
    Xcr0 = 125,
    /// Bits 0 to 63 of the valid bitmap itself, at 0x3f0. Some guests mark it; a host accepts that.
    ValidBitmapLow = 126,
    /// Bits 64 to 127 of the valid bitmap itself, at 0x3f8. Some guests mark it; a host accepts that.
    ValidBitmapHigh = 127,
}

impl Field {
    /// Every field, in the order of offsets.
    pub const ALL: [Self; 27] = [
        Self::Cpl,
        Self::Xss,
        Self::Dr7,
        Self::Rip,
        Self::Rsp,
        Self::Rax,
        Self::Rcx,
        Self::Rdx,
        Self::Rbx,
        Self::Rbp,
        Self::Rsi,
        Self::Rdi,
        Self::R8,
        Self::R9,
        Self::R10,
        Self::R11,
        Self::R12,
        Self::R13,
        Self::R14,
        Self::R15,
        Self::SwExitCode,
        Self::SwExitInfo1,
        Self::SwExitInfo2,
        Self::SwScratch,
        Self::Xcr0,
        Self::ValidBitmapLow,
        Self::ValidBitmapHigh,
    ];

    /// Byte within its quad word at which CPL lies.
    const CPL_BYTE: usize = 3;

    /// Index of the field's bit in the valid bitmap, below 128.
    #[inline]
    pub const fn index(self) -> u8 {
        self as u8
    }

    /// The field with the bit `index` of the valid bitmap, if there is one.
    pub const fn from_index(index: u8) -> Option<Self> {
        let mut rest: &[Self] = &Self::ALL;
        while let [field, tail @ ..] = rest {
            if field.index() == index {
                return Some(*field);
            }
            rest = tail;
        }
        None
    }

    /// Offset of the field in the page, in bytes.
    #[inline]
    pub const fn offset(self) -> usize {
        match self {
            Self::Cpl => self.qword().offset() + Self::CPL_BYTE,
            _ => self.qword().offset(),
        }
    }

    /// Size of the field in bytes.
    #[inline]
    pub const fn size(self) -> usize {
        match self {
            Self::Cpl => 1,
            _ => 8,
        }
    }

    /// The quad word in which the field lies.
    #[inline]
    pub const fn qword(self) -> Qword {
        // INVARIANT: The index is below 128, and eight times it is a multiple of eight below 1024.
        Qword(self as u16 * 8)
    }

    /// Reads the field: one access to the page.
    #[inline]
    pub fn load<P: SharedPage + ?Sized>(self, page: &P) -> u64 {
        self.of_word(page.load(self.qword()))
    }

    /// What the quad word in which the field lies says about it.
    #[inline]
    pub(super) const fn of_word(self, word: u64) -> u64 {
        match self {
            Self::Cpl => (word >> (Self::CPL_BYTE * 8)) & 0xff,
            _ => word,
        }
    }

    /// Writes the field: one access to the page. Does not mark it valid.
    ///
    /// CPL takes the low byte of `value`, and the reserved bytes around it become zero.
    #[inline]
    pub fn store<P: SharedPage + ?Sized>(self, page: &P, value: u64) {
        let word = match self {
            Self::Cpl => (value & 0xff) << (Self::CPL_BYTE * 8),
            _ => value,
        };
        page.store(self.qword(), word);
    }
}

/// Offset of an aligned quad word in the page.
///
/// # Invariants
///
/// The offset is a multiple of eight and less than [`PAGE_SIZE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Qword(u16);

impl Qword {
    /// The first quad word of the page.
    // INVARIANT: Zero is a multiple of eight below 4096.
    pub const FIRST: Self = Self(0);

    /// The quad word that holds version and usage: both are read by one access.
    ///
    /// Bits 31:16 are the protocol version, bits 63:32 the usage; the rest is reserved.
    // INVARIANT: 0xff8 is a multiple of eight below 4096.
    pub const VERSION_USAGE: Self = Self(0xff8);

    /// First half of the valid bitmap.
    pub const VALID_BITMAP_LOW: Self = Field::ValidBitmapLow.qword();

    /// Second half of the valid bitmap.
    pub const VALID_BITMAP_HIGH: Self = Field::ValidBitmapHigh.qword();

    /// Number of quad words in the page.
    pub const COUNT: usize = PAGE_SIZE / 8;

    /// The quad word at `offset`, if that is aligned and inside the page.
    #[inline]
    pub const fn new(offset: usize) -> Option<Self> {
        if offset < PAGE_SIZE && offset % 8 == 0 {
            // INVARIANT: Just checked; the cast keeps any number below 4096.
            Some(Self(offset as u16))
        } else {
            None
        }
    }

    /// Offset in bytes: a multiple of eight, less than [`PAGE_SIZE`].
    #[inline]
    pub const fn offset(self) -> usize {
        self.0 as usize
    }

    /// Every quad word from this one up to, and without, `end`, in ascending order.
    pub fn up_to(self, end: usize) -> impl Iterator<Item = Self> {
        (self.offset()..end).step_by(8).filter_map(Self::new)
    }

    /// Every quad word of the page, in ascending order.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::FIRST.up_to(PAGE_SIZE)
    }
}

/// A range of bytes within the shared buffer.
///
/// # Invariants
///
/// `SHARED_BUFFER_OFFSET <= offset`, and `offset + len <= SHARED_BUFFER_END`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferRange {
    offset: u16,
    len: u16,
}

impl BufferRange {
    /// The whole shared buffer.
    // INVARIANT: Begins where the buffer does, and has its size.
    pub const WHOLE: Self = Self {
        offset: SHARED_BUFFER_OFFSET as u16,
        len: SHARED_BUFFER_SIZE as u16,
    };

    /// The `len` bytes from `offset` (counted from the start of the page), if all lie within the
    /// shared buffer.
    ///
    /// ```
    /// use ghcb_abi::page::BufferRange;
    /// assert!(BufferRange::new(0x800, 0x7f0).is_some());
    /// assert!(BufferRange::new(0xfef, 1).is_some());
    /// assert!(BufferRange::new(0xfef, 2).is_none());
    /// assert!(BufferRange::new(0x7ff, 1).is_none());
    /// ```
    #[inline]
    pub const fn new(offset: usize, len: usize) -> Option<Self> {
        if offset < SHARED_BUFFER_OFFSET
            || offset > SHARED_BUFFER_END
            || len > SHARED_BUFFER_END - offset
        {
            return None;
        }
        // INVARIANT: Just checked; the casts keep any number up to 4096.
        Some(Self {
            offset: offset as u16,
            len: len as u16,
        })
    }

    /// Offset of the first byte from the start of the page.
    #[inline]
    pub const fn offset(self) -> usize {
        self.offset as usize
    }

    /// Length in bytes.
    #[inline]
    pub const fn len(self) -> usize {
        self.len as usize
    }

    /// Whether the range holds no byte.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The `len` bytes that begin `skip` bytes into this range, if all lie within it.
    #[inline]
    pub const fn subrange(self, skip: usize, len: usize) -> Option<Self> {
        if skip > self.len() || len > self.len() - skip {
            return None;
        }
        Self::new(self.offset() + skip, len)
    }

    /// This range continued to the end of the shared buffer.
    #[inline]
    pub const fn to_end(self) -> Self {
        // INVARIANT: The offset is this range's; the length is all that is left behind it.
        Self {
            offset: self.offset,
            len: SHARED_BUFFER_END as u16 - self.offset,
        }
    }
}

/// A GHCB page in memory that the other side may change at any moment.
///
/// Implemented by whoever owns the mapping: a host for the guest's page, a guest for its own, a test
/// for a page that changes between accesses.
///
/// An implementation performs each call as one access (or, for the byte copies, one pass) that the
/// compiler neither splits, repeats nor omits, and creates no reference to the memory. It may rely on
/// the invariants of [`Qword`] and [`BufferRange`]: alignment and bounds need no further check. Values
/// are in the CPU's byte order; memory is little endian.
///
/// Callers must not expect two loads of one place to agree.
pub trait SharedPage {
    /// Reads the quad word at `at`, in one access of eight bytes.
    fn load(&self, at: Qword) -> u64;

    /// Writes the quad word at `at`, in one access of eight bytes.
    fn store(&self, at: Qword, value: u64);

    /// Copies bytes of the shared buffer out: as many as the shorter of the two holds.
    fn read_buffer(&self, from: BufferRange, to: &mut [u8]);

    /// Copies bytes into the shared buffer: as many as the shorter of the two holds.
    fn write_buffer(&self, to: BufferRange, from: &[u8]);
}

/// The GHCB page of a guest, as a host sees it: an access may not reach the page.
///
/// A host that keeps the page neither mapped nor pinned finds out by each access. Any [`SharedPage`] is one
/// whose accesses all succeed.
///
/// As for [`SharedPage`], each call is one access or one pass. One that fails may have been carried out in
/// part; then nothing is known of what it read.
pub trait GuestPage {
    /// What an access that fails returns.
    type Error;

    /// Reads the quad word at `at`, in one access of eight bytes.
    ///
    /// # Errors
    ///
    /// The page cannot be reached. The same holds for all that follow.
    fn read(&self, at: Qword) -> Result<u64, Self::Error>;

    /// Writes the quad word at `at`, in one access of eight bytes.
    fn write(&self, at: Qword, value: u64) -> Result<(), Self::Error>;

    /// Copies bytes of the shared buffer out: as many as the shorter of the two holds.
    fn read_bytes(&self, from: BufferRange, to: &mut [u8]) -> Result<(), Self::Error>;

    /// Copies bytes into the shared buffer: as many as the shorter of the two holds.
    fn write_bytes(&self, to: BufferRange, from: &[u8]) -> Result<(), Self::Error>;

    /// Reads [`REQUEST`], in this order, each in one access, and then clears the valid bitmap.
    ///
    /// So it is known that the page can be written to before anything is carried out, and no request is met
    /// twice. For an implementation where the first access costs more than those that follow.
    #[inline]
    fn take_request(&self) -> Result<[u64; REQUEST.len()], Self::Error> {
        let mut values = [0; REQUEST.len()];
        for (value, at) in values.iter_mut().zip(REQUEST) {
            *value = self.read(at)?;
        }
        self.write(Qword::VALID_BITMAP_LOW, 0)?;
        self.write(Qword::VALID_BITMAP_HIGH, 0)?;
        Ok(values)
    }

    /// Reads those of [`OPERANDS`] that are wanted, in this order, each in one access; the others are zero.
    #[inline]
    fn read_operands(
        &self,
        wanted: [bool; OPERANDS.len()],
    ) -> Result<[u64; OPERANDS.len()], Self::Error> {
        let mut values = [0; OPERANDS.len()];
        for ((value, at), wanted) in values.iter_mut().zip(OPERANDS).zip(wanted) {
            if wanted {
                *value = self.read(at.qword())?;
            }
        }
        Ok(values)
    }

    /// Writes those of [`REGISTERS`] that there are, and then [`REPLY`], in this order, each in one access.
    #[inline]
    fn write_reply(
        &self,
        registers: [Option<u64>; REGISTERS.len()],
        reply: [u64; REPLY.len()],
    ) -> Result<(), Self::Error> {
        for (at, value) in REGISTERS.into_iter().zip(registers) {
            if let Some(value) = value {
                self.write(at, value)?;
            }
        }
        (REPLY.into_iter().zip(reply)).try_for_each(|(at, value)| self.write(at, value))
    }
}

impl<P: SharedPage + ?Sized> GuestPage for P {
    type Error = Infallible;

    #[inline]
    fn read(&self, at: Qword) -> Result<u64, Infallible> {
        Ok(self.load(at))
    }

    #[inline]
    fn write(&self, at: Qword, value: u64) -> Result<(), Infallible> {
        self.store(at, value);
        Ok(())
    }

    #[inline]
    fn read_bytes(&self, from: BufferRange, to: &mut [u8]) -> Result<(), Infallible> {
        self.read_buffer(from, to);
        Ok(())
    }

    #[inline]
    fn write_bytes(&self, to: BufferRange, from: &[u8]) -> Result<(), Infallible> {
        self.write_buffer(to, from);
        Ok(())
    }
}

/// What every request has: valid bitmap, exit code, both infos, and version with usage.
pub const REQUEST: [Qword; 6] = [
    Qword::VALID_BITMAP_LOW,
    Qword::VALID_BITMAP_HIGH,
    Field::SwExitCode.qword(),
    Field::SwExitInfo1.qword(),
    Field::SwExitInfo2.qword(),
    Qword::VERSION_USAGE,
];

/// What an event can take besides.
pub const OPERANDS: [Field; 9] = [
    Field::Rax,
    Field::Rbx,
    Field::Rcx,
    Field::Rdx,
    Field::Rsi,
    Field::Xcr0,
    Field::Xss,
    Field::SwScratch,
    Field::Cpl,
];

/// The registers that a host can return.
pub const REGISTERS: [Qword; 4] = [
    Field::Rax.qword(),
    Field::Rbx.qword(),
    Field::Rcx.qword(),
    Field::Rdx.qword(),
];

/// What every reply has: both infos, and the valid bitmap.
pub const REPLY: [Qword; 4] = [
    Field::SwExitInfo1.qword(),
    Field::SwExitInfo2.qword(),
    Qword::VALID_BITMAP_LOW,
    Qword::VALID_BITMAP_HIGH,
];

impl<P: SharedPage + ?Sized> SharedPage for &P {
    #[inline]
    fn load(&self, at: Qword) -> u64 {
        (**self).load(at)
    }

    #[inline]
    fn store(&self, at: Qword, value: u64) {
        (**self).store(at, value);
    }

    #[inline]
    fn read_buffer(&self, from: BufferRange, to: &mut [u8]) {
        (**self).read_buffer(from, to);
    }

    #[inline]
    fn write_buffer(&self, to: BufferRange, from: &[u8]) {
        (**self).write_buffer(to, from);
    }
}
