// SPDX-License-Identifier: GPL-2.0
//! Guest requests of SEV-SNP guests, plain and extended, with and without certificates from userspace.
//!
//! No message here is one that the firmware takes: a whole guest gets its report in the demo.

use anyhow::Result;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::guest_request::{GuestRequestStatus, MessageType, VmmError};
use ghcb_rs::ghcb_abi::page::Field;
use ghcb_rs::ghcb_abi::reply::ErrorReason;
use mailbox::map;
use std::process::ExitCode as Status;
use vmm::exchange::exit::Exit;
use vmm::exchange::guest_request::{extended, prepare, DATA, MESSAGE, RESPONSE};
use vmm::exchange::page_image::PageInMemory;
use vmm::exchange::request::{Request, POISON};
use vmm::exchange::steps::{Attempt, Outcome, StepVm};
use vmm::judge::check::Check;
use vmm::judge::difference::Difference;
use vmm::kernel::handler::Handler;
use vmm::launch::vm::{word, Config};
use vmm::report::ktap::{self, Report};

/// Size of the entry that ends a table of certificates.
const END_OF_TABLE: u64 = 24;

const KINDS: [(ExitCode, &str); 2] = [
    (ExitCode::GUEST_REQUEST, "guest request"),
    (ExitCode::EXT_GUEST_REQUEST, "extended guest request"),
];

fn main() -> Status {
    ktap::snp_program(|report| {
        let mut vm = StepVm::new()?;
        for (code, name) in KINDS {
            addresses(report, &mut vm, code, name);
            messages(report, &mut vm, code, name);
        }
        empty_table(report, &mut vm);
        let config = Config {
            certificates: true,
            ..Config::default()
        };
        let mut vm = StepVm::with(config, &[])?;
        certificates(report, &mut vm);
        no_answer(report, &mut vm);
        Ok(())
    })
}

/// The firmware was asked, did not like it, and its answer came back.
fn firmware_refused(check: &mut Check, handler: Handler, request: &Request, outcome: &Outcome) {
    let reply = outcome.reply();
    let status = GuestRequestStatus::from_info2(reply.info2);
    check.answered(request, outcome, handler, reply.info2);
    check
        .same("error of the hypervisor", status.vmm, VmmError::NONE)
        .that("the firmware has an error", status.firmware != 0);
}

/// KVM_RUN fails with `errno` in C, and the guest is not told; Rust tells it.
fn out_of_reach(check: &mut Check, handler: Handler, outcome: &Outcome) {
    match handler {
        // Difference request-out-of-reach.
        Handler::C => {
            let want = vec![Exit::Errno(libc::EIO)];
            check.same("exits", outcome.exits.clone(), want);
        }
        Handler::Rust => check.refused(outcome, handler, ErrorReason::INVALID_INPUT),
    }
}

fn addresses(report: &mut Report, vm: &mut StepVm, code: ExitCode, name: &str) {
    let handler = report.handler();
    report.test(
        &format!("{name}: pages unaligned or the same: error 5"),
        || {
            let mut check = Check::new();
            prepare(vm.vm().memory(), MessageType(0))?;
            for (request, response) in [
                (MESSAGE + 1, RESPONSE),
                (MESSAGE, RESPONSE + 8),
                (MESSAGE + 0x800, RESPONSE + 0x800),
                (MESSAGE, MESSAGE),
                (map::NOWHERE, map::NOWHERE),
                (!0, RESPONSE),
            ] {
                let attempt = Attempt::page(&Request::new(code, request, response));
                for attempt in [attempt.clone(), attempt.in_ring3()] {
                    let outcome = vm.take(attempt)?;
                    check.about(format!("{request:#x} {response:#x}"));
                    check.refused(&outcome, handler, ErrorReason::INVALID_INPUT);
                }
            }
            Ok(check.done())
        },
    );
    report.test(
        &format!("{name}: pages that cannot be reached (request-out-of-reach)"),
        || {
            let mut check = Check::new();
            prepare(vm.vm().memory(), MessageType(0))?;
            for (request, response) in [
                (map::MMIO, RESPONSE),
                (map::NOWHERE, RESPONSE),
                (MESSAGE, map::MMIO),
                (!0xfff, RESPONSE),
            ] {
                let outcome = vm.take(Attempt::page(&Request::new(code, request, response)))?;
                check.about(format!("{request:#x} {response:#x}"));
                out_of_reach(&mut check, handler, &outcome);
            }
            Ok(check.done())
        },
    );
}

