// SPDX-License-Identifier: GPL-2.0
//! The GHCB page: each event right, in each version and ring and at VMPL 1, and with each required field left out; each
//! exit code; each error.

use anyhow::Result;
use ghcb_rs::ghcb_abi::bitmap::ValidBitmap;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
use ghcb_rs::ghcb_abi::reply::{ErrorReason, EventInjection};
use std::process::ExitCode as Status;
use std::thread;
use std::time::Duration;
use vmm::exchange::catalog::{self, Right};
use vmm::exchange::exit::Exit;
use vmm::exchange::request::{Request, EXIT_FIELDS, POISON};
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::judge::check::Check;
use vmm::judge::difference::Difference;
use vmm::kernel::handler::Handler;
use vmm::kernel::host::KernelLog;
use vmm::launch::kind::Kind;
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Report};

fn main() -> Status {
    ktap::program(|report| {
        for config in Config::kinds() {
            let mut vm = StepVm::with(config, &[])?;
            let label = vm.vm().config().label();
            events(report, &mut vm, label);
        }
        if Kind::chosen() == Kind::SevSnp {
            let mut vm = StepVm::at_vmpl1()?;
            lesser(report, &mut vm);
            events(report, &mut vm, "VMPL 1");
        }
        let mut vm = StepVm::new()?;
        exit_codes(report, &mut vm);
        refusals(report, &mut vm);
        exceptions(report, &mut vm);
        sizes(report, &mut vm);
        flood(report, &mut vm);
        named(report, &mut vm);
        time_stamps(report, &mut vm);
        versions(report, &mut vm);
        last_words(report, &mut vm);
        Ok(())
    })
}

/// The vCPU cannot do what VMPL 0 alone may.
fn lesser(report: &mut Report, vm: &mut StepVm) {
    /// `FAIL_PERMISSION` of PVALIDATE, and the mark that it was this instruction.
    const REFUSED: u64 = (1 << 63) | 2;
    report.test("VMPL 1: PVALIDATE is refused", || {
        let mut check = Check::new();
        let result = vm.take(Attempt::make_vmsa(0, 0))?.infos.0;
        check.same("result", result, REFUSED);
        Ok(check.done())
    });
}

fn events(report: &mut Report, vm: &mut StepVm, label: &str) {
    for right in catalog::rights() {
        let name = format!("{label}: {}", right.name);
        done(report, vm, &name, &right, false);
        done(report, vm, &name, &right, true);
        incomplete(report, vm, &name, &right);
    }
}

/// The event as it should be.
fn done(report: &mut Report, vm: &mut StepVm, name: &str, right: &Right, ring3: bool) {
    let handler = report.handler();
    let ring = if ring3 { 3 } else { 0 };
    report.test(&format!("{name}: done, in ring {ring}"), || {
        let attempt = Attempt::page(&right.request);
        let attempt = if ring3 { attempt.in_ring3() } else { attempt };
        let outcome = vm.take(attempt)?;
        let mut check = Check::new();
        check.answered(&right.request, &outcome, handler, right.info2);
        check.same("exits", outcome.exits.clone(), right.exits.clone());
        let Some(pages) = &outcome.pages else {
            return Ok(vec!["no page".into()]);
        };
        for (field, value) in &right.registers {
            let got = pages.after.word(field.offset());
            check.same(&format!("{field:?}"), got, *value);
        }
        let length = right.buffer.len();
        let got = pages.after.bytes(SHARED_BUFFER_OFFSET, length);
        check.same("data", got, right.buffer.clone());
        if right.request.receives() {
            let beyond = pages.after.byte(SHARED_BUFFER_OFFSET + length);
            check.same("byte behind the data", beyond, POISON as u8);
        }
        Ok(check.done())
    });
}

/// The event without each of the fields that it needs.
fn incomplete(report: &mut Report, vm: &mut StepVm, name: &str, right: &Right) {
    let handler = report.handler();
    report.test(&format!("{name}: without each required field"), || {
        let mut check = Check::new();
        for field in required(&right.request).fields() {
            let attempt = Attempt::page(&right.request.clone().without(field));
            for attempt in [attempt.clone(), attempt.in_ring3()] {
                let outcome = vm.take(attempt)?;
                check.about(format!("without {field:?}"));
                check.refused(&outcome, handler, ErrorReason::MISSING_INPUT);
            }
        }
        Ok(check.done())
    });
}

