// SPDX-License-Identifier: GPL-2.0
//! What the CPU's performance counters count outside of the guest, in the kernel and in this program.

use anyhow::{ensure, Context, Result};
use std::io::{Error, Read};
use std::os::fd::{FromRawFd, OwnedFd};

/// The beginning of `struct perf_event_attr`: all that its first version had, which each kernel takes.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}

const _: () = assert!(size_of::<Attributes>() == 64);

/// PERF_TYPE_HARDWARE.
const HARDWARE: u32 = 0;
/// PERF_COUNT_HW_CPU_CYCLES and PERF_COUNT_HW_INSTRUCTIONS.
const CYCLES: u64 = 0;
const INSTRUCTIONS: u64 = 1;
/// Bits of `flags`: count nothing of the guest's; and count all the time, or not at all.
const EXCLUDE_GUEST: u64 = 1 << 20;
const PINNED: u64 = 1 << 2;

/// PERF_FLAG_FD_CLOEXEC.
const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;

/// One counter, of the thread that opens it.
struct Counter(std::fs::File);

impl Counter {
    fn open(kind: u32, config: u64) -> Result<Self> {
        let attributes = Attributes {
            kind,
            size: size_of::<Attributes>() as u32,
            config,
            flags: EXCLUDE_GUEST | PINNED,
            ..Attributes::default()
        };
        // SAFETY: The kernel reads as many bytes as the structure says that it has.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                0,
                -1,
                -1,
                CLOSE_ON_EXEC,
            )
        };
        if fd < 0 {
            return Err(Error::last_os_error()).context("perf_event_open");
        }
        // SAFETY: A new descriptor, which nobody else has.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Ok(Self(fd.into()))
    }

    fn value(&mut self) -> Result<u64> {
        let mut value = [0; 8];
        // A pinned counter that another one has displaced is read as nothing.
        let length = self.0.read(&mut value)?;
        ensure!(length == value.len(), "another counter has displaced it");
        Ok(u64::from_ne_bytes(value))
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub cycles: u64,
    pub instructions: u64,
}

/// The counters of a thread.
pub struct Counters {
    cycles: Counter,
    instructions: Counter,
}

impl Counters {
    /// Begin to count this thread; an error where there are no counters.
    pub fn begin() -> Result<Self> {
        Ok(Self {
            cycles: Counter::open(HARDWARE, CYCLES)?,
            instructions: Counter::open(HARDWARE, INSTRUCTIONS)?,
        })
    }

    /// What they have counted.
    pub fn end(mut self) -> Result<Counts> {
        Ok(Counts {
            cycles: self.cycles.value()?,
            instructions: self.instructions.value()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::time::{Duration, Instant};

    /// PERF_TYPE_SOFTWARE, and PERF_COUNT_SW_TASK_CLOCK: nanoseconds of this thread, which a kernel counts on any machine.
    const SOFTWARE: u32 = 1;
    const TASK_CLOCK: u64 = 1;

    #[test]
    fn a_counter_counts_this_thread() {
        let mut counter = match Counter::open(SOFTWARE, TASK_CLOCK) {
            Ok(counter) => counter,
            Err(error) => {
                // Where this is built, it may be forbidden.
                let error = error.downcast::<Error>().unwrap();
                assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
                return;
            }
        };
        let first = counter.value().unwrap();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(1) {}
        assert!(counter.value().unwrap() > first);
    }

    #[test]
    fn what_cannot_be_counted_is_an_error() {
        assert!(Counter::open(u32::MAX, 0).is_err());
    }
}
