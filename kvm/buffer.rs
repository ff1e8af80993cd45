// SPDX-License-Identifier: GPL-2.0

//! Host memory that stands in for a scratch area.

use super::bindings::kvm_vcpu;
use core::{
    ffi::c_void,
    ptr::{self, NonNull},
    slice,
};
use kernel::{
    alloc::flags::{__GFP_ZERO, GFP_KERNEL_ACCOUNT},
    prelude::*,
};

/// A copy of a scratch area.
pub(crate) enum Buffer {
    /// Memory of its own.
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
            return Ok(Self::Allocated(allocate(len)?));
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

    /// Gives the bytes away, with their number, in memory that [`free`](Self::free) or C's `kvfree()`
    /// frees: a parked exit may be completed by C, and on another vCPU. The one that began it may be gone
    /// by then, when userspace has moved the guest to another VM.
    ///
    /// # Safety
    ///
    /// `vcpu` is the one that the buffer was made for.
    pub(super) unsafe fn into_raw(self, vcpu: *mut kvm_vcpu) -> Result<(*mut c_void, usize)> {
        let memory = match self {
            Self::Allocated(memory) => memory,
            Self::InVcpu { data, len } => {
                let mut memory = allocate(len)?;
                // SAFETY: Both are `len` bytes, by the invariant of `Self`. By the caller, the fields are
                // this task's alone. An offset up to `len` is within the new memory or at its end.
                unsafe {
                    ptr::copy_nonoverlapping(data.as_ptr(), memory.as_mut_ptr(), len);
                    // KVM has noted where it goes on.
                    for place in [
                        &raw mut (*vcpu).mmio_fragments[0].data,
                        &raw mut (*vcpu).arch.sev_pio_data,
                    ] {
                        let offset = (*place).addr().wrapping_sub(data.as_ptr().addr());
                        if offset <= len {
                            *place = memory.as_mut_ptr().add(offset).cast();
                        }
                    }
                }
                memory
            }
        };
        let (memory, len, _) = memory.into_raw_parts();
        Ok((memory.cast(), len))
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

/// `len` zero bytes. `KVVec::from_elem()` would bring checks along that can panic.
fn allocate(len: usize) -> Result<KVVec<u8>> {
    let memory = KVVec::with_capacity(len, GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
    let (memory, _, capacity) = memory.into_raw_parts();
    // SAFETY: What was just taken apart, with so many bytes that the allocator has zeroed.
    Ok(unsafe { KVVec::from_raw_parts(memory, len, capacity) })
}
