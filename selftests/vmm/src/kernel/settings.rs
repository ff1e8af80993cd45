// SPDX-License-Identifier: GPL-2.0
//! What a test asks of the host for a while: settings of the memory management, and swap space.

use anyhow::{ensure, Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A file of sysfs or procfs that gets back what it held.
pub struct Setting {
    path: &'static str,
    before: String,
}

impl Setting {
    /// Write `value` to `path`.
    pub fn set(path: &'static str, value: &str) -> Result<Self> {
        let before = get(path)?;
        fs::write(path, value).with_context(|| format!("write {value} to {path}"))?;
        Ok(Self { path, before })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = fs::write(self.path, &self.before);
    }
}

/// What `path` holds, without the end of the line.
pub fn get(path: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    Ok(text.trim_end().to_owned())
}

/// The number that `path` holds.
pub fn number(path: &str) -> Result<u64> {
    let text = get(path)?;
    text.parse().with_context(|| format!("{path} holds {text}"))
}

/// Whether the host has two NUMA nodes with memory, the first two.
pub fn has_two_nodes() -> bool {
    get("/sys/devices/system/node/has_memory").is_ok_and(|nodes| nodes.starts_with("0-"))
}

/// Swap space: the host's own, or compressed memory for as long as this lives.
pub struct Swap {
    own: bool,
}

const DEVICE: &str = "/dev/zram0";
const SIZE: (&str, &str) = ("/sys/block/zram0/disksize", "64M");
const RESET: &str = "/sys/block/zram0/reset";

impl Swap {
    /// Have some.
    pub fn have() -> Result<Self> {
        if get("/proc/swaps")?.lines().count() > 1 {
            return Ok(Self { own: false });
        }
        if !Path::new(DEVICE).exists() {
            command("modprobe", &["zram"])?;
        }
        fs::write(SIZE.0, SIZE.1).with_context(|| format!("write {}", SIZE.0))?;
        let this = Self { own: true };
        command("mkswap", &[DEVICE])?;
        command("swapon", &[DEVICE])?;
        Ok(this)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        if self.own {
            // Nobody is left to be told.
            let _ = command("swapoff", &[DEVICE]);
            let _ = fs::write(RESET, "1");
        }
    }
}

fn command(name: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(name)
        .args(arguments)
        .output()
        .with_context(|| format!("run {name}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {}", words.trim());
    Ok(())
}
