// SPDX-License-Identifier: GPL-2.0
//! What the livepatch shows in debugfs of who exits, as `docs/ABI/debugfs-ghcb_rs` promises it.

use crate::launch::vm::Vm;
use anyhow::{ensure, Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Its folder.
pub const FOLDER: &str = "/sys/kernel/debug/ghcb_rs";
/// KVM's own, with a folder for each VM.
pub const KVM: &str = "/sys/kernel/debug/kvm";

/// A table: a line with the names of the columns, and a line for each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Take `text` apart.
    pub fn parse(text: &str) -> Result<Self> {
        let cells = |line: &str| line.split('\t').map(String::from).collect::<Vec<_>>();
        ensure!(text.ends_with('\n'), "no whole lines");
        let mut lines = text.lines();
        let columns = cells(lines.next().context("no line")?);
        let rows: Vec<_> = lines.map(cells).collect();
        for row in &rows {
            ensure!(
                row.len() == columns.len(),
                "{row:?} has other columns than {columns:?}"
            );
        }
        Ok(Self { columns, rows })
    }

    /// Read a file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// The names of the columns.
    pub fn columns(&self) -> Vec<&str> {
        self.columns.iter().map(String::as_str).collect()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A column.
    pub fn column(&self, name: &str) -> Result<Vec<&str>> {
        let index = self.columns.iter().position(|column| column == name);
        let index = index.with_context(|| format!("no column {name}"))?;
        Ok(self.rows.iter().map(|row| row[index].as_str()).collect())
    }

    /// The numbers of a column, by what the first column says.
    pub fn numbers(&self, name: &str) -> Result<BTreeMap<String, u64>> {
        let keys = self.rows.iter().map(|row| row[0].clone());
        let numbers = self.column(name)?;
        keys.zip(numbers)
            .map(|(key, number)| Ok((key, number.parse()?)))
            .collect()
    }
}

/// The name of a VM of this process's in debugfs.
pub fn name(vm: &Vm) -> String {
    format!("{}-{}", std::process::id(), vm.fd().as_raw_fd())
}

/// The folder of a VM of that name.
pub fn folder(name: &str) -> PathBuf {
    Path::new(FOLDER).join("vms").join(name)
}
