// SPDX-License-Identifier: GPL-2.0

//! Snapshots in a file: a line of JSON each.

use crate::snapshot::Snapshot;
use anyhow::Context as _;
use serde_json::Deserializer;
use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::Path;

/// A file that takes snapshots.
#[derive(Debug)]
pub struct Recorder(File);

impl Recorder {
    /// The file, to which is appended.
    ///
    /// # Errors
    ///
    /// Those of opening it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::options().append(true).create(true).open(path);
        file.map(Self).with_context(|| path.display().to_string())
    }

    /// Appends a snapshot.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn append(&mut self, snapshot: &Snapshot) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(snapshot)?;
        line.push('\n');
        self.0.write_all(line.as_bytes()).context("the recording")
    }
}

/// The snapshots in a file, in their order: a recording, or what `--json` has written.
///
/// # Errors
///
/// It cannot be read, has none, or has something else.
pub fn read(path: &Path) -> anyhow::Result<Vec<Snapshot>> {
    let name = || path.display().to_string();
    let file = BufReader::new(File::open(path).with_context(name)?);
    let snapshots: Vec<_> = Deserializer::from_reader(file)
        .into_iter()
        .collect::<Result<_, _>>()
        .with_context(name)?;
    anyhow::ensure!(!snapshots.is_empty(), "{} is empty", name());
    Ok(snapshots)
}
