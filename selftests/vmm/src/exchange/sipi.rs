// SPDX-License-Identifier: GPL-2.0
//! A second vCPU that holds for SIPIs, which the first sends by its local APIC.

use crate::exchange::request::Request;
use crate::exchange::steps::{take_table, Attempt, StepVm};
use crate::judge::check::Check;
use crate::launch::crew::{wait_for, Hand};
use crate::launch::vm::{Config, Mail, Vcpu};
use anyhow::{bail, ensure, Result};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::page::SHARED_BUFFER_OFFSET;
use mailbox::{Mailbox, Role};
use std::mem::offset_of;
use std::thread;
use std::time::Duration;
use vm_memory::GuestMemoryMmap;

/// Registers of the local APIC.
const APIC_ICR_LOW: u64 = 0xfee0_0300;
const APIC_ICR_HIGH: u64 = 0xfee0_0310;
/// Commands of its interrupt command register.
pub const INIT: u32 = 0x4500;
/// The other one.
pub const SIPI: u32 = 0x4608;

/// Longest that a vCPU may take to do what it must.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long a vCPU that announced its hold may take to be in it.
pub const SETTLE: Duration = Duration::from_millis(30);

/// A VM with a vCPU that takes steps and one that holds.
pub fn machine() -> Result<StepVm> {
    let config = Config {
        irqchip: true,
        ..Config::default()
    };
    StepVm::with(config, &[Role::Hold])
}

/// The vCPU under test sends `command` to the other.
pub fn send(boss: &mut Vcpu, memory: &GuestMemoryMmap, command: u32) -> Result<()> {
    let write = |gpa, value: u32| {
        let request = Request::new(ExitCode::MMIO_WRITE, gpa, 4)
            .scratch_inside(SHARED_BUFFER_OFFSET)
            .buffer(&value.to_le_bytes());
        Attempt::page(&request)
    };
    let table = [write(APIC_ICR_HIGH, 1 << 24), write(APIC_ICR_LOW, command)];
    let (outcomes, dead) = take_table(boss, memory, &table)?;
    ensure!(dead.is_none(), "the sender died: {dead:?}");
    for outcome in outcomes {
        let reply = outcome.reply();
        ensure!(
            (reply.info1, reply.info2) == (0, 0) && outcome.exits.is_empty(),
            "the APIC did not take the command: {outcome:?}"
        );
    }
    Ok(())
}

/// INIT and SIPI, as an operating system sends them.
pub fn wake(boss: &mut Vcpu, memory: &GuestMemoryMmap) -> Result<()> {
    send(boss, memory, INIT)?;
    send(boss, memory, SIPI)
}

/// Run `test` with a second vCPU that was started and holds in `way`.
pub fn with_second(
    way: u64,
    test: impl FnOnce(&mut Vcpu, &Hand<'_>, &GuestMemoryMmap, &mut Check) -> Result<()>,
) -> Result<Vec<String>> {
    let mut vm = machine()?;
    let (vcpus, memory) = vm.vm().split();
    let [boss, other] = vcpus else {
        bail!("not two vCPUs");
    };
    let mail = Mail::new(memory, 1);
    mail.set(offset_of!(Mailbox, argument), way);
    let mut check = Check::new();
    thread::scope(|scope| {
        let hand = Hand::start(scope, other)?;
        let result = (|| -> Result<()> {
            check.same("progress before the first SIPI", progress(&mail), 0);
            wake(boss, memory)?;
            if wait_for(PATIENCE, || progress(&mail) > 0) {
                thread::sleep(SETTLE);
                test(boss, &hand, memory, &mut check)?;
            } else {
                check.wrong("the first SIPI does not start the vCPU".into());
            }
            Ok(())
        })();
        let exits = hand.stop();
        check.same("exits of the second vCPU", exits, Vec::new());
        result
    })?;
    Ok(check.done())
}

/// Times that it has looked how to hold.
pub fn progress(mail: &Mail<'_>) -> u64 {
    mail.get(offset_of!(Mailbox, progress))
}

/// Holds that ended by a SIPI, and otherwise.
pub fn told(mail: &Mail<'_>) -> (u64, u64) {
    (
        mail.get(offset_of!(Mailbox, sipis)),
        mail.get(offset_of!(Mailbox, spurious)),
    )
}
