// SPDX-License-Identifier: GPL-2.0
//! Role `Events`: each NAE event through the protocol's guest side, and a check of each answer.
//!
//! What reaches userspace is answered by the VMM's devices; see `mailbox::device`. The VMM checks what they saw.

use crate::cpu::{reason, Vcpu};
use crate::ghcb::OwnPage;
use core::sync::atomic::Ordering;
use ghcb_rs::ghcb_abi::ap::JumpTableOperation;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::exit_info::ExitInfo;
use ghcb_rs::ghcb_abi::guest::{self, CallError, OperandSize, Register, Registers, Sync};
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::msr::{GhcbMsr, MsrRequest, MsrResponse};
use ghcb_rs::ghcb_abi::page::{BufferRange, Field, SharedPage, SHARED_BUFFER_OFFSET};
use ghcb_rs::ghcb_abi::reply::{ErrorReason, EventInjection};
use ghcb_rs::ghcb_abi::terminate::{ReasonSet, Termination};
use ghcb_rs::ghcb_abi::version::Version;
use mailbox::device::PORT;
use mailbox::{device, map};

/// An MSR that keeps any legal value: the base of the first variable MTRR.
const MTRR_BASE: u64 = 0x200;
/// A number that no MSR has.
const NO_MSR: u64 = 0x4000_4000;
/// `KVM_HC_VAPIC_POLL_IRQ`, a hypercall without effect.
const HYPERCALL_NOP: u64 = 1;
/// A hypercall that KVM does not know, and its answer -KVM_ENOSYS.
const HYPERCALL_NONE: u64 = 0xdead;
const ENOSYS: u64 = (-1000i64) as u64;

const OUT: Sync = Sync::NONE;

struct Events<'a> {
    vcpu: &'a Vcpu,
    page: OwnPage,
    registers: Registers,
}

/// Raise all events, then ask for the end.
pub fn run(vcpu: &Vcpu) -> ! {
    let mut events = Events {
        vcpu,
        page: vcpu.ghcb(),
        registers: Registers::default(),
    };
    events.msr_protocol();
    events.cpuid();
    events.port_io();
    events.string_io();
    events.msr();
    events.mmio();
    events.ap();
    events.simple();
    events.hypercall();
    events.terminate()
}

/// An answer, error or not, as one word, to be compared and shown.
fn code(answer: Result<u64, CallError>) -> u64 {
    match answer {
        Ok(_) => 0,
        Err(CallError::Exception(event)) => (1 << 32) | event.0 & 0xffff_ffff,
        Err(CallError::Malformed(reason)) => (2 << 32) | u64::from(reason.0),
        Err(CallError::Unknown(..)) => 3 << 32,
        Err(CallError::Missing(_)) => 4 << 32,
    }
}

