// SPDX-License-Identifier: GPL-2.0

//! `ghcb-check`: whether this host is ready for `ghcb_rs`, a line for each precondition.

use anyhow::Context as _;
use clap::Parser as _;
use ghcb_check::{check, cli::Arguments, host::Host, report::Report};
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Exit status if the command line is wrong or nothing can be written, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) => report.verdict().into(),
        Err(error) => {
            eprintln!("ghcb-check: {error:#}");
            USAGE.into()
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let host = Host::at(arguments.root.clone());
    let report = check::all(&host, arguments.module.as_deref())?;
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &report).context("standard output")?;
        writeln!(out)
    } else if arguments.quiet {
        write!(out, "{}", report.without_the_good())
    } else {
        write!(out, "{report}")
    }
    .context("standard output")?;
    Ok(report)
}
