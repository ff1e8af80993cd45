// SPDX-License-Identifier: GPL-2.0
//! C beside Rust: the same requests to both, and each difference explained by a rule with a name, or a failure.

use anyhow::{Context, Result};
use clap::Parser;
use ghcb_rs::ghcb_abi::ioio::IoInfo;
use ghcb_rs::ghcb_abi::page::Field;
use mailbox::Role;
use std::collections::BTreeMap;
use std::process::ExitCode;
use vmm::exchange::steps::{Attempt, Outcome, StepVm};
use vmm::hostile::{Hostile, OTHER_PAGE};
use vmm::judge::compare::{verdict, Verdict};
use vmm::judge::difference::Difference;
use vmm::kernel::handler::{self, Handler};
use vmm::launch::crew::pin;
use vmm::launch::kind::Kind;
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Options};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Requests to compare
    #[arg(long, default_value_t = 3000)]
    count: u64,
    /// First number of the generator
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Requests for one VM: a new one forgets what the last did to it.
const TABLE: u64 = 128;
// What the page of an attempt held must be known, for a difference to be explained by it.
const _: () = assert!(TABLE as usize <= OTHER_PAGE);
/// Requests between changes of the handler.
const BLOCK: u64 = 8192;
/// Unexplained differences to show.
const SHOW: usize = 12;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ktap::run(&arguments.options, |report| {
        if handler::module().is_none() {
            report.skip("C beside Rust", "GHCB_MODULE names no module");
            return Ok(());
        }
        pin(0);
        let before = handler::current();
        let result = compare(&arguments);
        handler::switch(before)?;
        let Tally {
            compared,
            same,
            meant,
            unexplained,
        } = result?;
        println!(
            "# {compared} requests, seed {}: {same} the same",
            arguments.seed
        );
        for (difference, count) in &meant {
            println!("# difference {}: {count}", difference.name());
        }
        let shown: Vec<String> = unexplained.iter().take(SHOW).cloned().collect();
        report.problems("C beside Rust: each difference is a deliberate one", &shown);
        println!(
            "compare: guest={} requests={compared} seed={} same={same} deliberate={} unexplained={}",
            Kind::chosen(),
            arguments.seed,
            meant.values().sum::<u64>(),
            unexplained.len()
        );
        Ok(())
    })
}

#[derive(Default)]
struct Tally {
    compared: u64,
    same: u64,
    meant: BTreeMap<Difference, u64>,
    unexplained: Vec<String>,
}

fn compare(arguments: &Arguments) -> Result<Tally> {
    let mut hostile = Hostile::new(arguments.seed);
    let mut tally = Tally::default();
    while tally.compared < arguments.count {
        let tables: Vec<(u16, Vec<Attempt>)> = (0..BLOCK.min(arguments.count).div_ceil(TABLE))
            .map(|_| {
                let versions = Kind::chosen().versions();
                let version = if versions.contains(&1) && hostile.random().once_in(3) {
                    1
                } else {
                    2
                };
                let table = (0..TABLE).map(|_| hostile.attempt()).collect();
                (version, table)
            })
            .collect();
        let c = block(Handler::C, &tables)?;
        let rust = block(Handler::Rust, &tables)?;
        'tables: for (((_, table), c), rust) in tables.iter().zip(&c).zip(&rust) {
            for ((attempt, c), rust) in table.iter().zip(c).zip(rust) {
                tally.compared += 1;
                match verdict(attempt.msr_value(), c, rust) {
                    Verdict::Same => tally.same += 1,
                    Verdict::Meant(difference) => {
                        *tally.meant.entry(difference).or_default() += 1;
                        if parted(difference, c) {
                            continue 'tables;
                        }
                    }
                    Verdict::Unexplained(what) => {
                        tally.unexplained.push(format!("{what}: {attempt}"));
                    }
                }
            }
            if c.len() != rust.len() {
                let last = table.get(c.len().min(rust.len()).saturating_sub(1));
                let lengths = format!("{} and {} answers", c.len(), rust.len());
                tally.unexplained.push(format!("{lengths}: {last:x?}"));
            }
        }
    }
    Ok(tally)
}

/// Whether memory differs from now on: C took data of a string in that Rust refused, and a later request may send them
/// out.
fn parted(difference: Difference, c: &Outcome) -> bool {
    let info = c
        .pages
        .as_ref()
        .map_or(0, |pages| pages.before.word(Field::SwExitInfo1.offset()));
    difference == Difference::IoSize && IoInfo(info).is_string() && IoInfo(info).is_in()
}

/// All tables to one handler, each in a VM of its own.
fn block(handler: Handler, tables: &[(u16, Vec<Attempt>)]) -> Result<Vec<Vec<Outcome>>> {
    handler::switch(handler)?;
    tables
        .iter()
        .map(|(ghcb_version, table)| {
            let config = Config {
                ghcb_version: *ghcb_version,
                ..Config::default()
            };
            let mut vm = if config.kind.is_snp() {
                // The third is for AP creation.
                let mut vm = StepVm::with(config, &[Role::Hold, Role::Hold])?;
                vm.vm().serve_page_states()?.answer_by_range();
                vm
            } else {
                StepVm::with(config, &[])?
            };
            vm.take_all(table)
                .with_context(|| format!("with {handler}"))
        })
        .collect()
}
