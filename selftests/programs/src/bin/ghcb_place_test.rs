// SPDX-License-Identifier: GPL-2.0
//! GHCBs in unusual places, VMGEXIT from ring 3, a nonsensical first VMGEXIT, and a page or vCPU that goes away.

use anyhow::Result;
use clap::Parser;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{IoInfo, IoSize};
use ghcb_rs::ghcb_abi::msr::MsrRequest;
use ghcb_rs::ghcb_abi::reply::ErrorReason;
use mailbox::{device, map, Role};
use std::process::ExitCode as Status;
use vmm::exchange::exit::Exit;
use vmm::exchange::page_image::{PageImage, PageInMemory};
use vmm::exchange::request::{PageFields, Request};
use vmm::exchange::steps::{Attempt, Outcome, StepVm};
use vmm::judge::check::Check;
use vmm::launch::vm::{Config, Vm};
use vmm::report::ktap::{self, Options, Report};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// VMs that are dropped in mid-exit
    #[arg(long, default_value_t = 40)]
    drops: usize,
}

fn main() -> Status {
    let arguments = Arguments::parse();
    ktap::run(&arguments.options, |report| {
        let mut vm = StepVm::new()?;
        places(report, &mut vm);
        ring3(report, &mut vm);
        first(report);
        gone(report);
        report.test("vCPUs freed in mid-exit", || dropped(arguments.drops));
        Ok(())
    })
}

fn idle() -> Request {
    Request::new(ExitCode::INVD, 0, 0)
}

/// The request at `gpa`, not at the attempt's own page.
fn at(vm: &mut StepVm, gpa: u64, image: &PageImage) -> Result<(Outcome, PageFields)> {
    PageInMemory::new(vm.vm().memory(), gpa).write(image);
    let outcome = vm.take(Attempt::msr(gpa))?;
    let reply = PageFields::of(&PageInMemory::new(vm.vm().memory(), gpa).copy());
    Ok((outcome, reply))
}

fn places(report: &mut Report, vm: &mut StepVm) {
    for (gpa, name) in [
        (map::GHCBS + 4096, "another vCPU's page"),
        (
            map::SHARED + map::SHARED_SIZE - 4096,
            "the last page of memory",
        ),
        (map::STEPS - 4096, "a page between others"),
    ] {
        report.test(&format!("GHCB: {name}: answered"), || {
            let (outcome, reply) = at(vm, gpa, &idle().image())?;
            let mut check = Check::new();
            check
                .quiet(&outcome)
                .same("reply", (reply.info1, reply.info2), (0, 0));
            Ok(check.done())
        });
    }
    report.test("GHCB: a private page: the guest goes on", || {
        // What the host sees there is the CPU's affair.
        let outcome = vm.take(Attempt::msr(map::PRIVATE_SPARE))?;
        let mut check = Check::new();
        check.that("the guest goes on", outcome.went_on);
        Ok(check.done())
    });
    report.test(
        "GHCB: memory that the VMM may only read: no answer, the guest goes on",
        || {
            let config = Config {
                extra: true,
                ..Config::default()
            };
            let mut vm = StepVm::with(config, &[])?;
            let image = idle().image();
            PageInMemory::new(vm.vm().memory(), map::EXTRA).write(&image);
            vm.vm().protect_extra()?;
            let outcome = vm.take(Attempt::msr(map::EXTRA))?;
            let mut check = Check::new();
            check.quiet(&outcome);
            let after = PageInMemory::new(vm.vm().memory(), map::EXTRA).copy();
            check.same("words that changed", image.differences(&after), Vec::new());
            Ok(check.done())
        },
    );
    report.test(
        "GHCB: the same page for two events of different kinds in turn",
        || {
            let mut check = Check::new();
            let gpa = map::page(7);
            for round in 0..20 {
                let (request, want) = if round % 2 == 0 {
                    (idle(), (0, 0))
                } else {
                    let reason = u64::from(ErrorReason::INVALID_EVENT.0);
                    (Request::new(ExitCode(0x403), 0, 0), (2, reason))
                };
                let (outcome, reply) = at(vm, gpa, &request.image())?;
                check.about(format!("round {round}")).quiet(&outcome).same(
                    "reply",
                    (reply.info1, reply.info2),
                    want,
                );
            }
            Ok(check.done())
        },
    );
}

