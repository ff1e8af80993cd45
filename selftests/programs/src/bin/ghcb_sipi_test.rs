// SPDX-License-Identifier: GPL-2.0
//! INIT and SIPI that come while a vCPU is between two AP reset holds, or on its way into one, on a busy host.

use anyhow::Result;
use clap::Parser;
use mailbox::{hold, Mailbox};
use std::mem::offset_of;
use std::process::ExitCode as Status;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use vm_memory::GuestMemoryMmap;
use vmm::exchange::sipi::{progress, send, told, wake, with_second, INIT, PATIENCE, SETTLE, SIPI};
use vmm::judge::check::Check;
use vmm::launch::crew::{pin, wait_for};
use vmm::launch::vm::{Mail, Vcpu};
use vmm::report::ktap::{self, Options};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// INITs and SIPIs of the storm
    #[arg(long, default_value_t = 100)]
    count: u64,
}

/// Threads on each of two CPUs that do nothing but run.
const BUSY: usize = 1;

fn main() -> Status {
    let arguments = Arguments::parse();
    ktap::run(&arguments.options, |report| {
        for (way, name) in [
            (hold::PAGE, "AP reset hold"),
            (hold::MSR, "AP reset hold by MSR"),
        ] {
            for sequence in &SEQUENCES {
                report.test(&format!("{name}: {}", sequence.name), || {
                    with_second(way, |boss, _, memory, check| {
                        busy(|| between(way, sequence, boss, memory, check))
                    })
                });
            }
            let count = arguments.count;
            report.test(&format!("{name}: INITs and SIPIs at any moment"), || {
                with_second(way, |boss, _, memory, check| {
                    busy(|| storm(count, boss, memory, check))
                })
            });
        }
        Ok(())
    })
}

/// Do it beside threads that take the CPUs.
fn busy<T>(work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..2 * BUSY {
            let over = &over;
            scope.spawn(move || {
                pin(thread % 2);
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = work();
        over.store(true, Ordering::Relaxed);
        result
    })
}

/// Most that are sent to a vCPU until it wakes.
const TRIES: u64 = 20;

/// What comes to a vCPU between two holds.
struct Sequence {
    name: &'static str,
    /// While it runs.
    between: &'static [u32],
    /// Once it is told to hold.
    then: &'static [u32],
    /// Holds that end by a SIPI, and otherwise.
    ended: (u64, u64),
}

static SEQUENCES: [Sequence; 7] = [
    Sequence {
        name: "INIT and SIPI between two: the vCPU runs on, and no hold ends",
        between: &[INIT, SIPI],
        then: &[],
        ended: (0, 0),
    },
    Sequence {
        name: "INIT between two, SIPI later: the SIPI is for the INIT, and no hold ends",
        between: &[INIT],
        then: &[SIPI],
        ended: (0, 0),
    },
    Sequence {
        name: "SIPI between two: dropped",
        between: &[SIPI],
        then: &[],
        ended: (0, 0),
    },
    Sequence {
        name: "two INITs and a SIPI between two: no hold ends",
        between: &[INIT, INIT, SIPI],
        then: &[],
        ended: (0, 0),
    },
    Sequence {
        name: "INIT and SIPI between two, and in a hold: one ends",
        between: &[INIT, SIPI],
        then: &[INIT, SIPI],
        ended: (1, 0),
    },
    Sequence {
        name: "SIPI in a hold, without INIT: it ends, and was none",
        between: &[],
        then: &[SIPI],
        ended: (0, 1),
    },
    Sequence {
        name: "INIT, SIPI and SIPI in a hold: one ends by it",
        between: &[],
        then: &[INIT, SIPI],
        ended: (1, 0),
    },
];

fn hold_by(mail: &Mail<'_>, way: u64) {
    mail.set(offset_of!(Mailbox, argument), way);
}

/// Whether the vCPU runs, without holding.
fn runs(mail: &Mail<'_>) -> bool {
    let before = progress(mail);
    wait_for(PATIENCE, || progress(mail) > before + 10)
}

/// Wait until the vCPU neither runs nor begins a hold.
fn settled(mail: &Mail<'_>) {
    loop {
        let before = progress(mail);
        thread::sleep(SETTLE * 3);
        if progress(mail) == before {
            return;
        }
    }
}

fn between(
    way: u64,
    sequence: &Sequence,
    boss: &mut Vcpu,
    memory: &GuestMemoryMmap,
    check: &mut Check,
) -> Result<()> {
    let mail = Mail::new(memory, 1);
    // Out of the first hold, to run without another.
    hold_by(&mail, hold::NONE);
    wake(boss, memory)?;
    check.that(
        "the first hold ends",
        wait_for(PATIENCE, || told(&mail) == (1, 0)),
    );
    check.that("the vCPU runs", runs(&mail));
    for command in sequence.between {
        send(boss, memory, *command)?;
    }
    let is_reset = sequence.between.last() == Some(&INIT);
    if is_reset {
        settled(&mail);
    } else {
        check.that("the vCPU runs on", runs(&mail));
    }
    hold_by(&mail, way);
    settled(&mail);
    check.same("holds ended between", told(&mail), (1, 0));
    for command in sequence.then {
        send(boss, memory, *command)?;
    }
    settled(&mail);
    let (by_sipi, otherwise) = sequence.ended;
    let want = (1 + by_sipi, otherwise);
    check.same("holds ended", told(&mail), want);
    woken(want, boss, memory, check)
}

/// It can be woken still, if it holds: what comes before its hold is lost. None of it ends two holds.
fn woken(
    (by_sipi, otherwise): (u64, u64),
    boss: &mut Vcpu,
    memory: &GuestMemoryMmap,
    check: &mut Check,
) -> Result<()> {
    let mail = Mail::new(memory, 1);
    let (mut sent, mut ended) = (0, false);
    while sent < TRIES && !ended {
        wake(boss, memory)?;
        sent += 1;
        ended = wait_for(SETTLE * 10, || told(&mail).0 > by_sipi);
    }
    settled(&mail);
    let (now, others) = told(&mail);
    check
        .that("it can be woken", ended)
        .that("none ends two holds", now <= by_sipi + sent)
        .same("holds that ended otherwise", others, otherwise);
    Ok(())
}

/// No INIT and SIPI ends more than one hold, nor one without being told, and none is stuck.
fn storm(count: u64, boss: &mut Vcpu, memory: &GuestMemoryMmap, check: &mut Check) -> Result<()> {
    let mail = Mail::new(memory, 1);
    for round in 0..count {
        wake(boss, memory)?;
        // Some at once, some when the vCPU has come anywhere.
        for _ in 0..(round % 7) * (round % 5) * 1000 {
            std::hint::spin_loop();
        }
    }
    settled(&mail);
    let (by_sipi, otherwise) = told(&mail);
    println!("# of {count}, {by_sipi} ended a hold");
    check
        .that("some end a hold", by_sipi > 0)
        .that("none ends two", by_sipi <= count)
        .same("holds that ended otherwise", otherwise, 0)
        .same("holds begun", progress(&mail), by_sipi + 1);
    woken((by_sipi, otherwise), boss, memory, check)
}
