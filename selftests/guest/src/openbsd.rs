// SPDX-License-Identifier: GPL-2.0
//! Role `OpenBsd`: a guest that judges replies as OpenBSD's #VC code does. It looks neither at SW_EXITINFO1 nor at
//! SW_EXITINFO2, demands that the registers it waits for are marked valid, and ends itself if one is not.

use crate::cpu::{reason, Vcpu};
use core::fmt::Write;
use core::sync::atomic::Ordering;
use ghcb_rs::ghcb_abi::bitmap::ValidBitmap;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::exit_info::ExitInfo;
use ghcb_rs::ghcb_abi::guest::{self, Registers, Sync};
use ghcb_rs::ghcb_abi::ioio::{IoInfo, IoSize};
use ghcb_rs::ghcb_abi::page::{Field, Qword, SharedPage};
use ghcb_rs::ghcb_abi::version::Version;
use mailbox::device::PORT;

/// A port without a device.
const NO_PORT: u16 = 0xfff0;
/// An MSR that any guest may read: the TSC.
const TSC: u64 = 0x10;
/// A number that no MSR has.
const NO_MSR: u64 = 0x4000_4000;
/// No counter has this number.
const NO_COUNTER: u64 = 0x1234;
/// CPUID of the XSAVE area, which needs XCR0.
const XSAVE: u64 = 0xd;

const NONE: &[Field] = &[];
const RAX: &[Field] = &[Field::Rax];
const RAX_RDX: &[Field] = &[Field::Rax, Field::Rdx];
const ALL: &[Field] = &[Field::Rax, Field::Rbx, Field::Rcx, Field::Rdx];

/// A request: what goes out and what is waited for.
struct Event {
    name: &'static str,
    code: ExitCode,
    info1: u64,
    out: &'static [Field],
    rax: u64,
    rcx: u64,
    back: &'static [Field],
}

const fn event(
    name: &'static str,
    code: ExitCode,
    info1: u64,
    out: &'static [Field],
    back: &'static [Field],
) -> Event {
    Event {
        name,
        code,
        info1,
        out,
        rax: 0,
        rcx: 0,
        back,
    }
}

impl Event {
    const fn rax(mut self, rax: u64) -> Self {
        self.rax = rax;
        self
    }

    const fn rcx(mut self, rcx: u64) -> Self {
        self.rcx = rcx;
        self
    }
}

const CPUID_OUT: &[Field] = &[Field::Rax, Field::Rcx];
const RCX: &[Field] = &[Field::Rcx];
const WRMSR_OUT: &[Field] = &[Field::Rax, Field::Rcx, Field::Rdx];

const fn port(port: u16, size: IoSize, is_in: bool) -> u64 {
    IoInfo::new(port, size, is_in).0
}

/// Right ones, and ones that are refused or answered with an exception.
static EVENTS: [Event; 24] = [
    event("CPUID", ExitCode::CPUID, 0, CPUID_OUT, ALL),
    event("CPUID 0xD without XCR0", ExitCode::CPUID, 0, CPUID_OUT, ALL).rax(XSAVE),
    event("RDMSR", ExitCode::MSR, 0, RCX, RAX_RDX).rcx(TSC),
    event("RDMSR of none", ExitCode::MSR, 0, RCX, RAX_RDX).rcx(NO_MSR),
    event("WRMSR", ExitCode::MSR, 1, WRMSR_OUT, NONE).rcx(TSC),
    event("WRMSR of none", ExitCode::MSR, 1, WRMSR_OUT, NONE).rcx(NO_MSR),
    event(
        "IN 8",
        ExitCode::IOIO,
        port(PORT, IoSize::Byte, true),
        NONE,
        RAX,
    ),
    event(
        "IN 16",
        ExitCode::IOIO,
        port(PORT, IoSize::Word, true),
        NONE,
        RAX,
    ),
    event(
        "IN 32",
        ExitCode::IOIO,
        port(PORT, IoSize::Dword, true),
        NONE,
        RAX,
    ),
    event(
        "IN of nobody",
        ExitCode::IOIO,
        port(NO_PORT, IoSize::Byte, true),
        NONE,
        RAX,
    ),
    event("IN of no size", ExitCode::IOIO, 1, NONE, RAX),
    event("IN of two sizes", ExitCode::IOIO, 0x31, NONE, RAX),
    event(
        "OUT 8",
        ExitCode::IOIO,
        port(PORT, IoSize::Byte, false),
        RAX,
        NONE,
    ),
    event("OUT of two sizes", ExitCode::IOIO, 0x30, RAX, NONE),
    event("RDTSC", ExitCode::RDTSC, 0, NONE, RAX_RDX),
    event(
        "RDTSCP",
        ExitCode::RDTSCP,
        0,
        NONE,
        &[Field::Rax, Field::Rcx, Field::Rdx],
    ),
    event("RDPMC", ExitCode::RDPMC, 0, RCX, RAX_RDX),
    event("RDPMC of none", ExitCode::RDPMC, 0, RCX, RAX_RDX).rcx(NO_COUNTER),
    event(
        "VMMCALL",
        ExitCode::VMMCALL,
        0,
        &[Field::Rax, Field::Cpl],
        RAX,
    )
    .rax(1),
    event("DR7 read", ExitCode::READ_DR7, 0, NONE, RAX),
    event("DR7 write", ExitCode::WRITE_DR7, 0, RAX, NONE),
    event("WBINVD", ExitCode::WBINVD, 0, NONE, NONE),
    event("no event", ExitCode::VMGEXIT, 0, NONE, NONE),
    event("an event of SEV-SNP", ExitCode::APIC_ID_LIST, 0, RAX, RAX),
];

