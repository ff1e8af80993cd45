// SPDX-License-Identifier: GPL-2.0

//! The guest's side: registers into the page, and the host's answer back.
//!
//! ```
//! # use ghcb_abi::page::SharedPage;
//! use ghcb_abi::{
//!     exit_code::ExitCode,
//!     exit_info::ExitInfo,
//!     guest::{self, OperandSize, Register, Registers, Sync},
//!     ioio::{IoInfo, IoSize},
//!     version::Version,
//! };
//!
//! /// Emulates `in al, 0x60`.
//! fn read_keyboard(
//!     page: &impl SharedPage,
//!     registers: &mut Registers,
//!     vmgexit: impl Fn(),
//! ) -> Result<u64, guest::CallError> {
//!     let port = IoInfo::new(0x60, IoSize::Byte, true);
//!     let exit = ExitInfo { code: ExitCode::IOIO, info1: port.0, info2: 0 };
//!     guest::copy_out(page, Version::V1, registers, &exit, &Sync::NONE);
//!     vmgexit();
//!     guest::copy_in(page, registers, &Sync::NONE.sized(Register::A, OperandSize::Byte))
//! }
//! ```

use super::{
    bitmap::ValidBitmap,
    exit_info::ExitInfo,
    page::{Field, Qword, SharedPage, SAVE_AREA_SIZE},
    reply::{Action, ErrorReason, EventInjection},
    version::{Usage, Version},
};

/// How much of a register an instruction moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum OperandSize {
    /// 8 bits: AL.
    Byte = 1,
    /// 16 bits: AX.
    Word = 2,
    /// 32 bits: EAX.
    Dword = 4,
    /// 64 bits: RAX.
    Qword = 8,
}

impl OperandSize {
    /// All sizes.
    pub const ALL: [Self; 4] = [Self::Byte, Self::Word, Self::Dword, Self::Qword];

    /// Bits of the register that the operand fills.
    #[inline]
    pub const fn mask(self) -> u64 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Dword => 0xffff_ffff,
            Self::Qword => u64::MAX,
        }
    }

    /// What of `value` leaves the guest.
    #[inline]
    pub const fn truncate(self, value: u64) -> u64 {
        value & self.mask()
    }

    /// What a register holds after an instruction of this size wrote `new` to it: 8 and 16 bits leave
    /// the rest alone, 32 bits clear the upper half, as on x86.
    ///
    /// The first version of OpenBSD's `ghcb_sync_in()` kept the upper half for 32 bits too; from revision 1.5
    /// on it is cleared there as well.
    #[inline]
    pub const fn merge(self, old: u64, new: u64) -> u64 {
        match self {
            Self::Byte | Self::Word => old & !self.mask() | self.truncate(new),
            Self::Dword | Self::Qword => self.truncate(new),
        }
    }
}

/// A register that instructions also move in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Register {
    /// RAX.
    A,
    /// RBX.
    B,
    /// RCX.
    C,
    /// RDX.
    D,
}

impl Register {
    /// All four.
    pub const ALL: [Self; 4] = [Self::A, Self::B, Self::C, Self::D];

    /// The field that carries it.
    #[inline]
    pub const fn field(self) -> Field {
        match self {
            Self::A => Field::Rax,
            Self::B => Field::Rbx,
            Self::C => Field::Rcx,
            Self::D => Field::Rdx,
        }
    }
}

/// The register file of the interrupted context, and the rest of what events take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Registers {
    /// RAX.
    pub rax: u64,
    /// RBX.
    pub rbx: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RSI.
    pub rsi: u64,
    /// RDI.
    pub rdi: u64,
    /// RBP.
    pub rbp: u64,
    /// RSP.
    pub rsp: u64,
    /// R8 to R15.
    pub r8_r15: [u64; 8],
    /// RIP.
    pub rip: u64,
    /// DR7.
    pub dr7: u64,
    /// XCR0.
    pub xcr0: u64,
    /// IA32_XSS.
    pub xss: u64,
    /// Guest physical address of the scratch area.
    pub scratch: u64,
    /// Current privilege level.
    pub cpl: u8,
}

