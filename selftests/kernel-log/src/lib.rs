// SPDX-License-Identifier: GPL-2.0
//! What the host's kernel says meanwhile, and whether it tells of a fault: for test programs, and for the kit.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

/// Lines that the kernel logs from now on.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
}

/// Parts of a line that tell of a fault of the host.
const FAULTS: [&str; 14] = [
    "cut here",
    "WARNING:",
    "BUG:",
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

impl KernelLog {
    /// Begin behind the last line.
    pub fn open() -> Result<Self> {
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .context("open /dev/kmsg")?;
        file.seek(SeekFrom::End(0)).context("end of /dev/kmsg")?;
        Ok(Self { file })
    }

    /// Lines since the last call.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut record = [0u8; 8192];
        loop {
            match self.file.read(&mut record) {
                Ok(0) => return Ok(lines),
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    let message = text.split_once(';').map_or(&*text, |(_, rest)| rest);
                    lines.push(message.lines().next().unwrap_or_default().to_owned());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(lines),
                // Records were overwritten before they were read: go on with the next.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) => return Err(error).context("read /dev/kmsg"),
            }
        }
    }
}

/// Those of `lines` that tell of a fault of the host.
pub fn faults(lines: &[String]) -> Vec<&String> {
    lines
        .iter()
        .filter(|line| FAULTS.iter().any(|fault| line.contains(fault)))
        .collect()
}
