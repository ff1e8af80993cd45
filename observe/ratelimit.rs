// SPDX-License-Identifier: GPL-2.0

//! A limit on messages that a guest can cause: as the kernel's `DEFAULT_RATELIMIT_*` have it, ten in five seconds.

use kernel::{bindings::ktime_get, prelude::*, sync::global_lock, time::NSEC_PER_SEC};

/// `DEFAULT_RATELIMIT_INTERVAL`, in nanoseconds.
const INTERVAL: i64 = 5 * NSEC_PER_SEC;

/// `DEFAULT_RATELIMIT_BURST`: messages in an interval.
const BURST: u32 = 10;

/// Messages in the current interval.
struct Interval {
    /// When it began, in nanoseconds of the monotonic clock; `None` before the first message.
    begun: Option<i64>,
    written: u32,
    suppressed: u32,
}

global_lock! {
    // SAFETY: `init()` is called before any other function of this file.
    unsafe(uninit) static CURRENT: SpinLock<Interval> = Interval {
        begun: None,
        written: 0,
        suppressed: 0,
    };
}

/// Initializes the lock.
///
/// # Safety
///
/// To be called once, and before any other function here.
pub(super) unsafe fn init() {
    // SAFETY: By the caller.
    unsafe { CURRENT.init() };
}

/// Whether one more message may be written now. At the end of an interval, logs how many were suppressed.
pub(super) fn allows() -> bool {
    // SAFETY: In a task, with the clock running.
    let now = unsafe { ktime_get() };
    let mut current = CURRENT.lock();
    // Not `Instant::elapsed()`, which may panic.
    let is_over = |begun: i64| now.wrapping_sub(begun) >= INTERVAL;
    if current.begun.is_none_or(is_over) {
        if current.suppressed != 0 {
            pr_warn!("{} messages about guests suppressed\n", current.suppressed);
        }
        *current = Interval {
            begun: Some(now),
            written: 0,
            suppressed: 0,
        };
    }
    if current.written < BURST {
        current.written += 1;
        return true;
    }
    current.suppressed = current.suppressed.saturating_add(1);
    false
}
