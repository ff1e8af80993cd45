// SPDX-License-Identifier: GPL-2.0
//! One right request of each event that a guest without SNP may raise, and what it must bring.

use crate::exchange::exit::Exit;
use crate::exchange::request::Request;
use ghcb_rs::ghcb_abi::ap::JumpTableOperation;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
pub use mailbox::device::PORT;
use mailbox::{device, map};

/// An MSR that keeps any legal value: the base of the first variable MTRR.
pub const MTRR_BASE: u64 = 0x200;
/// A number that no MSR has.
pub const NO_MSR: u64 = 0x4000_4000;
/// `KVM_HC_VAPIC_POLL_IRQ`, a hypercall without effect.
pub const HYPERCALL_NOP: u64 = 1;

/// A right request.
#[derive(Clone, Debug)]
pub struct Right {
    /// Name of the event.
    pub name: &'static str,
    /// The request; its scratch area lies in its own page.
    pub request: Request,
    /// Exits to userspace.
    pub exits: Vec<Exit>,
    /// Registers that must come back so.
    pub registers: Vec<(Field, u64)>,
    /// Result.
    pub info2: u64,
    /// First bytes of the shared buffer that must come back so.
    pub buffer: Vec<u8>,
}

impl Right {
    fn new(name: &'static str, request: Request) -> Self {
        Self {
            name,
            request,
            exits: Vec::new(),
            registers: Vec::new(),
            info2: 0,
            buffer: Vec::new(),
        }
    }

    fn exit(mut self, exit: Exit) -> Self {
        self.exits.push(exit);
        self
    }

    fn gives(mut self, field: Field, value: u64) -> Self {
        self.registers.push((field, value));
        self
    }

    fn fills(mut self, bytes: Vec<u8>) -> Self {
        self.buffer = bytes;
        self
    }
}

/// The list. A request may depend on the one before it.
pub fn rights() -> Vec<Right> {
    let mut list = cpuid();
    list.extend(port_io());
    list.extend(string_io());
    list.extend(msr());
    list.extend(mmio());
    list.extend(simple());
    list
}

fn cpuid() -> Vec<Right> {
    let function = device::CPUID_OWN + 1;
    let leaf = |function: u64| {
        Request::new(ExitCode::CPUID, 0, 0)
            .with(Field::Rax, function)
            .with(Field::Rcx, 0)
    };
    let value = |index| u64::from(device::cpuid(function, index));
    vec![
        Right::new("CPUID", leaf(function.into()))
            .gives(Field::Rax, value(0))
            .gives(Field::Rbx, value(1))
            .gives(Field::Rcx, value(2))
            .gives(Field::Rdx, value(3)),
        Right::new("CPUID leaf 0xD", leaf(0xd).with(Field::Xcr0, 1)).gives(Field::Rbx, 0x240),
        Right::new(
            "CPUID leaf 0xD with XSS",
            leaf(0xd).with(Field::Xcr0, 3).with(Field::Xss, 0),
        )
        .gives(Field::Rbx, 0x240),
    ]
}

fn port_io() -> Vec<Right> {
    let mut list = Vec::new();
    for (size, into, out) in [
        (IoSize::Byte, "IN 8", "OUT 8"),
        (IoSize::Word, "IN 16", "OUT 16"),
        (IoSize::Dword, "IN 32", "OUT 32"),
    ] {
        let bytes = size.bytes();
        let exit = |data: Option<Vec<u8>>| Exit::Io {
            port: PORT,
            size: bytes as u8,
            count: 1,
            out: data.is_some(),
            data: data.unwrap_or_default(),
        };
        let rax = 0x1122_3344_5566_7788u64 & size.mask();
        let request = |is_in| Request::new(ExitCode::IOIO, IoInfo::new(PORT, size, is_in).0, 0);
        list.push(
            Right::new(out, request(false).with(Field::Rax, rax))
                .exit(exit(Some(rax.to_le_bytes()[..bytes].to_vec()))),
        );
        list.push(
            Right::new(into, request(true))
                .exit(exit(None))
                .gives(Field::Rax, device::port_value(PORT, bytes)),
        );
    }
    list
}

