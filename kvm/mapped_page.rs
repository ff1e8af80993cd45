// SPDX-License-Identifier: GPL-2.0

//! The guest's page, seen through a mapping of the kernel's.

use crate::ghcb_abi::page::{BufferRange, Qword, SharedPage};
use core::{arch::asm, ptr::NonNull};

/// A page of guest memory that KVM has mapped into the kernel and pinned. C: `vcpu_sev_es_state.ghcb`.
///
/// # Invariants
///
/// `base` is page-aligned, and the page stays mapped for as long as this exists.
pub(super) struct MappedPage {
    base: NonNull<u64>,
}

impl MappedPage {
    /// The page mapped at `base`.
    ///
    /// # Safety
    ///
    /// `base` is page-aligned, and the page stays mapped for as long as the result exists.
    pub(super) unsafe fn new(base: NonNull<u64>) -> Self {
        // INVARIANT: The caller vouches for it.
        Self { base }
    }

    /// Address of a quad word.
    fn qword(&self, at: Qword) -> *mut u64 {
        // SAFETY: By the invariant of `Qword`, the result is within the page.
        unsafe { self.base.as_ptr().byte_add(at.offset()) }
    }
}

impl SharedPage for MappedPage {
    fn load(&self, at: Qword) -> u64 {
        // SAFETY: By the invariants of `Self` and `Qword`, the address is aligned and mapped. The guest
        // may write to it at any moment, therefore a volatile access and no reference.
        unsafe { self.qword(at).read_volatile() }
    }

    fn store(&self, at: Qword, value: u64) {
        // SAFETY: As for `load()`; KVM maps the page writable.
        unsafe { self.qword(at).write_volatile(value) }
    }

    fn read_buffer(&self, from: BufferRange, to: &mut [u8]) {
        // SAFETY: By the invariants of `Self` and `BufferRange`, the bytes are mapped.
        unsafe {
            let start = self.base.as_ptr().cast::<u8>().add(from.offset());
            copy(start, to.as_mut_ptr(), from.len().min(to.len()));
        }
    }

    fn write_buffer(&self, to: BufferRange, from: &[u8]) {
        // SAFETY: As for `read_buffer()`; KVM maps the page writable.
        unsafe {
            let start = self.base.as_ptr().cast::<u8>().add(to.offset());
            copy(from.as_ptr(), start, to.len().min(from.len()));
        }
    }
}

/// Copies `len` bytes, each once, by one instruction that the compiler does not look into: the guest may
/// change its side meanwhile.
///
/// # Safety
///
/// Both sides are mapped, and do not overlap.
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: By the caller; the kernel runs with the direction flag clear.
    unsafe {
        asm!(
            "rep movsb",
            inout("rsi") from => _,
            inout("rdi") to => _,
            inout("rcx") len => _,
            options(nostack, preserves_flags),
        );
    }
}
