// SPDX-License-Identifier: GPL-2.0

//! Exits that wait for userspace or a SIPI with the page mapped, as C leaves them.

use super::{
    bindings, buffer::Buffer, imports, mapped_page::MappedPage, page::UserPage, trace, KvmVcpu,
    PAGE_SHIFT,
};
use crate::{
    ghcb_abi::{bitmap::ValidBitmap, page::Field, reply::Reply, scratch::ScratchArea},
    vmgexit::{
        vcpu::{Deferred, Emulator, Exit, Fault, HoldType, Scratch, Waiting},
        Outcome,
    },
};
use core::ptr::{self, NonNull};
use kernel::{
    error::Result,
    ffi::{c_int, c_uint, c_ulong},
};

#[expect(
    improper_ctypes,
    reason = "the kernel's structures hold empty ones, which C never passes by value"
)]
extern "C" {
    /// C: `include/linux/mm.h`.
    fn pin_user_pages_fast(
        start: c_ulong,
        count: c_int,
        flags: c_uint,
        pages: *mut *mut bindings::page,
    ) -> c_int;
}

/// `AP_RESET_HOLD_*` of `arch/x86/kvm/svm/sev.c`.
mod reset_hold {
    pub(super) const NONE: u32 = 0;
    pub(super) const NAE_EVENT: u32 = 1;
    pub(super) const MSR_PROTO: u32 = 2;
}

impl Waiting for KvmVcpu {
    fn hold(&mut self, hold: HoldType) -> Outcome {
        // SAFETY: By the invariant. For a hold by the page, `park()` has mapped it, as KVM's delivery of a
        // SIPI expects.
        let result = unsafe {
            (*self.svm()).sev_es.ap_reset_hold_type = match hold {
                HoldType::Page => reset_hold::NAE_EVENT,
                HoldType::Msr => reset_hold::MSR_PROTO,
            };
            imports::kvm_emulate_ap_reset_hold(self.vcpu())
        };
        if result > 0 {
            Outcome::Resume
        } else {
            Outcome::Userspace
        }
    }

    #[inline]
    fn end_hold(&mut self) {
        // SAFETY: By the invariant, the field is this task's alone.
        unsafe { (*self.svm()).sev_es.ap_reset_hold_type = reset_hold::NONE };
    }

    #[inline(always)]
    fn defer(
        &mut self,
        page: &UserPage,
        exit: Exit,
        scratch: Option<Scratch<Buffer>>,
    ) -> Result<(), Option<Scratch<Buffer>>> {
        if self.mark_deferred(page, exit, scratch.as_ref()) {
            Ok(())
        } else {
            Err(scratch)
        }
    }

    fn take_deferred(&mut self) -> Option<Deferred<Buffer>> {
        self.unmark_deferred()
    }

    #[inline(never)]
    fn park(
        &mut self,
        page: &UserPage,
        exit: Exit,
        scratch: Option<Scratch<Buffer>>,
    ) -> Result<(), Fault> {
        self.set_exit(exit.code, exit.info1, exit.info2);
        // SAFETY: What is mapped stays so until the exit is complete.
        let is_mapped =
            self.map(page) && unsafe { self.leave_mapped(scratch, &Reply::no_action(0)) }.is_ok();
        if is_mapped {
            Ok(())
        } else {
            self.cancel_userspace_exit();
            Err(Fault)
        }
    }

    #[inline]
    fn parked(&self) -> Option<Exit> {
        self.has_parked_exit().then(|| self.exit())
    }

    fn flush_scratch(&mut self) {
        // SAFETY: By the invariant, with `kvm->srcu` held. With `ghcb_sa_sync` set, the memory is
        // `ghcb_sa_len` bytes, and its place was checked when the exit began.
        unsafe {
            let sev_es = &raw mut (*self.svm()).sev_es;
            if !(*sev_es).ghcb_sa_sync {
                return;
            }
            (*sev_es).ghcb_sa_sync = false;
            let (gpa, len) = ((*sev_es).sw_scratch, (*sev_es).ghcb_sa_len as usize);
            imports::kvm_write_guest(self.kvm(), gpa, (*sev_es).ghcb_sa, len);
        }
    }

    fn finish(&mut self, parked: &Exit, returned: ValidBitmap) {
        if let Some(page) = self.mapped_page() {
            trace::exit(
                || self.vcpu_id(),
                parked.code,
                || {
                    (
                        Field::SwExitInfo1.load(&page),
                        Field::SwExitInfo2.load(&page),
                    )
                },
            );
            let registers = self.registers();
            for (field, value) in [
                (Field::Rax, registers.rax),
                (Field::Rbx, registers.rbx),
                (Field::Rcx, registers.rcx),
                (Field::Rdx, registers.rdx),
            ] {
                if returned.contains(field) {
                    field.store(&page, value);
                }
            }
            returned.union(ValidBitmap::REPLY).store(&page);
        }
        self.free_scratch();
        // SAFETY: By the invariant; unmapping what is not mapped does nothing. C: `__sev_es_unmap_ghcb()`.
        unsafe {
            let sev_es = &raw mut (*self.svm()).sev_es;
            if !(*sev_es).ghcb.is_null() {
                imports::kvm_vcpu_unmap(self.vcpu(), &raw mut (*sev_es).ghcb_map);
                (*sev_es).ghcb = ptr::null_mut();
            }
        }
    }
}

impl KvmVcpu {
    /// Whether an exit waits for its completion.
    #[inline]
    pub(crate) fn has_parked_exit(&self) -> bool {
        // SAFETY: By the invariant, the field is this task's alone.
        unsafe { !(*self.svm()).sev_es.ghcb.is_null() }
    }