fn string_io() -> Vec<Right> {
    const COUNT: usize = 37;
    let mut list = Vec::new();
    for (size, into, out) in [
        (IoSize::Byte, "INS 8", "OUTS 8"),
        (IoSize::Word, "INS 16", "OUTS 16"),
        (IoSize::Dword, "INS 32", "OUTS 32"),
    ] {
        let length = COUNT * size.bytes();
        let sent: Vec<u8> = (0..length).map(|at| at as u8 ^ 0x6b).collect();
        let received = (0..length).map(|at| device::port_byte(PORT, at)).collect();
        let exit = |data: Option<Vec<u8>>| Exit::Io {
            port: PORT,
            size: size.bytes() as u8,
            count: COUNT as u32,
            out: data.is_some(),
            data: data.unwrap_or_default(),
        };
        let request = |is_in, segment| {
            let info = IoInfo::new(PORT, size, is_in).string(true, AddressSize::BITS_64, segment);
            Request::new(ExitCode::IOIO, info.0, COUNT as u64).scratch_inside(SHARED_BUFFER_OFFSET)
        };
        list.push(
            Right::new(out, request(false, Segment::DS).buffer(&sent)).exit(exit(Some(sent))),
        );
        list.push(
            Right::new(into, request(true, Segment::ES))
                .exit(exit(None))
                .fills(received),
        );
    }
    list
}

fn msr() -> Vec<Right> {
    let request = |info1| Request::new(ExitCode::MSR, info1, 0).with(Field::Rcx, MTRR_BASE);
    vec![
        Right::new(
            "WRMSR",
            request(1).with(Field::Rax, 0x4321_7006).with(Field::Rdx, 7),
        ),
        Right::new("RDMSR", request(0))
            .gives(Field::Rax, 0x4321_7006)
            .gives(Field::Rdx, 7),
    ]
}

fn mmio() -> Vec<Right> {
    let mut list = Vec::new();
    for (len, read, write) in [
        (1u32, "MMIO read 8", "MMIO write 8"),
        (2, "MMIO read 16", "MMIO write 16"),
        (4, "MMIO read 32", "MMIO write 32"),
        (8, "MMIO read 64", "MMIO write 64"),
    ] {
        let gpa = map::MMIO + 0x100 + u64::from(len);
        let sent: Vec<u8> = (0..len as u8).map(|at| at ^ 0xd1).collect();
        let received = (0..u64::from(len)).map(|at| device::mmio_byte(gpa + at));
        let exit = |sent: &[u8]| {
            let mut data = [0; 8];
            data[..sent.len()].copy_from_slice(sent);
            Exit::Mmio {
                gpa,
                len,
                write: !sent.is_empty(),
                data,
            }
        };
        let request =
            |code| Request::new(code, gpa, len.into()).scratch_inside(SHARED_BUFFER_OFFSET);
        list.push(Right::new(write, request(ExitCode::MMIO_WRITE).buffer(&sent)).exit(exit(&sent)));
        list.push(
            Right::new(read, request(ExitCode::MMIO_READ))
                .exit(exit(&[]))
                .fills(received.collect()),
        );
    }
    list
}

fn simple() -> Vec<Right> {
    let plain = |code| Request::new(code, 0, 0);
    let operands = |code| {
        plain(code)
            .with(Field::Rax, map::SHARED)
            .with(Field::Rcx, 0)
    };
    let jump_table = |operation: JumpTableOperation, gpa| {
        Request::new(ExitCode::AP_JUMP_TABLE, operation.0, gpa)
    };
    let table = map::SCRATCH;
    let mut list = vec![
        Right::new(
            "VMMCALL",
            plain(ExitCode::VMMCALL)
                .with(Field::Rax, HYPERCALL_NOP)
                .with(Field::Cpl, 0),
        )
        .gives(Field::Rax, 0),
        Right::new("MONITOR", operands(ExitCode::MONITOR).with(Field::Rdx, 0)),
        Right::new("MWAIT", operands(ExitCode::MWAIT)),
        Right::new("INVD", plain(ExitCode::INVD)),
        Right::new("WBINVD", plain(ExitCode::WBINVD)),
        Right::new(
            "DR7 write",
            plain(ExitCode::WRITE_DR7).with(Field::Rax, 0x400),
        ),
        Right::new("NMI complete", plain(ExitCode::NMI_COMPLETE)),
        Right::new(
            "AP jump table set",
            jump_table(JumpTableOperation::SET, table),
        ),
        Right::new("AP reset hold", plain(ExitCode::AP_RESET_HOLD)).exit(Exit::ApResetHold),
    ];
    list.push(Right {
        info2: table,
        ..Right::new("AP jump table get", jump_table(JumpTableOperation::GET, 0))
    });
    list
}