impl Events<'_> {
    fn same(&self, name: &str, got: u64, want: u64) {
        self.vcpu.same(name, got, want);
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

    fn send(&mut self, code: ExitCode, info1: u64, info2: u64, out: &Sync) {
        let exit = ExitInfo { code, info1, info2 };
        guest::copy_out(&self.page, Version::V2, &self.registers, &exit, out);
        self.page.vmgexit();
    }

    fn msr_protocol(&mut self) {
        let ask = |request: MsrRequest| {
            crate::cpu::write_ghcb_msr(request.encode().0);
            crate::cpu::vmgexit();
            GhcbMsr(crate::cpu::read_ghcb_msr()).response()
        };
        // Zero leaves the choice to KVM.
        let newest = match self.vcpu.mailbox.argument.load(Ordering::Relaxed) {
            0 => 2,
            offered => offered,
        };
        let answered = match ask(MsrRequest::SevInfo) {
            Some(MsrResponse::SevInfo { max, min, .. }) => {
                (u64::from(max.0) << 16) | u64::from(min.0)
            }
            _ => u64::MAX,
        };
        self.same(
            "MSR protocol: SEV information: versions",
            answered,
            (newest << 16) | 1,
        );
        let features = match ask(MsrRequest::HypervisorFeatures) {
            Some(MsrResponse::HypervisorFeatures(features)) => features.0,
            _ => u64::MAX,
        };
        let answer = self.ask(ExitCode::HV_FEATURES, 0, 0, &OUT, &Sync::NONE);
        self.same(
            "hypervisor features: as by MSR",
            answer.unwrap_or(0),
            features,
        );
    }

    fn cpuid(&mut self) {
        let out = Sync::NONE
            .sized(Register::A, OperandSize::Dword)
            .sized(Register::C, OperandSize::Dword);
        let back = out
            .sized(Register::B, OperandSize::Dword)
            .sized(Register::D, OperandSize::Dword);
        for function in device::CPUID_OWN..device::CPUID_OWN + 4 {
            // The upper halves are garbage on purpose: an answer of 32 bits clears them.
            self.registers.rax = 0xffff_ffff_0000_0000 | u64::from(function);
            self.registers.rbx = u64::MAX;
            self.registers.rcx = 0;
            let answer = self.ask(ExitCode::CPUID, 0, 0, &out, &back);
            self.same("CPUID: answered", code(answer), 0);
            let registers = [
                self.registers.rax,
                self.registers.rbx,
                self.registers.rcx,
                self.registers.rdx,
            ];
            for (index, got) in (0..).zip(registers) {
                let want = u64::from(device::cpuid(function, index));
                self.same("CPUID: a register of a leaf of the VMM", got, want);
            }
        }
        self.registers.rax = ExitCode::CPUID_NEEDS_XCR0;
        self.registers.rcx = 0;
        self.registers.xcr0 = 1;
        let answer = self.ask(ExitCode::CPUID, 0, 0, &out, &back);
        self.same("CPUID: leaf 0xD without XCR0", code(answer), missing());
        let answer = self.ask(ExitCode::CPUID, 0, 0, &out.whole(Field::Xcr0), &back);
        self.same("CPUID: leaf 0xD with XCR0", code(answer), 0);
        self.same(
            "CPUID: leaf 0xD: area for x87 alone",
            self.registers.rbx,
            0x240,
        );
    }

    fn port_io(&mut self) {
        for size in IoSize::ALL {
            let operand = match size {
                IoSize::Byte => OperandSize::Byte,
                IoSize::Word => OperandSize::Word,
                IoSize::Dword => OperandSize::Dword,
            };
            let sync = Sync::NONE.sized(Register::A, operand);
            self.registers.rax = 0x1122_3344_5566_7788;
            let info = IoInfo::new(PORT, size, false).0;
            let answer = self.ask(ExitCode::IOIO, info, 0, &sync, &Sync::NONE);
            self.same("IOIO: OUT: done", code(answer), 0);
            let info = IoInfo::new(PORT, size, true).0;
            let answer = self.ask(ExitCode::IOIO, info, 0, &Sync::NONE, &sync);
            self.same("IOIO: IN: done", code(answer), 0);
            let brought = device::port_value(PORT, size.bytes());
            let want = operand.merge(0x1122_3344_5566_7788, brought);
            self.same("IOIO: IN: merged into RAX", self.registers.rax, want);
        }
        let answer = self.ask(
            ExitCode::IOIO,
            IoInfo::new(PORT, IoSize::Byte, false).0,
            0,
            &Sync::NONE,
            &Sync::NONE,
        );
        self.same("IOIO: OUT without RAX", code(answer), missing());
    }

    fn string_io(&mut self) {
        const COUNT: usize = 24;
        self.registers.scratch = self.page.gpa() + SHARED_BUFFER_OFFSET as u64;
        let sync = Sync::NONE.whole(Field::SwScratch);
        for size in IoSize::ALL {
            let length = COUNT * size.bytes();
            let mut data = [0u8; COUNT * 4];
            for (offset, byte) in data.iter_mut().enumerate() {
                *byte = offset as u8 ^ 0x33;
            }
            let buffer = BufferRange::WHOLE;
            self.page.write_buffer(buffer, &data);
            let io = IoInfo::new(PORT, size, false);
            let info = io.string(true, AddressSize::BITS_64, Segment::DS).0;
            let answer = self.ask(ExitCode::IOIO, info, COUNT as u64, &sync, &Sync::NONE);
            self.same("IOIO: OUTS: done", code(answer), 0);

            self.page.write_buffer(buffer, &[0xee; COUNT * 4 + 4]);
            let io = IoInfo::new(PORT, size, true);
            let info = io.string(true, AddressSize::BITS_64, Segment::ES).0;
            self.send(ExitCode::IOIO, info, COUNT as u64, &sync);
            let mut brought = [0u8; COUNT * 4 + 4];
            self.page.read_buffer(buffer, &mut brought);
            let answer = guest::copy_in(&self.page, &mut self.registers, &Sync::NONE);
            self.same("IOIO: INS: done", code(answer), 0);
            let wrong = brought
                .iter()
                .enumerate()
                .filter(|(offset, byte)| {
                    let want = if *offset < length {
                        device::port_byte(PORT, *offset)
                    } else {
                        0xee
                    };
                    **byte != want
                })
                .count();
            self.same("IOIO: INS: exactly the bytes asked for", wrong as u64, 0);
        }
        let io = IoInfo::new(PORT, IoSize::Byte, false);
        let info = io.string(true, AddressSize::BITS_64, Segment::DS).0;
        let answer = self.ask(ExitCode::IOIO, info, 1, &Sync::NONE, &Sync::NONE);
        self.same("IOIO: OUTS without scratch area", code(answer), missing());
    }

    fn msr(&mut self) {
        let number = Sync::NONE.sized(Register::C, OperandSize::Dword);
        let value = Sync::NONE
            .sized(Register::A, OperandSize::Dword)
            .sized(Register::D, OperandSize::Dword);
        let both = value.sized(Register::C, OperandSize::Dword);
        self.registers.rcx = MTRR_BASE;
        self.registers.rax = 0x1234_5006;
        self.registers.rdx = 0x5;
        let answer = self.ask(ExitCode::MSR, 1, 0, &both, &Sync::NONE);
        self.same("MSR: write: done", code(answer), 0);
        self.registers.rax = u64::MAX;
        self.registers.rdx = u64::MAX;
        let answer = self.ask(ExitCode::MSR, 0, 0, &number, &value);
        self.same("MSR: read: done", code(answer), 0);
        self.same("MSR: read: low half", self.registers.rax, 0x1234_5006);
        self.same("MSR: read: high half", self.registers.rdx, 0x5);
        self.registers.rcx = NO_MSR;
        let answer = self.ask(ExitCode::MSR, 0, 0, &number, &value);
        let fault = code(Err(CallError::Exception(
            EventInjection::GP_WITHOUT_ERROR_CODE,
        )));
        self.same("MSR: read of none: #GP", code(answer), fault);
        let answer = self.ask(ExitCode::MSR, 1, 0, &both, &Sync::NONE);
        self.same("MSR: write of none: #GP", code(answer), fault);
        let answer = self.ask(ExitCode::MSR, 1, 0, &number, &Sync::NONE);
        self.same("MSR: write without RAX and RDX", code(answer), missing());
    }

    fn mmio(&mut self) {
        self.registers.scratch = self.page.gpa() + SHARED_BUFFER_OFFSET as u64;
        let sync = Sync::NONE.whole(Field::SwScratch);
        for length in [1u64, 2, 4, 8] {
            let gpa = map::MMIO + 0x40 * length;
            self.page
                .write_buffer(BufferRange::WHOLE, &0x8877_6655_4433_2211u64.to_le_bytes());
            let answer = self.ask(ExitCode::MMIO_WRITE, gpa, length, &sync, &Sync::NONE);
            self.same("MMIO write: done", code(answer), 0);
            self.page.write_buffer(BufferRange::WHOLE, &[0; 8]);
            self.send(ExitCode::MMIO_READ, gpa, length, &sync);
            let mut brought = [0u8; 8];
            self.page.read_buffer(BufferRange::WHOLE, &mut brought);
            let answer = guest::copy_in(&self.page, &mut self.registers, &Sync::NONE);
            self.same("MMIO read: done", code(answer), 0);
            let want = device::mmio_value(gpa, length as usize);
            self.same("MMIO read: data", u64::from_le_bytes(brought), want);
        }
        let answer = self.ask(ExitCode::MMIO_READ, map::MMIO, 4, &Sync::NONE, &Sync::NONE);
        self.same("MMIO read without scratch area", code(answer), missing());
    }

    fn ap(&mut self) {
        let get = JumpTableOperation::GET.0;
        let set = JumpTableOperation::SET.0;
        let answer = self.ask(ExitCode::AP_JUMP_TABLE, get, 0, &OUT, &Sync::NONE);
        self.same(
            "AP jump table: none at first",
            answer.unwrap_or(u64::MAX),
            0,
        );
        let answer = self.ask(ExitCode::AP_JUMP_TABLE, set, map::SHARED, &OUT, &Sync::NONE);
        self.same("AP jump table: set", code(answer), 0);
        let answer = self.ask(ExitCode::AP_JUMP_TABLE, get, 0, &OUT, &Sync::NONE);
        self.same("AP jump table: get", answer.unwrap_or(0), map::SHARED);
        let answer = self.ask(ExitCode::AP_JUMP_TABLE, 2, 0, &OUT, &Sync::NONE);
        self.same(
            "AP jump table: another operation",
            code(answer),
            malformed(ErrorReason::INVALID_INPUT),
        );
        let answer = self.ask(ExitCode::AP_RESET_HOLD, 0, 0, &OUT, &Sync::NONE);
        self.same("AP reset hold: no SIPI", answer.unwrap_or(u64::MAX), 0);
    }

    fn simple(&mut self) {
        for (exit, name) in [
            (ExitCode::NMI_COMPLETE, "NMI complete: done"),
            (ExitCode::INVD, "INVD: done"),
            (ExitCode::WBINVD, "WBINVD: done"),
        ] {
            let answer = self.ask(exit, 0, 0, &OUT, &Sync::NONE);
            self.same(name, code(answer), 0);
        }
        let operands = Sync::NONE
            .whole(Field::Rax)
            .whole(Field::Rcx)
            .whole(Field::Rdx);
        self.registers.rax = map::SHARED;
        self.registers.rcx = 0;
        self.registers.rdx = 0;
        for (exit, name) in [
            (ExitCode::MONITOR, "MONITOR: done"),
            (ExitCode::MWAIT, "MWAIT: done"),
        ] {
            let answer = self.ask(exit, 0, 0, &operands, &Sync::NONE);
            self.same(name, code(answer), 0);
        }
        let answer = self.ask(ExitCode::PAGE_STATE_CHANGE, 0, 0, &OUT, &Sync::NONE);
        let reason = if crate::cpu::is_snp() {
            ErrorReason::MISSING_INPUT
        } else {
            ErrorReason::INVALID_EVENT
        };
        self.same("an SNP event: refused", code(answer), malformed(reason));
        let answer = self.ask(ExitCode(0x403), 0, 0, &OUT, &Sync::NONE);
        self.same(
            "VMGEXIT within VMGEXIT: refused",
            code(answer),
            malformed(ErrorReason::INVALID_EVENT),
        );
    }

    fn hypercall(&mut self) {
        let out = Sync::NONE
            .whole(Field::Rax)
            .whole(Field::Rbx)
            .whole(Field::Rcx)
            .whole(Field::Rdx)
            .whole(Field::Rsi)
            .whole(Field::Cpl);
        let back = Sync::NONE.whole(Field::Rax);
        for (number, want, name) in [
            (HYPERCALL_NOP, 0, "VMMCALL: a hypercall without effect"),
            (HYPERCALL_NONE, ENOSYS, "VMMCALL: an unknown hypercall"),
        ] {
            self.registers.rax = number;
            let answer = self.ask(ExitCode::VMMCALL, 0, 0, &out, &back);
            self.same(name, code(answer), 0);
            self.same("VMMCALL: result", self.registers.rax, want);
        }
        self.registers.rax = HYPERCALL_NOP;
        let answer = self.ask(ExitCode::VMMCALL, 0, 0, &back, &back);
        self.same("VMMCALL without CPL", code(answer), missing());
    }

    fn terminate(&mut self) -> ! {
        let termination = Termination {
            set: ReasonSet(0xe),
            code: reason::DONE as u8,
        };
        loop {
            self.send(ExitCode::TERMINATE, termination.to_info1(), 0, &OUT);
        }
    }
}

fn malformed(reason: ErrorReason) -> u64 {
    (2 << 32) | u64::from(reason.0)
}

fn missing() -> u64 {
    malformed(ErrorReason::MISSING_INPUT)
}