impl Registers {
    /// Value of a field; `None` for the exit code, the infos and the bitmap.
    pub const fn get(&self, field: Field) -> Option<u64> {
        let [r8, r9, r10, r11, r12, r13, r14, r15] = self.r8_r15;
        Some(match field {
            Field::Cpl => self.cpl as u64,
            Field::Xss => self.xss,
            Field::Dr7 => self.dr7,
            Field::Rip => self.rip,
            Field::Rsp => self.rsp,
            Field::Rax => self.rax,
            Field::Rcx => self.rcx,
            Field::Rdx => self.rdx,
            Field::Rbx => self.rbx,
            Field::Rbp => self.rbp,
            Field::Rsi => self.rsi,
            Field::Rdi => self.rdi,
            Field::R8 => r8,
            Field::R9 => r9,
            Field::R10 => r10,
            Field::R11 => r11,
            Field::R12 => r12,
            Field::R13 => r13,
            Field::R14 => r14,
            Field::R15 => r15,
            Field::SwScratch => self.scratch,
            Field::Xcr0 => self.xcr0,
            Field::SwExitCode
            | Field::SwExitInfo1
            | Field::SwExitInfo2
            | Field::ValidBitmapLow
            | Field::ValidBitmapHigh => return None,
        })
    }

    /// The register of the four that can move in part.
    pub fn register_mut(&mut self, register: Register) -> &mut u64 {
        match register {
            Register::A => &mut self.rax,
            Register::B => &mut self.rbx,
            Register::C => &mut self.rcx,
            Register::D => &mut self.rdx,
        }
    }
}

/// Which values to synchronise with the page, and how much of each.
///
/// ```
/// use ghcb_abi::guest::{OperandSize, Register, Sync};
/// use ghcb_abi::page::Field;
/// let cpuid = Sync::NONE
///     .sized(Register::A, OperandSize::Dword)
///     .sized(Register::C, OperandSize::Dword)
///     .whole(Field::Xcr0);
/// assert!(cpuid.fields().contains(Field::Rcx));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Sync {
    fields: ValidBitmap,
    a: OperandSize,
    b: OperandSize,
    c: OperandSize,
    d: OperandSize,
}

impl Sync {
    /// Nothing but the exit code and the infos.
    pub const NONE: Self = Self {
        fields: ValidBitmap::EMPTY,
        a: OperandSize::Qword,
        b: OperandSize::Qword,
        c: OperandSize::Qword,
        d: OperandSize::Qword,
    };

    /// Records a register with its operand size.
    pub const fn sized(mut self, register: Register, size: OperandSize) -> Self {
        self.fields = self.fields.with(register.field());
        match register {
            Register::A => self.a = size,
            Register::B => self.b = size,
            Register::C => self.c = size,
            Register::D => self.d = size,
        }
        self
    }

    /// Records a field that moves whole. RAX, RBX, RCX and RDX then move with 64 bits; the exit code,
    /// the infos and the bitmap move with every exit, and recording them changes nothing.
    pub const fn whole(mut self, field: Field) -> Self {
        match field {
            Field::Rax => self.sized(Register::A, OperandSize::Qword),
            Field::Rbx => self.sized(Register::B, OperandSize::Qword),
            Field::Rcx => self.sized(Register::C, OperandSize::Qword),
            Field::Rdx => self.sized(Register::D, OperandSize::Qword),
            Field::SwExitCode
            | Field::SwExitInfo1
            | Field::SwExitInfo2
            | Field::ValidBitmapLow
            | Field::ValidBitmapHigh => self,
            _ => {
                self.fields = self.fields.with(field);
                self
            }
        }
    }

    /// The fields recorded.
    pub const fn fields(&self) -> ValidBitmap {
        self.fields
    }

    /// Size with which a register moves.
    pub const fn size(&self, register: Register) -> OperandSize {
        match register {
            Register::A => self.a,
            Register::B => self.b,
            Register::C => self.c,
            Register::D => self.d,
        }
    }

