// SPDX-License-Identifier: GPL-2.0
//! A child process that keeps a page as it was: what the parent's kernel writes must not reach it.

use crate::backing::memory::Memory;
use anyhow::{ensure, Context, Result};
use std::io::{Error, Read, Write};
use std::os::unix::net::UnixStream;

/// A child with a copy of the parent's memory, shared until either side writes.
pub struct Child {
    pid: libc::pid_t,
    line: UnixStream,
}

/// Exit status of a child whose page has changed.
const CHANGED: i32 = 1;

impl Child {
    /// Fork one that watches the page at the start of `memory`.
    pub fn watch(memory: &Memory) -> Result<Self> {
        let (mut line, mut other) = UnixStream::pair().context("a pair of sockets")?;
        // SAFETY: The child only reads memory and makes system calls, whatever other threads held.
        let pid = unsafe { libc::fork() };
        ensure!(pid >= 0, "fork: {}", Error::last_os_error());
        if pid == 0 {
            let before = memory.page();
            let told = other
                .write_all(&[1])
                .and_then(|()| other.read_exact(&mut [0]));
            let changed = told.is_err() || memory.page() != before;
            // SAFETY: Ends this process at once, without what the parent has registered.
            unsafe { libc::_exit(if changed { CHANGED } else { 0 }) };
        }
        drop(other);
        line.read_exact(&mut [0]).context("the child's word")?;
        Ok(Self { pid, line })
    }

    /// End it; says whether its page has changed.
    pub fn problems(mut self) -> Result<Vec<String>> {
        self.line.write_all(&[1])?;
        let mut status = 0;
        // SAFETY: A child of this process, for which nobody else waits; the status is a number.
        let pid = unsafe { libc::waitpid(self.pid, &mut status, 0) };
        ensure!(pid == self.pid, "waitpid: {}", Error::last_os_error());
        let same = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        let problem = "the child's page was written to".to_owned();
        Ok(Vec::from_iter((!same).then_some(problem)))
    }
}
