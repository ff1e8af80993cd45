// SPDX-License-Identifier: GPL-2.0
//! Role `Replies`: the same requests without pause, each reply judged, while the VMM changes what lies behind the page.

use crate::cpu::{self, Vcpu};
use crate::ghcb::OwnPage;
use core::sync::atomic::{AtomicU64, Ordering};
use ghcb_rs::ghcb_abi::bitmap::ValidBitmap;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{BufferRange, Field, Qword, SharedPage, SHARED_BUFFER_OFFSET};
use mailbox::device;
use mailbox::device::PORT;

/// A field that no request and no reply uses: it tells whether the page is still the one that was written.
const TAG: Field = Field::R15;
/// Value of words that the reply overwrites.
const SENTINEL: u64 = 0xa5a5_a5a5_a5a5_a5a5;
/// The local APIC's spurious-interrupt vector register, served in the kernel, and its value after a reset.
const APIC_SPIV: (u64, u64) = (0xfee0_00f0, 0xff);
const STRING: usize = 64;

/// A request, and what it must bring.
struct Event {
    name: &'static str,
    code: ExitCode,
    infos: (u64, u64),
    operands: &'static [(Field, u64)],
    scratch: bool,
    registers: &'static [(Field, u64)],
    buffer: fn() -> ([u8; STRING], usize),
}

const CPUID: u32 = device::CPUID_OWN + 1;
const PORT_VALUE: u64 = u32::from_le_bytes([
    device::port_byte(PORT, 0),
    device::port_byte(PORT, 1),
    device::port_byte(PORT, 2),
    device::port_byte(PORT, 3),
]) as u64;

/// One that the kernel ends with registers, one that it ends with the buffer, and two that userspace ends.
static EVENTS: [Event; 4] = [
    Event {
        name: "CPUID",
        code: ExitCode::CPUID,
        infos: (0, 0),
        operands: &[(Field::Rax, CPUID as u64), (Field::Rcx, 0)],
        scratch: false,
        registers: &[
            (Field::Rax, device::cpuid(CPUID, 0) as u64),
            (Field::Rbx, device::cpuid(CPUID, 1) as u64),
            (Field::Rcx, device::cpuid(CPUID, 2) as u64),
            (Field::Rdx, device::cpuid(CPUID, 3) as u64),
        ],
        buffer: nothing,
    },
    Event {
        name: "MMIO read in the kernel",
        code: ExitCode::MMIO_READ,
        infos: (APIC_SPIV.0, 4),
        operands: &[],
        scratch: true,
        registers: &[],
        buffer: apic,
    },
    Event {
        name: "IN",
        code: ExitCode::IOIO,
        infos: (IoInfo::new(PORT, IoSize::Dword, true).0, 0),
        operands: &[],
        scratch: false,
        registers: &[(Field::Rax, PORT_VALUE)],
        buffer: nothing,
    },
    Event {
        name: "INS",
        code: ExitCode::IOIO,
        infos: (
            IoInfo::new(PORT, IoSize::Byte, true)
                .string(true, AddressSize::BITS_64, Segment::ES)
                .0,
            STRING as u64,
        ),
        operands: &[],
        scratch: true,
        registers: &[],
        buffer: string,
    },
];

fn nothing() -> ([u8; STRING], usize) {
    ([0; STRING], 0)
}

fn apic() -> ([u8; STRING], usize) {
    let mut bytes = [0; STRING];
    for (byte, value) in bytes.iter_mut().zip((APIC_SPIV.1 as u32).to_le_bytes()) {
        *byte = value;
    }
    (bytes, 4)
}

fn string() -> ([u8; STRING], usize) {
    let mut bytes = [0; STRING];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = device::port_byte(PORT, at);
    }
    (bytes, STRING)
}

/// Ring the doorbell, then raise requests until told to stop; over and over.
pub fn run(vcpu: &Vcpu) -> ! {
    let mail = vcpu.mailbox;
    let mut tag = 0u64;
    loop {
        vcpu.ring_doorbell();
        while mail.stop.load(Ordering::Acquire) == 0 {
            for event in &EVENTS {
                tag += 1;
                raise(vcpu, event, tag);
            }
            mail.progress.fetch_add(1, Ordering::Release);
        }
    }
}

