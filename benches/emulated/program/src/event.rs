// SPDX-License-Identifier: GPL-2.0
//! The events that are measured: what the guest asks, and what has to come back.

pub mod snp;

use crate::Handler;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::msr::{CpuidRegister, MsrInfo, MsrRequest};
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
use ghcb_rs::ghcb_abi::reply::{Action, ErrorReason};
use mailbox::map;
use vmm::exchange::request::Request;
use vmm::exchange::userspace::{map_gpa_range, MAP_GPA_RANGE};
use vmm::launch::kind::Kind;

/// A port that userspace serves.
const PORT: u16 = 0x500;
/// A port and an MMIO register that the kernel serves, by an ioeventfd.
pub const KERNEL_PORT: u16 = 0x600;
pub const KERNEL_MMIO: u64 = map::MMIO + 0x100;
/// An MMIO register that userspace serves.
const MMIO: u64 = map::MMIO + 0x200;
/// An MSR that keeps any legal value: the base of the first variable MTRR.
const MTRR_BASE: u64 = 0x200;
/// The next one, which userspace serves.
pub const USER_MSR: u32 = 0x202;
/// An event that KVM emulates nothing for.
pub const NOTHING: &str = "hv_features";
/// String I/O.
pub const OUTS: &str = "ioio_outs";
const INS: &str = "ioio_ins";
/// Longest string that fits the shared buffer.
const LONGEST: u64 = 2032;

/// Events that are expected to gain alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Cpuid,
    Msr,
    /// Port I/O that the kernel serves.
    KernelPort,
    Mmio,
    String,
    /// Everything else, among it port I/O that userspace serves, and INS: most of its cost is KVM's own
    /// filling and copying, of which each byte counts.
    Other,
}

impl Group {
    /// Most that Rust may cost, as a part of what C costs, both above the floor.
    pub fn target(self) -> f64 {
        match self {
            Self::Cpuid => 0.35,
            Self::Msr | Self::KernelPort => 0.5,
            Self::Mmio | Self::String => 0.8,
            Self::Other => 1.0,
        }
    }

    /// That of an event.
    pub fn of(name: &str) -> Self {
        match name {
            "cpuid" => Self::Cpuid,
            "msr_read" | "msr_write" => Self::Msr,
            "ioio_out1_kernel" => Self::KernelPort,
            OUTS => Self::String,
            _ if name.starts_with("mmio_") => Self::Mmio,
            _ => Self::Other,
        }
    }
}

/// Own targets of what KVM serves, of what userspace serves, and of page state changes.
pub const OWN_KVM: f64 = 0.2;
pub const OWN_USERSPACE: f64 = 0.35;
pub const OWN_PAGE_STATE_CHANGE: f64 = 0.5;

/// Most that Rust's own cost may be, as a part of C's own: what lies above the floor and KVM's emulation.
pub fn own_target(name: &str) -> f64 {
    if name.starts_with(snp::PAGE_STATE_CHANGE) {
        OWN_PAGE_STATE_CHANGE
    } else if name.ends_with("_user") || [OUTS, INS].contains(&name) {
        OWN_USERSPACE
    } else {
        OWN_KVM
    }
}

/// How the guest asks.
#[derive(Clone)]
pub enum Ask {
    /// Through the page.
    Page(Request),
    /// By the MSR protocol.
    Msr(MsrRequest),
}

/// What a handler owes.
#[derive(Clone, Copy)]
pub enum Owed {
    /// SW_EXITINFO1 and, if it means anything, SW_EXITINFO2.
    Exit(u64, Option<u64>),
    /// This kind of response in the GHCB MSR.
    Msr(MsrInfo),
}

/// What `benches/floor` has KVM emulate, without a look at the page: bits 12 to 63 of the GHCB MSR.
#[derive(Clone, Copy)]
pub struct Emulated {
    /// Which operation; zero for none.
    operation: u64,
    /// Its operand: exit information, port or address.
    operand: u64,
    /// How many bytes.
    length: u64,
}

