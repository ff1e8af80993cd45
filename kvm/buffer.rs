// SPDX-License-Identifier: GPL-2.0

//! Host memory that stands in for a scratch area.

use core::ffi::c_void;
use kernel::{alloc::flags::GFP_KERNEL_ACCOUNT, prelude::*};

/// A copy of a scratch area.
///
/// Comes from the allocator whose memory C frees by `kvfree()`: a parked exit may be completed by C.
pub(crate) struct Buffer(KVVec<u8>);

impl Buffer {
    /// `len` zero bytes.
    pub(super) fn zeroed(len: usize) -> Result<Self> {
        Ok(Self(KVVec::from_elem(0, len, GFP_KERNEL_ACCOUNT)?))
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be changed.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Their address, for C.
    pub(super) fn as_mut_ptr(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }

    /// Number of bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives the memory away, to be freed by [`free`](Self::free) or by C's `kvfree()`.
    pub(super) fn into_raw(self) -> *mut c_void {
        self.0.into_raw_parts().0.cast()
    }

    /// Frees memory that was given away, or that C has allocated by `kvzalloc()`.
    ///
    /// # Safety
    ///
    /// `memory` is `len` bytes of such memory, is not null, and nobody uses it any more.
    pub(super) unsafe fn free(memory: *mut c_void, len: usize) {
        // SAFETY: The caller vouches for it. A length of zero is always initialized.
        drop(unsafe { KVVec::<u8>::from_raw_parts(memory.cast(), 0, len) });
    }
}
