// SPDX-License-Identifier: GPL-2.0
//! What of a request is looked at: operands that an event does not use change nothing, and neither do the unused bits of
//! those that it uses; CPL, XCR0 and IA32_XSS are kept from one request to the next.

use anyhow::Result;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{IoInfo, IoSize};
use ghcb_rs::ghcb_abi::msr::{CpuidRegister, MsrRequest, MsrResponse};
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET, SHARED_BUFFER_SIZE};
use ghcb_rs::ghcb_abi::reply::EventInjection;
use mailbox::{device, map};
use std::process::ExitCode as Status;
use vmm::exchange::catalog;
use vmm::exchange::exit::Exit;
use vmm::exchange::request::Request;
use vmm::exchange::steps::{Attempt, Outcome, StepVm};
use vmm::judge::check::Check;
use vmm::judge::difference::Difference;
use vmm::kernel::handler::Handler;
use vmm::report::ktap::{self, Report};

fn main() -> Status {
    ktap::program(|report| {
        let mut vm = StepVm::new()?;
        for (name, request) in requests() {
            unused(report, &mut vm, name, &request);
        }
        used(report, &mut vm);
        extended_state(report, &mut vm);
        for (name, msr, bit) in [
            ("MISC_FEATURES_ENABLES", 0x140, 1 << 0),
            ("HWCR", 0xc001_0015, 1 << 35),
        ] {
            cpuid_faulting(report, &mut vm, name, msr, bit);
        }
        Ok(())
    })
}

/// One right request of each event.
fn requests() -> Vec<(&'static str, Request)> {
    let plain = |code| Request::new(code, 0, 0);
    let mut list: Vec<_> = catalog::rights()
        .into_iter()
        .map(|right| (right.name, right.request))
        .collect();
    list.extend([
        ("RDPMC", plain(ExitCode::RDPMC).with(Field::Rcx, 0)),
        ("RDTSC", plain(ExitCode::RDTSC)),
        ("RDTSCP", plain(ExitCode::RDTSCP)),
        ("DR7 read", plain(ExitCode::READ_DR7)),
        ("hypervisor features", plain(ExitCode::HV_FEATURES)),
        ("termination", plain(ExitCode::TERMINATE)),
        ("unsupported event", plain(ExitCode::UNSUPPORTED_EVENT)),
        ("no event", plain(ExitCode::VMGEXIT)),
    ]);
    list
}

/// Bits of `field` that decide what comes of a request: those that KVM's emulation reads, and no others. A field that is
/// asked for and not read has none.
fn bits(request: &Request, field: Field) -> u64 {
    const LOW: u64 = 0xffff_ffff;
    const ALL: u64 = u64::MAX;
    let (code, info1) = (request.code(), request.info1());
    let io = IoInfo(info1);
    match (code, field) {
        (ExitCode::CPUID, Field::Rax | Field::Rcx) => LOW,
        (ExitCode::RDPMC | ExitCode::MSR, Field::Rcx) => LOW,
        (ExitCode::MSR, Field::Rax | Field::Rdx) if info1 != 0 => LOW,
        (ExitCode::IOIO, Field::SwScratch) if io.is_string() => ALL,
        (ExitCode::IOIO, Field::Rax) if !io.is_string() => match (io.is_in(), io.size()) {
            (false, Some(size)) => size.mask(),
            // A short IN returns what it leaves of RAX.
            (true, Some(IoSize::Byte | IoSize::Word)) => ALL,
            _ => 0,
        },
        (ExitCode::VMMCALL, Field::Rax | Field::Rbx | Field::Rcx | Field::Rdx | Field::Rsi) => ALL,
        (ExitCode::VMMCALL, Field::Cpl) => ALL,
        (ExitCode::WRITE_DR7, Field::Rax) => ALL,
        (ExitCode::MMIO_READ | ExitCode::MMIO_WRITE, Field::SwScratch) => ALL,
        // Function 0xD only, and as far as they are legal.
        (ExitCode::CPUID, Field::Xcr0 | Field::Xss) => ALL,
        _ => 0,
    }
}