/// What else is wrong about a request.
#[derive(Clone, Copy)]
enum Fault {
    /// Nothing.
    None,
    /// Nothing that the event needs is marked valid.
    MissingInput,
    /// A usage that no host knows.
    Usage,
    /// CPL 3.
    User,
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::MissingInput => ", operands missing",
            Self::Usage => ", usage unknown",
            Self::User => ", CPL 3",
        }
    }
}

/// Events that KVM's C handler does not always answer: it ends KVM_RUN, or injects an exception here.
const NOT_BY_C: [ExitCode; 3] = [ExitCode::RDTSC, ExitCode::RDTSCP, ExitCode::RDPMC];

/// Raise each event in each way. The mailbox's argument says whether C answers: zero if so.
pub fn run(vcpu: &Vcpu) -> ! {
    let by_c = vcpu.mailbox.argument.load(Ordering::Acquire) == 0;
    for fault in [Fault::None, Fault::MissingInput, Fault::Usage, Fault::User] {
        for event in &EVENTS {
            let is_refused = matches!(fault, Fault::Usage);
            if is_refused || !by_c || !NOT_BY_C.contains(&event.code) {
                raise(vcpu, event, fault);
            }
        }
    }
    vcpu.terminate(reason::DONE)
}

/// C: `vctrap()` of OpenBSD: out, VMGEXIT, verify, in.
fn raise(vcpu: &Vcpu, event: &Event, fault: Fault) {
    let page = vcpu.ghcb();
    let registers = Registers {
        rax: event.rax,
        rcx: event.rcx,
        cpl: if matches!(fault, Fault::User) { 3 } else { 0 },
        ..Registers::default()
    };
    let mut out = Sync::NONE;
    if !matches!(fault, Fault::MissingInput) {
        for field in event.out {
            out = out.whole(*field);
        }
    }
    if matches!(fault, Fault::User) {
        out = out.whole(Field::Cpl);
    }
    let exit = ExitInfo {
        code: event.code,
        info1: event.info1,
        info2: 0,
    };
    guest::copy_out(&page, Version::V2, &registers, &exit, &out);
    if matches!(fault, Fault::Usage) {
        page.store(Qword::VERSION_USAGE, (1 << 32) | (2 << 16));
    }
    page.vmgexit();
    let missing = ValidBitmap::load(&page).missing(ValidBitmap::of(event.back));
    let mut name = Name {
        bytes: [0; mailbox::NAME],
        len: 0,
    };
    let _ = write!(name, "{}{}", event.name, fault.name());
    vcpu.same(name.text(), missing.to_words().0 | missing.to_words().1, 0);
    if !missing.is_empty() {
        // OpenBSD: "invalid hypervisor response".
        vcpu.terminate(reason::CALL_FAILED);
    }
    guest::clear(&page);
}

/// Text of a check's name.
struct Name {
    bytes: [u8; mailbox::NAME],
    len: usize,
}

impl Name {
    fn text(&self) -> &str {
        core::str::from_utf8(self.bytes.get(..self.len).unwrap_or(&[])).unwrap_or("?")
    }
}

impl Write for Name {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            let place = self.bytes.get_mut(self.len).ok_or(core::fmt::Error)?;
            *place = byte;
            self.len += 1;
        }
        Ok(())
    }
}
