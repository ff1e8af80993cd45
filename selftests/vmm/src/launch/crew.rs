// SPDX-License-Identifier: GPL-2.0
//! vCPUs that run beside the one under test, each in a thread of its own.

use crate::exchange::exit::Exit;
use crate::launch::vm::Vcpu;
use crate::launch::watchdog;
use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

/// A vCPU in its thread, entered again after each exit until it is stopped or ends.
pub struct Hand<'scope> {
    stop: Arc<AtomicBool>,
    thread_id: Arc<AtomicU64>,
    handle: ScopedJoinHandle<'scope, Vec<Exit>>,
}

/// Most exits that are kept.
const KEEP: usize = 64;

impl<'scope> Hand<'scope> {
    /// Run `vcpu` in a thread of `scope`.
    pub fn start<'env>(scope: &'scope Scope<'scope, 'env>, vcpu: &'scope mut Vcpu) -> Result<Self> {
        watchdog::prepare()?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread_id = Arc::new(AtomicU64::new(0));
        let (stopped, id) = (stop.clone(), thread_id.clone());
        let handle = thread::Builder::new()
            .spawn_scoped(scope, move || {
                pin(1);
                // SAFETY: Names the calling thread.
                id.store(unsafe { libc::pthread_self() }, Ordering::Release);
                let mut exits = Vec::new();
                while !stopped.load(Ordering::Acquire) {
                    let exit = vcpu.run();
                    // KVM says "again" when an INIT came.
                    if matches!(exit, Exit::Interrupted | Exit::Errno(libc::EAGAIN)) {
                        continue;
                    }
                    let over = !matches!(
                        exit,
                        Exit::Io { .. } | Exit::Mmio { .. } | Exit::Hlt | Exit::MemoryFault { .. }
                    );
                    if exits.len() < KEEP || over {
                        exits.push(exit);
                    }
                    if over {
                        break;
                    }
                }
                exits
            })
            .context("start a vCPU's thread")?;
        Ok(Self {
            stop,
            thread_id,
            handle,
        })
    }

    /// Interrupt its KVM_RUN; it is entered again.
    pub fn kick(&self) {
        let id = self.thread_id.load(Ordering::Acquire);
        if id != 0 && !self.handle.is_finished() {
            watchdog::kick(id);
        }
    }

    /// Stop it; returns its exits, the last of which tells why it ended if it did so before.
    pub fn stop(self) -> Vec<Exit> {
        self.stop.store(true, Ordering::Release);
        while !self.handle.is_finished() {
            self.kick();
            thread::sleep(Duration::from_millis(1));
        }
        self.handle.join().unwrap_or_default()
    }
}

/// Keep the calling thread on the `n`th CPU, if there is one: a race needs two that run at the same time.
pub fn pin(n: usize) {
    // SAFETY: The set is a plain bit array, and names only CPUs; failure leaves the thread where it was.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(n, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// Wait until `condition` holds; false if it takes longer than `patience`.
pub fn wait_for(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begin = std::time::Instant::now();
    while !condition() {
        if begin.elapsed() > patience {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}
