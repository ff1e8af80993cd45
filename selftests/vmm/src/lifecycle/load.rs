// SPDX-License-Identifier: GPL-2.0
//! Guests that raise right events without pause, each answer checked, while signals interrupt their vCPUs.

use crate::exchange::catalog::{self, Right};
use crate::exchange::exit::Exit;
use crate::exchange::steps::{Attempt, Outcome, StepVm};
use crate::judge::check::Check;
use crate::launch::crew::wait_for;
use crate::launch::watchdog;
use anyhow::{bail, ensure, Context, Result};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Time between two signals to a vCPU.
const SIGNALS: Duration = Duration::from_millis(3);
/// Longest that a guest may take for its next events.
const PATIENCE: Duration = Duration::from_secs(20);

/// Guests in threads, until they are told to stop.
pub struct Load {
    stop: AtomicBool,
    guests: Vec<Guest>,
}

/// What its thread tells of a guest.
#[derive(Default)]
struct Guest {
    events: AtomicU64,
    thread: AtomicU64,
}

/// Run `work` beside `count` guests; all must be content.
pub fn under<T>(count: usize, work: impl FnOnce(&Load) -> Result<T>) -> Result<(T, Vec<String>)> {
    let load = Load {
        stop: AtomicBool::new(false),
        guests: (0..count).map(|_| Guest::default()).collect(),
    };
    watchdog::prepare()?;
    thread::scope(|scope| {
        let threads: Vec<_> = load
            .guests
            .iter()
            .map(|guest| scope.spawn(|| guest.run(&load.stop)))
            .collect();
        let signals = scope.spawn(|| {
            while !load.stop.load(Ordering::Acquire) {
                for guest in &load.guests {
                    let thread = guest.thread.load(Ordering::Acquire);
                    if thread != 0 {
                        watchdog::kick(thread);
                    }
                }
                thread::sleep(SIGNALS);
            }
        });
        let worked = load.progress().and_then(|()| work(&load));
        load.stop.store(true, Ordering::Release);
        // Before the threads that it names.
        if signals.join().is_err() {
            bail!("the thread that sends signals panicked");
        }
        let mut problems = Vec::new();
        for thread in threads {
            match thread.join() {
                Ok(guest) => problems.extend(guest.context("the guest")?),
                Err(_) => bail!("a guest's thread panicked"),
            }
        }
        Ok((worked?, problems))
    })
}

impl Load {
    /// Events raised so far, by all guests.
    pub fn events(&self) -> u64 {
        self.guests
            .iter()
            .map(|guest| guest.events.load(Ordering::Acquire))
            .sum()
    }

    /// Wait until each guest has raised further events, begun and ended from now on.
    pub fn progress(&self) -> Result<()> {
        for guest in &self.guests {
            let events = || guest.events.load(Ordering::Acquire);
            let begin = events();
            // The table that runs now may have begun before.
            let least = 2 * table().len() as u64;
            ensure!(
                wait_for(PATIENCE, || events() >= begin + least),
                "a guest raises no more events"
            );
        }
        Ok(())
    }
}

impl Guest {
    fn run(&self, stop: &AtomicBool) -> Result<Vec<String>> {
        // SAFETY: Names the calling thread.
        let thread = unsafe { libc::pthread_self() };
        let mut vm = StepVm::new()?;
        self.thread.store(thread, Ordering::Release);
        let mut check = Check::new();
        while !stop.load(Ordering::Acquire) {
            let raised = turn(&mut vm, &mut check)?;
            self.events.fetch_add(raised, Ordering::Release);
        }
        Ok(check.done())
    }
}

/// Events whose answers do not depend on the handler.
fn rights() -> Vec<Right> {
    catalog::rights()
        .into_iter()
        .filter(|right| right.request.code() != ExitCode::WRITE_DR7)
        .collect()
}

fn table() -> Vec<Attempt> {
    rights()
        .iter()
        .map(|right| Attempt::page(&right.request))
        .collect()
}

/// Have `vm` raise each event once, and check the answers; returns how many there were.
pub fn turn(vm: &mut StepVm, check: &mut Check) -> Result<u64> {
    let rights = rights();
    let outcomes = vm.take_all(&table())?;
    ensure!(
        outcomes.len() == rights.len(),
        "the guest died of {:x?}: {:?}",
        outcomes.last(),
        vm.dead()
    );
    for (right, outcome) in rights.iter().zip(&outcomes) {
        judge(right, outcome, check);
    }
    Ok(outcomes.len() as u64)
}

fn judge(right: &Right, outcome: &Outcome, check: &mut Check) {
    let reply = outcome.reply();
    let exits: Vec<Exit> = outcome
        .exits
        .iter()
        .filter(|exit| **exit != Exit::Interrupted)
        .cloned()
        .collect();
    check
        .about(right.name)
        .went_on(outcome)
        .same("reply", (reply.info1, reply.info2), (0, right.info2))
        .same("exits", &exits, &right.exits);
    if let Some(pages) = &outcome.pages {
        for (field, value) in &right.registers {
            let got = pages.after.word(field.offset());
            check.same(&format!("{field:?}"), got, *value);
        }
    }
}
