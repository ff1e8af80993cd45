// SPDX-License-Identifier: GPL-2.0

//! Guest memory: the page, and scratch areas.

use super::{buffer::Buffer, imports, user_memory::UserPage, KvmVcpu, PAGE_SHIFT};
use crate::{
    ghcb_abi::{page::GuestPage, reply::ErrorReason, scratch::ScratchArea},
    vmgexit::host::{Failure, Fault, Memory, Purpose},
};
use core::ptr::NonNull;

impl Memory for KvmVcpu {
    type Page = UserPage;
    type Buffer = Buffer;

    #[inline]
    fn open(&mut self, gpa: u64) -> Result<UserPage, Fault> {
        let gfn = gpa >> PAGE_SHIFT;
        // SAFETY: By the invariant, with `kvm->srcu` held.
        let slot = unsafe { imports::kvm_vcpu_gfn_to_memslot(self.vcpu(), gfn) };
        let slot = NonNull::new(slot).ok_or(Fault)?;
        // SAFETY: KVM has found the frame in the slot; the page is closed before `kvm->srcu` is released.
        unsafe { UserPage::new(slot, gfn) }.ok_or(Fault)
    }

    #[inline]
    fn close(&mut self, page: UserPage) {
        if let Some(slot) = page.logging_slot() {
            // SAFETY: By the invariant, with `kvm->srcu` held; the frame lies in the slot.
            unsafe { imports::mark_page_dirty_in_slot(self.kvm(), slot.as_ptr(), page.gfn()) };
        }
    }

    #[inline(always)]
    fn fetch(
        &mut self,
        page: &UserPage,
        area: ScratchArea,
        purpose: Purpose,
    ) -> Result<Buffer, Failure> {
        const INVALID: ErrorReason = ErrorReason::INVALID_SCRATCH_AREA;
        let len = match area {
            ScratchArea::Shared(range) => range.len(),
            ScratchArea::External { len, .. } => usize::try_from(len).map_err(|_| INVALID)?,
        };
        match area {
            ScratchArea::Shared(range) => {
                // SAFETY: By the invariant; an exit has one buffer.
                let buffer = unsafe { Buffer::new(self.vcpu(), len, purpose) };
                let mut buffer = buffer.map_err(|_| INVALID)?;
                if purpose != Purpose::Receive {
                    page.read_bytes(range, buffer.bytes_mut())?;
                }
                Ok(buffer)
            }
            // As in C, also when the guest will receive: an area that cannot be read is refused at once. Hardened
            // usercopy kills who copies between user memory and a `kvm_vcpu`.
            ScratchArea::External { gpa, .. } => {
                // SAFETY: By the invariant, with `kvm->srcu` held.
                let buffer = unsafe { Buffer::read(self.kvm(), gpa, len) };
                Ok(buffer.map_err(|_| INVALID)?.ok_or(INVALID)?)
            }
        }
    }

    #[inline(always)]
    fn put_back(&mut self, page: &UserPage, area: ScratchArea, data: &Buffer) -> Result<(), Fault> {
        match area {
            ScratchArea::Shared(range) => page.write_bytes(range, data.bytes()),
            ScratchArea::External { gpa, .. } => {
                let bytes = data.bytes();
                // SAFETY: By the invariant, with `kvm->srcu` held; the slice is valid.
                unsafe {
                    imports::kvm_write_guest(self.kvm(), gpa, bytes.as_ptr().cast(), bytes.len())
                };
                Ok(())
            }
        }
    }
}
