// SPDX-License-Identifier: GPL-2.0
//! Pages that the reverse map table gives to guests: see `rmp_count/`.

use crate::kernel::{handler, module};
use anyhow::{Context, Result};
use std::path::PathBuf;

const ASSIGNED: &str = "/sys/module/rmp_count/parameters/assigned";

/// The module that counts: `GHCB_RMP_COUNT`, or beside `ghcb_rs`.
fn file() -> Option<PathBuf> {
    let file = match std::env::var_os("GHCB_RMP_COUNT") {
        Some(path) => path.into(),
        None => handler::module()?.with_file_name("rmp_count.ko"),
    };
    file.exists().then_some(file)
}

/// How many pages are assigned; none without the module or its file.
pub(super) fn assigned() -> Result<Option<i64>> {
    if !std::path::Path::new(ASSIGNED).exists() {
        let Some(file) = file() else {
            return Ok(None);
        };
        module::insert(&file, "").with_context(|| format!("insert {}", file.display()))?;
    }
    let text = std::fs::read_to_string(ASSIGNED).context(ASSIGNED)?;
    Ok(Some(text.trim().parse().context(ASSIGNED)?))
}