/// What became of the page in one view.
enum Found {
    /// It still holds the request.
    Request,
    /// It holds the right reply.
    Reply,
    /// It is another page, or was one for a while.
    Other,
    /// It holds something else: what, and the value.
    Wrong(&'static str, u64, u64),
}

fn raise(vcpu: &Vcpu, event: &Event, tag: u64) {
    let mail = vcpu.mailbox;
    let gpa = mail.argument.load(Ordering::Relaxed);
    let views = || {
        let address = mail.views.iter().map(|view| view.load(Ordering::Relaxed));
        address.enumerate().filter(|(_, address)| *address != 0)
    };
    let before = mail.allowed.load(Ordering::Acquire);
    for (_, address) in views() {
        write(&OwnPage::new(address), gpa, event, tag);
    }
    vcpu.name_ghcb(gpa);
    cpu::vmgexit();
    let mut outcome = &mail.unanswered;
    for (index, address) in views() {
        match read(&OwnPage::new(address), event, tag) {
            Found::Request => {}
            Found::Reply => {
                outcome = &mail.right;
                // The VMM has announced before that it may take the page away.
                let allowed = before | mail.allowed.load(Ordering::Acquire);
                if allowed & (1 << index) == 0 {
                    complain(vcpu, "a reply came into a page that was taken away", tag, 0);
                }
            }
            Found::Other => outcome = &mail.lost,
            Found::Wrong(what, got, want) => {
                complain(vcpu, event.name, tag, 0);
                complain(vcpu, what, got, want);
            }
        }
    }
    count(outcome);
}

/// The first few are enough.
fn complain(vcpu: &Vcpu, what: &'static str, got: u64, want: u64) {
    if vcpu.mailbox.check_count.load(Ordering::Relaxed) < 32 {
        vcpu.same(what, got, want);
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The tag comes first: a page that is replaced later lacks it.
fn write(page: &OwnPage, gpa: u64, event: &Event, tag: u64) {
    TAG.store(page, tag);
    for field in [Field::Rax, Field::Rbx, Field::Rcx, Field::Rdx] {
        field.store(page, SENTINEL);
    }
    let (bytes, len) = (event.buffer)();
    if let Some(range) = BufferRange::new(SHARED_BUFFER_OFFSET, len) {
        page.write_buffer(range, &bytes.map(|byte| !byte));
    }
    let mut valid = ValidBitmap::EXIT;
    for (field, value) in event.operands {
        field.store(page, *value);
        valid = valid.with(*field);
    }
    if event.scratch {
        Field::SwScratch.store(page, gpa + SHARED_BUFFER_OFFSET as u64);
        valid = valid.with(Field::SwScratch);
    }
    Field::SwExitCode.store(page, event.code.0);
    Field::SwExitInfo1.store(page, event.infos.0);
    Field::SwExitInfo2.store(page, event.infos.1);
    page.store(Qword::VERSION_USAGE, 2 << 16);
    valid.store(page);
}

/// The tag comes last: if it is there, all that was read is of the page that was written.
fn read(page: &OwnPage, event: &Event, tag: u64) -> Found {
    let found = judge(page, event);
    if TAG.load(page) == tag {
        found
    } else {
        Found::Other
    }
}

fn judge(page: &OwnPage, event: &Event) -> Found {
    let valid = ValidBitmap::load(page);
    let infos = (Field::SwExitInfo1.load(page), Field::SwExitInfo2.load(page));
    // The marks of a request go as soon as it is read, those of a reply come last: one of which a part was written has none.
    let is_begun = |info, of_request| info == of_request || info == 0;
    let is_taken = valid == ValidBitmap::EMPTY
        && is_begun(infos.0, event.infos.0)
        && is_begun(infos.1, event.infos.1);
    if is_taken || valid.contains(Field::SwExitCode) && infos == event.infos {
        return Found::Request;
    }
    for (what, got) in [("SW_EXITINFO1", infos.0), ("SW_EXITINFO2", infos.1)] {
        if got != 0 {
            return Found::Wrong(what, got, 0);
        }
    }
    for (field, want) in event.registers {
        let got = field.load(page);
        if !valid.contains(*field) {
            return Found::Wrong("valid bits of the reply", valid.to_words().1, 0);
        }
        if got != *want {
            return Found::Wrong("a register of the reply", got, *want);
        }
    }
    let (want, len) = (event.buffer)();
    let mut got = [0; STRING];
    if let Some(range) = BufferRange::new(SHARED_BUFFER_OFFSET, len) {
        page.read_buffer(range, &mut got);
    }
    for (got, want) in got.iter().zip(want).take(len) {
        if *got != want {
            return Found::Wrong("a byte of the buffer", u64::from(*got), u64::from(want));
        }
    }
    Found::Reply
}
