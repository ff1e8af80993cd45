// SPDX-License-Identifier: GPL-2.0

//! A limit on messages that a guest can cause.

use crate::kvm::bindings::ratelimit_state;
use core::{cell::UnsafeCell, mem::MaybeUninit};
use kernel::{
    ffi::{c_char, c_int},
    prelude::*,
};

extern "C" {
    /// C: `include/linux/ratelimit.h`.
    fn ___ratelimit(state: *mut ratelimit_state, func: *const c_char) -> c_int;
}

/// `DEFAULT_RATELIMIT_INTERVAL`, in jiffies: five seconds.
const INTERVAL: c_int = 5 * HZ;

/// `DEFAULT_RATELIMIT_BURST`: messages in an interval.
const BURST: c_int = 10;

/// `HZ`.
const HZ: c_int = crate::kvm::bindings::GHCB_RS_HZ as c_int;

/// A `struct ratelimit_state`.
pub(super) struct RateLimit(UnsafeCell<ratelimit_state>);

// SAFETY: `___ratelimit()` takes the lock of the state, or leaves it alone when someone else holds it.
unsafe impl Sync for RateLimit {}

impl RateLimit {
    /// C: `RATELIMIT_STATE_INIT()`.
    pub(super) const fn new() -> Self {
        let mut state = MaybeUninit::<ratelimit_state>::zeroed();
        let fields = state.as_mut_ptr();
        // SAFETY: `fields` is valid for writes. Zero is an unlocked lock and a fresh count.
        unsafe {
            (*fields).interval = INTERVAL;
            (*fields).burst = BURST;
            Self(UnsafeCell::new(state.assume_init()))
        }
    }

    /// Whether one more message may be written now.
    pub(super) fn allows(&self) -> bool {
        // SAFETY: The state lives as long as the module; the name is a C string.
        unsafe { ___ratelimit(self.0.get(), c"ghcb_rs".as_char_ptr()) != 0 }
    }
}
