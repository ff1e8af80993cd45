// SPDX-License-Identifier: GPL-2.0
//! A guest that checks the answers itself: run it to its end, and read what it found.

use crate::exchange::exit::Exit;
use crate::exchange::steps::PATIENCE;
use crate::judge::check::Check;
use crate::launch::vm::{word, Config, Vm};
use crate::launch::watchdog::Watchdog;
use anyhow::Result;
use mailbox::{map, Check as Record, Mailbox, Role, NAME};
use std::mem::offset_of;

/// GHCB MSR value, without reason code, with which the guest terminates.
const TERMINATED: u64 = 0xe100;
/// Reason code for a good end.
const DONE: u64 = 0x42;

/// One check that the guest made.
pub struct GuestCheck {
    pub name: String,
    pub got: u64,
    pub want: u64,
    pub pass: bool,
}

/// What a guest did.
pub struct Run {
    /// Checks that it made.
    pub checks: Vec<GuestCheck>,
    /// Exits to userspace, the last one that of its end.
    pub exits: Vec<Exit>,
    /// #VC exceptions that it took.
    pub vc: u64,
}

/// Run the first vCPU of a guest with `role` until it terminates or can't go on.
pub fn run(role: Role, config: Config) -> Result<Run> {
    run_with(role, config, 0)
}

/// The same, with `argument` in the guest's mailbox.
pub fn run_with(role: Role, config: Config, argument: u64) -> Result<Run> {
    let mut vm = Vm::launch(config, &[role])?;
    vm.mail(0).set(offset_of!(Mailbox, argument), argument);
    to_end(&mut vm)
}

/// Run the first vCPU of `vm` until it terminates or can't go on.
pub fn to_end(vm: &mut Vm) -> Result<Run> {
    let watchdog = Watchdog::start(PATIENCE)?;
    let mut exits = Vec::new();
    loop {
        let exit = vm.vcpu(0).run();
        let over = watchdog.barked()
            || !matches!(
                exit,
                Exit::Io { .. } | Exit::Mmio { .. } | Exit::ApResetHold | Exit::Hypercall { .. }
            );
        exits.push(exit);
        if over {
            break;
        }
    }
    let mail = vm.mail(0);
    let count = mail
        .get(offset_of!(Mailbox, check_count))
        .min(map::CHECK_ROOM);
    Ok(Run {
        checks: (0..count).map(|index| record(vm, index)).collect(),
        exits,
        vc: mail.get(offset_of!(Mailbox, vc)),
    })
}

impl Run {
    /// Problems of the checks called `name`.
    pub fn problems(&self, name: &str) -> Vec<String> {
        let mut check = Check::new();
        for made in self.checks.iter().filter(|made| made.name == name) {
            if !made.pass {
                check.wrong(format!("got {:#x}, not {:#x}", made.got, made.want));
            }
        }
        check.done()
    }

    /// Names of the checks, each once, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for made in &self.checks {
            if !names.contains(&&*made.name) {
                names.push(&made.name);
            }
        }
        names
    }

    /// The guest must have come to its good end, which it asks for in the MSR protocol.
    pub fn ended_by_msr(&self) -> Vec<String> {
        let mut check = Check::new();
        let want = Exit::SystemEvent {
            type_: crate::exchange::exit::SYSTEM_EVENT_SEV_TERM,
            data: vec![TERMINATED | (DONE << 16)],
        };
        check.same("last exit", self.exits.last(), Some(&want));
        check.done()
    }
}

fn record(vm: &Vm, index: u64) -> GuestCheck {
    let base = map::CHECKS + index * size_of::<Record>() as u64;
    let field = |offset: usize| word(vm.memory(), base + offset as u64);
    let bytes: Vec<u8> = (0..NAME)
        .step_by(8)
        .flat_map(|at| field(offset_of!(Record, name) + at).to_le_bytes())
        .take_while(|byte| *byte != 0)
        .collect();
    GuestCheck {
        name: String::from_utf8_lossy(&bytes).into_owned(),
        got: field(offset_of!(Record, got)),
        want: field(offset_of!(Record, want)),
        pass: field(offset_of!(Record, pass)) != 0,
    }
}
