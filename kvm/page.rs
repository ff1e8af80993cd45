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
        let mut value = 0_u64;
        let mut failed = 1_u32;
        // SAFETY: By the invariants of `Self` and of `Qword`, the address is an aligned user address. A
        // page fault that cannot be resolved continues at label 3, with `value` and `failed` unchanged.
        // The processor has SMAP (`identity::cpu_has_smap()`), hence STAC and CLAC.
        unsafe {
            asm!(
                "stac",
                "2: mov {value}, qword ptr [{address}]",
                "xor {failed:e}, {failed:e}",
                "3: clac",
                ".pushsection \"__ex_table\", \"a\"",
                ".balign 4",
                ".long (2b) - .",
                ".long (3b) - .",
                ".long {ex_type}",
                ".popsection",
                value = inout(reg) value,
                failed = inout(reg) failed,
                address = in(reg) self.hva.wrapping_add(at.offset()),
                ex_type = const EX_TYPE_UACCESS,
                options(nostack),
            );
        }
        if failed != 0 {
            self.intact.set(false);
        }
        value
    }

    #[inline]
    fn store(&self, at: Qword, value: u64) {
        let mut failed = 1_u32;
        // SAFETY: As for `load()`.
        unsafe {
            asm!(
                "stac",
                "2: mov qword ptr [{address}], {value}",
                "xor {failed:e}, {failed:e}",
                "3: clac",
                ".pushsection \"__ex_table\", \"a\"",
                ".balign 4",
                ".long (2b) - .",
                ".long (3b) - .",
                ".long {ex_type}",
                ".popsection",
                value = in(reg) value,
                failed = inout(reg) failed,
                address = in(reg) self.hva.wrapping_add(at.offset()),
                ex_type = const EX_TYPE_UACCESS,
                options(nostack),
            );
        }
        if failed != 0 {
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