const OPERANDS: [Field; 9] = [
    Field::Rax,
    Field::Rbx,
    Field::Rcx,
    Field::Rdx,
    Field::Rsi,
    Field::SwScratch,
    Field::Cpl,
    Field::Xcr0,
    Field::Xss,
];

const VALUES: [u64; 8] = [
    0,
    1,
    3,
    0x7fff_ffff,
    0x8000_0000,
    map::SCRATCH,
    1 << 63,
    u64::MAX,
];

/// What comes of a request, but for registers that it does not return.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Essence {
    went_on: bool,
    exception: Option<(u8, u32)>,
    exits: Vec<Exit>,
    infos: (u64, u64),
    registers: Vec<u64>,
    buffer: Vec<u8>,
}

impl Essence {
    fn of(request: &Request, outcome: &Outcome) -> Self {
        let code = request.code();
        let reply = outcome.reply();
        // Time goes on. A register that comes back from no answer, or from C's to a read of DR7 (difference read-dr7),
        // is the request's own.
        let is_own = matches!(
            code,
            ExitCode::RDTSC | ExitCode::RDTSCP | ExitCode::READ_DR7
        ) || outcome.exception.is_some()
            || reply.info1 != 0;
        let registers = [
            (Field::Rax, reply.rax),
            (Field::Rbx, reply.rbx),
            (Field::Rcx, reply.rcx),
            (Field::Rdx, reply.rdx),
        ];
        let returned = code.returned(request.info1());
        Self {
            went_on: outcome.went_on,
            exception: outcome.exception,
            exits: outcome.exits.iter().map(placeless).collect(),
            infos: (reply.info1, reply.info2),
            registers: registers
                .into_iter()
                .filter(|(field, _)| !is_own && returned.contains(*field))
                .map(|(_, value)| value)
                .collect(),
            buffer: outcome.pages.as_ref().map_or(Vec::new(), |pages| {
                pages.after.bytes(SHARED_BUFFER_OFFSET, SHARED_BUFFER_SIZE)
            }),
        }
    }
}

/// The exit without the page's address, which is all that a termination tells of its page.
fn placeless(exit: &Exit) -> Exit {
    match exit {
        Exit::SystemEvent { type_, data } => Exit::SystemEvent {
            type_: *type_,
            data: data.iter().map(|_| 0).collect(),
        },
        other => other.clone(),
    }
}

/// Each value of what the event does not use, marked valid: the same comes of it.
fn unused(report: &mut Report, vm: &mut StepVm, name: &str, request: &Request) {
    report.test(
        &format!("{name}: what it does not use changes nothing"),
        || {
            let first = Essence::of(request, &vm.take(Attempt::page(request))?);
            let mut varied = Vec::new();
            for field in OPERANDS {
                let used = bits(request, field);
                let room = if field == Field::Cpl { 0xff } else { u64::MAX };
                let old = request.field(field).unwrap_or(0);
                for value in VALUES.map(|value| (value & !used | old & used) & room) {
                    if used != room && used != u64::MAX {
                        varied.push((field, value, request.clone().with(field, value)));
                    }
                }
            }
            let attempts: Vec<_> = varied
                .iter()
                .map(|(.., request)| Attempt::page(request))
                .collect();
            let outcomes = vm.take_all(&attempts)?;
            let mut check = Check::new();
            check.that("something is varied", outcomes.len() >= 3 * VALUES.len());
            check.same("number of answers", outcomes.len(), varied.len());
            for ((field, value, request), outcome) in varied.iter().zip(&outcomes) {
                check.about(format!("{field:?} {value:#x}"));
                let same = Essence::of(request, outcome) == first;
                check.that("the same comes of it", same);
            }
            Ok(check.done())
        },
    );
}

