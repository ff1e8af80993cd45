// SPDX-License-Identifier: GPL-2.0

//! The command line.

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Shows what ghcb_rs answers, and for which guests: exits, error replies and times, by guest or by event.
///
/// On a terminal, a table that is kept up to date. It needs no rights but those to read the files of ghcb_rs in debugfs.
///
/// Exit status: 0, or 1 if the files cannot be read (ghcb_rs is not loaded, or you may not), or 2 if the command line is wrong.
#[derive(Debug, Parser)]
#[command(name = "ghcbstat", version)]
pub struct Arguments {
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What a line is about.
    #[arg(long, short, value_enum, default_value_t = By::Vm)]
    pub by: By,

    /// Seconds between two looks.
    #[arg(long, short, default_value_t = 1.0, value_parser = seconds)]
    pub interval: f64,

    /// Write the totals once, as text.
    #[arg(long, group = "format")]
    pub once: bool,

    /// Write all there is once, as JSON.
    #[arg(long, group = "format")]
    pub json: bool,

    /// Write all there is once, as OpenMetrics, such as the textfile collector of Prometheus' node exporter takes.
    #[arg(long, group = "format")]
    pub prometheus: bool,

    /// Put what is written once into a file, which is there whole or not at all.
    #[arg(long, short, value_name = "FILE", requires = "format")]
    pub output: Option<PathBuf>,

    /// Append each look to a file, as a line of JSON; where standard output is no terminal, without a table.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "replay"])]
    pub record: Option<PathBuf>,

    /// Show what was recorded in a file, not this host.
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,

    /// End after as many looks.
    #[arg(long, value_name = "NUMBER")]
    pub count: Option<u64>,

    /// Directory below which the host's /sys, /proc and /run are.
    #[arg(long, value_name = "DIR", default_value = "/", global = true)]
    pub root: PathBuf,
}

/// What a line of the table is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// A guest.
    #[default]
    Vm,
    /// An event.
    Event,
}

/// What else to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell of the last requests that were refused or could not be explained, each in a sentence, the oldest first.
    Failures {
        /// Write them as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// A time that is long enough to see something.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("it must be a number from 0.1 to 3600".to_owned()),
    }
}
