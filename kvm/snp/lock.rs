// SPDX-License-Identifier: GPL-2.0

//! KVM's own mutexes.

use crate::kvm::bindings::mutex;
use core::{marker::PhantomData, ptr::NonNull};
use kernel::bindings::{mutex_lock, mutex_unlock};

/// A mutex of KVM's that this task holds, for as long as this exists.
///
/// # Invariants
///
/// `mutex` is held by this task, and lives as long as `'a`.
pub(super) struct Locked<'a> {
    mutex: NonNull<mutex>,
    _lifetime: PhantomData<&'a mutex>,
}

impl<'a> Locked<'a> {
    /// Waits for a mutex.
    ///
    /// # Safety
    ///
    /// `mutex` is initialized, and lives as long as `'a`. This task may sleep, and does not hold it.
    pub(super) unsafe fn new(mutex: NonNull<mutex>) -> Self {
        // SAFETY: By the caller. Both bindings are of the same structure.
        unsafe { mutex_lock(mutex.as_ptr().cast()) };
        // INVARIANT: It has just been taken; for the rest the caller vouches.
        Self {
            mutex,
            _lifetime: PhantomData,
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { mutex_unlock(self.mutex.as_ptr().cast()) };
    }
}