    /// Maps the page into `ghcb_map`. C: `kvm_vcpu_map()`, which looks for the memory slot once more.
    fn map(&mut self, page: &UserPage) -> bool {
        let mut pinned = ptr::null_mut();
        // SAFETY: An address of this task's address space, and room for one page.
        let count = unsafe {
            pin_user_pages_fast(
                page.address(),
                1,
                bindings::GHCB_RS_FOLL_WRITE,
                &raw mut pinned,
            )
        };
        // SAFETY: By the invariant, the fields are this task's alone, and no page is mapped: the last one
        // was unmapped before the guest ran.
        unsafe {
            if count == 1 {
                self.set_map(pinned, page.gfn());
                return true;
            }
            // Perhaps memory that is no page of the host's.
            let map = &raw mut (*self.svm()).sev_es.ghcb_map;
            imports::__kvm_vcpu_map(self.vcpu(), page.gfn(), map, true) == 0
        }
    }

    /// Puts a pinned page into `ghcb_map`, from where `kvm_vcpu_unmap()` takes it.
    ///
    /// # Safety
    ///
    /// The page is pinned, and that of `gfn`. No other is mapped.
    pub(super) unsafe fn set_map(&mut self, pinned: *mut bindings::page, gfn: u64) {
        // SAFETY: By the caller and the invariant. The processor has no high memory: the address is the
        // page's for good.
        unsafe {
            (*self.svm()).sev_es.ghcb_map = bindings::kvm_host_map {
                pinned_page: pinned,
                page: pinned,
                hva: kernel::bindings::kmap_local_page(pinned.cast()),
                pfn: 0,
                gfn,
                writable: true,
            };
        }
    }

    /// The page that is mapped for a parked exit.
    fn mapped_page(&self) -> Option<MappedPage> {
        // SAFETY: By the invariant, the field is this task's alone. What is mapped there is a whole page,
        // and stays so until `finish()` unmaps it, which drops the result before.
        unsafe {
            let base = NonNull::new((*self.svm()).sev_es.ghcb.cast::<u64>())?;
            Some(MappedPage::new(base))
        }
    }

    /// Leaves an exit behind with its page in `ghcb_map` and `reply` in the page, as far as it is known. The
    /// page is unmapped if there is no memory.
    ///
    /// # Safety
    ///
    /// The page is mapped there, and stays so until the exit is complete.
    pub(super) unsafe fn leave_mapped(
        &mut self,
        scratch: Option<Scratch<Buffer>>,
        reply: &Reply,
    ) -> Result {
        // SAFETY: By the invariant and the caller.
        unsafe {
            let sev_es = &raw mut (*self.svm()).sev_es;
            let map = &raw mut (*sev_es).ghcb_map;
            if let Some(Scratch {
                area,
                buffer,
                write_back,
            }) = scratch
            {
                (*sev_es).sw_scratch = match area {
                    ScratchArea::Shared(range) => (*map).gfn << PAGE_SHIFT | range.offset() as u64,
                    ScratchArea::External { gpa, .. } => gpa,
                };
                // As in C, KVM receives in the page itself, or in memory that whoever completes the exit
                // writes back and frees. What it sends has been read, and is not read again. Nothing of this
                // vCPU remains in use: userspace may move the guest to the vCPU of another VM meanwhile.
                let parked = match area {
                    ScratchArea::Shared(range) if write_back => {
                        let place = (*map).hva.cast::<u8>().add(range.offset());
                        buffer.move_to(self.vcpu(), place);
                        Ok((place.cast(), range.len(), false))
                    }
                    _ => {
                        let memory = buffer.into_raw(self.vcpu());
                        memory.map(|(memory, len)| (memory, len, true))
                    }
                };
                let (place, len, is_own) =
                    parked.inspect_err(|_| imports::kvm_vcpu_unmap(self.vcpu(), map))?;
                (*sev_es).ghcb_sa = place;
                (*sev_es).ghcb_sa_len = len as u32;
                (*sev_es).ghcb_sa_sync = write_back && is_own;
                (*sev_es).ghcb_sa_free = is_own;
            }
            (*sev_es).ghcb = (*map).hva.cast();
        }
        if let Some(mapped) = self.mapped_page() {
            let Ok(()) = reply.write(&mapped);
        }
        Ok(())
    }

    /// Takes back what KVM has prepared for userspace: nobody will complete it.
    #[cold]
    pub(super) fn cancel_userspace_exit(&mut self) {
        // SAFETY: By the invariant, these fields are this task's alone.
        unsafe {
            let vcpu = self.vcpu();
            (*vcpu).arch.complete_userspace_io = None;
            (*vcpu).arch.pio.count = 0;
            (*vcpu).mmio_needed = 0;
        }
    }

    /// Frees the copy of a scratch area, if there is one.
    fn free_scratch(&mut self) {
        // SAFETY: By the invariant, these fields are this task's alone; with `ghcb_sa_free` set, the memory
        // is `ghcb_sa_len` bytes from `kvmalloc()`, and the exit that used it is over.
        unsafe {
            let sev_es = &raw mut (*self.svm()).sev_es;
            if (*sev_es).ghcb_sa_free {
                Buffer::free((*sev_es).ghcb_sa, (*sev_es).ghcb_sa_len as usize);
                (*sev_es).ghcb_sa = ptr::null_mut();
                (*sev_es).ghcb_sa_free = false;
            }
        }
    }
}
