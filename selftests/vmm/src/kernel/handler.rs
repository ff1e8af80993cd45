// SPDX-License-Identifier: GPL-2.0
//! Who answers VMGEXITs: kvm_amd's C function, or the livepatch over it.

use crate::kernel::module as kernel;
use anyhow::{ensure, Context, Result};
use clap::ValueEnum;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PATCH: &str = "/sys/kernel/livepatch/ghcb_rs";
/// Name of the module.
pub const NAME: &str = "ghcb_rs";
const SYSFS: &str = "/sys/module/ghcb_rs";
/// How often to look: short beside what a change-over takes, which is measured.
const PAUSE: Duration = Duration::from_micros(200);
/// Longest that a change-over may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A choice of handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// kvm_amd's own function.
    C,
    /// The livepatch.
    Rust,
    /// kvm_amd's own function, while the livepatch judges its answers.
    Observe,
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

/// The module's parameter that says who answers while it is enabled.
const MODE: &str = "/sys/module/ghcb_rs/parameters/mode";

/// Whether C answers through the module, which judges it, instead of without.
static IS_OBSERVED: AtomicBool = AtomicBool::new(false);

/// Whether the module judges what C answers.
pub fn is_observed() -> bool {
    IS_OBSERVED.load(Ordering::Relaxed)
}

/// The handler that answers now.
pub fn current() -> Handler {
    if is_enabled() && mode().is_ok_and(|mode| mode == "answer") {
        Handler::Rust
    } else {
        Handler::C
    }
}

/// Whether the livepatch is enabled.
fn is_enabled() -> bool {
    let value = fs::read_to_string(Path::new(PATCH).join("enabled"));
    value.is_ok_and(|value| value.trim() == "1")
}

/// Who answers while the livepatch is enabled: `answer`, the module; `observe`, C.
pub fn mode() -> Result<String> {
    let value = fs::read_to_string(MODE).context(MODE)?;
    Ok(value.trim().to_string())
}

/// Choose who answers.
pub fn set_mode(mode: &str) -> Result<()> {
    fs::write(MODE, mode).with_context(|| format!("write {mode} to {MODE}"))
}

/// Whether the livepatch is there.
pub fn present() -> bool {
    Path::new(PATCH).exists()
}

/// Whether the module is in the kernel.
pub fn loaded() -> bool {
    Path::new(SYSFS).exists()
}

/// VMGEXITs that Rust has answered since the module came, if it is there and has a table of them.
pub fn answered() -> Option<u64> {
    let table = fs::read_to_string("/sys/kernel/debug/ghcb_rs/events").ok()?;
    let total = table.lines().find(|line| line.starts_with("total\t"))?;
    total.split('\t').nth(1)?.parse().ok()
}

/// vCPUs that the module waits for, because their reply is pending: process ID of the VMM, and number.
pub fn pending() -> Result<Vec<(u32, u32)>> {
    let path = "/sys/kernel/debug/ghcb_rs/pending";
    let table = fs::read_to_string(path).context(path)?;
    let mut rows = Vec::new();
    for line in table.lines() {
        let (first, second) = line.split_once('\t').context("not a row of two")?;
        if first != "calls" {
            rows.push((first.parse()?, second.parse()?));
        }
    }
    Ok(rows)
}

/// Choose whether times are taken: `0` or `1`.
pub fn set_timing(on: &str) -> Result<()> {
    let path = "/sys/module/ghcb_rs/parameters/timing";
    fs::write(path, on).with_context(|| format!("write {on} to {path}"))
}

/// Make `choice` answer. None if it can't, because there is no module to insert.
pub fn select(choice: Choice) -> Result<Option<Handler>> {
    let wanted = match choice {
        Choice::Current => return Ok(Some(current())),
        Choice::C => Handler::C,
        Choice::Rust => Handler::Rust,
        Choice::Observe => {
            if module().is_none() {
                return Ok(None);
            }
            IS_OBSERVED.store(true, Ordering::Relaxed);
            switch(Handler::Rust)?;
            Handler::C
        }
    };
    if current() != wanted {
        if wanted == Handler::Rust && module().is_none() {
            return Ok(None);
        }
        switch(wanted)?;
    }
    Ok(Some(wanted))
}

/// The module's file: `GHCB_MODULE`, or beside the program or its folder.
pub fn module() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("GHCB_MODULE") {
        return Some(path.into());
    }
    let program = std::env::current_exe().ok()?;
    program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("ghcb_rs.ko"))
        .find(|path| path.exists())
}

/// Make the handler answer that did before, without the module if it is C.
pub fn restore(before: Handler) -> Result<()> {
    IS_OBSERVED.store(false, Ordering::Relaxed);
    match before {
        Handler::C if is_enabled() => disable(),
        _ => switch(before).map(drop),
    }
}

/// Change over and wait until every task has; returns how long it took.
///
/// A disabled livepatch is gone for good: to have it back, the module goes out and in.
pub fn switch(to: Handler) -> Result<Duration> {
    let begin = Instant::now();
    if current() == to {
        return Ok(begin.elapsed());
    }
    match to {
        Handler::C if is_observed() => set_mode("observe")?,
        Handler::C => disable()?,
        Handler::Rust if is_enabled() => set_mode("answer")?,
        Handler::Rust => {
            let module = module().context("no module to insert: GHCB_MODULE names none")?;
            remove()?;
            insert(&module)?;
        }
    }
    Ok(begin.elapsed())
}

/// Disable the livepatch, and wait until no task is in it.
pub fn disable() -> Result<()> {
    let begin = Instant::now();
    let patch = Path::new(PATCH);
    fs::write(patch.join("enabled"), "0").with_context(|| format!("write 0 to {PATCH}/enabled"))?;
    // Some kernels keep a disabled patch in sysfs.
    while fs::read_to_string(patch.join("transition")).is_ok_and(|value| value.trim() == "1") {
        ensure!(
            begin.elapsed() < PATIENCE,
            "the livepatch is not off after {PATIENCE:?}"
        );
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Insert the module, and wait until every task has changed over.
pub fn insert(module: &Path) -> Result<()> {
    kernel::insert(module, "").with_context(|| format!("insert {}", module.display()))?;
    let begin = Instant::now();
    let transition = Path::new(PATCH).join("transition");
    while fs::read_to_string(&transition).is_ok_and(|value| value.trim() == "1") {
        ensure!(begin.elapsed() < PATIENCE, "inserted, but not active");
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Take the module out, disabled before if it still is enabled.
pub fn remove() -> Result<()> {
    if is_enabled() {
        disable()?;
    }
    let begin = Instant::now();
    while loaded() {
        if let Err(error) = try_remove() {
            // The patch lets go of the module a moment after its change is complete.
            ensure!(begin.elapsed() < PATIENCE, "remove {NAME}: {error}");
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// Ask the kernel once to take the module out.
pub fn try_remove() -> Result<()> {
    try_remove_module(NAME)
}

/// Ask the kernel once to take the module `name` out.
pub fn try_remove_module(name: &str) -> Result<()> {
    Ok(kernel::remove(name)?)
}
