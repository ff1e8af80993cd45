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

    /// The folder of modules for a kernel.
    ///
    /// # Errors
    ///
    /// If the kit has none; says how to make them.
    pub fn modules(&self, release: &str) -> Result<PathBuf> {
        let folder = self.0.join("modules").join(release);
        if !folder.join("ghcb_rs.ko").is_file() {
            let others = self.releases();
            let others = match &others[..] {
                [] => "none at all".to_owned(),
                others => format!("only for {}", others.join(", ")),
            };
            bail!(
                "the kit has no modules for {release}, {others}: `./build KDIR` makes them, where KDIR is the tree of \
                 that kernel, prepared for modules in Rust (source/docs/kernels.md says how)"
            );
        }
        Ok(folder)
    }

    /// Kernels that it has modules for.
    fn releases(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.join("modules")) else {
            return Vec::new();
        };
        let whole = entries.filter_map(Result::ok);
        let whole = whole.filter(|entry| entry.path().join("ghcb_rs.ko").is_file());
        let names = whole.filter_map(|entry| entry.file_name().into_string().ok());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_those_of_the_kernel() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("version"), "0.1.0\n").expect("a file");
        let modules = |release: &str| folder.path().join("modules").join(release);
        for release in ["7.3.4-rt-amd64", "7.3.4-amd64", "7.2.12-amd64"] {
            fs::create_dir_all(modules(release)).expect("a folder");
            fs::write(modules(release).join("ghcb_rs.ko"), "").expect("a file");
        }
        // Begun, and not finished.
        fs::create_dir_all(modules("7.4.0-amd64")).expect("a folder");
        let kit = Folder::open(folder.path()).expect("a kit");
        let chosen = kit.modules("7.3.4-amd64").expect("modules");
        assert!(chosen.ends_with("modules/7.3.4-amd64"), "{chosen:?}");
        for release in ["7.3.4", "7.4.0-amd64"] {
            let error = kit.modules(release).expect_err("none").to_string();
            let others = "only for 7.2.12-amd64, 7.3.4-amd64, 7.3.4-rt-amd64: `./build";
            assert!(
                error.starts_with(&format!("the kit has no modules for {release}, {others}")),
                "{error}"
            );
            assert_eq!(error.lines().count(), 1);
        }
    }
}
