// SPDX-License-Identifier: GPL-2.0
//! Who answers VMGEXITs: kvm_amd's C function, or the livepatch over it.

use anyhow::{bail, Context, Result};
use clap::ValueEnum;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const PATCH: &str = "/sys/kernel/livepatch/ghcb_rs";
/// Longest that a change-over may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A choice of handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// kvm_amd's own function.
    C,
    /// The livepatch.
    Rust,
    /// Whichever answers now.
    Current,
}

/// The handler that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    C,
    Rust,
}

impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::C => "c",
            Self::Rust => "rust",
        })
    }
}

/// The handler that answers now.
pub fn current() -> Handler {
    match fs::read_to_string(Path::new(PATCH).join("enabled")) {
        Ok(value) if value.trim() == "1" => Handler::Rust,
        _ => Handler::C,
    }
}

/// Whether the module is loaded.
pub fn present() -> bool {
    Path::new(PATCH).exists()
}

/// Make `choice` answer. None if it can't, because the module is not loaded.
pub fn select(choice: Choice) -> Result<Option<Handler>> {
    let wanted = match choice {
        Choice::Current => return Ok(Some(current())),
        Choice::C => Handler::C,
        Choice::Rust => Handler::Rust,
    };
    if current() != wanted {
        if !present() {
            return Ok(None);
        }
        switch(wanted)?;
    }
    Ok(Some(wanted))
}

/// Change over and wait until every task has; returns how long it took.
pub fn switch(to: Handler) -> Result<Duration> {
    let begin = Instant::now();
    let value = match to {
        Handler::C => "0",
        Handler::Rust => "1",
    };
    fs::write(Path::new(PATCH).join("enabled"), value)
        .with_context(|| format!("write {value} to {PATCH}/enabled"))?;
    while fs::read_to_string(Path::new(PATCH).join("transition"))
        .is_ok_and(|value| value.trim() == "1")
    {
        if begin.elapsed() > PATIENCE {
            bail!("the change to {to} did not end within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(begin.elapsed())
}