/// What is used changes something, or the test above could not fail.
fn used(report: &mut Report, vm: &mut StepVm) {
    let leaf = Request::new(ExitCode::CPUID, 0, 0)
        .with(Field::Rax, u64::from(device::CPUID_OWN) + 1)
        .with(Field::Rcx, 0);
    let out = IoInfo::new(catalog::PORT, IoSize::Byte, false);
    let into = IoInfo::new(catalog::PORT, IoSize::Byte, true);
    let hypercall = Request::new(ExitCode::VMMCALL, 0, 0)
        .with(Field::Rax, catalog::HYPERCALL_NOP)
        .with(Field::Cpl, 0);
    let read = Request::new(ExitCode::MSR, 0, 0).with(Field::Rcx, catalog::MTRR_BASE);
    for (name, request, field, value) in [
        (
            "CPUID: RAX",
            leaf.clone(),
            Field::Rax,
            u64::from(device::CPUID_OWN) + 2,
        ),
        ("RDMSR: RCX", read, Field::Rcx, catalog::NO_MSR),
        (
            "OUT: RAX",
            Request::new(ExitCode::IOIO, out.0, 0).with(Field::Rax, 1),
            Field::Rax,
            2,
        ),
        (
            "IN: rest of RAX",
            Request::new(ExitCode::IOIO, into.0, 0),
            Field::Rax,
            1 << 40,
        ),
        ("VMMCALL: RAX", hypercall.clone(), Field::Rax, 0x7777),
        ("VMMCALL: CPL", hypercall, Field::Cpl, 3),
    ] {
        report.test(&format!("{name}: changes what comes"), || {
            let other = request.clone().with(field, value);
            let outcomes = [
                vm.take(Attempt::page(&request))?,
                vm.take(Attempt::page(&other))?,
            ];
            let [first, second] = outcomes.map(|outcome| Essence::of(&request, &outcome));
            let mut check = Check::new();
            check.that("the outcomes differ", first != second);
            Ok(check.done())
        });
    }
}

fn extended_state(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    let name =
        "CPUID leaf 0xD: XCR0 of the last request that had a legal one, also if that was refused";
    let leaf = |xcr0| {
        Request::new(ExitCode::CPUID, 0, 0)
            .with(Field::Rax, ExitCode::CPUID_NEEDS_XCR0)
            .with(Field::Rcx, 0)
            .with(Field::Xcr0, xcr0)
    };
    let supported = vm.vm().cpuid().iter().any(|entry| {
        u64::from(entry.function) == ExitCode::CPUID_NEEDS_XCR0
            && entry.index == 0
            && entry.eax & 7 == 7
    });
    if !supported {
        return report.skip(name, "the host has no AVX for guests");
    }
    report.test(name, || {
        let mut check = Check::new();
        for (before, size) in [
            (
                Request::new(ExitCode::INVD, 0, 0).with(Field::Xcr0, 7),
                0x340,
            ),
            (
                Request::new(ExitCode::VMGEXIT, 0, 0).with(Field::Xcr0, 1),
                0x240,
            ),
            (
                Request::new(ExitCode::CPUID, 0, 0).with(Field::Xcr0, 7),
                0x340,
            ),
        ] {
            vm.take(Attempt::page(&before))?;
            for illegal in [0, 2, 5, 1 << 63, u64::MAX] {
                let request = leaf(illegal);
                let outcome = vm.take(Attempt::page(&request))?;
                check.about(format!("XCR0 {illegal:#x}"));
                check.answered(&request, &outcome, handler, 0);
                check.same("RBX", outcome.reply().rbx, size);
            }
        }
        Ok(check.done())
    });
    report.test(
        "CPUID leaf 0xD: an IA32_XSS that KVM does not support changes nothing",
        || {
            let mut check = Check::new();
            for index in [0, 1] {
                let request = leaf(7).with(Field::Rcx, index);
                let first = Essence::of(&request, &vm.take(Attempt::page(&request))?);
                for xss in [0, 1, 1 << 62, u64::MAX] {
                    let request = request.clone().with(Field::Xss, xss);
                    let outcome = vm.take(Attempt::page(&request))?;
                    check.about(format!("index {index}, XSS {xss:#x}"));
                    let same = Essence::of(&request, &outcome) == first;
                    check.that("the same comes of it", same);
                }
            }
            Ok(check.done())
        },
    );
}

