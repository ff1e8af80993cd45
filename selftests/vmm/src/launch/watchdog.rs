// SPDX-License-Identifier: GPL-2.0
//! Ends a KVM_RUN that does not come back.

use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use vmm_sys_util::signal::{register_signal_handler, SIGRTMIN};

/// How often to try again: a signal between a check and KVM_RUN is lost.
const AGAIN: Duration = Duration::from_millis(20);

/// While it lives, the thread that made it is interrupted after a time, and from then on over and over.
pub struct Watchdog {
    off: Arc<AtomicBool>,
    barked: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watch the calling thread.
    pub fn start(after: Duration) -> Result<Self> {
        prepare()?;
        let off = Arc::new(AtomicBool::new(false));
        let barked = Arc::new(AtomicBool::new(false));
        let thread = {
            let (off, barked) = (off.clone(), barked.clone());
            // SAFETY: Names the calling thread.
            let target = unsafe { libc::pthread_self() };
            thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(move || {
                    let mut pause = after;
                    loop {
                        thread::park_timeout(pause);
                        if off.load(Ordering::Acquire) {
                            return;
                        }
                        barked.store(true, Ordering::Release);
                        // SAFETY: The target joins this thread before it ends.
                        unsafe { libc::pthread_kill(target, SIGRTMIN()) };
                        pause = AGAIN;
                    }
                })
                .context("start the watchdog's thread")?
        };
        Ok(Self {
            off,
            barked,
            thread: Some(thread),
        })
    }

    /// Whether the time is over.
    pub fn barked(&self) -> bool {
        self.barked.load(Ordering::Acquire)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.off.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It cannot panic, and would have nothing to tell.
            let _ = thread.join();
        }
    }
}

/// Make the signal of [`kick`] interrupt KVM_RUN, and do nothing else.
pub fn prepare() -> Result<()> {
    static ONCE: Once = Once::new();
    extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    let mut result = Ok(());
    ONCE.call_once(|| result = register_signal_handler(SIGRTMIN(), nothing));
    result.context("install the signal handler")
}

/// Interrupt a KVM_RUN of `thread`.
pub fn kick(thread: libc::pthread_t) {
    // SAFETY: The callers name threads that they have not joined yet.
    unsafe { libc::pthread_kill(thread, SIGRTMIN()) };
}
