// SPDX-License-Identifier: GPL-2.0

//! Host memory that stands in for a scratch area.

use super::bindings::kvm_vcpu;
use core::{ffi::c_void, ptr::NonNull, slice};
use kernel::{alloc::flags::GFP_KERNEL_ACCOUNT, prelude::*};

/// A copy of a scratch area.
pub(crate) enum Buffer {
    /// Memory whose owner frees it, or C does by `kvfree()`: a parked exit may be completed by C.
    Allocated(KVVec<u8>),
    /// At most eight bytes, in a place that the vCPU has for the data of small accesses. C:
    /// `kvm_vcpu.mmio_fragments[0].val`, unused by SEV-ES guests.
    ///
    /// # Invariants
    ///
    /// `data` points to `len` bytes that this task alone uses while the exit lasts.
    InVcpu {
        /// The bytes.
        data: NonNull<u8>,
        /// How many.
        len: usize,
    },
}

impl Buffer {
    /// `len` zero bytes for an exit of `vcpu`.
    ///
    /// # Safety
    ///
    /// `vcpu` is one that this task runs, and has no other buffer.
    #[inline(always)]
    pub(super) unsafe fn zeroed(vcpu: *mut kvm_vcpu, len: usize) -> Result<Self> {
        if len > size_of::<u64>() {
            return Ok(Self::Allocated(KVVec::from_elem(
                0,
                len,
                GFP_KERNEL_ACCOUNT,
            )?));
        }
        // SAFETY: By the caller, the field is this task's alone.
        unsafe {
            let value = &raw mut (*vcpu).mmio_fragments[0].val;
            *value = 0;
            // INVARIANT: The field has eight bytes.
            Ok(Self::InVcpu {
                data: NonNull::new_unchecked(value.cast()),
                len,
            })
        }
    }

    /// The bytes.
    #[inline(always)]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Allocated(memory) => memory,
            // SAFETY: By the invariant.
            Self::InVcpu { data, len } => unsafe { slice::from_raw_parts(data.as_ptr(), *len) },
        }
    }

    /// The bytes, to be changed.
    #[inline(always)]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Allocated(memory) => memory,
            // SAFETY: By the invariant.
            Self::InVcpu { data, len } => unsafe { slice::from_raw_parts_mut(data.as_ptr(), *len) },
        }
    }

    /// Their address, for C.
    #[inline(always)]
    pub(super) fn as_mut_ptr(&mut self) -> *mut c_void {
        self.bytes_mut().as_mut_ptr().cast()
    }

    /// Number of bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Gives the memory away; true if it is to be freed, by [`free`](Self::free) or by C's `kvfree()`.
    pub(super) fn into_raw(self) -> (*mut c_void, bool) {
        match self {
            Self::Allocated(memory) => (memory.into_raw_parts().0.cast(), true),
            Self::InVcpu { data, .. } => (data.as_ptr().cast(), false),
        }
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