/// Fields that the request can't do without.
fn required(request: &Request) -> ValidBitmap {
    let required = request.code().required(request.info1()).fields;
    let leaf = request.field(Field::Rax) == Some(ExitCode::CPUID_NEEDS_XCR0);
    if request.code() == ExitCode::CPUID && leaf {
        required.with(Field::Xcr0)
    } else {
        required
    }
}

/// Events that guests with SEV-SNP are answered: they have programs of their own.
const OF_SNP: [u64; 5] = [
    ExitCode::PAGE_STATE_CHANGE.0,
    ExitCode::GUEST_REQUEST.0,
    ExitCode::EXT_GUEST_REQUEST.0,
    ExitCode::AP_CREATION.0,
    ExitCode::APIC_ID_LIST.0,
];

fn exit_codes(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    let is_snp = Kind::chosen().is_snp();
    let known: Vec<u64> = catalog::rights()
        .iter()
        .map(|right| right.request.code().0)
        .chain([
            0x27,
            0x6e,
            0x6f,
            0x87,
            0x8000_fffd,
            0x8000_fffe,
            0x8000_ffff,
        ])
        .collect();
    let codes: Vec<u64> = (0..0x410)
        .chain([0x4000_0000, 0x7fff_ffff])
        .chain(0x8000_0000..0x8000_0030)
        .chain(0x8000_fff0..0x8001_0000)
        .chain([u64::from(u32::MAX), 0x1_0000_0072, 1 << 63, u64::MAX])
        .filter(|code| !(known.contains(code) || is_snp && OF_SNP.contains(code)))
        .collect();
    report.test("each other exit code: invalid event", || {
        let attempts: Vec<Attempt> = codes
            .iter()
            .map(|code| Attempt::page(&Request::new(ExitCode(*code), 0, 0)))
            .collect();
        let mut check = Check::new();
        let mut outcomes = Vec::new();
        for table in attempts.chunks(64) {
            outcomes.extend(vm.take_all(table)?);
        }
        check.same("number of answers", outcomes.len(), codes.len());
        for (code, outcome) in codes.iter().zip(&outcomes) {
            check.about(format!("exit code {code:#x}")).refused(
                outcome,
                handler,
                ErrorReason::INVALID_EVENT,
            );
        }
        Ok(check.done())
    });
}

fn refusals(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    let mut refused = |name: &str, request: Request, reason| {
        report.test(name, || {
            let outcome = vm.take(Attempt::page(&request))?;
            let mut check = Check::new();
            check.refused(&outcome, handler, reason);
            Ok(check.done())
        });
    };
    let nothing = Request::new(ExitCode::INVD, 0, 0);
    for usage in [1, 0x8000_0000, u32::MAX] {
        let name = format!("usage {usage:#x}: usage not valid");
        refused(
            &name,
            nothing.clone().usage(usage),
            ErrorReason::INVALID_USAGE,
        );
    }
    let none = EXIT_FIELDS
        .iter()
        .fold(nothing.clone(), |request, field| request.without(*field));
    refused(
        "an empty bitmap: missing input",
        none,
        ErrorReason::MISSING_INPUT,
    );
    for operation in [2, 1 << 32, u64::MAX] {
        refused(
            &format!("AP jump table: operation {operation:#x}: invalid input"),
            Request::new(ExitCode::AP_JUMP_TABLE, operation, 0),
            ErrorReason::INVALID_INPUT,
        );
    }
}

/// A guest that is refused over and over does not fill the kernel's log.
fn flood(report: &mut Report, vm: &mut StepVm) {
    const REQUESTS: usize = 1000;
    report.test("a thousand refused requests: few lines in the log", || {
        let mut log = KernelLog::open()?;
        let attempt = Attempt::page(&Request::new(ExitCode(0x403), 0, 0));
        let outcomes = vm.take_all(&vec![attempt; REQUESTS])?;
        let lines = log.lines()?.len();
        let mut check = Check::new();
        check
            .same("answers", outcomes.len(), REQUESTS)
            .that(&format!("{lines} lines are few"), lines < REQUESTS / 10);
        Ok(check.done())
    });
}

