// SPDX-License-Identifier: GPL-2.0

//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Tries ghcb_rs on this host, and reports what came of it.
#[derive(Debug, Parser)]
#[command(name = "ghcb-kit", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try it: says what it will do, asks, does it, and leaves the host as it was.
    ///
    /// Exit status: 0 all is well, 1 something is not, 2 it could not begin, 130 it was interrupted.
    Run(Run),
    /// Say how a report differs from that of the emulated host, and what each difference means.
    ///
    /// Exit status: 0 they agree, 1 they differ, 2 one of them cannot be read.
    Compare(Compare),
}

/// Options of `run`.
#[derive(Args, Clone, Debug)]
pub struct Run {
    /// The unpacked kit.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub kit: PathBuf,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Take the handler over although other VMs run on this host. Otherwise it is only observed then.
    #[arg(long)]
    pub beside_others: bool,
    /// Observe only: C answers all VMGEXITs, and Rust judges them.
    #[arg(long)]
    pub observe: bool,
    /// Only phases with these names; may be given several times.
    #[arg(long, value_name = "PHASE")]
    pub only: Vec<String>,
    /// Requests, VMGEXITs and cycles of the long phases, in hundredths of the usual number.
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub scale: u64,
    /// Where the report goes.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub out: PathBuf,
}

/// Options of `compare`.
#[derive(Args, Clone, Debug)]
pub struct Compare {
    /// The report, a file of JSON.
    pub report: PathBuf,
    /// What to compare it with: by default, the emulated host's report that lies in the kit.
    #[arg(long, value_name = "FILE", default_value = "reference/emulated.json")]
    pub reference: PathBuf,
}
