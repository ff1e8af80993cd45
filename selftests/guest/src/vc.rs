// SPDX-License-Identifier: GPL-2.0
//! The #VC handler: asks the hypervisor to emulate the instruction at hand, and completes it.

use crate::cpu::{self, reason, Vcpu};
use crate::ghcb::OwnPage;
use crate::snp::pvalidate;
use crate::trap::Frame;
use core::arch::asm;
use core::sync::atomic::Ordering;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::exit_info::ExitInfo;
use ghcb_rs::ghcb_abi::guest::{self, CallError, OperandSize, Register, Registers, Sync};
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{
    BufferRange, Field, SharedPage, SHARED_BUFFER_OFFSET, SHARED_BUFFER_SIZE,
};
use ghcb_rs::ghcb_abi::version::Version;
use mailbox::{map, PAGE, TAKEN};

/// Why an instruction can't be completed.
enum Failure {
    /// The hypervisor did not carry the request out, or asked for an exception.
    Call(CallError),
    /// Not an instruction that this guest executes on purpose.
    Unknown,
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// An instruction under emulation.
struct Emulation<'a> {
    page: OwnPage,
    frame: &'a mut Frame,
    registers: Registers,
    code: [u8; 8],
}

const RAX: Sync = Sync::NONE.sized(Register::A, OperandSize::Qword);
const RAX_RDX: Sync = Sync::NONE
    .sized(Register::A, OperandSize::Dword)
    .sized(Register::D, OperandSize::Dword);

/// A page is private, and the guest has not accepted it: `PAGE_NOT_VALIDATED` in the APM.
const NOT_VALIDATED: ExitCode = ExitCode(0x404);

/// Accept the page at the address in CR2, if it is one that comes and goes; the instruction then has it.
fn accept() {
    let address: u64;
    // SAFETY: Reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) };
    let window = map::CONVERTED_GVA..map::CONVERTED_GVA + map::CONVERTED_SIZE;
    if !window.contains(&address) || pvalidate(address & !(PAGE - 1), true).0 != 0 {
        cpu::terminate(reason::UNEXPECTED_VC);
    }
}

/// Emulate the instruction at `frame`, and step over it.
pub fn handle(vcpu: &Vcpu, frame: &mut Frame) {
    vcpu.mailbox.vc.fetch_add(1, Ordering::Relaxed);
    let code = ExitCode(frame.error);
    if code == NOT_VALIDATED {
        return accept();
    }
    let mut emulation = Emulation::new(vcpu.ghcb(), frame);
    match emulation.complete(code) {
        Ok(length) => emulation.finish(length),
        Err(Failure::Call(CallError::Exception(event))) => {
            // The tests look at the exception, not at a handler for it: step over the instruction.
            let vector = u64::from(event.vector());
            vcpu.mailbox.vector.store(vector | TAKEN, Ordering::Relaxed);
            emulation.finish(2);
        }
        Err(Failure::Call(_)) => cpu::terminate(reason::CALL_FAILED),
        Err(Failure::Unknown) => cpu::terminate(reason::UNEXPECTED_VC),
    }
}

impl<'a> Emulation<'a> {
    fn new(page: OwnPage, frame: &'a mut Frame) -> Self {
        let mut code = [0u8; 8];
        for (offset, byte) in (0..).zip(code.iter_mut()) {
            // SAFETY: The instruction was just fetched from there; the image is followed by mapped memory.
            *byte = unsafe { ((frame.rip + offset) as *const u8).read_volatile() };
        }
        let registers = Registers {
            rax: frame.rax,
            rbx: frame.rbx,
            rcx: frame.rcx,
            rdx: frame.rdx,
            rsi: frame.rsi,
            rdi: frame.rdi,
            scratch: page.gpa() + SHARED_BUFFER_OFFSET as u64,
            xcr0: cpu::xcr0(),
            ..Registers::default()
        };
        Self {
            page,
            frame,
            registers,
            code,
        }
    }

    fn finish(self, length: u64) {
        self.frame.rax = self.registers.rax;
        self.frame.rbx = self.registers.rbx;
        self.frame.rcx = self.registers.rcx;
        self.frame.rdx = self.registers.rdx;
        self.frame.rip += length;
    }