impl Emulated {
    const NONE: Self = Self::new(0, 0, 0);
    const CPUID: Self = Self::new(1, 0, 0);
    const RDTSC: Self = Self::new(6, 0, 0);
    const MAP_GPA_RANGE: Self = Self::new(9, MAP_GPA_RANGE, 0);

    /// So many exits to userspace, and nothing else.
    const fn exits(count: u64) -> Self {
        Self::new(10, 0, count)
    }

    const fn new(operation: u64, operand: u64, length: u64) -> Self {
        Self {
            operation,
            operand,
            length,
        }
    }

    fn msr(self) -> u64 {
        (self.operation << 12) | (self.operand << 20) | (self.length << 52)
    }
}

/// One event.
#[derive(Clone)]
pub struct Event {
    /// Name in the report.
    pub name: &'static str,
    /// Bytes that it moves, where that varies.
    pub length: u64,
    pub ask: Ask,
    pub owed: Owed,
    /// `None` if `benches/floor` cannot.
    emulated: Option<Emulated>,
    /// Whether kvm_amd's C function answers it at all.
    in_c: bool,
}

impl Event {
    fn page(name: &'static str, request: Request, emulated: Emulated) -> Self {
        Self {
            name,
            length: 0,
            ask: Ask::Page(request),
            owed: Owed::Exit(Action::NO_ACTION.0.into(), None),
            emulated: Some(emulated),
            in_c: true,
        }
    }

    fn by_msr(name: &'static str, asked: MsrRequest, answer: MsrInfo, emulated: Emulated) -> Self {
        Self {
            ask: Ask::Msr(asked),
            owed: Owed::Msr(answer),
            ..Self::page(name, Request::new(ExitCode(0), 0, 0), emulated)
        }
    }

    /// Whether this handler knows the event.
    pub fn is_answered_by(&self, handler: Handler) -> bool {
        match handler {
            Handler::C | Handler::Observed => self.in_c,
            Handler::Emulation => self.emulated.is_some(),
            Handler::Rust | Handler::Floor => true,
        }
    }

    /// Value of the GHCB MSR, where the page lies at `gpa`.
    pub fn msr(&self, handler: Handler, gpa: u64) -> u64 {
        match (handler, &self.ask) {
            (Handler::Emulation, _) => self.emulated.map_or(0, Emulated::msr),
            (_, Ask::Page(_)) => gpa,
            (_, Ask::Msr(request)) => request.encode().0,
        }
    }
}

fn out(port: u16, size: IoSize) -> (Request, Emulated) {
    let info = IoInfo::new(port, size, false).0;
    let request = Request::new(ExitCode::IOIO, info, 0).with(Field::Rax, 0x55);
    (request, Emulated::new(4, info, 0))
}

fn input(port: u16, size: IoSize) -> (Request, Emulated) {
    let info = IoInfo::new(port, size, true).0;
    let request = Request::new(ExitCode::IOIO, info, 0).with(Field::Rax, 0);
    (request, Emulated::new(4, info, 0))
}

fn string(name: &'static str, length: u64) -> Event {
    let is_in = name == INS;
    let segment = if is_in { Segment::ES } else { Segment::DS };
    let info = IoInfo::new(PORT, IoSize::Byte, is_in)
        .string(true, AddressSize::BITS_64, segment)
        .0;
    let request = Request::new(ExitCode::IOIO, info, length).scratch_inside(SHARED_BUFFER_OFFSET);
    let emulated = Emulated::new(5, info, length);
    Event {
        length,
        ..Event::page(name, request, emulated)
    }
}

fn mmio(code: ExitCode, gpa: u64) -> (Request, Emulated) {
    let operation = if code == ExitCode::MMIO_READ { 7 } else { 8 };
    let request = Request::new(code, gpa, 4)
        .scratch_inside(SHARED_BUFFER_OFFSET)
        .buffer(&[0x11, 0x22, 0x33, 0x44]);
    (request, Emulated::new(operation, gpa, 4))
}

