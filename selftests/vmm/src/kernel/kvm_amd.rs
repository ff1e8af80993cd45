// SPDX-License-Identifier: GPL-2.0
//! The host's module that runs guests, taken out and put in.

use crate::kernel::handler;
use crate::kernel::host;
use crate::launch::kind::Kind;
use anyhow::{bail, ensure, Context, Result};
use std::path::Path;
use std::process::Command;

const NAME: &str = "kvm_amd";

/// Out and in, with the same parameters as far as they concern SEV-ES.
pub fn reload() -> Result<()> {
    modprobe(&["-r", NAME])?;
    ensure!(
        !Path::new("/sys/module").join(NAME).exists(),
        "{NAME} is there still"
    );
    modprobe(&[NAME, "sev=1", "sev_es=1"])?;
    if let Some(why) = host::missing(Kind::chosen()) {
        bail!("after {NAME} was put in again: {why}");
    }
    Ok(())
}

/// Fails if it can be taken out.
pub fn is_in_use() -> Result<()> {
    ensure!(
        handler::try_remove_module(NAME).is_err() && modprobe(&["-r", NAME]).is_err(),
        "{NAME} was taken away"
    );
    Ok(())
}

fn modprobe(arguments: &[&str]) -> Result<()> {
    let output = Command::new("modprobe")
        .args(arguments)
        .output()
        .context("modprobe")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "modprobe {arguments:?}: {error}");
    Ok(())
}
