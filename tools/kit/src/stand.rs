// SPDX-License-Identifier: GPL-2.0

//! How the host was, and how it gets there again.

use crate::facts::text;
use anyhow::{bail, Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Modules that the kit inserts, in the order in which they go.
const OURS: [&str; 6] = [
    "ghcb_rs",
    "ghcb_floor",
    "second_patch",
    "no_memory",
    "rmp_count",
    "dead_ftrace",
];

/// Longest that the module may take to go once nobody needs it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the host was.
#[derive(Clone, Debug)]
pub struct Stand {
    /// Whether kvm_amd was loaded.
    kvm_amd: bool,
}

impl Stand {
    /// How it is now.
    ///
    /// # Errors
    ///
    /// If one of the kit's modules is there already: then somebody uses it.
    pub fn now() -> Result<Self> {
        if let Some(name) = OURS.iter().find(|name| is_loaded(name)) {
            bail!("{name} is loaded: take it out first, `rmmod {name}`");
        }
        Ok(Self {
            kvm_amd: is_loaded("kvm_amd"),
        })
    }

    /// Makes it so again.
    ///
    /// # Errors
    ///
    /// If something stays that was not there.
    pub fn restore(&self) -> Result<()> {
        take_out()?;
        if !self.kvm_amd && is_loaded("kvm_amd") {
            call("modprobe", &["-r", "kvm_amd"])?;
        }
        Ok(())
    }
}

/// Whether a module is loaded.
pub fn is_loaded(name: &str) -> bool {
    Path::new("/sys/module")
        .join(name)
        .join("initstate")
        .exists()
}

/// Puts the module in, with `parameters`, and waits until it answers.
///
/// # Errors
///
/// If it is refused: the kernel's log says why.
pub fn put_in(folder: &Path, parameters: &[&str]) -> Result<()> {
    let mut arguments: Vec<PathBuf> = vec![folder.join("ghcb_rs.ko")];
    arguments.extend(parameters.iter().map(PathBuf::from));
    let output = Command::new("insmod")
        .args(&arguments)
        .output()
        .context("insmod")?;
    if !output.status.success() {
        bail!(
            "ghcb_rs is refused: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    wait(
        || text(patch("ghcb_rs").join("transition")) != "1",
        "ghcb_rs does not take over",
    )
}

/// Takes all modules of the kit out.
///
/// # Errors
///
/// If one of them stays.
pub fn take_out() -> Result<()> {
    for name in OURS.iter().filter(|name| is_loaded(name)) {
        let enabled = patch(name).join("enabled");
        if enabled.exists() {
            fs::write(&enabled, "0").with_context(|| format!("{name}: give its functions back"))?;
        }
        // The last reference goes a moment after the functions.
        let gone = || !is_loaded(name) || call("rmmod", &[name]).is_ok();
        wait(gone, &format!("{name} stays: somebody uses it"))?;
    }
    Ok(())
}

fn patch(name: &str) -> PathBuf {
    Path::new("/sys/kernel/livepatch").join(name)
}

fn wait(mut condition: impl FnMut() -> bool, otherwise: &str) -> Result<()> {
    let begin = Instant::now();
    while !condition() {
        if begin.elapsed() > PATIENCE {
            bail!("{otherwise}");
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn call(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| program.to_owned())?;
    if !output.status.success() {
        bail!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
