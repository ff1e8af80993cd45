// SPDX-License-Identifier: GPL-2.0

//! One look at the page: what a host knows of a request.
//!
//! Reading has two phases, and no quad word is read in both. [`Header::take`] reads what says which event
//! this is, and clears the valid bitmap. [`Snapshot::read`] then reads the operands of that event, and of
//! these only the ones that the guest marked valid. From then on the guest can change the page without effect.
//!
//! ```
//! # use ghcb_abi::page::GuestPage;
//! use ghcb_abi::snapshot::{Header, Snapshot};
//!
//! fn look<P: GuestPage>(page: &P) -> Result<Snapshot, P::Error> {
//!     let header = Header::take(page)?;
//!     let operands = header.exit_code().operands(header.info1());
//!     Snapshot::read(header, page, operands)
//! }
//! ```

use super::{
    bitmap::ValidBitmap,
    exit_code::ExitCode,
    page::{Field, GuestPage, OPERANDS, REQUEST},
    version::{Usage, Version},
};

/// What says which event a request is about. Guest to host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    valid: ValidBitmap,
    exit_code: ExitCode,
    info1: u64,
    info2: u64,
    version: Version,
    usage: Usage,
}

impl Header {
    /// Reads six quad words of the page, each once: the bitmap (two), SW_EXITCODE, both infos, and
    /// version with usage. Then clears the bitmap.
    ///
    /// Reads the exit code and the infos also when they are not marked valid, so that a refused request
    /// can be reported; see [`is_exit`](Self::is_exit).
    ///
    /// # Errors
    ///
    /// The page cannot be reached, or not be written to.
    #[inline]
    pub fn take<P: GuestPage>(page: &P) -> Result<Self, P::Error> {
        Ok(Self::of(page.take_request()?))
    }

    /// Reads the same words, and leaves the bitmap as it is: for who does not answer the request.
    ///
    /// # Errors
    ///
    /// The page cannot be reached.
    pub fn look<P: GuestPage>(page: &P) -> Result<Self, P::Error> {
        let mut words = [0; REQUEST.len()];
        for (word, at) in words.iter_mut().zip(REQUEST) {
            *word = page.read(at)?;
        }
        Ok(Self::of(words))
    }

    /// The header in the words of [`REQUEST`].
    #[inline]
    const fn of(words: [u64; REQUEST.len()]) -> Self {
        let [low, high, exit_code, info1, info2, version_usage] = words;
        Self {
            valid: ValidBitmap::from_words(low, high),
            exit_code: ExitCode(exit_code),
            info1,
            info2,
            version: Version((version_usage >> 16) as u16),
            usage: Usage((version_usage >> 32) as u32),
        }
    }

    /// The same header with the exit code spelt out.
    ///
    /// For a caller that has found `exit_code` in it, and wants the compiler to know.
    #[inline]
    pub const fn about(mut self, exit_code: ExitCode) -> Self {
        self.exit_code = exit_code;
        self
    }

    /// The same header with SW_EXITINFO1 spelt out. As for [`about()`](Self::about).
    #[inline]
    pub const fn with_info1(mut self, info1: u64) -> Self {
        self.info1 = info1;
        self
    }

    /// The valid bitmap as the guest wrote it.
    #[inline]
    pub const fn valid(&self) -> ValidBitmap {
        self.valid
    }

    /// SW_EXITCODE.
    #[inline]
    pub const fn exit_code(&self) -> ExitCode {
        self.exit_code
    }

    /// SW_EXITINFO1.
    #[inline]
    pub const fn info1(&self) -> u64 {
        self.info1
    }

    /// SW_EXITINFO2.
    #[inline]
    pub const fn info2(&self) -> u64 {
        self.info2
    }

    /// Protocol version that the guest wrote; not checked.
    #[inline]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Usage.
    #[inline]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Whether the exit code and both infos are valid.
    #[inline]
    pub const fn is_exit(&self) -> bool {
        self.valid.is_exit()
    }
}

/// A request as it was at one moment. Guest to host.
///
/// A field that is not valid reads as zero through its own getter, as in KVM, and as `None` through
/// [`get`](Self::get).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    header: Header,
    valid: ValidBitmap,
    rax: u64,
    rbx: u64,
    rcx: u64,
    rdx: u64,
    rsi: u64,
    xcr0: u64,
    xss: u64,
    scratch: u64,
    cpl: u8,
}

impl Snapshot {
    /// Operands that any event has. A snapshot holds no others.
    pub const OPERANDS: ValidBitmap = ValidBitmap::of(&OPERANDS);

