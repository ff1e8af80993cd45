// SPDX-License-Identifier: GPL-2.0

//! The guest's page, seen through the mapping that userspace has of it, or through one of the kernel.

use crate::{
    ghcb_abi::page::{BufferRange, Qword, SharedPage},
    vmgexit::vcpu::GuestPage,
};
use core::{arch::asm, cell::Cell, ptr::NonNull};
use kernel::uaccess::{UserPtr, UserSlice};

/// `EX_TYPE_UACCESS` of `arch/x86/include/asm/extable_fixup_types.h`.
const EX_TYPE_UACCESS: u32 = 3;

/// A page of guest memory at its address in the VMM's address space.
///
/// Nothing is pinned: the page may be unmapped between two accesses, and then an access fails.
///
/// # Invariants
///
/// `hva` is page-aligned, and the whole page is below the end of user addresses.
pub(crate) struct UserPage {
    hva: usize,
    gfn: u64,
    intact: Cell<bool>,
}

impl UserPage {
    /// The page of guest frame `gfn` at `hva`.
    ///
    /// # Safety
    ///
    /// `hva` is page-aligned, and the whole page is below the end of user addresses.
    pub(super) unsafe fn new(hva: usize, gfn: u64) -> Self {
        // INVARIANT: The caller vouches for it.
        Self {
            hva,
            gfn,
            intact: Cell::new(true),
        }
    }

    /// Guest frame number.
    pub(super) fn gfn(&self) -> u64 {
        self.gfn
    }

    /// The first `len` bytes of the shared buffer at `range`.
    fn slice(&self, range: BufferRange, len: usize) -> UserSlice {
        let start = UserPtr::from_addr(self.hva.wrapping_add(range.offset()));
        UserSlice::new(start, len)
    }
}

impl SharedPage for UserPage {
    #[inline]
    fn load(&self, at: Qword) -> u64 {
        let [value] = self.load_all([at]);
        value
    }

    #[inline]
    fn store(&self, at: Qword, value: u64) {
        self.store_all([(at, value)]);
    }

    #[inline]
    fn load_all<const N: usize>(&self, at: [Qword; N]) -> [u64; N] {
        let mut access = UserAccess::begin();
        let values = at.map(|at| {
            // SAFETY: By the invariants of `Self` and of `Qword`, an aligned user address.
            unsafe { access.load(self.hva.wrapping_add(at.offset())) }
        });
        if access.end() != N {
            self.intact.set(false);
        }
        values
    }

    #[inline]
    fn store_all<const N: usize>(&self, words: [(Qword, u64); N]) {
        let mut access = UserAccess::begin();
        for (at, value) in words {
            // SAFETY: As for `load_all()`.
            unsafe { access.store(self.hva.wrapping_add(at.offset()), value) };
        }
        if access.end() != N {
            self.intact.set(false);
        }
    }

    fn read_buffer(&self, from: BufferRange, to: &mut [u8]) {
        let len = from.len().min(to.len());
        let read = to
            .get_mut(..len)
            .map(|to| self.slice(from, len).reader().read_slice(to));
        if !matches!(read, Some(Ok(()))) {
            self.intact.set(false);
        }
    }

    fn write_buffer(&self, to: BufferRange, from: &[u8]) {
        let len = to.len().min(from.len());
        let written = from
            .get(..len)
            .map(|from| self.slice(to, len).writer().write_slice(from));
        if !matches!(written, Some(Ok(()))) {
            self.intact.set(false);
        }
    }
}

/// Accesses to user memory between STAC and CLAC.
///
/// Between [`begin`](Self::begin) and [`end`](Self::end) nothing may be called; objtool checks it.
struct UserAccess {
    /// Number of accesses that have succeeded.
    done: u32,
}

impl UserAccess {
    /// Allows access to user memory. C: `user_access_begin()`.
    #[inline(always)]
    fn begin() -> Self {
        // SAFETY: The processor has SMAP (`identity::cpu_has_smap()`).
        unsafe { asm!("stac", options(nostack)) };
        Self { done: 0 }
    }

    /// Reads a quad word, zero if that fails. C: `unsafe_get_user()`.
    ///
    /// # Safety
    ///
    /// `address` is an aligned user address.
    #[inline(always)]
    unsafe fn load(&mut self, address: usize) -> u64 {
        let mut value = 0_u64;
        // SAFETY: By the caller. A page fault that cannot be resolved continues at label 3.
        unsafe {
            asm!(
                "2: mov {value}, qword ptr [{address}]",
                "inc {done:e}",
                "3:",
                ".pushsection \"__ex_table\", \"a\"",
                ".balign 4",
                ".long (2b) - .",
                ".long (3b) - .",
                ".long {ex_type}",
                ".popsection",
                value = inout(reg) value,
                done = inout(reg) self.done,
                address = in(reg) address,
                ex_type = const EX_TYPE_UACCESS,
                options(nostack),
            );
        }
        value
    }

    /// Writes a quad word. C: `unsafe_put_user()`.
    ///
    /// # Safety
    ///
    /// `address` is an aligned user address.
    #[inline(always)]
    unsafe fn store(&mut self, address: usize, value: u64) {
        // SAFETY: As for `load()`.
        unsafe {
            asm!(
                "2: mov qword ptr [{address}], {value}",
                "inc {done:e}",
                "3:",
                ".pushsection \"__ex_table\", \"a\"",
                ".balign 4",
                ".long (2b) - .",
                ".long (3b) - .",
                ".long {ex_type}",
                ".popsection",
                value = in(reg) value,
                done = inout(reg) self.done,
                address = in(reg) address,
                ex_type = const EX_TYPE_UACCESS,
                options(nostack),
            );
        }
    }

    /// Forbids access to user memory; returns the number of accesses that succeeded. C:
    /// `user_access_end()`.
    #[inline(always)]
    fn end(self) -> usize {
        // SAFETY: As for `begin()`.
        unsafe { asm!("clac", options(nostack)) };
        self.done as usize
    }
}

impl GuestPage for UserPage {
    #[inline]
    fn intact(&self) -> bool {
        self.intact.get()
    }
}

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
        for (offset, byte) in (from.offset()..).zip(to.iter_mut().take(from.len())) {
            // SAFETY: By the invariant of `BufferRange`, the byte is within the page.
            *byte = unsafe { self.base.as_ptr().cast::<u8>().add(offset).read_volatile() };
        }
    }

    fn write_buffer(&self, to: BufferRange, from: &[u8]) {
        for (offset, byte) in (to.offset()..).zip(from.iter().take(to.len())) {
            // SAFETY: As for `read_buffer()`.
            unsafe {
                self.base
                    .as_ptr()
                    .cast::<u8>()
                    .add(offset)
                    .write_volatile(*byte)
            };
        }
    }
}
