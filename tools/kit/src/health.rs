// SPDX-License-Identifier: GPL-2.0

//! Whether the host is well: what its kernel has logged since the last look.

use anyhow::{Context as _, Result};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};

/// Words of the kernel's log that tell of a fault of its own.
const FAULTS: [&str; 14] = [
    "cut here",
    "BUG:",
    "WARNING:",
    "Oops",
    "KASAN",
    "UBSAN",
    "general protection fault",
    "unable to handle",
    "Call Trace:",
    "lockdep",
    "rcu: INFO",
    "soft lockup",
    "blocked for more",
    "Kernel panic",
];

/// Reads the kernel's log from some moment on.
#[derive(Debug)]
pub struct Health(File);

impl Health {
    /// Begins now.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn from_now() -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let log = rustix::fs::open("/dev/kmsg", flags, Mode::empty()).context("/dev/kmsg")?;
        let mut log = File::from(log);
        log.seek(SeekFrom::End(0)).context("/dev/kmsg")?;
        Ok(Self(log))
    }

    /// Lines since the last call that tell of a fault.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn faults(&mut self) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(0) => return Ok(faults),
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    let message = text.split_once(';').map_or(&*text, |(_, message)| message);
                    let line = message.lines().next().unwrap_or_default();
                    if FAULTS.iter().any(|fault| line.contains(fault)) {
                        faults.push(line.to_owned());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(faults),
                // Records were overwritten before they were read: go on with the next.
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {}
                Err(error) => return Err(error).context("/dev/kmsg"),
            }
        }
    }
}
