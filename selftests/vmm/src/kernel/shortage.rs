// SPDX-License-Identifier: GPL-2.0
//! Memory that the kernel does not have, for as long as a test wants: see `no_memory/`.

use crate::kernel::module;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

const NAME: &str = "no_memory";
const PARAMETERS: &str = "/sys/module/no_memory/parameters";

/// The module that makes allocations fail: `GHCB_NO_MEMORY`, or beside `module`.
pub fn file(module: &Path) -> PathBuf {
    match std::env::var_os("GHCB_NO_MEMORY") {
        Some(path) => path.into(),
        None => module.with_file_name("no_memory.ko"),
    }
}

/// While it lives, allocations of one size by this process can be made to fail.
pub struct Shortage(());

impl Shortage {
    /// Prepare it, with the module in `file`.
    pub fn of(bytes: u64, file: &Path) -> Result<Self> {
        module::insert(file, &format!("size={bytes}"))
            .with_context(|| format!("insert {}", file.display()))?;
        Ok(Self(()))
    }

    /// Call `work` without memory of that size; how many allocations have failed.
    pub fn during<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
        let before = failed()?;
        set(&std::process::id().to_string())?;
        let result = work();
        set("0")?;
        Ok((result?, failed()? - before))
    }
}

impl Drop for Shortage {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = module::remove(NAME);
    }
}

fn set(process: &str) -> Result<()> {
    let path = Path::new(PARAMETERS).join("process");
    fs::write(&path, process).with_context(|| path.display().to_string())
}

fn failed() -> Result<u64> {
    let text = fs::read_to_string(Path::new(PARAMETERS).join("failed")).context("failed")?;
    text.trim().parse().context("failed")
}
