// SPDX-License-Identifier: GPL-2.0
//! Life cycle: patch and unpatch under running guests, and the module in and out.

use anyhow::{ensure, Context, Result};
use clap::Parser;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use mailbox::Role;
use std::path::Path;
use std::process::ExitCode as Status;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use vmm::catalog;
use vmm::check::Check;
use vmm::handler::{self, Handler};
use vmm::host::Balance;
use vmm::ktap::{self, Options, Report};
use vmm::steps::{Attempt, StepVm};
use vmm::vm::{Config, Vm};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Times to go round
    #[arg(long, default_value_t = 5)]
    count: u64,
}

fn main() -> Status {
    let arguments = Arguments::parse();
    ktap::run(&arguments.options, |report| {
        let Some(module) = handler::module() else {
            report.skip("life cycle", "GHCB_MODULE names no module");
            return Ok(());
        };
        let before = Balance::now()?;
        changes(report, arguments.count);
        refusals(report, &module);
        let imbalance = before.problems(&Balance::now()?);
        report.problems("pins are balanced, and memory is back", &imbalance);
        Ok(())
    })
}

/// A guest that raises right events in a thread, each answer checked, until it is told to stop.
struct Load {
    stop: AtomicBool,
    events: AtomicU64,
}

impl Load {
    fn new() -> Self {
        Self {
            stop: AtomicBool::new(false),
            events: AtomicU64::new(0),
        }
    }

    fn run(&self) -> Result<Vec<String>> {
        let mut vm = StepVm::with(Config::default(), &[])?;
        let mut check = Check::new();
        // Events whose answers do not depend on the handler.
        let rights: Vec<_> = catalog::rights()
            .into_iter()
            .filter(|right| right.request.code() != ExitCode::WRITE_DR7)
            .collect();
        let table: Vec<Attempt> = rights
            .iter()
            .map(|right| Attempt::page(&right.request))
            .collect();
        while !self.stop.load(Ordering::Acquire) {
            let outcomes = vm.take_all(&table)?;
            check.same("number of answers", outcomes.len(), table.len());
            for (right, outcome) in rights.iter().zip(&outcomes) {
                let reply = outcome.reply();
                check
                    .about(right.name)
                    .went_on(outcome)
                    .same("reply", (reply.info1, reply.info2), (0, right.info2))
                    .same("exits", &outcome.exits, &right.exits);
                if let Some(pages) = &outcome.pages {
                    for (field, value) in &right.registers {
                        let got = pages.after.word(field.offset());
                        check.same(&format!("{field:?}"), got, *value);
                    }
                }
            }
            self.events.fetch_add(table.len() as u64, Ordering::Release);
        }
        Ok(check.done())
    }
}

/// Run `work` while a guest raises events; both must be content.
fn under_load(work: impl FnOnce(&Load) -> Result<Vec<String>>) -> Result<Vec<String>> {
    let load = Load::new();
    thread::scope(|scope| {
        let guest = scope.spawn(|| load.run());
        while load.events.load(Ordering::Acquire) == 0 && !guest.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        let worked = work(&load);
        load.stop.store(true, Ordering::Release);
        let Ok(guest) = guest.join() else {
            anyhow::bail!("the guest's thread panicked");
        };
        let mut problems = guest.context("the guest")?;
        problems.extend(worked?);
        Ok(problems)
    })
}

fn changes(report: &mut Report, count: u64) {
    for (loaded, name) in [
        (false, "patch and unpatch without guests"),
        (true, "patch and unpatch under a running guest"),
    ] {
        report.test(name, || {
            let mut times = Vec::new();
            let mut turn = || -> Result<()> {
                for _ in 0..count {
                    for to in [Handler::C, Handler::Rust] {
                        times.push(handler::switch(to)?);
                        ensure!(handler::current() == to, "{to} does not answer");
                    }
                }
                Ok(())
            };
            let problems = if loaded {
                under_load(|load| {
                    let begin = load.events.load(Ordering::Acquire);
                    turn()?;
                    let raised = load.events.load(Ordering::Acquire) - begin;
                    println!("# events raised meanwhile: {raised}");
                    let idle = (raised == 0).then(|| "no event meanwhile".to_owned());
                    Ok(Vec::from_iter(idle))
                })?
            } else {
                turn()?;
                Vec::new()
            };
            distribution(name, &mut times);
            Ok(problems)
        });
    }
    report.test("patch and unpatch while exits are with userspace", || {
        for to in [Handler::C, Handler::Rust] {
            let mut vm = Vm::launch(Config::default(), &[Role::Instructions])?;
            // The first exits are those of OUT and IN.
            for _ in 0..4 {
                vm.vcpu(0).run();
                handler::switch(to)?;
                handler::switch(other(to))?;
            }
            handler::switch(to)?;
            for _ in 0..64 {
                if vm.vcpu(0).run().is_termination() {
                    break;
                }
            }
            let mail = vm.mail(0);
            let made = mail.get(std::mem::offset_of!(mailbox::Mailbox, check_count));
            ensure!(made > 20, "the guest made only {made} checks");
        }
        Ok(Vec::new())
    });
}

fn other(handler: Handler) -> Handler {
    match handler {
        Handler::C => Handler::Rust,
        Handler::Rust => Handler::C,
    }
}

/// One line on how long it took.
fn distribution(name: &str, times: &mut [Duration]) {
    times.sort();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(index).map_or(0, Duration::as_millis)
    };
    println!(
        "# {name}: {} changes, milliseconds: min {} median {} p90 {} max {}",
        times.len(),
        at(0),
        at(50),
        at(90),
        at(100)
    );
}

fn refusals(report: &mut Report, module: &Path) {
    report.test(
        "the module can't be removed while its patch is enabled",
        || {
            handler::switch(Handler::Rust)?;
            ensure!(handler::try_remove().is_err(), "it was removed");
            ensure!(handler::current() == Handler::Rust, "it no longer answers");
            Ok(Vec::new())
        },
    );
    report.test("the module can't be inserted twice", || {
        ensure!(handler::insert(module).is_err(), "it was inserted");
        ensure!(handler::current() == Handler::Rust, "it no longer answers");
        Ok(Vec::new())
    });
}