fn messages(report: &mut Report, vm: &mut StepVm, code: ExitCode, name: &str) {
    let handler = report.handler();
    report.test(
        &format!("{name}: a malformed message: the firmware's error is told"),
        || {
            let mut check = Check::new();
            let request = Request::new(code, MESSAGE, RESPONSE);
            for kind in [0, 1, 3, 6, 0xff].map(MessageType) {
                prepare(vm.vm().memory(), kind)?;
                let outcome = vm.take(Attempt::page(&request))?;
                check.about(format!("{kind:?}")).quiet(&outcome);
                firmware_refused(&mut check, handler, &request, &outcome);
                let memory = vm.vm().memory();
                let answer = PageInMemory::new(memory, RESPONSE).copy();
                let stale = answer.0.iter().filter(|word| **word == POISON).count();
                check.same("words without a response", stale, 0);
                check.same("behind the response", word(memory, DATA), POISON);
            }
            Ok(check.done())
        },
    );
}

/// Userspace has no certificates: the table is empty.
fn empty_table(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    let ended = |vm: &mut StepVm| {
        let memory = vm.vm().memory();
        let zeros = (0..END_OF_TABLE)
            .step_by(8)
            .all(|at| word(memory, DATA + at) == 0);
        (zeros, word(memory, DATA + END_OF_TABLE) == POISON)
    };
    report.test(
        "certificates: none: an empty table, if there is room",
        || {
            let mut check = Check::new();
            for pages in [1, 4, u64::MAX, 0] {
                prepare(vm.vm().memory(), MessageType::REPORT_REQUEST)?;
                let request = extended(DATA, pages);
                let outcome = vm.take(Attempt::page(&request))?;
                check.about(format!("{pages} pages")).quiet(&outcome);
                firmware_refused(&mut check, handler, &request, &outcome);
                check.same("table", ended(vm), (pages != 0, true));
            }
            Ok(check.done())
        },
    );
    report.test(
        "certificates: no place, or an unaligned one: error 5",
        || {
            let mut check = Check::new();
            prepare(vm.vm().memory(), MessageType::REPORT_REQUEST)?;
            for request in [
                extended(DATA, 1).without(Field::Rax),
                extended(DATA, 1).without(Field::Rbx),
                extended(DATA + 8, 1),
                extended(DATA + 8, 0),
            ] {
                let outcome = vm.take(Attempt::page(&request))?;
                check.refused(&outcome, handler, ErrorReason::INVALID_INPUT);
                check.same("table", ended(vm), (false, true));
            }
            Ok(check.done())
        },
    );
    report.test(
        "certificates: a place that cannot be reached (request-out-of-reach)",
        || {
            let mut check = Check::new();
            prepare(vm.vm().memory(), MessageType::REPORT_REQUEST)?;
            let outcome = vm.take(Attempt::page(&extended(map::MMIO, 1)))?;
            out_of_reach(&mut check, handler, &outcome);
            Ok(check.done())
        },
    );
    report.test(
        "certificates: only a request for a report takes them",
        || {
            let mut check = Check::new();
            prepare(vm.vm().memory(), MessageType(3))?;
            let request = extended(DATA + 8, 1);
            let outcome = vm.take(Attempt::page(&request))?;
            check.quiet(&outcome);
            firmware_refused(&mut check, handler, &request, &outcome);
            check.same("table", ended(vm), (false, true));
            Ok(check.done())
        },
    );
}

