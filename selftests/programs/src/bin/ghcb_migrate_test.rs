// SPDX-License-Identifier: GPL-2.0
//! A guest moves to another VM while its reply is pending: it finds what it finds with C, whoever began the exit and
//! whoever ends it.

use anyhow::{bail, Context, Error, Result};
use mailbox::map;
use std::ops::Range;
use std::process::ExitCode as Status;
use vmm::exchange::catalog::MTRR_BASE;
use vmm::exchange::page_image::{PageImage, PageInMemory};
use vmm::exchange::pending::{interrupt, kinds, mine, Before, Kind};
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::exchange::userspace;
use vmm::judge::check::Check;
use vmm::kernel::handler::{self, Handler};
use vmm::launch::successor::Successor;
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Report};

fn main() -> Status {
    ktap::program(|report| {
        // The kind before KVM_SEV_INIT2 speaks version 1.
        if report.has_version_1("moved") && report.module("moved").is_some() {
            moves(report);
        }
        Ok(())
    })
}

/// How many guests there are at once: of 15 that a host without SEV-SNP may have.
const GUESTS: usize = 13;

/// A guest that moves while its reply is pending, after `completed` of its exits.
struct Moving<'k> {
    kind: &'k Kind,
    completed: usize,
    // The source outlives it.
    successor: Option<Successor>,
    vm: StepVm,
    buffer: Vec<u8>,
    outside: PageImage,
}

/// What becomes of it, in this order.
const STAGES: [fn(&mut Moving<'_>) -> Result<()>; 2] =
    [|guest| guest.complete(), |guest| guest.go()];

impl<'k> Moving<'k> {
    fn begin(kind: &'k Kind, completed: usize) -> Result<Self> {
        let config = Config {
            old: true,
            ..Config::default()
        };
        let mut vm = StepVm::with(config, &[])?;
        userspace::leave_msrs(vm.vm().fd(), MTRR_BASE as u32, 2)?;
        let buffer = Vec::from_iter((0..1024).map(|at| at as u8 ^ 0x5a));
        let outside = PageInMemory::new(vm.vm().memory(), map::SCRATCH).copy();
        let request = if kind.request.is_scratch_inside() {
            kind.request.clone().buffer(&buffer)
        } else {
            kind.request.clone()
        };
        vm.begin(&Attempt::page(&request))?;
        Ok(Self {
            kind,
            completed,
            successor: None,
            vm,
            buffer,
            outside,
        })
    }

    fn complete(&mut self) -> Result<()> {
        for n in 0..self.completed {
            let last = n + 1 == self.kind.exits;
            interrupt(self.vm.vm(), last)?;
        }
        Ok(())
    }

    fn go(&mut self) -> Result<()> {
        self.successor = Some(Successor::of(self.vm.vm())?);
        Ok(())
    }

    /// Have the scratch area elsewhere in memory. C writes there with preemption off, and what would wait for a page is lost.
    fn touch(&mut self) {
        PageInMemory::new(self.vm.vm().memory(), map::SCRATCH).write(&self.outside);
    }

    fn pass(mut self, stages: Range<usize>) -> Result<Self> {
        for stage in &STAGES[stages] {
            stage(&mut self)?;
        }
        Ok(self)
    }

    /// It runs again; what is wrong with what it finds.
    fn end(mut self) -> Result<Vec<String>> {
        let successor = self.successor.as_mut().context("not moved")?;
        let exits = StepVm::finish(successor.vcpu())?;
        let mut check = Check::new();
        check.that("no more exits", exits.is_empty());
        let memory = self.vm.vm().memory();
        let was = Before {
            buffer: &self.buffer,
            elsewhere: &self.outside,
        };
        let page = PageInMemory::new(memory, StepVm::page_of(0)).copy();
        let elsewhere = PageInMemory::new(memory, map::SCRATCH).copy();
        self.kind
            .judge(&mut check, self.completed, &page, &elsewhere, &was);
        Ok(check.done())
    }
}

/// A guest that moves, and at which stage exits are given back to C.
struct Case<'k> {
    name: String,
    kind: &'k Kind,
    completed: usize,
    off: usize,
}

impl<'k> Case<'k> {
    /// Each kind, completed as far as it can be.
    fn all(kinds: &'k [Kind], off: usize, when: &str) -> Vec<Self> {
        let mut cases = Vec::new();
        for kind in kinds {
            for completed in 0..=kind.exits {
                let how = match completed {
                    0 => "moved, then run",
                    n if n == kind.exits => "completed, moved, then run",
                    _ => "completed in part, moved, then run",
                };
                cases.push(Self {
                    name: format!("{}: {how}: {when}", kind.name),
                    kind,
                    completed,
                    off,
                });
            }
        }
        cases
    }

    fn begin(&self) -> Result<Moving<'k>> {
        Moving::begin(self.kind, self.completed)?.pass(0..self.off)
    }

    /// Whether its reply is pending when exits are given back.
    fn is_pending(&self) -> bool {
        let completed = if self.off == 0 { 0 } else { self.completed };
        self.kind.is_pending(completed)
    }
}

/// Every order of completing, moving and giving back.
fn moves(report: &mut Report) {
    let kinds = kinds();
    for (handler, when) in [(Handler::C, "c"), (Handler::Rust, "rust")] {
        for case in Case::all(&kinds, STAGES.len(), when) {
            report.test(&case.name, || {
                handler::switch(handler)?;
                let mut guest = case.begin()?;
                if handler == Handler::C {
                    guest.touch();
                }
                guest.end()
            });
        }
    }
    let mut cases = Vec::new();
    for (off, when) in ["off first", "off before the move", "off after the move"]
        .into_iter()
        .enumerate()
    {
        cases.extend(Case::all(&kinds, off, &format!("rust, {when}")));
    }
    cases.retain(|case| report.wanted(&case.name));
    for batch in cases.chunks(GUESTS) {
        let result = together(batch);
        for (index, case) in batch.iter().enumerate() {
            report.test(&case.name, || match &result {
                Ok((results, _)) => results[index].clone().map_err(Error::msg),
                Err(error) => bail!("{error:#}"),
            });
        }
        let name = format!(
            "{} replies of guests that move: all are waited for",
            batch.len()
        );
        report.test(&name, || result.map(|(_, problems)| problems));
    }
}

/// What was wrong with each guest, or why it could not be looked at.
type Results = Vec<Result<Vec<String>, String>>;

/// Guests at the same time, each at its stage when exits are given back; then what is wrong with the whole.
fn together(cases: &[Case<'_>]) -> Result<(Results, Vec<String>)> {
    handler::switch(Handler::Rust)?;
    let guests: Vec<_> = cases.iter().map(Case::begin).collect();
    handler::disable()?;
    let pending = cases.iter().filter(|case| case.is_pending()).count();
    let mut check = Check::new();
    check.same("who is waited for", handler::pending()?, mine(pending));
    let results = guests
        .into_iter()
        .zip(cases)
        .map(|(guest, case)| {
            let ended = guest.and_then(|guest| guest.pass(case.off..STAGES.len())?.end());
            ended.map_err(|error| format!("{error:#}"))
        })
        .collect();
    // Replies that are pending no more do not keep the module.
    handler::remove()?;
    Ok((results, check.done()))
}
