// SPDX-License-Identifier: GPL-2.0

//! What lies in the kit. `make kit` puts it there.

use anyhow::{bail, Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// An unpacked kit.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The kit at `path`.
    ///
    /// # Errors
    ///
    /// If that is no kit.
    pub fn open(path: &Path) -> Result<Self> {
        let path = fs::canonicalize(path).with_context(|| path.display().to_string())?;
        if !path.join("version").is_file() {
            bail!(
                "{} is no unpacked kit: it has no file \"version\"",
                path.display()
            );
        }
        Ok(Self(path))
    }

    /// A file of it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Its version.
    pub fn version(&self) -> String {
        let text = fs::read_to_string(self.file("version")).unwrap_or_default();
        text.trim().to_owned()
    }

    /// The folder of modules for a kernel, if the kit has one.
    pub fn modules(&self, release: &str) -> Option<PathBuf> {
        let folder = self.0.join("modules").join(release);
        folder.join("ghcb_rs.ko").is_file().then_some(folder)
    }

    /// Kernels that it has modules for.
    pub fn releases(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.join("modules")) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// Names of the test programs.
    ///
    /// # Errors
    ///
    /// Those of reading their list.
    pub fn programs(&self) -> Result<Vec<String>> {
        let list = self.file("selftests/kselftest-list.txt");
        let text = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
        let names = text
            .lines()
            .filter_map(|line| line.strip_prefix("ghcb_rs:"));
        Ok(names.map(str::to_owned).collect())
    }
}
