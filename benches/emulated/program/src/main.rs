// SPDX-License-Identifier: GPL-2.0
//! Measures what a VMGEXIT costs, in ticks of the guest's time stamp counter, and reports it.
//!
//! Under QEMU's `-icount shift=0` a tick is an instruction, the guest's and the host's together.

mod chart;
mod event;
mod measure;
mod perf;
mod report;
mod result;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use result::{Figures, Line, Quantity};
use std::path::PathBuf;
use vmm::launch::kind::Kind;

/// Who answers VMGEXITs while this program measures; the caller has seen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Handler {
    /// kvm_amd's C function.
    C,
    /// ghcb_rs.
    Rust,
    /// kvm_amd's C function, which ghcb_rs observes.
    Observed,
    /// A function that returns at once.
    Floor,
    /// A function that has KVM emulate the event, and knows no GHCB.
    Emulation,
}

#[derive(Parser)]
#[command(about = "What a VMGEXIT costs")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure round trips on this host: one line for each event, number of vCPUs and length.
    Measure(Measure),
    /// Report what `measure` printed.
    Report {
        /// Its output; lines of other programs may stand between.
        input: PathBuf,
        /// The guest that was measured.
        #[arg(long, default_value_t)]
        guest: Kind,
        /// What the figures are.
        #[arg(long, value_enum, default_value_t = Unit::Instructions)]
        unit: Unit,
        /// Where to write the figures as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Where to draw them, as SVG.
        #[arg(long)]
        svg: Option<PathBuf>,
        /// Print the table for a README.
        #[arg(long)]
        markdown: bool,
    },
}

/// What figures of a report are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unit {
    /// Ticks of a time stamp counter that counts instructions.
    Instructions,
    /// Ticks of a processor's time stamp counter.
    Ticks,
    /// The same, as time.
    Nanoseconds,
    /// Cycles outside of the guest.
    HostCycles,
    /// Instructions outside of the guest.
    HostInstructions,
}

/// What to measure.
#[derive(clap::Args)]
pub struct Measure {
    /// Who answers.
    #[arg(long)]
    handler: Handler,
    /// Which guest.
    #[arg(long, default_value_t)]
    guest: Kind,
    /// Round trips of an event that count: the last ones.
    #[arg(long, default_value_t = 200)]
    count: u64,
    /// How often to make as many; more than two for a profile.
    #[arg(long, default_value_t = 2)]
    repeat: u32,
    /// Only events whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// The host's CPU that the first vCPU runs on; others run on those after it.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// Milliseconds of the first event before anything is measured.
    #[arg(long, default_value_t = 0)]
    warm_up: u64,
    /// Also count cycles and instructions outside of the guest, by the CPU's performance counters.
    #[arg(long)]
    perf: bool,
    /// Also some events with 2 and 4 vCPUs, and string I/O of more lengths.
    #[arg(long)]
    series: bool,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Measure(arguments) => measure(&arguments),
        Command::Report {
            input,
            guest,
            unit,
            json,
            svg,
            markdown,
        } => {
            let report = report::Report::read(&input, guest, unit)?;
            if markdown {
                print!("{}", report.markdown());
            } else {
                print!("{}", report.table());
            }
            if let Some(path) = json {
                std::fs::write(path, report.json())?;
            }
            if let Some(path) = svg {
                std::fs::write(path, chart::draw(&report))?;
            }
            report.judge()
        }
    }
}

fn measure(arguments: &Measure) -> Result<()> {
    arguments.guest.choose();
    let mut tables = vec![(1, event::all(arguments.guest))];
    if arguments.series {
        tables.push((1, event::strings()));
        tables.extend([2, 4].map(|vcpus| (vcpus, event::common())));
    }
    for (vcpus, mut events) in tables {
        events.retain(|event| {
            event.name.contains(&arguments.only) && event.is_answered_by(arguments.handler)
        });
        if events.is_empty() {
            continue;
        }
        let mut session = measure::Session::start(vcpus, arguments.handler)?;
        println!("{}", session.clock()?);
        session.warm_up(&events[0], arguments)?;
        for event in &events {
            let line = |quantity, figures| Line {
                quantity,
                handler: arguments.handler,
                event: event.name.into(),
                vcpus,
                length: event.length,
                figures,
            };
            let measured = session.measure(event, arguments)?;
            println!("{}", line(Quantity::Ticks, measured.ticks));
            let Some(counts) = measured.counts else {
                continue;
            };
            for (quantity, total) in [
                (Quantity::HostCycles, counts.cycles),
                (Quantity::HostInstructions, counts.instructions),
            ] {
                if let Some(figures) = Figures::mean(total, arguments.count) {
                    println!("{}", line(quantity, figures));
                }
            }
        }
    }
    Ok(())
}
