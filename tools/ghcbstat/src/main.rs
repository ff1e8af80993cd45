// SPDX-License-Identifier: GPL-2.0

//! `ghcbstat`: what ghcb_rs answers, and for which guests.

use anyhow::Context as _;
use clap::Parser as _;
use ghcbstat::{
    cli::{Arguments, Command},
    failures, live, prometheus,
    recording::{self, Recorder},
    snapshot::{self, Snapshot},
    text,
};
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads the output has ended.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ghcbstat: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(Command::Failures { json }) = arguments.command {
        return tell(&arguments.root, json);
    }
    if arguments.once || arguments.json || arguments.prometheus {
        let snapshot = match &arguments.replay {
            Some(file) => recording::read(file)?
                .pop()
                .context("nothing was recorded")?,
            None => Snapshot::take(&arguments.root)?,
        };
        let text = if arguments.json {
            serde_json::to_string_pretty(&snapshot)? + "\n"
        } else if arguments.prometheus {
            prometheus::text(&snapshot)
        } else {
            text::totals(&snapshot, arguments.by)
        };
        return write(&text, arguments.output.as_deref());
    }

    let mut left = arguments.count.unwrap_or(u64::MAX);
    let mut recorded = match &arguments.replay {
        Some(file) => Some(recording::read(file)?.into_iter()),
        None => None,
    };
    let interval = Duration::from_secs_f64(arguments.interval);
    let mut next = move || {
        if left == 0 {
            return Ok(None);
        }
        left -= 1;
        let snapshot = match &mut recorded {
            Some(recorded) => recorded.next(),
            None => Some(Snapshot::take(&arguments.root)?),
        };
        let pause = if left == 0 { Duration::ZERO } else { interval };
        Ok(snapshot.map(|snapshot| (pause, snapshot)))
    };
    let recorder = arguments
        .record
        .as_deref()
        .map(Recorder::open)
        .transpose()?;
    if io::stdout().is_terminal() {
        return live::show(arguments, &mut next, recorder);
    }
    match recorder {
        Some(recorder) => live::record(&mut next, recorder),
        None => anyhow::bail!(
            "standard output is no terminal: --once, --json or --prometheus write there"
        ),
    }
}

/// Writes the failures.
fn tell(root: &Path, json: bool) -> anyhow::Result<()> {
    let (path, text) = snapshot::failures(root)?;
    let failures = failures::parse(root, &text).with_context(|| path.display().to_string())?;
    let text = if json {
        serde_json::to_string_pretty(&failures)? + "\n"
    } else {
        failures
            .iter()
            .map(|failure| failure.to_string() + "\n")
            .collect()
    };
    write(&text, None)
}

/// Writes to standard output, or makes a file that is there whole or not at all.
fn write(text: &str, file: Option<&Path>) -> anyhow::Result<()> {
    let Some(file) = file else {
        let mut out = io::stdout().lock();
        return Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?);
    };
    let name = || file.display().to_string();
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, text).with_context(name)?;
    fs::rename(&new, file).with_context(name)
}