fn cpuid() -> Event {
    let request = Request::new(ExitCode::CPUID, 0, 0)
        .with(Field::Rax, 0)
        .with(Field::Rcx, 0)
        .with(Field::Xcr0, 1);
    Event::page("cpuid", request, Emulated::CPUID)
}

/// Every event of such a guest, once.
pub fn all(guest: Kind) -> Vec<Event> {
    let mut events = common_to_all();
    if guest.is_snp() {
        events.extend(snp::events());
    }
    events
}

fn common_to_all() -> Vec<Event> {
    let msr = |write: u64, index: u64| {
        let request = Request::new(ExitCode::MSR, write, 0).with(Field::Rcx, index);
        let request = match write {
            0 => request,
            _ => request.with(Field::Rax, 6).with(Field::Rdx, 0),
        };
        (request, Emulated::new(2 + write, index, 0))
    };
    let mut events = vec![cpuid()];
    let mut add = |name, (request, emulated)| events.push(Event::page(name, request, emulated));
    add("msr_read", msr(0, MTRR_BASE));
    add("msr_write", msr(1, MTRR_BASE));
    add("msr_read_user", msr(0, USER_MSR.into()));
    add("msr_write_user", msr(1, USER_MSR.into()));
    add(
        "hypercall_user",
        (map_gpa_range(1), Emulated::MAP_GPA_RANGE),
    );
    add("ioio_out1_user", out(PORT, IoSize::Byte));
    add("ioio_out4_user", out(PORT, IoSize::Dword));
    add("ioio_in1_user", input(PORT, IoSize::Byte));
    add("ioio_out1_kernel", out(KERNEL_PORT, IoSize::Byte));
    add(
        "mmio_write4_kernel",
        mmio(ExitCode::MMIO_WRITE, KERNEL_MMIO),
    );
    add("mmio_write4_user", mmio(ExitCode::MMIO_WRITE, MMIO));
    add("mmio_read4_user", mmio(ExitCode::MMIO_READ, MMIO));
    let features = Request::new(ExitCode::HV_FEATURES, 0, 0);
    add(NOTHING, (features, Emulated::NONE));
    events.extend([OUTS, INS].map(|name| string(name, 512)));
    events.push(Event {
        in_c: false,
        ..Event::page(
            "rdtsc",
            Request::new(ExitCode::RDTSC, 0, 0),
            Emulated::RDTSC,
        )
    });
    let missing = Request::new(ExitCode::CPUID, 0, 0)
        .with(Field::Rax, 0)
        .with(Field::Rcx, 0)
        .without(Field::Rcx);
    events.push(Event {
        owed: Owed::Exit(
            Action::MALFORMED_INPUT.0.into(),
            Some(ErrorReason::MISSING_INPUT.0.into()),
        ),
        ..Event::page("error_reply", missing, Emulated::NONE)
    });
    let asked = MsrRequest::SevInfo;
    events.push(Event::by_msr(
        "msr_sev_info",
        asked,
        MsrInfo::SEV_INFO_RESPONSE,
        Emulated::NONE,
    ));
    let asked = MsrRequest::Cpuid {
        function: 0,
        register: CpuidRegister::Eax,
    };
    events.push(Event::by_msr(
        "msr_cpuid",
        asked,
        MsrInfo::CPUID_RESPONSE,
        Emulated::CPUID,
    ));
    events
}

/// What is measured with several vCPUs.
pub fn common() -> Vec<Event> {
    let names = [
        "cpuid",
        "msr_write",
        "ioio_out1_kernel",
        "mmio_write4_kernel",
    ];
    let mut events = common_to_all();
    events.retain(|event| names.contains(&event.name));
    events
}

/// String I/O by length.
pub fn strings() -> Vec<Event> {
    [1, 64, 256, 1024, LONGEST]
        .map(|length| string(OUTS, length))
        .to_vec()
}
