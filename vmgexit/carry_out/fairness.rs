// SPDX-License-Identifier: GPL-2.0

//! How often a VM may ask the secure processor.
//!
//! The secure processor executes one command at a time: a guest that sends messages without pause delays attestation
//! and launches of all others. The limit is a rate for each VM, with a burst.

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Nanoseconds between two requests, on average; zero for no limit.
    interval: u64,
    /// By how many nanoseconds a VM may exceed that rate in a burst.
    ahead: u64,
}

impl Limit {
    /// No limit.
    pub const NONE: Self = Self {
        interval: 0,
        ahead: 0,
    };

    /// `rate` requests a second, zero for no limit, and `burst` at once, at least one.
    pub const fn new(rate: u32, burst: u32) -> Self {
        if rate == 0 {
            return Self::NONE;
        }
        let interval = SECOND / rate as u64;
        let more = burst.saturating_sub(1) as u64;
        Self {
            interval,
            ahead: interval.saturating_mul(more),
        }
    }

    /// Whether there is none.
    pub const fn is_none(&self) -> bool {
        self.interval == 0
    }

    /// Whether a VM may ask at the time `now`, and what is to be remembered of it if so.
    ///
    /// `due` is what was remembered when it last asked, zero at first: the time at which the VM would be as often
    /// as the limit allows. All times are nanoseconds of a clock that does not go back.
    pub const fn admit(&self, due: u64, now: u64) -> Option<u64> {
        if self.is_none() {
            return Some(due);
        }
        if due > now.saturating_add(self.ahead) {
            return None;
        }
        let from = if due > now { due } else { now };
        Some(from.saturating_add(self.interval))
    }
}
