// SPDX-License-Identifier: GPL-2.0

//! Messages of the guest to the firmware, and certificates from userspace.

use super::{lock::Locked, page_state::completion};
use crate::{
    ghcb_abi::page::PAGE_SIZE,
    kvm::{
        bindings,
        buffer::Buffer,
        imports::{self, entry},
        KvmVcpu,
    },
    vmgexit::host::{CertificateAnswer, FirmwareAnswer, GuestRequests, HostFault, OutOfReach},
};
use core::{ffi::c_void, ptr::NonNull, slice};
use kernel::{
    error::code::{EBADF, EFAULT},
    ffi::{c_int, c_ulong},
    fs::LocalFile,
};

extern "C" {
    /// C: `arch/x86/include/asm/page_64.h`. Where the kernel's map of all memory begins.
    static page_offset_base: c_ulong;
    /// C: `arch/x86/include/asm/mem_encrypt.h`. The bit of physical addresses that SME sets.
    static sme_me_mask: u64;
}

/// What the secure processor takes for the address of memory in the kernel's map. C: `__psp_pa()`.
fn address_for_firmware(place: *const c_void) -> u64 {
    // SAFETY: Set once, when the kernel boots.
    let (base, mask) = unsafe { (page_offset_base, sme_me_mask) };
    (place.addr() as u64).wrapping_sub(base as u64) | mask
}

/// What KVM returns when memory of the guest's is not there.
fn reached(error: c_int) -> Result<(), OutOfReach> {
    if error == 0 {
        Ok(())
    } else {
        Err(OutOfReach)
    }
}

impl GuestRequests for KvmVcpu {
    fn may_ask_firmware(&mut self) -> bool {
        self.is_within_limit()
    }

    fn read_message(&mut self, gpa: u64) -> Result<Option<Buffer>, OutOfReach> {
        // SAFETY: By the invariant, with `kvm->srcu` held.
        match unsafe { Buffer::read(self.kvm(), gpa, PAGE_SIZE) } {
            Ok(Some(message)) => Ok(Some(message)),
            Ok(None) => Err(OutOfReach),
            Err(_) => Ok(None),
        }
    }

    fn write_message(&mut self, gpa: u64, message: &Buffer) -> Result<(), OutOfReach> {
        let bytes = message.bytes();
        // SAFETY: By the invariant, with `kvm->srcu` held; the slice is valid.
        reached(unsafe {
            imports::kvm_write_guest(self.kvm(), gpa, bytes.as_ptr().cast(), bytes.len())
        })
    }

    fn clear(&mut self, gpa: u64, len: usize) -> Result<(), OutOfReach> {
        // SAFETY: By the invariant, with `kvm->srcu` held.
        reached(unsafe { imports::kvm_clear_guest(self.kvm(), gpa, len) })
    }

    /// C: `snp_handle_guest_req()`, but for the guest's memory: nobody faults with the VM's mutex held. The firmware
    /// reads the message where it is: `kmalloc()` aligns what is as large as a page to a page, and `kvmalloc()` takes
    /// it from there (`Documentation/core-api/memory-allocation.rst`).
    fn ask_firmware(&mut self, message: &mut Buffer) -> Result<FirmwareAnswer, HostFault> {
        let bytes = message
            .bytes_mut()
            .first_chunk_mut::<PAGE_SIZE>()
            .ok_or(HostFault(EFAULT.to_errno()))?;
        // SAFETY: By the invariant; the descriptor is fixed once the VM has a context.
        let fd = unsafe { (*self.sev()).fd };
        let file = LocalFile::fget(fd as u32).map_err(|_| HostFault(EBADF.to_errno()))?;
        let sev = self.sev();
        // SAFETY: By the invariant, and because this is an SEV-SNP guest: its mutex is initialized, and its
        // buffer for responses is a page that the mutex protects. The firmware reads the message, a page of
        // `kmalloc()`'s, and writes to that buffer, during the command alone. The command's buffer, and the place
        // for the status, live until the call returns.
        unsafe {
            let _lock = Locked::new(NonNull::new_unchecked(&raw mut (*sev).guest_req_mutex));
            let response = (*sev).guest_resp_buf;
            let mut command = bindings::sev_data_snp_guest_request {
                gctx_paddr: address_for_firmware((*sev).snp_context),
                req_paddr: address_for_firmware(bytes.as_ptr().cast()),
                res_paddr: address_for_firmware(response),
            };
            let mut status: c_int = 0;
            let error = imports::sev_issue_cmd_external_user(
                file.as_ptr().cast(),
                bindings::GHCB_RS_SEV_CMD_SNP_GUEST_REQUEST,
                (&raw mut command).cast(),
                &raw mut status,
            );
            // What the firmware refuses is for the guest.
            if error != 0 && status == 0 {
                return Err(HostFault(error));
            }
            bytes.copy_from_slice(slice::from_raw_parts(response.cast::<u8>(), PAGE_SIZE));
            Ok(FirmwareAnswer {
                status: status as u32,
            })
        }
    }

    fn has_certificates(&self) -> bool {
        // SAFETY: By the invariant. Userspace may enable it at any moment; the field is one byte.
        unsafe { (&raw const (*self.sev()).snp_certs_enabled).read_volatile() }
    }

    fn ask_for_certificates(&mut self, gpa: u64, pages: u64) {
        let slot = &raw const entry::SNP_COMPLETE_REQ_CERTS;
        // SAFETY: By the invariant, the vCPU's fields are this task's alone, and `kvm_run` is mapped. Userspace
        // may write to it at any moment; these are plain stores of integers. The livepatch loader has filled the
        // slot with the address of such a function.
        unsafe {
            self.set_rbx(pages);
            let run = (*self.vcpu()).run;
            (*run).exit_reason = bindings::KVM_EXIT_SNP_REQ_CERTS;
            (*run).__bindgen_anon_1.snp_req_certs = bindings::kvm_exit_snp_req_certs {
                gpa,
                npages: pages,
                ret: 0,
            };
            (*self.vcpu()).arch.complete_userspace_io = completion(slot.read_volatile());
        }
    }

    fn certificate_answer(&self) -> CertificateAnswer {
        // SAFETY: By the invariant, `kvm_run` is mapped. Userspace may write to it at any moment, therefore
        // volatile reads.
        let (answer, pages) = unsafe {
            let run = (*self.vcpu()).run;
            let certificates = &raw const (*run).__bindgen_anon_1.snp_req_certs;
            (
                (&raw const (*certificates).ret).read_volatile(),
                (&raw const (*certificates).npages).read_volatile(),
            )
        };
        const ENOSPC: u64 = bindings::GHCB_RS_ENOSPC as u64;
        const EAGAIN: u64 = bindings::GHCB_RS_EAGAIN as u64;
        const EIO: u64 = bindings::GHCB_RS_EIO as u64;
        match answer {
            0 => CertificateAnswer::Done,
            ENOSPC => CertificateAnswer::TooFewPages(pages),
            EAGAIN => CertificateAnswer::Busy,
            EIO => CertificateAnswer::Failed,
            _ => CertificateAnswer::Invalid,
        }
    }
}
