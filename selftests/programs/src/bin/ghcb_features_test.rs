// SPDX-License-Identifier: GPL-2.0
//! What SEV-SNP guests are told of: features, the list of APIC IDs, and the events that KVM does not have.

use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::features::Features;
use ghcb_rs::ghcb_abi::msr::{MsrRequest, MsrResponse};
use ghcb_rs::ghcb_abi::page::Field;
use ghcb_rs::ghcb_abi::reply::ErrorReason;
use mailbox::{map, Role};
use std::process::ExitCode as Status;
use vmm::exchange::request::{Request, POISON};
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::judge::check::Check;
use vmm::judge::difference::Difference;
use vmm::kernel::handler::Handler;
use vmm::launch::vm::{set_word, word, Config};
use vmm::report::ktap::{self, Report};

fn main() -> Status {
    ktap::snp_program(|report| {
        // Two vCPUs, for the list.
        let mut vm = StepVm::with(Config::default(), &[Role::Hold])?;
        apic_ids(report, &mut vm);
        features(report, &mut vm);
        others(report, &mut vm);
        Ok(())
    })
}

fn apic_ids(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    let request = |pages, gpa| Request::new(ExitCode::APIC_ID_LIST, gpa, 0).with(Field::Rax, pages);
    if handler == Handler::C {
        report.test("APIC-ID list: C does not have it (apic-id-list)", || {
            let outcome = vm.take(Attempt::page(&request(1, map::SCRATCH)))?;
            let mut check = Check::new();
            check.refused(&outcome, handler, ErrorReason::INVALID_EVENT);
            Ok(check.done())
        });
        return;
    }
    report.test(
        "APIC-ID list: its size: one page, nothing is written",
        || {
            let mut check = Check::new();
            set_word(vm.vm().memory(), map::SCRATCH, POISON);
            // The address does not matter.
            for gpa in [map::SCRATCH, map::SCRATCH + 8, map::MMIO, 0, !0] {
                let request = request(0, gpa);
                let outcome = vm.take(Attempt::page(&request))?;
                check.about(format!("{gpa:#x}")).quiet(&outcome);
                check.answered(&request, &outcome, handler, 0);
                check.same("RAX", outcome.reply().rax, 1);
            }
            check.same("the page", word(vm.vm().memory(), map::SCRATCH), POISON);
            Ok(check.done())
        },
    );
    report.test("APIC-ID list: a count, and the number of each vCPU", || {
        let mut check = Check::new();
        set_word(vm.vm().memory(), map::SCRATCH + 8, POISON);
        let request = request(1, map::SCRATCH);
        let outcome = vm.take(Attempt::page(&request))?;
        check.quiet(&outcome).same("RAX", outcome.reply().rax, 1);
        check.answered(&request, &outcome, handler, 0);
        let memory = vm.vm().memory();
        // Two vCPUs: 0 and 1.
        check.same("count and first ID", word(memory, map::SCRATCH), 2);
        let second = word(memory, map::SCRATCH + 8);
        check.same(
            "second ID, and what is behind it",
            second,
            POISON & !0xffff_ffff | 1,
        );
        Ok(check.done())
    });
    report.test(
        "APIC-ID list: no page, or none that can be reached: refused",
        || {
            let mut check = Check::new();
            for gpa in [map::SCRATCH + 8, !0, map::MMIO, map::NOWHERE] {
                let outcome = vm.take(Attempt::page(&request(1, gpa)))?;
                check.about(format!("{gpa:#x}"));
                check.refused(&outcome, handler, ErrorReason::INVALID_INPUT);
            }
            let request = request(1, map::SCRATCH).without(Field::Rax);
            let outcome = vm.take(Attempt::page(&request))?;
            check
                .about("no RAX")
                .refused(&outcome, handler, ErrorReason::MISSING_INPUT);
            Ok(check.done())
        },
    );
}

fn features(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    report.test(
        "features: SNP, AP creation, and what else is answered (snp-features)",
        || {
            let c = Features::SNP.union(Features::SNP_AP_CREATION);
            let rust = c.union(Features::APIC_ID_LIST);
            let want = Difference::SnpGuestFeatures.choose(handler, c, rust);
            let mut check = Check::new();
            let request = Request::new(ExitCode::HV_FEATURES, 0, 0);
            let outcome = vm.take(Attempt::page(&request))?;
            check
                .quiet(&outcome)
                .answered(&request, &outcome, handler, want.0);
            let outcome = vm.take(Attempt::msr(MsrRequest::HypervisorFeatures.encode().0))?;
            let response = MsrResponse::HypervisorFeatures(want).encode();
            check.quiet(&outcome).same("MSR", outcome.msr, response.0);
            Ok(check.done())
        },
    );
}

/// Events of SEV-SNP that KVM does not have.
fn others(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    for (code, name) in [
        (ExitCode::HV_DOORBELL, "#HV doorbell page"),
        (ExitCode::HV_IPI, "#HV IPI"),
        (ExitCode::HV_TIMER, "#HV timer"),
        (ExitCode::RUN_VMPL, "run VMPL"),
        (ExitCode::SECURE_AVIC, "Secure AVIC"),
        (ExitCode::TIO_GUEST_REQUEST, "TIO guest request"),
        (ExitCode::TIO_OPERATION, "TIO operation"),
    ] {
        report.test(&format!("{name}: error 6"), || {
            let mut check = Check::new();
            for info in [0, 1, 2, 3, u64::MAX] {
                let bare = Request::new(code, info, map::SCRATCH);
                let whole = bare
                    .clone()
                    .with(Field::Rax, 0)
                    .with(Field::Rbx, map::SCRATCH);
                for attempt in [
                    Attempt::page(&bare),
                    Attempt::page(&whole),
                    Attempt::page(&whole).in_ring3(),
                ] {
                    let outcome = vm.take(attempt)?;
                    check.about(format!("info {info:#x}"));
                    check.refused(&outcome, handler, ErrorReason::INVALID_EVENT);
                }
            }
            Ok(check.done())
        });
    }
}
