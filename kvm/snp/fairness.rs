// SPDX-License-Identifier: GPL-2.0

//! How often each VM may ask the secure processor.

use crate::{kvm::KvmVcpu, vmgexit::carry_out::fairness::Limit};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use kernel::time::{ClockSource, Monotonic};

/// Requests a second of each VM; zero for no limit.
static RATE: AtomicU32 = AtomicU32::new(0);

/// Requests at once.
static BURST: AtomicU32 = AtomicU32::new(1);

/// More ASIDs than a processor has for encrypted guests: no two VMs share a place in [`DUE`].
const PLACES: usize = 1024;

/// What is remembered of each VM: see [`Limit::admit`]. A VM with the ASID of a destroyed one begins with what
/// that one left, which no longer matters after a moment.
static DUE: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];

/// Limits how often each VM may ask.
pub(crate) fn set_limit(rate: u32, burst: u32) {
    RATE.store(rate, Ordering::Relaxed);
    BURST.store(burst, Ordering::Relaxed);
}

impl KvmVcpu {
    /// Whether the VM may ask now; counts this as once.
    pub(super) fn is_within_limit(&self) -> bool {
        let limit = Limit::new(RATE.load(Ordering::Relaxed), BURST.load(Ordering::Relaxed));
        if limit.is_none() {
            return true;
        }
        // SAFETY: By the invariant; a VM's ASID never changes.
        let asid = unsafe { (*self.sev()).asid } as usize;
        let Some(due) = DUE.get(asid % PLACES) else {
            return true;
        };
        let now = Monotonic::ktime_get() as u64;
        due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
            limit.admit(due, now)
        })
        .is_ok()
    }
}
