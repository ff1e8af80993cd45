// SPDX-License-Identifier: GPL-2.0

//! Pages that become private or shared, by userspace.
//!
//! What goes on when userspace has answered is a function of C's, or one that replaces it for as long as a reply
//! is pending: no address of this module gets into the vCPU.

use crate::{
    kvm::{
        bindings::{self, kvm_vcpu},
        buffer::Buffer,
        imports::{address, entry},
        KvmVcpu,
    },
    vmgexit::host::{PageRange, PageState, RangeAnswer},
};
use core::mem;
use kernel::ffi::c_int;

/// What goes on when userspace has answered. C: `kvm_vcpu_arch.complete_userspace_io`.
pub(super) type Completion = Option<unsafe extern "C" fn(vcpu: *mut kvm_vcpu) -> c_int>;

/// The function at an address.
///
/// # Safety
///
/// `entry` is the address of a function of C's with that prototype.
pub(super) unsafe fn completion(entry: *const u8) -> Completion {
    // SAFETY: By the caller; a null pointer is none.
    unsafe { mem::transmute(entry) }
}

impl PageState for KvmVcpu {
    /// C: `user_exit_on_hypercall()`.
    fn can_change_pages(&self) -> bool {
        let wanted = 1 << bindings::GHCB_RS_KVM_HC_MAP_GPA_RANGE;
        // SAFETY: By the invariant. Another task may change the field, which is one word, at any moment.
        let enabled =
            unsafe { (&raw const (*self.kvm()).arch.hypercall_exit_enabled).read_volatile() };
        enabled & wanted != 0
    }

    fn allocate(&mut self, len: usize) -> Option<Buffer> {
        Buffer::allocated(len).ok()
    }

    fn ask_for_range(&mut self, range: &PageRange) {
        let slot = &raw const entry::SNP_COMPLETE_ONE_PSC;
        // SAFETY: The livepatch loader has filled the slot with the address of such a function.
        self.ask(range, unsafe { completion(slot.read_volatile()) });
    }

    fn ask_for_page(&mut self, range: &PageRange) {
        let slot = &raw const address::SNP_COMPLETE_PSC_MSR;
        // SAFETY: The livepatch loader has filled the slot with the address of such a function.
        self.ask(range, unsafe { completion(slot.read_volatile()) });
    }

    /// C: `kvm_is_valid_map_gpa_range_ret()`.
    fn range_answer(&self) -> RangeAnswer {
        // SAFETY: By the invariant, `kvm_run` is mapped for as long as the vCPU exists. Userspace may write to it
        // at any moment, therefore a volatile read.
        let answer = unsafe {
            let run = (*self.vcpu()).run;
            (&raw const (*run).__bindgen_anon_1.hypercall.ret).read_volatile()
        };
        const EINVAL: u64 = bindings::GHCB_RS_EINVAL as u64;
        const EAGAIN: u64 = bindings::GHCB_RS_EAGAIN as u64;
        match answer {
            0 => RangeAnswer::Done,
            EINVAL | EAGAIN => RangeAnswer::Failed,
            _ => RangeAnswer::Invalid,
        }
    }
}

impl KvmVcpu {
    /// Prepares the exit to userspace for a range, which `complete` completes.
    fn ask(&mut self, range: &PageRange, complete: Completion) {
        let state = if range.is_private {
            bindings::GHCB_RS_KVM_MAP_GPA_RANGE_ENCRYPTED
        } else {
            bindings::GHCB_RS_KVM_MAP_GPA_RANGE_DECRYPTED
        };
        let size = if range.is_huge {
            bindings::GHCB_RS_KVM_MAP_GPA_RANGE_PAGE_SZ_2M
        } else {
            bindings::GHCB_RS_KVM_MAP_GPA_RANGE_PAGE_SZ_4K
        };
        // SAFETY: By the invariant, the vCPU's fields are this task's alone, and `kvm_run` is mapped. Userspace
        // may write to it at any moment; these are plain stores of integers.
        unsafe {
            let run = (*self.vcpu()).run;
            (*run).exit_reason = bindings::KVM_EXIT_HYPERCALL;
            let hypercall = &raw mut (*run).__bindgen_anon_1.hypercall;
            (*hypercall).nr = bindings::GHCB_RS_KVM_HC_MAP_GPA_RANGE.into();
            // As in C: QEMU up to 9.2 leaves alone what it finds.
            (*hypercall).ret = 0;
            let args = (&raw mut (*hypercall).args).cast::<u64>();
            args.write(range.gpa);
            args.add(1).write(range.pages);
            args.add(2).write((state | size).into());
            (*self.vcpu()).arch.complete_userspace_io = complete;
        }
    }
}
