// SPDX-License-Identifier: GPL-2.0

//! All that the module shows, at one moment.

use crate::{
    names,
    table::{self, Table},
};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the module has its files, below the host's root.
const FILES: &str = "sys/kernel/debug/ghcb_rs";

/// Where it has its parameters.
const PARAMETERS: &str = "sys/module/ghcb_rs/parameters";

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The module is not there.
    #[error("ghcb_rs is not loaded: there is no {0}")]
    NotLoaded(PathBuf),
    /// It is there, and its files are not.
    #[error("ghcb_rs is loaded, and {0} is not there: mount -t debugfs debugfs /sys/kernel/debug")]
    NotMounted(PathBuf),
    /// Its files may not be read.
    #[error("{0} may not be read: be root, or let root give it to you, see \"Who may read\" in ghcbstat(8)")]
    Denied(PathBuf),
    /// A file cannot be read for another reason.
    #[error("{0}")]
    Read(PathBuf, #[source] io::Error),
    /// A file is none of the module's.
    #[error("{0}")]
    Format(PathBuf, #[source] table::Error),
}

impl Error {
    /// Whether a file was not there.
    fn is_absent(&self) -> bool {
        matches!(self, Self::Read(_, error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// What the module shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken: CLOCK_MONOTONIC, in nanoseconds, which is the clock of the ring, too.
    pub monotonic_ns: u64,
    /// Who answers: `answer` for Rust, `observe` for C.
    pub mode: Option<String>,
    /// Whether time is measured.
    pub timing: Option<bool>,
    /// Sums over all guests, those that are gone among them.
    #[serde(flatten)]
    pub counters: Counters,
    /// The guests.
    pub vms: Vec<Vm>,
}

/// Counters of a guest, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Exits, by event.
    pub events: Vec<Event>,
    /// Error replies, by reason.
    pub reasons: Vec<Count>,
    /// In observe mode: how the answers compare.
    pub verdicts: Vec<Count>,
    /// Times in the handler.
    pub latency: Vec<Bucket>,
}

/// Exits of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its name.
    pub event: String,
    /// Answered in Rust.
    pub rust: u64,
    /// Answered by C.
    pub c: u64,
    /// Error replies.
    pub errors: u64,
}

/// Something that was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// Exits of one event that took a time from `from_ns` to just below twice that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// The event.
    pub event: String,
    /// A power of two of nanoseconds. The first, 1, has shorter times, too.
    pub from_ns: u64,
    /// How many.
    pub count: u64,
}

/// A guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// Its directory, named as KVM's own: process ID of the VMM, and file descriptor.
    pub id: String,
    /// Process ID of the VMM.
    pub pid: Option<u32>,
    /// What QEMU or libvirt call it.
    pub name: Option<String>,
    /// Its counters.
    #[serde(flatten)]
    pub counters: Counters,
    /// Exits by vCPU and event.
    pub vcpus: Vec<VcpuEvent>,
}

/// Exits of one event and one vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuEvent {
    /// Number of the vCPU.
    pub vcpu: u32,
    /// The rest.
    #[serde(flatten)]
    pub event: Event,
}

impl Counters {
    /// Exits, answered by whomever, and error replies.
    pub fn totals(&self) -> (u64, u64) {
        self.events.iter().fold((0, 0), |(exits, errors), event| {
            (
                exits.saturating_add(event.exits()),
                errors.saturating_add(event.errors),
            )
        })
    }
}

impl Event {
    /// Exits, answered by whomever.
    pub fn exits(&self) -> u64 {
        self.rust.saturating_add(self.c)
    }
}

