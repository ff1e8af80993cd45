// SPDX-License-Identifier: GPL-2.0

//! Host memory that stands in for a scratch area.

use super::{
    bindings::{kvm, kvm_vcpu},
    imports,
};
use crate::{ghcb_abi::page::PAGE_SIZE, vmgexit::host::Purpose};
use core::{arch::asm, ffi::c_void, ptr::NonNull, slice};
use kernel::{alloc::flags, prelude::*};

/// A copy of a scratch area.
pub(crate) enum Buffer {
    /// Memory of its own.
    Allocated(KVVec<u8>),
    /// Storage that KVM already owns in the vCPU. C: `kvm_vcpu.mmio_fragments[0].val`, which SEV-ES guests do not
    /// use, and `kvm_vcpu.arch.pio_data`, through which KVM takes what string I/O sends and receives.
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
    /// `len` bytes for an exit of `vcpu`; zero, unless they are to be sent.
    ///
    /// # Safety
    ///
    /// `vcpu` is one that this task runs, and has no other buffer.
    #[inline(always)]
    pub(super) unsafe fn new(vcpu: *mut kvm_vcpu, len: usize, purpose: Purpose) -> Result<Self> {
        if len > Self::MOST_IN_VCPU
            || purpose == Purpose::SendInPieces && len > Self::MOST_IN_FRAGMENT
        {
            return Self::allocated(len);
        }
        // SAFETY: By the caller.
        let buffer = unsafe { Self::of(vcpu, len) };
        if len <= Self::MOST_IN_FRAGMENT {
            // SAFETY: By the caller, the field is this task's alone.
            unsafe { (*vcpu).mmio_fragments[0].val = 0 };
        } else if purpose == Purpose::Receive {
            // SAFETY: By the caller, the page is this task's alone; it has as many quad words.
            unsafe { zero((*vcpu).arch.pio_data.cast(), len.div_ceil(size_of::<u64>())) };
        }
        Ok(buffer)
    }

    /// Bytes of `kvm_vcpu.mmio_fragments[0].val`.
    const MOST_IN_FRAGMENT: usize = size_of::<u64>();

    /// Bytes of `kvm_vcpu.arch.pio_data`.
    const MOST_IN_VCPU: usize = PAGE_SIZE;

    /// The storage in the vCPU that holds `len` bytes, with its present contents.
    ///
    /// # Safety
    ///
    /// `vcpu` is one that this task has for itself, and has no other buffer. `len` is at most
    /// [`MOST_IN_VCPU`](Self::MOST_IN_VCPU).
    #[inline]
    pub(super) unsafe fn of(vcpu: *mut kvm_vcpu, len: usize) -> Self {
        // SAFETY: By the caller, the fields are this task's alone; a vCPU has a page for port I/O.
        let data = unsafe {
            NonNull::new_unchecked(if len <= Self::MOST_IN_FRAGMENT {
                (&raw mut (*vcpu).mmio_fragments[0].val).cast::<u8>()
            } else {
                (*vcpu).arch.pio_data.cast::<u8>()
            })
        };
        // INVARIANT: The one has eight bytes, the other is a page.
        Self::InVcpu { data, len }
    }

    /// `len` zero bytes of its own.
    pub(super) fn allocated(len: usize) -> Result<Self> {
        Ok(Self::Allocated(allocate(len)?))
    }

    /// Copy of its own of `len` bytes of the guest's memory at `gpa`; `Ok(None)` if they cannot be read.
    ///
    /// # Errors
    ///
    /// There is no memory.
    ///
    /// # Safety
    ///
    /// `kvm` is a VM, and `kvm->srcu` is held.
    pub(super) unsafe fn read(kvm: *mut kvm, gpa: u64, len: usize) -> Result<Option<Self>> {
        let mut memory = KVVec::<u8>::with_capacity(len, flags::GFP_KERNEL_ACCOUNT)?;
        // SAFETY: By the caller; so many bytes are there.
        let error = unsafe { imports::kvm_read_guest(kvm, gpa, memory.as_mut_ptr().cast(), len) };
        if error != 0 {
            return Ok(None);
        }
        // SAFETY: They are there, and KVM has written all of them.
        unsafe { memory.inc_len(len) };
        Ok(Some(Self::Allocated(memory)))
    }

    /// The bytes.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Allocated(memory) => memory,
            // SAFETY: By the invariant.
            Self::InVcpu { data, len } => unsafe { slice::from_raw_parts(data.as_ptr(), *len) },
        }
    }

    /// The bytes, to be changed.
    #[inline]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Allocated(memory) => memory,
            // SAFETY: By the invariant.
            Self::InVcpu { data, len } => unsafe { slice::from_raw_parts_mut(data.as_ptr(), *len) },
        }
    }

    /// Their address, for C.
    #[inline]
    pub(super) fn as_mut_ptr(&mut self) -> *mut c_void {
        self.bytes_mut().as_mut_ptr().cast()
    }

    /// Gives memory of its own away, for [`from_raw`](Self::from_raw) or C's `kvfree()`. What is in the vCPU
    /// stays there.
    #[inline]
    pub(super) fn into_raw(self) -> Option<*mut u8> {
        match self {
            Self::Allocated(memory) => Some(memory.into_raw_parts().0),
            Self::InVcpu { .. } => None,
        }
    }

    /// Takes memory back that was given away.
    ///
    /// # Safety
    ///
    /// `memory` comes from [`into_raw`](Self::into_raw) of a buffer of `len` bytes, and nobody uses it any
    /// more.
    pub(super) unsafe fn from_raw(memory: *mut u8, len: usize) -> Self {
        // SAFETY: The caller vouches for it. So many bytes were initialized, and are there at least.
        Self::Allocated(unsafe { KVVec::from_raw_parts(memory, len, len) })
    }
}

impl AsRef<[u8]> for Buffer {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl AsMut<[u8]> for Buffer {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }
}

/// Zeroes `count` quad words.
///
/// # Safety
///
/// They are memory that this task alone uses.
#[inline]
unsafe fn zero(place: *mut u64, count: usize) {
    // SAFETY: By the caller; the kernel runs with the direction flag clear.
    unsafe {
        asm!(
            "rep stosq",
            inout("rdi") place => _,
            inout("rcx") count => _,
            in("rax") 0,
            options(nostack, preserves_flags),
        );
    }
}

/// `len` zero bytes. `KVVec::from_elem()` would bring checks along that can panic.
#[inline(never)]
fn allocate(len: usize) -> Result<KVVec<u8>> {
    let memory = KVVec::with_capacity(len, flags::GFP_KERNEL_ACCOUNT | flags::__GFP_ZERO)?;
    let (memory, _, capacity) = memory.into_raw_parts();
    // SAFETY: What was just taken apart, with so many bytes that the allocator has zeroed.
    Ok(unsafe { KVVec::from_raw_parts(memory, len, capacity) })
}
