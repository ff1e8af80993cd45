// SPDX-License-Identifier: GPL-2.0
//! AP reset hold with SIPIs, and NMIs with NMI complete.

use anyhow::{Context, Result};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use mailbox::{hold, Mailbox};
use std::mem::offset_of;
use std::process::ExitCode as Status;
use std::thread;
use vmm::exchange::request::Request;
use vmm::exchange::sipi::{machine, progress, told, wake, with_second, PATIENCE, SETTLE};
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::judge::check::Check;
use vmm::launch::crew::{wait_for, Hand};
use vmm::launch::vm::Mail;
use vmm::report::ktap::{self, Report};

const ROUNDS: u64 = 5;

fn main() -> Status {
    ktap::program(|report| {
        for (way, name) in [
            (hold::PAGE, "AP reset hold"),
            (hold::MSR, "AP reset hold by MSR"),
        ] {
            report.test(&format!("{name}: each SIPI ends it, and is told"), || {
                sipis(way)
            });
            report.test(&format!("{name}: a signal does not end it"), || signal(way));
            report.test(&format!("{name}: an NMI ends it, without SIPI"), || {
                interrupted(way)
            });
        }
        report.test(
            "a SIPI without a hold (CVE-2021-47008): the vCPU runs on",
            stray,
        );
        nmi(report);
        Ok(())
    })
}

fn sipis(way: u64) -> Result<Vec<String>> {
    with_second(way, |boss, _, memory, check| {
        let mail = Mail::new(memory, 1);
        for round in 1..=ROUNDS {
            check.same(
                "holds that ended before the SIPI",
                told(&mail),
                (round - 1, 0),
            );
            wake(boss, memory)?;
            wait_for(PATIENCE, || progress(&mail) > round);
            thread::sleep(SETTLE);
            check.same("holds ended by SIPI, otherwise", told(&mail), (round, 0));
        }
        Ok(())
    })
}

fn signal(way: u64) -> Result<Vec<String>> {
    with_second(way, |boss, hand, memory, check| {
        let mail = Mail::new(memory, 1);
        for _ in 0..ROUNDS {
            hand.kick();
            thread::sleep(SETTLE);
        }
        check.same("holds that ended by signals", told(&mail), (0, 0));
        wake(boss, memory)?;
        wait_for(PATIENCE, || told(&mail).0 > 0);
        check.same("holds ended by SIPI, otherwise", told(&mail), (1, 0));
        Ok(())
    })
}

fn interrupted(way: u64) -> Result<Vec<String>> {
    let mut vm = machine()?;
    let (vcpus, memory) = vm.vm().split();
    let [boss, other] = vcpus else {
        anyhow::bail!("not two vCPUs");
    };
    let mail = Mail::new(memory, 1);
    mail.set(offset_of!(Mailbox, argument), way);
    let mut check = Check::new();
    // The NMI is queued while the vCPU is out of KVM_RUN: one thread owns the descriptor at a time.
    thread::scope(|scope| {
        let hand = Hand::start(scope, &mut *other)?;
        let woken = wake(boss, memory);
        wait_for(PATIENCE, || progress(&mail) > 0);
        thread::sleep(SETTLE);
        hand.stop();
        woken
    })?;
    check.same("holds that ended", told(&mail), (0, 0));
    other.nmi()?;
    thread::scope(|scope| {
        let hand = Hand::start(scope, &mut *other)?;
        wait_for(PATIENCE, || told(&mail).1 > 0);
        thread::sleep(SETTLE);
        check.same("holds ended by SIPI, otherwise", told(&mail), (0, 1));
        let vector = mail.get(offset_of!(Mailbox, vector));
        check.same("vector of the interrupt", vector as u8, 2);
        hand.stop();
        anyhow::Ok(())
    })?;
    Ok(check.done())
}

fn stray() -> Result<Vec<String>> {
    with_second(hold::NONE, |boss, _, memory, check| {
        let mail = Mail::new(memory, 1);
        for _ in 0..ROUNDS {
            wake(boss, memory)?;
            let before = progress(&mail);
            let goes_on = wait_for(PATIENCE, || progress(&mail) > before + 100);
            check.that("the vCPU runs on", goes_on);
        }
        // It can still hold, and be woken.
        mail.set(offset_of!(Mailbox, argument), hold::PAGE);
        thread::sleep(SETTLE);
        wake(boss, memory)?;
        let woken = wait_for(PATIENCE, || told(&mail).0 > 0);
        check.that("a hold afterwards ends by SIPI", woken);
        Ok(())
    })
}

/// NMIs taken so far.
fn taken(vm: &mut StepVm) -> u64 {
    vm.vm().mail(0).get(offset_of!(Mailbox, exceptions))
}

fn nmi(report: &mut Report) {
    report.test(
        "NMI: none comes before NMI complete, one comes after",
        || {
            let mut vm = StepVm::new()?;
            let mut check = Check::new();
            let idle = Attempt::page(&Request::new(ExitCode::INVD, 0, 0));
            let complete = Attempt::page(&Request::new(ExitCode::NMI_COMPLETE, 0, 0));
            let step = |vm: &mut StepVm, attempt: &Attempt| -> Result<u64> {
                vm.take(attempt.clone()).context("a step")?;
                Ok(taken(vm))
            };
            vm.vm().vcpu(0).nmi()?;
            check.same("NMIs after the first", step(&mut vm, &idle)?, 1);
            vm.vm().vcpu(0).nmi()?;
            check.same("NMIs while one is in service", step(&mut vm, &idle)?, 1);
            step(&mut vm, &complete)?;
            check.same("NMIs after NMI complete", step(&mut vm, &idle)?, 2);
            step(&mut vm, &complete)?;
            check.same(
                "NMIs after the second NMI complete",
                step(&mut vm, &idle)?,
                2,
            );
            vm.vm().vcpu(0).nmi()?;
            check.same("NMIs after the third", step(&mut vm, &idle)?, 3);
            Ok(check.done())
        },
    );
}