/// A message about a guest names it as KVM does: the VMM's process, and the vCPU.
fn named(report: &mut Report, vm: &mut StepVm) {
    /// Of seconds for which either handler may suppress messages, two intervals of its limit.
    const TRIES: usize = 12;
    report.test("a message about a guest names its VMM and its vCPU", || {
        let mut log = KernelLog::open()?;
        let attempt = Attempt::page(&Request::new(ExitCode(0x403), 0, 0));
        let mut said = Vec::new();
        for _ in 0..TRIES {
            vm.take(attempt.clone())?;
            said = log.lines()?;
            said.retain(|line| line.contains("vcpu"));
            if !said.is_empty() {
                break;
            }
            thread::sleep(Duration::from_secs(1));
        }
        let name = format!("kvm [{}]: vcpu0", std::process::id());
        let mut check = Check::new();
        check.that("a message", !said.is_empty());
        for line in said {
            check.that(&format!("{line:?} has {name:?}"), line.contains(&name));
        }
        Ok(check.done())
    });
}

/// What CPUID says of the extended state's size goes by the XCR0 of the request.
fn sizes(report: &mut Report, vm: &mut StepVm) {
    const FUNCTION: u32 = ExitCode::CPUID_NEEDS_XCR0 as u32;
    let name = "CPUID leaf 0xD: the size goes by XCR0";
    let leaf = vm
        .vm()
        .cpuid()
        .iter()
        .find(|leaf| (leaf.function, leaf.index) == (FUNCTION, 0));
    if leaf.is_none_or(|leaf| leaf.eax & 7 != 7) {
        report.skip(name, "the host has no AVX for guests");
        return;
    }
    report.test(name, || {
        let mut check = Check::new();
        for (xcr0, size) in [(1, 0x240), (7, 0x340), (3, 0x240)] {
            let request = Request::new(ExitCode::CPUID, 0, 0)
                .with(Field::Rax, FUNCTION.into())
                .with(Field::Rcx, 0)
                .with(Field::Xcr0, xcr0);
            let reply = vm.take(Attempt::page(&request))?.reply();
            check
                .about(format!("XCR0 {xcr0}"))
                .same("RBX", reply.rbx, size);
        }
        Ok(check.done())
    });
}

fn exceptions(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    for (info1, name) in [(0, "RDMSR"), (1, "WRMSR")] {
        report.test(
            &format!("{name} of no MSR: the guest shall raise #GP"),
            || {
                let request = Request::new(ExitCode::MSR, info1, 0)
                    .with(Field::Rcx, catalog::NO_MSR)
                    .with(Field::Rax, 0)
                    .with(Field::Rdx, 0);
                let outcome = vm.take(Attempt::page(&request))?;
                let mut check = Check::new();
                let want = EventInjection::GP_WITHOUT_ERROR_CODE.0;
                check
                    .quiet(&outcome)
                    .same("SW_EXITINFO1", outcome.reply().info1, 1)
                    .same("SW_EXITINFO2", outcome.reply().info2, want);
                Ok(check.done())
            },
        );
    }
    report.test("RDPMC without counters: #GP", || {
        let request = Request::new(ExitCode::RDPMC, 0, 0).with(Field::Rcx, 0x1234);
        let outcome = vm.take(Attempt::page(&request))?;
        let asked =
            (outcome.reply().info1 == 1).then(|| EventInjection(outcome.reply().info2).vector());
        let mut check = Check::new();
        let gp = EventInjection::GP_VECTOR;
        let (injected, told) =
            Difference::Exception.choose(handler, (Some((gp, 0)), None), (None, Some(gp)));
        check
            .that("the guest goes on", outcome.went_on)
            .same("exception injected", outcome.exception, injected)
            .same("exception to be raised", asked, told)
            .same("exits", outcome.exits, Vec::new());
        Ok(check.done())
    });
    report.test("DR7: what comes back", || {
        let read = Request::new(ExitCode::READ_DR7, 0, 0);
        let mut check = Check::new();
        // Breakpoints, and then none, as after a reset.
        for value in [0x455, 0x400] {
            let write = Request::new(ExitCode::WRITE_DR7, 0, 0).with(Field::Rax, value);
            vm.take(Attempt::page(&write))?;
            let outcome = vm.take(Attempt::page(&read))?;
            check.answered(&read, &outcome, handler, 0);
            let want = Difference::Dr7.choose(handler, 0, value);
            check.same("RAX", outcome.reply().rax, want);
        }
        Ok(check.done())
    });
}

