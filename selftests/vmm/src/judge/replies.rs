// SPDX-License-Identifier: GPL-2.0
//! A guest that raises requests without pause and judges each reply, while the VMM replaces its page.

use crate::exchange::exit::Exit;
use crate::exchange::steps::is_doorbell;
use crate::launch::crew::{pin, wait_for};
use crate::launch::vm::{word, Config, Mail, Vm};
use crate::launch::watchdog::Watchdog;
use anyhow::{ensure, Result};
use kvm_ioctls::VmFd;
use mailbox::{map, Check, Mailbox, Role};
use std::mem::offset_of;
use std::thread;
use std::time::Duration;
use vm_memory::GuestMemoryMmap;

/// Longest that one run may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest that the guest may take for a few rounds.
const ROUNDS: Duration = Duration::from_secs(10);
/// A pause in front of a guest that cannot be entered, because its memory is not there.
const PAUSE: Duration = Duration::from_micros(200);

/// A VM whose only vCPU judges replies.
pub struct Machine {
    vm: Vm,
}

/// The guest, while it runs.
pub struct Guest<'a> {
    memory: &'a GuestMemoryMmap,
    vm: &'a VmFd,
}

/// What the guest counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Right replies.
    pub right: u64,
    /// Requests whose page was replaced while they were handled.
    pub lost: u64,
    /// Requests without a reply.
    pub unanswered: u64,
}

impl Machine {
    /// Launch it; it waits for memory at [`map::MOVING`].
    pub fn new() -> Result<Self> {
        let config = Config {
            irqchip: true,
            ..Config::default()
        };
        let mut vm = Vm::launch(config, &[Role::Replies])?;
        let exit = vm.vcpu(0).run();
        ensure!(is_doorbell(&exit), "the guest's first exit is {exit:?}");
        Ok(Self { vm })
    }

    /// The VM itself.
    pub fn fd(&self) -> &VmFd {
        self.vm.fd()
    }

    /// Let the guest run while `work` does. The guest sees its page at `views`, which are memory.
    pub fn run(
        &mut self,
        views: [u64; 2],
        work: impl FnOnce(&Guest<'_>) -> Result<()>,
    ) -> Result<(Tally, Vec<String>)> {
        pin(0);
        let (vcpus, memory, vm) = self.vm.parts();
        let mail = Mail::new(memory, 0);
        let before = tally(&mail);
        mail.set(offset_of!(Mailbox, argument), map::MOVING);
        for (index, view) in views.into_iter().enumerate() {
            mail.set(offset_of!(Mailbox, views) + index * 8, view);
        }
        mail.set(offset_of!(Mailbox, allowed), 1);
        mail.set(offset_of!(Mailbox, check_count), 0);
        mail.set(offset_of!(Mailbox, stop), 0);
        let guest = Guest { memory, vm };
        let (worked, end) = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                pin(1);
                let watchdog = Watchdog::start(PATIENCE)?;
                loop {
                    match vcpus[0].run() {
                        exit if is_doorbell(&exit) => return anyhow::Ok(exit),
                        Exit::Io { .. } | Exit::Mmio { .. } => {}
                        // The guest's own access to a page that is not there.
                        Exit::Errno(libc::EFAULT) => thread::sleep(PAUSE),
                        Exit::Interrupted if !watchdog.barked() => {}
                        exit => return Ok(exit),
                    }
                }
            });
            let worked = guest.go_on().and_then(|()| work(&guest));
            let worked = worked.and_then(|()| guest.go_on());
            mail.set(offset_of!(Mailbox, stop), 1);
            (worked, thread.join())
        });
        worked?;
        let mut problems = Vec::new();
        match end {
            Ok(Ok(exit)) if is_doorbell(&exit) => {}
            end => problems.push(format!("the guest ended with {end:?}")),
        }
        problems.extend(complaints(memory, &mail));
        let after = tally(&mail);
        Ok((
            Tally {
                right: after.right - before.right,
                lost: after.lost - before.lost,
                unanswered: after.unanswered - before.unanswered,
            },
            problems,
        ))
    }
}

impl Guest<'_> {
    /// The VM itself.
    pub fn fd(&self) -> &VmFd {
        self.vm
    }

    /// Wait until the guest has raised each request again, from the first to the last.
    pub fn go_on(&self) -> Result<()> {
        let rounds = || Mail::new(self.memory, 0).get(offset_of!(Mailbox, progress));
        let begin = rounds();
        // A round may have begun already.
        let runs = wait_for(ROUNDS, || rounds() >= begin + 2);
        ensure!(runs, "the guest does not go on");
        Ok(())
    }

    /// Say into which views replies may come from now on, one bit each.
    pub fn allow(&self, views: u64) {
        Mail::new(self.memory, 0).set(offset_of!(Mailbox, allowed), views);
    }
}

fn tally(mail: &Mail<'_>) -> Tally {
    Tally {
        right: mail.get(offset_of!(Mailbox, right)),
        lost: mail.get(offset_of!(Mailbox, lost)),
        unanswered: mail.get(offset_of!(Mailbox, unanswered)),
    }
}

/// What the guest found wrong.
fn complaints(memory: &GuestMemoryMmap, mail: &Mail<'_>) -> Vec<String> {
    let count = mail
        .get(offset_of!(Mailbox, check_count))
        .min(map::CHECK_ROOM);
    (0..count)
        .map(|index| {
            let base = map::CHECKS + index * size_of::<Check>() as u64;
            let field = |offset: usize| word(memory, base + offset as u64);
            let bytes: Vec<u8> = (0..mailbox::NAME)
                .step_by(8)
                .flat_map(|at| field(offset_of!(Check, name) + at).to_le_bytes())
                .take_while(|byte| *byte != 0)
                .collect();
            format!(
                "{}: {:#x}, not {:#x}",
                String::from_utf8_lossy(&bytes),
                field(offset_of!(Check, got)),
                field(offset_of!(Check, want))
            )
        })
        .collect()
}
