// SPDX-License-Identifier: GPL-2.0
//! Measures what a VMGEXIT costs, in ticks of the guest's time stamp counter, and reports it.
//!
//! Under QEMU's `-icount shift=0` a tick is an instruction, the guest's and the host's together.

mod event;
mod measure;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use event::Event;

/// Who answers VMGEXITs while this program measures; the caller has seen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Handler {
    /// kvm_amd's C function.
    C,
    /// ghcb_rs.
    Rust,
    /// A function that returns at once.
    Floor,
    /// A function that has KVM emulate the event, and knows no GHCB.
    Emulation,
}

/// Measure round trips: one line for each event, vCPU count and length.
#[derive(Parser)]
struct Arguments {
    /// Who answers.
    #[arg(long)]
    handler: Handler,
    /// Number of the run, for the report.
    #[arg(long, default_value_t = 0)]
    run: u32,
    /// Round trips of an event, after as many to warm up.
    #[arg(long, default_value_t = 200)]
    count: u64,
    /// Only events whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Cost with 1, 2 and 4 vCPUs, of some events.
    #[arg(long)]
    vcpus: bool,
    /// Cost of string I/O by length.
    #[arg(long)]
    lengths: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let name = format!("{:?}", arguments.handler).to_lowercase();
    let mut tables = vec![(1, event::all())];
    if arguments.vcpus {
        tables.extend([2, 4].map(|vcpus| (vcpus, event::common())));
    }
    if arguments.lengths {
        tables.push((1, event::strings()));
    }
    for (vcpus, mut events) in tables {
        events.retain(|event: &Event| {
            event.name.contains(&arguments.only) && event.is_answered_by(arguments.handler)
        });
        let mut session = measure::Session::start(vcpus)?;
        for event in &events {
            let ticks = session.measure(event, arguments.handler, arguments.count)?;
            println!(
                "{name}\t{}\t{}\t{vcpus}\t{}\t{}\t{}\t{}",
                arguments.run, event.name, event.length, ticks.median, ticks.low, ticks.high
            );
        }
    }
    Ok(())
}
