// SPDX-License-Identifier: GPL-2.0
//! Registration of GHCBs by SEV-SNP guests, and the GHCB in a page that is private.

use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::msr::{MsrInfo, MsrRequest, MsrResponse, GFN_NONE};
use ghcb_rs::ghcb_abi::page::Field;
use ghcb_rs::ghcb_abi::reply::ErrorReason;
use mailbox::{device, map, Role, PAGE};
use std::process::ExitCode as Status;
use vmm::exchange::page_image::PageInMemory;
use vmm::exchange::page_list::asked;
use vmm::exchange::request::{PageFields, Request};
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::judge::check::Check;
use vmm::judge::in_guest;
use vmm::launch::vm::{word, Config, Vm};
use vmm::report::ktap::{self, Report};

fn main() -> Status {
    ktap::snp_program(|report| {
        let mut vm = StepVm::new()?;
        by_msr(report, &mut vm);
        by_page(report, &mut vm);
        in_guest(report);
        Ok(())
    })
}

fn register(gfn: u64) -> u64 {
    MsrRequest::RegisterGpa { gfn }.encode().0
}

fn idle() -> Request {
    Request::new(ExitCode::INVD, 0, 0)
}

fn by_msr(report: &mut Report, vm: &mut StepVm) {
    report.test("preferred GHCB: none", || {
        let mut check = Check::new();
        for rest in [0, 1 << 12, !0xfff] {
            let value = u64::from(MsrInfo::PREFERRED_GPA_REQUEST.0) | rest;
            let outcome = vm.take(Attempt::msr(value))?;
            let want = MsrResponse::PreferredGpa { gfn: GFN_NONE }.encode();
            check.about(format!("{value:#x}")).quiet(&outcome);
            check.same("MSR", outcome.msr, want.0);
        }
        Ok(check.done())
    });
    report.test("register: any frame is taken, in ring 0 and 3", || {
        let mut check = Check::new();
        let gpas = [0, map::GHCBS, map::PRIVATE_SPARE, map::MMIO, map::NOWHERE];
        let frames = gpas.map(|gpa| gpa / PAGE);
        for gfn in frames.into_iter().chain([GFN_NONE]) {
            let attempt = Attempt::msr(register(gfn));
            for attempt in [attempt.clone(), attempt.in_ring3()] {
                let outcome = vm.take(attempt)?;
                let want = MsrResponse::RegisterGpa { gfn }.encode();
                check.about(format!("frame {gfn:#x}")).quiet(&outcome);
                check.same("MSR", outcome.msr, want.0);
            }
        }
        Ok(check.done())
    });
}

fn by_page(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    let mut refused = |name: &str, elsewhere: u64, request: &Request| {
        report.test(&format!("not registered: {name}: error 1"), || {
            let mut check = Check::new();
            vm.take(Attempt::msr(register(elsewhere / PAGE)))?;
            let attempt = Attempt::page(request).unregistered();
            for attempt in [attempt.clone(), attempt.in_ring3()] {
                let outcome = vm.take(attempt)?;
                check.refused(&outcome, handler, ErrorReason::NOT_REGISTERED);
            }
            // The answer to the same page once it is.
            vm.take(Attempt::msr(register(StepVm::page_of(0) / PAGE)))?;
            let outcome = vm.take(Attempt::page(&idle()).unregistered())?;
            check
                .about("registered")
                .answered(&idle(), &outcome, handler, 0);
            Ok(check.done())
        });
    };
    refused("a right request, another page is", map::GHCBS, &idle());
    refused("a right request, no page is", !0, &idle());
    let next = StepVm::page_of(1);
    refused("a right request, the next page is", next, &idle());
    // First of all checks.
    refused("a usage that is none", next, &idle().usage(1));
    let unknown = Request::new(ExitCode(0x403), 0, 0);
    refused("an exit code that is none", next, &unknown);
    let missing = idle().without(Field::SwExitCode);
    refused("fields that are missing", next, &missing);
    let list = Request::new(ExitCode::PAGE_STATE_CHANGE, 0, 0);
    refused("an event of SEV-SNP", next, &list);
}

/// What stands in the page that userspace has at the address of a private one.
fn asks_for_cpuid() -> Request {
    Request::new(ExitCode::CPUID, 0, 0)
        .with(Field::Rax, device::CPUID_OWN.into())
        .with(Field::Rcx, 0)
}

/// A guest that converts pages and uses them.
fn in_guest(report: &mut Report) {
    report.test(
        "pages: the guest uses what it has made private and shared",
        || {
            let mut vm = Vm::launch(Config::default(), &[Role::Pages])?;
            vm.serve_page_states()?;
            let alias = PageInMemory::new(vm.memory(), map::PRIVATE_SPARE);
            alias.write(&asks_for_cpuid().image());
            let run = in_guest::to_end(&mut vm)?;
            let mut check = Check::new();
            for name in run.names() {
                for problem in run.problems(name) {
                    check.about(name).wrong(problem);
                }
            }
            for problem in run.ended_by_msr() {
                check.about("end").wrong(problem);
            }
            let ranges: Vec<_> = run
                .exits
                .iter()
                .filter_map(asked)
                .map(|(_, pages, _)| pages)
                .collect();
            check.about("").same(
                "pages that userspace changed",
                ranges,
                vec![1, 1, 16, 16, 253, 253],
            );
            // The guest saw none of it: the shared page behind the private one has the reply.
            let reply = PageFields::of(&PageInMemory::new(vm.memory(), map::PRIVATE_SPARE).copy());
            check.same(
                "reply in the page of userspace",
                (reply.info1, reply.info2),
                (0, 0),
            );
            let want = u64::from(device::cpuid(device::CPUID_OWN, 1));
            check.same("RBX of the reply", reply.rbx, want);
            let first = word(vm.memory(), map::CONVERTED);
            check.that(
                "userspace saw what was shared alone",
                first == 0x5a5a_0000_5a5a_0000,
            );
            Ok(check.done())
        },
    );
}