    /// Ask for the event; returns the instruction's length.
    fn complete(&mut self, code: ExitCode) -> Result<u64, Failure> {
        let none = Sync::NONE;
        let rcx = none.sized(Register::C, OperandSize::Dword);
        let (out, back, length) = match code {
            ExitCode::IOIO => return self.port_io(),
            ExitCode::NPF => return self.mmio(),
            ExitCode::MSR => return self.msr(),
            ExitCode::CPUID => {
                let out = rcx.sized(Register::A, OperandSize::Dword);
                let back = out
                    .sized(Register::B, OperandSize::Dword)
                    .sized(Register::D, OperandSize::Dword);
                (out.whole(Field::Xcr0), back, 2)
            }
            ExitCode::RDTSC => (none, RAX_RDX, 2),
            ExitCode::RDPMC => (rcx, RAX_RDX, 2),
            ExitCode::RDTSCP => (none, RAX_RDX.sized(Register::C, OperandSize::Dword), 3),
            ExitCode::INVD | ExitCode::WBINVD => (none, none, 2),
            ExitCode::MONITOR => (RAX.whole(Field::Rcx).whole(Field::Rdx), none, 3),
            ExitCode::MWAIT => (RAX.whole(Field::Rcx), none, 3),
            ExitCode::VMMCALL => {
                let arguments = RAX.whole(Field::Rbx).whole(Field::Rcx).whole(Field::Rdx);
                (arguments.whole(Field::Rsi).whole(Field::Cpl), RAX, 3)
            }
            ExitCode::READ_DR7 => (none, RAX, 3),
            ExitCode::WRITE_DR7 => (RAX, none, 3),
            _ => return Err(Failure::Unknown),
        };
        self.ask(code, 0, 0, &out, &back)?;
        Ok(length)
    }

    fn msr(&mut self) -> Result<u64, Failure> {
        let rcx = Sync::NONE.sized(Register::C, OperandSize::Dword);
        match self.code {
            [0x0f, 0x30, ..] => {
                let out = RAX_RDX.sized(Register::C, OperandSize::Dword);
                self.ask(ExitCode::MSR, 1, 0, &out, &Sync::NONE)?
            }
            [0x0f, 0x32, ..] => self.ask(ExitCode::MSR, 0, 0, &rcx, &RAX_RDX)?,
            _ => return Err(Failure::Unknown),
        };
        Ok(2)
    }

    fn port_io(&mut self) -> Result<u64, Failure> {
        let (repeat, rest) = match self.code {
            [0xf3, rest @ ..] => (true, rest),
            [a, b, c, d, e, f, g, _] => (false, [a, b, c, d, e, f, g]),
        };
        let prefix = if repeat { 1 } else { 0 };
        let (wide, opcode, operand, prefix) = match rest {
            [0x66, opcode, operand, ..] => (IoSize::Word, opcode, operand, prefix + 1),
            [opcode, operand, ..] => (IoSize::Dword, opcode, operand, prefix),
        };
        let size = if opcode & 1 == 0 { IoSize::Byte } else { wide };
        let (port, length) = match opcode {
            0xe4..=0xe7 => (u16::from(operand), 2),
            0xec..=0xef | 0x6c..=0x6f => (self.registers.rdx as u16, 1),
            _ => return Err(Failure::Unknown),
        };
        match opcode {
            0x6c..=0x6f => self.string(port, size, opcode < 0x6e, repeat)?,
            _ => self.plain(port, size, opcode & 2 == 0)?,
        }
        Ok(prefix + length)
    }

    fn plain(&mut self, port: u16, size: IoSize, is_in: bool) -> Result<(), Failure> {
        let operand = match size {
            IoSize::Byte => OperandSize::Byte,
            IoSize::Word => OperandSize::Word,
            IoSize::Dword => OperandSize::Dword,
        };
        let rax = Sync::NONE.sized(Register::A, operand);
        let info = IoInfo::new(port, size, is_in).0;
        if is_in {
            self.ask(ExitCode::IOIO, info, 0, &Sync::NONE, &rax)?;
        } else {
            self.ask(ExitCode::IOIO, info, 0, &rax, &Sync::NONE)?;
        }
        Ok(())
    }