    /// How much of `field` moves.
    const fn mask(&self, field: Field) -> u64 {
        match field {
            Field::Rax => self.a.mask(),
            Field::Rbx => self.b.mask(),
            Field::Rcx => self.c.mask(),
            Field::Rdx => self.d.mask(),
            _ => u64::MAX,
        }
    }
}

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallError {
    /// The host asks for this exception, one of those that it may ask for.
    Exception(EventInjection),
    /// The host found the request malformed.
    Malformed(ErrorReason),
    /// The host answered what the protocol does not know: SW_EXITINFO1 and SW_EXITINFO2.
    Unknown(u64, u64),
    /// The host did not return these.
    Missing(ValidBitmap),
}

/// Clears the whole page, shared buffer included.
pub fn clear<P: SharedPage + ?Sized>(page: &P) {
    for qword in Qword::all() {
        page.store(qword, 0);
    }
}

/// Clears the save area, and version with usage. Bytes 0x408 to 0xff7 stay as they are: what is reserved, and
/// the shared buffer, which may hold operands already.
pub fn clear_save_area<P: SharedPage + ?Sized>(page: &P) {
    for qword in Qword::FIRST.up_to(SAVE_AREA_SIZE) {
        page.store(qword, 0);
    }
    page.store(Qword::VERSION_USAGE, 0);
}

/// Copies the recorded values out: clears the save area, then writes each value masked to its size, the
/// exit code and the infos, the bitmap that marks exactly these, and `version` with the default usage.
///
/// Leaves the shared buffer alone: what OUTS or an MMIO write sends is put there before.
pub fn copy_out<P: SharedPage + ?Sized>(
    page: &P,
    version: Version,
    registers: &Registers,
    exit: &ExitInfo,
    sync: &Sync,
) {
    clear_save_area(page);
    for field in sync.fields.fields() {
        if let Some(value) = registers.get(field) {
            field.store(page, value & sync.mask(field));
        }
    }
    Field::SwExitCode.store(page, exit.code.0);
    Field::SwExitInfo1.store(page, exit.info1);
    Field::SwExitInfo2.store(page, exit.info2);
    sync.fields.union(ValidBitmap::EXIT).store(page);
    let word = (u64::from(version.0) << 16) | (u64::from(Usage::DEFAULT.0) << 32);
    page.store(Qword::VERSION_USAGE, word);
}

/// Reads the answer and copies the expected registers in, each merged by its size. Returns
/// SW_EXITINFO2. Reads each field at most once, and clears the whole page in any case.
///
/// Of `expected`, only RAX, RBX, RCX and RDX are looked at: no event returns another register. What
/// INS or an MMIO read brought must be taken from the shared buffer before.
///
/// # Errors
///
/// The host did not carry the request out, or did not mark all of the expected registers valid; no register changes then.
pub fn copy_in<P: SharedPage + ?Sized>(
    page: &P,
    registers: &mut Registers,
    expected: &Sync,
) -> Result<u64, CallError> {
    let answer = take_answer(page, registers, expected);
    clear(page);
    answer
}

fn take_answer<P: SharedPage + ?Sized>(
    page: &P,
    registers: &mut Registers,
    expected: &Sync,
) -> Result<u64, CallError> {
    let info1 = Field::SwExitInfo1.load(page);
    let info2 = Field::SwExitInfo2.load(page);
    // The upper half of SW_EXITINFO1 is not part of the action.
    match Action(info1 as u32) {
        Action::NO_ACTION => {}
        Action::ISSUE_EXCEPTION if EventInjection(info2).is_acceptable() => {
            return Err(CallError::Exception(EventInjection(info2)));
        }
        Action::MALFORMED_INPUT => return Err(CallError::Malformed(ErrorReason(info2 as u32))),
        _ => return Err(CallError::Unknown(info1, info2)),
    }

    let mut required = ValidBitmap::EMPTY;
    for register in Register::ALL {
        if expected.fields.contains(register.field()) {
            required.insert(register.field());
        }
    }
    let missing = ValidBitmap::load(page).missing(required);
    if !missing.is_empty() {
        return Err(CallError::Missing(missing));
    }
    for register in Register::ALL {
        if required.contains(register.field()) {
            let value = register.field().load(page);
            let place = registers.register_mut(register);
            *place = expected.size(register).merge(*place, value);
        }
    }
    Ok(info2)
}
