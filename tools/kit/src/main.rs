// SPDX-License-Identifier: GPL-2.0

//! `ghcb-kit`: tries ghcb_rs on this host.

use clap::Parser as _;
use ghcb_kit::cli::{Arguments, Command};
use ghcb_kit::{compare, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
    };
    match result {
        Ok(status) => status,
        Err(error) => {
            eprintln!("ghcb-kit: {error:#}");
            ExitCode::from(2)
        }
    }
}