impl Vm {
    /// What it is called here: its name, else its directory's.
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

impl Snapshot {
    /// Takes one of the host whose root is `root`.
    ///
    /// # Errors
    ///
    /// The module is not there, or its files may not be read or are not its own.
    pub fn take(root: &Path) -> Result<Self, Error> {
        let directory = root.join(FILES);
        let counters = Counters::read(&directory).map_err(|error| explain(root, error))?;
        let mut vms = Vec::new();
        for id in directories(&directory.join("vms"))? {
            let here = directory.join("vms").join(&id);
            match Vm::read(root, &here, id) {
                Ok(vm) => vms.push(vm),
                // It has ended meanwhile.
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error),
            }
        }
        let parameter = |name| {
            let text = fs::read_to_string(root.join(PARAMETERS).join(name)).ok()?;
            Some(text.trim().to_owned())
        };
        Ok(Self {
            monotonic_ns: now(),
            mode: parameter("mode"),
            timing: parameter("timing").map(|value| matches!(value.as_str(), "1" | "Y")),
            counters,
            vms,
        })
    }
}

/// The text of the ring of failures.
///
/// # Errors
///
/// As for [`Snapshot::take`].
pub fn failures(root: &Path) -> Result<(PathBuf, String), Error> {
    let path = root.join(FILES).join("failures");
    match text(&path) {
        Ok(text) => Ok((path, text)),
        Err(error) => Err(explain(root, error)),
    }
}

/// CLOCK_MONOTONIC, in nanoseconds.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let [seconds, nanoseconds] =
        [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    seconds * 1_000_000_000 + nanoseconds
}

/// Why the first file is not there.
fn explain(root: &Path, error: Error) -> Error {
    if !error.is_absent() {
        return error;
    }
    let module = root.join("sys/module/ghcb_rs");
    if module.exists() {
        Error::NotMounted(root.join(FILES))
    } else {
        Error::NotLoaded(module)
    }
}

fn failed(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::Denied(path.to_owned()),
        _ => Error::Read(path.to_owned(), error),
    }
}

fn text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| failed(path, error))
}

/// Names of the directories in a directory, in order of numbers.
fn directories(path: &Path) -> Result<Vec<String>, Error> {
    let mut names: Vec<_> = fs::read_dir(path)
        .map_err(|error| failed(path, error))?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let numbers = |name: &String| -> Vec<u64> {
        name.split(|c: char| !c.is_ascii_digit())
            .filter_map(|part| part.parse().ok())
            .collect()
    };
    names.sort_by_key(|name| (numbers(name), name.clone()));
    Ok(names)
}

/// The rows of a file, each by `row`.
fn rows<T>(
    directory: &Path,
    file: &str,
    row: impl Fn(table::Row<'_>) -> Result<T, table::Error>,
) -> Result<Vec<T>, Error> {
    let path = directory.join(file);
    let text = text(&path)?;
    let table = Table::parse(&text);
    let rows: Result<_, _> = table.rows().map(row).collect();
    rows.map_err(|error| Error::Format(path, error))
}

fn event(row: table::Row<'_>) -> Result<Event, table::Error> {
    Ok(Event {
        event: row.text("event")?.to_owned(),
        rust: row.number("rust")?,
        c: row.number("c")?,
        errors: row.number("errors")?,
    })
}

impl Counters {
    fn read(directory: &Path) -> Result<Self, Error> {
        let count = |name| {
            move |row: table::Row<'_>| {
                Ok(Count {
                    name: row.text(name)?.to_owned(),
                    count: row.number("count")?,
                })
            }
        };
        let mut events = rows(directory, "events", event)?;
        events.retain(|event| event.event != "total");
        Ok(Self {
            events,
            reasons: rows(directory, "reasons", count("reason"))?,
            verdicts: rows(directory, "verdicts", count("verdict"))?,
            latency: rows(directory, "latency", |row| {
                Ok(Bucket {
                    event: row.text("event")?.to_owned(),
                    from_ns: row.number("from_ns")?,
                    count: row.number("count")?,
                })
            })?,
        })
    }
}

impl Vm {
    fn read(root: &Path, directory: &Path, id: String) -> Result<Self, Error> {
        let pid = id.split('-').next().and_then(|pid| pid.parse().ok());
        Ok(Self {
            pid,
            name: pid.and_then(|pid| names::of(root, pid)),
            counters: Counters::read(directory)?,
            vcpus: rows(directory, "vcpus", |row| {
                Ok(VcpuEvent {
                    vcpu: row.number("vcpu")?,
                    event: event(row)?,
                })
            })?,
            id,
        })
    }
}
