// SPDX-License-Identifier: GPL-2.0
//! MSR accesses and hypercalls that userspace serves or refuses.

use anyhow::Result;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::page::Field;
use ghcb_rs::ghcb_abi::reply::EventInjection;
use mailbox::{device, map};
use std::process::ExitCode as Status;
use vmm::exchange::catalog::{MTRR_BASE, NO_MSR};
use vmm::exchange::exit::Exit;
use vmm::exchange::request::Request;
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::exchange::userspace::{
    self, KVM_MSR_EXIT_REASON_FILTER, KVM_MSR_EXIT_REASON_UNKNOWN, MAP_GPA_RANGE,
};
use vmm::judge::check::Check;
use vmm::kernel::handler::Handler;
use vmm::report::ktap;

const VALUE: u64 = 0x1234_5678_9abc_def0;

fn main() -> Status {
    ktap::program(|report| {
        let handler = report.handler();
        let mut vm = StepVm::new()?;
        userspace::leave_msrs(vm.vm().fd(), MTRR_BASE as u32, 2)?;
        for (index, reason, name) in [
            (MTRR_BASE as u32, KVM_MSR_EXIT_REASON_FILTER, "filtered"),
            (MTRR_BASE as u32 + 1, KVM_MSR_EXIT_REASON_FILTER, "filtered"),
            (NO_MSR as u32, KVM_MSR_EXIT_REASON_UNKNOWN, "unknown"),
            (NO_MSR as u32 + 1, KVM_MSR_EXIT_REASON_UNKNOWN, "unknown"),
        ] {
            let end = if device::fails_msr(index) {
                "refused"
            } else {
                "served"
            };
            for data in [None, Some(VALUE)] {
                let access = if data.is_some() { "WRMSR" } else { "RDMSR" };
                report.test(
                    &format!("{access} {index:#x}, {name}: {end} by userspace"),
                    || {
                        let want = Exit::Msr {
                            index,
                            reason,
                            data,
                        };
                        access_msr(&mut vm, handler, &want)
                    },
                );
            }
        }
        report.test("an MSR that is not filtered: no exit", || {
            let request = read(MTRR_BASE as u32 + 2);
            let outcome = vm.take(Attempt::page(&request))?;
            let mut check = Check::new();
            check
                .quiet(&outcome)
                .answered(&request, &outcome, handler, 0);
            Ok(check.done())
        });
        let request = userspace::map_gpa_range(1);
        report.test("a hypercall that is not left to userspace: no exit", || {
            // -KVM_ENOSYS
            let answer = 1000u64.wrapping_neg();
            call(&mut vm, handler, &request, &[], answer)
        });
        userspace::leave_hypercalls(vm.vm().fd())?;
        for pages in [1, 2] {
            let answer = device::hypercall_value(pages);
            let name = format!("VMMCALL: userspace returns {:#x}", answer as i64);
            report.test(&name, || {
                let request = userspace::map_gpa_range(pages);
                let exit = Exit::Hypercall {
                    nr: MAP_GPA_RANGE,
                    args: [map::SCRATCH, pages, 0, 0, 0, 0],
                };
                call(&mut vm, handler, &request, &[exit], answer)
            });
        }
        Ok(())
    })
}

/// The hypercall that brings `exits`, and returns `answer`.
fn call(
    vm: &mut StepVm,
    handler: Handler,
    request: &Request,
    exits: &[Exit],
    answer: u64,
) -> Result<Vec<String>> {
    let outcome = vm.take(Attempt::page(request))?;
    let mut check = Check::new();
    check
        .same("exits", outcome.exits.as_slice(), exits)
        .same("RAX", outcome.reply().rax, answer)
        .answered(request, &outcome, handler, 0);
    Ok(check.done())
}

fn read(index: u32) -> Request {
    Request::new(ExitCode::MSR, 0, 0).with(Field::Rcx, index.into())
}

/// The access that brings the exit `want`.
fn access_msr(vm: &mut StepVm, handler: Handler, want: &Exit) -> Result<Vec<String>> {
    let Exit::Msr { index, data, .. } = want else {
        anyhow::bail!("not an exit for an MSR");
    };
    let request = match data {
        None => read(*index),
        Some(value) => Request::new(ExitCode::MSR, 1, 0)
            .with(Field::Rcx, (*index).into())
            .with(Field::Rax, value & 0xffff_ffff)
            .with(Field::Rdx, value >> 32),
    };
    let outcome = vm.take(Attempt::page(&request))?;
    let reply = outcome.reply();
    let mut check = Check::new();
    check.went_on(&outcome).same(
        "exits",
        outcome.exits.as_slice(),
        std::slice::from_ref(want),
    );
    if device::fails_msr(*index) {
        let fault = EventInjection::GP_WITHOUT_ERROR_CODE.0;
        let returned = request.code().returned(request.info1());
        check
            .same("SW_EXITINFO1", reply.info1, 1)
            .same("SW_EXITINFO2", reply.info2, fault)
            .contained(&outcome, handler, returned, false);
    } else {
        check.answered(&request, &outcome, handler, 0);
        if data.is_none() {
            let value = device::msr_value(*index);
            check
                .same("RAX", reply.rax, value & 0xffff_ffff)
                .same("RDX", reply.rdx, value >> 32);
        }
    }
    Ok(check.done())
}