    fn string(&mut self, port: u16, size: IoSize, is_in: bool, rep: bool) -> Result<(), Failure> {
        let mut left = if rep { self.registers.rcx } else { 1 };
        let segment = if is_in { Segment::ES } else { Segment::DS };
        let info = IoInfo::new(port, size, is_in).string(rep, AddressSize::BITS_64, segment);
        while left > 0 {
            let count = left.min((SHARED_BUFFER_SIZE / size.bytes()) as u64);
            let bytes = count as usize * size.bytes();
            let range = BufferRange::new(SHARED_BUFFER_OFFSET, bytes).ok_or(Failure::Unknown)?;
            let scratch = Sync::NONE.whole(Field::SwScratch);
            if is_in {
                self.send(ExitCode::IOIO, info.0, count, &scratch);
                // SAFETY: INS writes as much there, by the intent of the code that executes it.
                let to =
                    unsafe { core::slice::from_raw_parts_mut(self.frame.rdi as *mut u8, bytes) };
                self.page.read_buffer(range, to);
                guest::copy_in(&self.page, &mut self.registers, &Sync::NONE)?;
                self.frame.rdi += bytes as u64;
            } else {
                // SAFETY: OUTS reads as much there, by the intent of the code that executes it.
                let from =
                    unsafe { core::slice::from_raw_parts(self.frame.rsi as *const u8, bytes) };
                self.page.write_buffer(range, from);
                self.ask(ExitCode::IOIO, info.0, count, &scratch, &Sync::NONE)?;
                self.frame.rsi += bytes as u64;
            }
            left -= count;
        }
        if rep {
            self.registers.rcx = 0;
        }
        Ok(())
    }

    /// MOV between a register and the address in RSI: the only form that this guest uses for MMIO.
    fn mmio(&mut self) -> Result<u64, Failure> {
        const RSI: u8 = 0x06;
        let gpa = self
            .registers
            .rsi
            .wrapping_sub(map::MMIO_GVA)
            .wrapping_add(map::MMIO);
        let (size, write, length) = match self.code {
            [0x88, RSI, ..] => (OperandSize::Byte, true, 2),
            [0x8a, RSI, ..] => (OperandSize::Byte, false, 2),
            [0x66, 0x89, RSI, ..] => (OperandSize::Word, true, 3),
            [0x66, 0x8b, RSI, ..] => (OperandSize::Word, false, 3),
            [0x89, RSI, ..] => (OperandSize::Dword, true, 2),
            [0x8b, RSI, ..] => (OperandSize::Dword, false, 2),
            [0x48, 0x89, RSI, ..] => (OperandSize::Qword, true, 3),
            [0x48, 0x8b, RSI, ..] => (OperandSize::Qword, false, 3),
            _ => return Err(Failure::Unknown),
        };
        let bytes = size as u64;
        let range = BufferRange::new(SHARED_BUFFER_OFFSET, 8).ok_or(Failure::Unknown)?;
        let scratch = Sync::NONE.whole(Field::SwScratch);
        if write {
            self.page
                .write_buffer(range, &self.registers.rax.to_le_bytes());
            self.ask(ExitCode::MMIO_WRITE, gpa, bytes, &scratch, &Sync::NONE)?;
        } else {
            self.send(ExitCode::MMIO_READ, gpa, bytes, &scratch);
            let mut brought = [0u8; 8];
            self.page.read_buffer(range, &mut brought);
            guest::copy_in(&self.page, &mut self.registers, &Sync::NONE)?;
            self.registers.rax = size.merge(self.registers.rax, u64::from_le_bytes(brought));
        }
        Ok(length)
    }

    fn send(&mut self, code: ExitCode, info1: u64, info2: u64, out: &Sync) {
        let exit = ExitInfo { code, info1, info2 };
        guest::copy_out(&self.page, Version::V2, &self.registers, &exit, out);
        self.page.vmgexit();
    }

    fn ask(
        &mut self,
        code: ExitCode,
        info1: u64,
        info2: u64,
        out: &Sync,
        back: &Sync,
    ) -> Result<u64, CallError> {
        self.send(code, info1, info2, out);
        guest::copy_in(&self.page, &mut self.registers, back)
    }
}