/// Where `bit` of `msr` is set, CPUID faults but for CPL 0.
fn cpuid_faulting(report: &mut Report, vm: &mut StepVm, name: &str, msr: u64, bit: u64) {
    let handler = report.handler();
    let set = |vm: &mut StepVm, value: u64| -> Result<bool> {
        let request = Request::new(ExitCode::MSR, 1, 0)
            .with(Field::Rcx, msr)
            .with(Field::Rax, value & 0xffff_ffff)
            .with(Field::Rdx, value >> 32);
        let outcome = vm.take(Attempt::page(&request))?;
        Ok(outcome.reply().info1 == 0)
    };
    let name = format!("CPUID faulting by {name}");
    match set(vm, bit) {
        Ok(true) => {}
        Ok(false) => return report.skip(&name, "the host's processor does not have it"),
        Err(error) => return report.problems(&name, &[format!("{error:#}")]),
    }
    let function = device::CPUID_OWN + 1;
    let leaf = Request::new(ExitCode::CPUID, 0, 0)
        .with(Field::Rax, function.into())
        .with(Field::Rcx, 0);
    let right = |check: &mut Check, outcome: &Outcome| {
        check.answered(&leaf, outcome, handler, 0);
        let want = u64::from(device::cpuid(function, 1));
        check.same("RBX", outcome.reply().rbx, want);
    };
    report.test(&format!("{name}: #GP for a CPL that is not 0"), || {
        let mut check = Check::new();
        for cpl in [1, 2, 3] {
            let outcome = vm.take(Attempt::page(&leaf.clone().with(Field::Cpl, cpl)))?;
            let reply = outcome.reply();
            let fault = EventInjection::exception(EventInjection::GP_VECTOR, Some(0));
            let (injected, told) = Difference::Exception.choose(
                handler,
                (Some((EventInjection::GP_VECTOR, 0)), (0, 0)),
                (None, (1, fault.0)),
            );
            check
                .about(format!("CPL {cpl}"))
                .that("the guest goes on", outcome.went_on)
                .same("exception", outcome.exception, injected)
                .same("reply", (reply.info1, reply.info2), told);
        }
        for request in [leaf.clone(), leaf.clone().with(Field::Cpl, 0)] {
            let outcome = vm.take(Attempt::page(&request))?;
            check.about("CPL 0");
            right(&mut check, &outcome);
        }
        Ok(check.done())
    });
    report.test(
        &format!("{name}: by the MSR after a request with CPL 3"),
        || {
            let before = Request::new(ExitCode::INVD, 0, 0).with(Field::Cpl, 3);
            vm.take(Attempt::page(&before))?;
            let register = CpuidRegister::Ebx;
            let outcome = vm.take(Attempt::msr(
                MsrRequest::Cpuid { function, register }.encode().0,
            ))?;
            let mut check = Check::new();
            let injected = Some((EventInjection::GP_VECTOR, 0));
            let want = Difference::MsrCpuidCpl.choose(handler, injected, None);
            check.same("exception", outcome.exception, want);
            if handler == Handler::Rust {
                let value = device::cpuid(function, 1);
                let response = MsrResponse::Cpuid { value, register }.encode();
                check.same("response", outcome.msr, response.0);
            }
            Ok(check.done())
        },
    );
    report.test(&format!("{name}: switched off, any CPL will do"), || {
        let mut check = Check::new();
        check.that("it can be switched off", set(vm, 0)?);
        let outcome = vm.take(Attempt::page(&leaf.clone().with(Field::Cpl, 3)))?;
        right(&mut check, &outcome);
        Ok(check.done())
    });
}