/// A user-mode process of the guest can execute VMGEXIT, but not set the GHCB MSR.
fn ring3(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    report.test("ring 3: a stale GHCB: refused, the guest goes on", || {
        let gpa = StepVm::page_of(0);
        vm.take(Attempt::page(&idle()))?;
        // The reply's valid bits stand there, the exit code does not.
        let outcome = vm.take(Attempt::msr(gpa).keep_msr().in_ring3())?;
        let page = PageInMemory::new(vm.vm().memory(), gpa);
        let reply = PageFields::of(&page.copy());
        let mut check = Check::new();
        let reason = u64::from(ErrorReason::MISSING_INPUT.0);
        check
            .quiet(&outcome)
            .same("reply", (reply.info1, reply.info2), (2, reason));
        Ok(check.done())
    });
    for (msr, name) in [
        (0, "no GHCB"),
        (map::MMIO, "a GHCB without memory"),
        (1, "an old response in the MSR"),
    ] {
        report.test(&format!("ring 3: {name}: the guest goes on"), || {
            let outcome = vm.take(Attempt::msr(msr).in_ring3())?;
            let mut check = Check::new();
            check.quiet(&outcome).same("MSR", outcome.msr, msr);
            Ok(check.done())
        });
    }
    report.test(
        "ring 3: an answer to the kernel's own request stays one",
        || {
            let request = MsrRequest::HypervisorFeatures.encode().0;
            let outcome = vm.take(Attempt::msr(request).in_ring3())?;
            let again = vm.take(Attempt::msr(0).keep_msr().in_ring3())?;
            let mut check = Check::new();
            check
                .quiet(&outcome)
                .quiet(&again)
                .same("MSR", again.msr, outcome.msr);
            Ok(check.done())
        },
    );
    report.test("ring 3, then ring 0: a right request is answered", || {
        let request = idle();
        let outcome = vm.take(Attempt::page(&request))?;
        let mut check = Check::new();
        check.answered(&request, &outcome, handler, 0);
        Ok(check.done())
    });
}

/// The first VMGEXIT of a guest's life is nonsense: the guest goes on, and a right request is answered.
fn first(report: &mut Report) {
    let handler = report.handler();
    let mut nonsense = vec![
        (
            "a page of zeros".to_owned(),
            Attempt::image(PageImage([0; 512])),
        ),
        (
            "a page of ones".to_owned(),
            Attempt::image(PageImage([!0; 512])),
        ),
        (
            "an unknown exit code".to_owned(),
            Attempt::page(&Request::new(ExitCode(u64::MAX), u64::MAX, u64::MAX)),
        ),
    ];
    let mut value = 0x9e37_79b9_7f4a_7c15u64;
    let mut noise = [0; 512];
    for word in &mut noise {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
        *word = value;
    }
    nonsense.push((
        "a page of noise".to_owned(),
        Attempt::image(PageImage(noise)),
    ));
    for msr in [
        0,
        3,
        0xfff,
        0x1234_5678_9abc_def1,
        u64::MAX,
        map::MMIO,
        1 << 52,
    ] {
        nonsense.push((format!("the value {msr:#x} in the MSR"), Attempt::msr(msr)));
    }
    for (name, attempt) in nonsense {
        report.test(&format!("first VMGEXIT: {name}"), || {
            let mut vm = StepVm::new()?;
            let outcome = vm.take(attempt)?;
            let mut check = Check::new();
            check.quiet(&outcome);
            if outcome.pages.is_some() {
                check.same("action", outcome.reply().info1, 2);
            }
            let request = idle();
            let outcome = vm.take(Attempt::page(&request))?;
            check.answered(&request, &outcome, handler, 0);
            Ok(check.done())
        });
    }
}

/// The page's slot goes away while userspace handles an exit.
fn gone(report: &mut Report) {
    report.test(
        "the GHCB's slot is removed in mid-exit: the guest goes on",
        || {
            let config = Config {
                extra: true,
                ..Config::default()
            };
            let mut vm = StepVm::with(config, &[])?;
            let request = Request::new(
                ExitCode::IOIO,
                IoInfo::new(device::PORT, IoSize::Byte, true).0,
                0,
            );
            PageInMemory::new(vm.vm().memory(), map::EXTRA).write(&request.image());
            let mut check = Check::new();
            let (mut exits, mut removed) = (Vec::new(), Ok(()));
            let outcome = vm.take_with(Attempt::msr(map::EXTRA), |vm, exit| {
                exits.push(exit.clone());
                removed = vm.remove_extra();
            })?;
            removed?;
            let read = matches!(exits.as_slice(), [Exit::Io { out: false, .. }]);
            check
                .that("the exit is that of an IN", read)
                .that("the guest goes on", outcome.went_on);
            let outcome = vm.take(Attempt::msr(map::EXTRA))?;
            check.about("afterwards").quiet(&outcome);
            let outcome = vm.take(Attempt::page(&idle()))?;
            check.about("another page").quiet(&outcome);
            Ok(check.done())
        },
    );
}

/// Leave KVM_RUN in the middle of an exit, and free everything.
fn dropped(count: usize) -> Result<Vec<String>> {
    let mut check = Check::new();
    for round in 0..count {
        let mut vm = Vm::launch(Config::default(), &[Role::Instructions])?;
        let mut exits = Vec::new();
        // Each round ends at another of the guest's exits.
        for _ in 0..=round % 16 {
            exits.push(vm.vcpu(0).run());
        }
        let right = exits
            .iter()
            .all(|exit| matches!(exit, Exit::Io { .. } | Exit::Mmio { .. }));
        check.about(format!("round {round}"));
        check.that("the exits are those of I/O", right);
    }
    Ok(check.done())
}
