// SPDX-License-Identifier: GPL-2.0

//! The command line.

use clap::Parser;
use std::path::PathBuf;

/// Says whether this host is ready for ghcb_rs: a line for each precondition, good or bad, and what to do.
///
/// Exit status: 0 if nothing is bad, 1 if something is, so that ghcb_rs would be refused or would have nothing to do,
/// 2 if the command line is wrong, 3 if nothing is bad but something could not be looked at (as root, all can be).
#[derive(Debug, Parser)]
#[command(name = "ghcb-check", version)]
pub struct Arguments {
    /// The module that would be loaded; by default, the ghcb_rs.ko of the running kernel below /lib/modules.
    #[arg(long, value_name = "FILE")]
    pub module: Option<PathBuf>,

    /// Look at the files of another host that were saved below a directory, not at this host.
    ///
    /// They have their own paths there (proc/cpuinfo, sys/module/...). What is no file is saved as text: `cpuid -1 -r` in
    /// the file cpuid, and "api MAJOR.MINOR build NUMBER", the firmware's version, in the file sev-status.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Write JSON.
    #[arg(long)]
    pub json: bool,

    /// Write nothing about what is good.
    #[arg(long, short, conflicts_with = "json")]
    pub quiet: bool,
}