    /// Reads those of `wanted` that are operands and that `header` says are valid: one access each.
    /// Everything else is taken from `header` or stays zero.
    ///
    /// # Errors
    ///
    /// The page cannot be reached.
    #[inline(always)]
    pub fn read<P: GuestPage + ?Sized>(
        header: Header,
        page: &P,
        wanted: ValidBitmap,
    ) -> Result<Self, P::Error> {
        let valid = header
            .valid
            .intersection(wanted)
            .intersection(Self::OPERANDS);
        let [rax, rbx, rcx, rdx, rsi, xcr0, xss, scratch, cpl] = page.read_operands([
            valid.contains(Field::Rax),
            valid.contains(Field::Rbx),
            valid.contains(Field::Rcx),
            valid.contains(Field::Rdx),
            valid.contains(Field::Rsi),
            valid.contains(Field::Xcr0),
            valid.contains(Field::Xss),
            valid.contains(Field::SwScratch),
            valid.contains(Field::Cpl),
        ])?;
        Ok(Self {
            header,
            valid: valid.union(header.valid.intersection(ValidBitmap::EXIT)),
            rax,
            rbx,
            rcx,
            rdx,
            rsi,
            xcr0,
            xss,
            scratch,
            cpl: Field::Cpl.of_word(cpl) as u8,
        })
    }

    /// Takes a whole request: the header, then what its event can use.
    ///
    /// # Errors
    ///
    /// The page cannot be reached, or not be written to.
    #[inline]
    pub fn take<P: GuestPage>(page: &P) -> Result<Self, P::Error> {
        let header = Header::take(page)?;
        let wanted = header.exit_code.operands(header.info1);
        Self::read(header, page, wanted)
    }

    /// The first phase.
    #[inline]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// SW_EXITCODE.
    #[inline]
    pub const fn exit_code(&self) -> ExitCode {
        self.header.exit_code
    }

    /// SW_EXITINFO1.
    #[inline]
    pub const fn info1(&self) -> u64 {
        self.header.info1
    }

    /// SW_EXITINFO2.
    #[inline]
    pub const fn info2(&self) -> u64 {
        self.header.info2
    }

    /// Fields that were valid and have been read.
    #[inline]
    pub const fn valid(&self) -> ValidBitmap {
        self.valid
    }

    /// RAX, zero if not valid.
    #[inline]
    pub const fn rax(&self) -> u64 {
        self.rax
    }

    /// RBX, zero if not valid.
    #[inline]
    pub const fn rbx(&self) -> u64 {
        self.rbx
    }

    /// RCX, zero if not valid.
    #[inline]
    pub const fn rcx(&self) -> u64 {
        self.rcx
    }

    /// RDX, zero if not valid.
    #[inline]
    pub const fn rdx(&self) -> u64 {
        self.rdx
    }

    /// RSI, zero if not valid.
    #[inline]
    pub const fn rsi(&self) -> u64 {
        self.rsi
    }

    /// CPL, zero if not valid.
    #[inline]
    pub const fn cpl(&self) -> u8 {
        self.cpl
    }

    /// XCR0, zero if not valid.
    #[inline]
    pub const fn xcr0(&self) -> u64 {
        self.xcr0
    }

    /// IA32_XSS, zero if not valid.
    #[inline]
    pub const fn xss(&self) -> u64 {
        self.xss
    }

    /// SW_SCRATCH, zero if not valid.
    #[inline]
    pub const fn scratch(&self) -> u64 {
        self.scratch
    }

    /// A field, if it was valid and has been read.
    #[inline]
    pub const fn get(&self, field: Field) -> Option<u64> {
        if !self.valid.contains(field) {
            return None;
        }
        match field {
            Field::Cpl => Some(self.cpl as u64),
            Field::Xss => Some(self.xss),
            Field::Rax => Some(self.rax),
            Field::Rcx => Some(self.rcx),
            Field::Rdx => Some(self.rdx),
            Field::Rbx => Some(self.rbx),
            Field::Rsi => Some(self.rsi),
            Field::SwExitCode => Some(self.header.exit_code.0),
            Field::SwExitInfo1 => Some(self.header.info1),
            Field::SwExitInfo2 => Some(self.header.info2),
            Field::SwScratch => Some(self.scratch),
            Field::Xcr0 => Some(self.xcr0),
            _ => None,
        }
    }

    /// What the event requires and the guest did not mark valid, including XCR0 for CPUID function 0xD.
    ///
    /// Expects that all required fields were wanted when the snapshot was read.
    #[inline]
    pub const fn missing(&self) -> ValidBitmap {
        let needed = self.exit_code().needed(self.info1());
        let mut required = needed.union(ValidBitmap::EXIT);
        if self.exit_code().0 == ExitCode::CPUID.0 && self.rax == ExitCode::CPUID_NEEDS_XCR0 {
            required = required.with(Field::Xcr0);
        }
        self.header.valid.missing(required)
    }
}