/// Take `request`, whose exit for certificates is answered so.
fn ask(vm: &mut StepVm, request: &Request, answer: u64, pages: u64) -> Result<Outcome> {
    prepare(vm.vm().memory(), MessageType::REPORT_REQUEST)?;
    vm.take_with(Attempt::page(request), |vm, exit| {
        if matches!(exit, Exit::Certificates { .. }) {
            vm.vcpu(0).answer_certificates(answer, pages);
        }
    })
}

/// Userspace provides certificates.
fn certificates(report: &mut Report, vm: &mut StepVm) {
    const NO_ANSWER: u64 = 99;
    let handler = report.handler();
    let request = extended(DATA, 2);
    let asked = Exit::Certificates {
        gpa: DATA,
        pages: 2,
    };
    report.test("certificates: there: then the firmware is asked", || {
        let mut check = Check::new();
        let outcome = ask(vm, &request, 0, 2)?;
        check.same("exits", outcome.exits.clone(), vec![asked.clone()]);
        firmware_refused(&mut check, handler, &request, &outcome);
        Ok(check.done())
    });
    for (answer, error, name) in [
        (libc::ENOSPC, VmmError::INVALID_LENGTH, "too little room"),
        (libc::EAGAIN, VmmError::BUSY, "busy"),
        (libc::EIO, VmmError::GENERIC, "failed"),
    ] {
        report.test(
            &format!("certificates: {name}: told, the firmware is not asked"),
            || {
                let mut check = Check::new();
                let outcome = ask(vm, &request, answer as u64, 5)?;
                check.same("exits", outcome.exits.clone(), vec![asked.clone()]);
                let status = GuestRequestStatus {
                    vmm: error,
                    firmware: 0,
                };
                check.answered(&request, &outcome, handler, status.to_info2());
                if answer == libc::ENOSPC {
                    check.same("RBX", outcome.reply().rbx, 5);
                }
                check.same("response", word(vm.vm().memory(), RESPONSE), POISON);
                Ok(check.done())
            },
        );
    }
    report.test("certificates: no answer: EINVAL, the guest goes on", || {
        let mut check = Check::new();
        let outcome = ask(vm, &request, NO_ANSWER, 0)?;
        let exits = vec![asked.clone(), Exit::Errno(libc::EINVAL)];
        check.same("exits", outcome.exits.clone(), exits);
        let want = Difference::CertificatesUnanswered.choose(
            handler,
            0,
            GuestRequestStatus::FAILED.to_info2(),
        );
        check.answered(&request, &outcome, handler, want);
        Ok(check.done())
    });
    report.test(
        "certificates: a request for something else asks nobody",
        || {
            let mut check = Check::new();
            prepare(vm.vm().memory(), MessageType(3))?;
            let outcome = vm.take(Attempt::page(&request))?;
            check.quiet(&outcome);
            firmware_refused(&mut check, handler, &request, &outcome);
            Ok(check.done())
        },
    );
    report.test("certificates: asked for in ring 3, too", || {
        let mut check = Check::new();
        prepare(vm.vm().memory(), MessageType::REPORT_REQUEST)?;
        let outcome = vm.take(Attempt::page(&request).in_ring3())?;
        check.same("exits", outcome.exits.clone(), vec![asked.clone()]);
        firmware_refused(&mut check, handler, &request, &outcome);
        Ok(check.done())
    });
}

/// The VMM has closed the device: the fault is the host's, and KVM_RUN says so.
fn no_answer(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    report.test(
        "the firmware cannot be asked: EBADF, the guest goes on",
        || {
            let mut check = Check::new();
            prepare(vm.vm().memory(), MessageType(0))?;
            vm.vm().close_firmware();
            let request = Request::new(ExitCode::GUEST_REQUEST, MESSAGE, RESPONSE);
            let outcome = vm.take(Attempt::page(&request))?;
            check.same(
                "exits",
                outcome.exits.clone(),
                vec![Exit::Errno(libc::EBADF)],
            );
            let busy = GuestRequestStatus {
                vmm: VmmError::BUSY,
                firmware: 0,
            };
            let want = Difference::RequestNoAnswer.choose(handler, 0, busy.to_info2());
            check.answered(&request, &outcome, handler, want);
            Ok(check.done())
        },
    );
}