fn time_stamps(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    let stamp = |vm: &mut StepVm, code| -> Result<_> {
        let request = Request::new(code, 0, 0);
        let outcome = vm.take(Attempt::page(&request))?;
        Ok((request, outcome))
    };
    for (code, name) in [(ExitCode::RDTSC, "RDTSC"), (ExitCode::RDTSCP, "RDTSCP")] {
        report.test(&format!("{name}: answered"), || {
            let (request, first) = stamp(vm, code)?;
            let mut check = Check::new();
            match (handler, code) {
                (Handler::C, ExitCode::RDTSC) => {
                    let error = Exit::InternalError { suberror: 4 };
                    check.same("exits", first.exits.clone(), vec![error]);
                    check.that("the vCPU can run again", first.went_on);
                }
                (Handler::C, _) => {
                    let undefined = Some((EventInjection::UD_VECTOR, 0));
                    check.same("exception", first.exception, undefined);
                }
                (Handler::Rust, _) => {
                    let (_, second) = stamp(vm, code)?;
                    for outcome in [&first, &second] {
                        check.answered(&request, outcome, handler, 0);
                        check.same("exits", outcome.exits.clone(), Vec::new());
                        check.same("upper half of RAX", outcome.reply().rax >> 32, 0);
                        check.same("upper half of RDX", outcome.reply().rdx >> 32, 0);
                    }
                    let [a, b] = [&first, &second]
                        .map(|outcome| (outcome.reply().rdx << 32) | outcome.reply().rax);
                    check.that("time passes", a < b);
                    // Halves in the wrong places make it race.
                    check.that("not much of it", b.wrapping_sub(a) < 1 << 40);
                }
            }
            Ok(check.done())
        });
    }
}

/// The page's protocol version says how the guest wrote it; an unknown one changes nothing.
fn versions(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    report.test(
        "protocol version 0 to 3 and 0xffff in the page: answered",
        || {
            let mut check = Check::new();
            for version in [0, 1, 2, 3, 0xffff] {
                let request = Request::new(ExitCode::INVD, 0, 0).version(version);
                let outcome = vm.take(Attempt::page(&request))?;
                check.about(format!("version {version}"));
                check.answered(&request, &outcome, handler, 0);
            }
            Ok(check.done())
        },
    );
    report.test(
        "the bitmap may mark itself and fields that no event needs",
        || {
            let request = [
                Field::ValidBitmapLow,
                Field::ValidBitmapHigh,
                Field::Rbp,
                Field::R15,
            ]
            .iter()
            .fold(Request::new(ExitCode::INVD, 0, 0), |request, field| {
                request.with(*field, POISON)
            });
            let outcome = vm.take(Attempt::page(&request))?;
            let mut check = Check::new();
            check.answered(&request, &outcome, handler, 0);
            Ok(check.done())
        },
    );
}

/// Events that concern the whole guest.
fn last_words(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    report.test_of(
        Kind::SevEs,
        "hypervisor features: none that need SNP, except from C",
        || {
            let request = Request::new(ExitCode::HV_FEATURES, 0, 0);
            let outcome = vm.take(Attempt::page(&request))?;
            let mut check = Check::new();
            let want = Difference::SnpFeatures.choose(handler, 3, 0);
            check.answered(&request, &outcome, handler, want);
            Ok(check.done())
        },
    );
    report.test(
        "unsupported event: KVM_RUN tells it, and the vCPU can run again",
        || {
            let request = Request::new(ExitCode::UNSUPPORTED_EVENT, 0x1234, 0);
            let outcome = vm.take(Attempt::page(&request))?;
            let mut check = Check::new();
            check
                .same("exits", outcome.exits.clone(), vec![Exit::Errno(22)])
                .that("the guest goes on", outcome.went_on);
            Ok(check.done())
        },
    );
    report.test(
        "terminate: userspace learns it, whatever the reason",
        || {
            let mut check = Check::new();
            for reason in [0, 0x42e, u64::MAX] {
                let request = Request::new(ExitCode::TERMINATE, reason, reason);
                let outcome = vm.take(Attempt::page(&request))?;
                check
                    .about(format!("reason {reason:#x}"))
                    .terminates(&outcome, StepVm::page_of(0));
            }
            Ok(check.done())
        },
    );
}
