// SPDX-License-Identifier: GPL-2.0

//! KVM as the handling path sees it: the real [`Vcpu`], and everything that touches KVM's memory.
//!
//! A task may change between the replaced and the original functions wherever neither is on its stack. So what
//! is left behind in a vCPU between two exits is nothing, if the exit is complete; what KVM's own code would
//! have left and completes, if the vCPU is in AP reset hold, see [`parking`]; or what C never meets, if a reply
//! is pending, see [`deferral`].

mod abi_proof;
pub(crate) mod bindings;
mod buffer;
pub(crate) mod deferral;
pub(crate) mod differences;
mod emulation;
pub(crate) mod identity;
pub(crate) mod imports;
mod memory;
mod parking;
mod relocation;
pub(crate) mod snp;
mod trace;
mod user_memory;
pub(crate) mod witness;

use crate::{
    ghcb_abi::{
        exit_code::ExitCode,
        exit_info::ExitInfo,
        msr::GhcbMsr,
        page::PAGE_SIZE,
        reply::{Action, Reply},
        version::Version,
    },
    observe::{self, VmName},
    vmgexit::{
        host::{Complaint, GuestState, Observer, Protocol},
        kind::Kind,
        AfterExit,
    },
};
use bindings::{kvm, kvm_sev_info, kvm_svm, kvm_vcpu, vcpu_svm, vmcb, vmcb_control_area};
use core::{
    arch::x86_64::_rdtsc,
    mem,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use kernel::{bindings::dentry, error::from_err_ptr};

// bindgen has no offset for what an unnamed union holds: the save area, where C keeps the CPL.
const _: () = assert!(
    mem::offset_of!(vmcb, __bindgen_anon_1) == 0x400,
    "vmcb.save moved"
);

/// log2 of the page size. C: `PAGE_SHIFT`.
const PAGE_SHIFT: u32 = PAGE_SIZE.trailing_zeros();

/// A vCPU whose VMGEXIT is handled.
///
/// # Invariants
///
/// `svm` points to the vCPU of an SEV-ES guest, and this task is the one that runs it: it holds
/// `vcpu->mutex` and is inside KVM_RUN, in the address space of the VM's owner, with `kvm->srcu` held for
/// reading. Only this task touches the fields that are touched here.
pub(crate) struct KvmVcpu {
    svm: NonNull<vcpu_svm>,
}

impl KvmVcpu {
    /// Wraps a vCPU.
    ///
    /// # Safety
    ///
    /// The invariants of the type hold for as long as the result exists.
    #[inline]
    pub(crate) unsafe fn new(svm: NonNull<vcpu_svm>) -> Self {
        // INVARIANT: The caller vouches for it.
        Self { svm }
    }

    /// The vCPU, for C.
    pub(crate) fn as_ptr(&self) -> *mut vcpu_svm {
        self.svm.as_ptr()
    }

    #[inline]
    fn svm(&self) -> *mut vcpu_svm {
        self.svm.as_ptr()
    }

    #[inline]
    fn vcpu(&self) -> *mut kvm_vcpu {
        // SAFETY: By the invariant, the pointer is valid.
        unsafe { &raw mut (*self.svm()).vcpu }
    }

    #[inline]
    fn kvm(&self) -> *mut kvm {
        // SAFETY: By the invariant; a vCPU's VM never changes.
        unsafe { (*self.vcpu()).kvm }
    }

    /// C: `to_kvm_sev_info()`.
    #[inline]
    fn sev(&self) -> *mut kvm_sev_info {
        // SAFETY: By the invariant; a VM of kvm_amd is the first member of a `kvm_svm`.
        unsafe { &raw mut (*self.kvm().cast::<kvm_svm>()).sev_info }
    }

    #[inline]
    fn vmcb(&self) -> *mut vmcb {
        // SAFETY: By the invariant; a vCPU has a VMCB.
        unsafe { (*self.svm()).vmcb }
    }

    #[inline]
    fn control(&self) -> *mut vmcb_control_area {
        // SAFETY: By the invariant, the VMCB is valid.
        unsafe { &raw mut (*self.vmcb()).control }
    }

    #[inline]
    fn vcpu_id(&self) -> u32 {
        // SAFETY: By the invariant; the number never changes.
        unsafe { (*self.vcpu()).vcpu_id as u32 }
    }

    /// Puts a request where KVM's code looks for it.
    #[inline]
    fn set_exit(&mut self, exit_code: ExitCode, info1: u64, info2: u64) {
        let control = self.control();
        // SAFETY: By the invariant, the VMCB is this task's alone while the guest does not run.
        unsafe {
            (*control).exit_code = exit_code.0;
            (*control).exit_info_1 = info1;
            (*control).exit_info_2 = info2;
        }
    }
}

impl Protocol for KvmVcpu {
    #[inline]
    fn ghcb_msr(&self) -> GhcbMsr {
        // SAFETY: By the invariant, the VMCB is valid; the guest does not run.
        GhcbMsr(unsafe { (*self.control()).ghcb_gpa })
    }

    #[inline]
    fn set_ghcb_msr(&mut self, value: GhcbMsr) {
        // SAFETY: As for `ghcb_msr()`.
        unsafe { (*self.control()).ghcb_gpa = value.0 };
    }

    #[inline]
    fn version(&self) -> Version {
        // SAFETY: By the invariant; the version is fixed once the VM has vCPUs.
        Version(unsafe { (*self.sev()).ghcb_version })
    }

    #[inline]
    fn c_bit(&self) -> u8 {
        let slot = &raw const imports::address::SEV_ENC_BIT;
        // SAFETY: The livepatch loader has filled the slot; kvm_amd writes the variable when it loads only.
        unsafe { *slot.read_volatile() }
    }
}

impl GuestState for KvmVcpu {
    fn time_stamp(&self) -> u64 {
        // SAFETY: By the invariant; every 64-bit processor has RDTSC.
        unsafe { imports::kvm_read_l1_tsc(self.vcpu(), _rdtsc()) }
    }

    fn tsc_aux(&self) -> u64 {
        // SAFETY: By the invariant, the field is this task's alone.
        unsafe { (*self.svm()).tsc_aux }
    }

    fn dr7(&self) -> u64 {
        // SAFETY: By the invariant, the field is this task's alone.
        unsafe { (*self.vcpu()).arch.dr7 as u64 }
    }

    fn set_dr7(&mut self, value: u64) {
        // SAFETY: By the invariant, the field is this task's alone. KVM does not load it for a guest whose
        // state is protected, nor shows it to userspace.
        unsafe { (*self.vcpu()).arch.dr7 = value as usize };
    }

    fn nmi_complete(&mut self) {
        // SAFETY: By the invariant; other tasks change `requests` by atomic operations alone.
        unsafe {
            let stat = &raw mut (*self.vcpu()).stat;
            (*stat).nmi_window_exits = (*stat).nmi_window_exits.wrapping_add(1);
            (*self.svm()).nmi_masked = false;
            // C: `kvm_make_request(KVM_REQ_EVENT, vcpu)`.
            AtomicU64::from_ptr(&raw mut (*self.vcpu()).requests)
                .fetch_or(1 << bindings::GHCB_RS_KVM_REQ_EVENT, Ordering::Release);
        }
    }

    fn ap_jump_table(&self) -> u64 {
        // SAFETY: By the invariant. All vCPUs of the VM share the field, therefore an atomic access.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.sev()).ap_jump_table) }.load(Ordering::Relaxed)
    }

    fn set_ap_jump_table(&mut self, gpa: u64) {
        // SAFETY: As for `ap_jump_table()`.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.sev()).ap_jump_table) }
            .store(gpa, Ordering::Relaxed);
    }

    fn terminate(&mut self) {
        let msr = self.ghcb_msr();
        // SAFETY: By the invariant, `kvm_run` is mapped for as long as the vCPU exists. Userspace may write
        // to it at any moment; these are plain stores of integers.
        unsafe {
            let run = (*self.vcpu()).run;
            (*run).exit_reason = bindings::KVM_EXIT_SYSTEM_EVENT;
            let event = &raw mut (*run).__bindgen_anon_1.system_event;
            (*event).type_ = bindings::KVM_SYSTEM_EVENT_SEV_TERM;
            (*event).ndata = 1;
            (&raw mut (*event).__bindgen_anon_1.data)
                .cast::<u64>()
                .write(msr.0);
        }
    }
}

impl Observer for KvmVcpu {
    #[inline]
    fn trace_enter(&mut self, exit: ExitInfo) {
        trace::enter(|| self.vcpu_id(), exit.code, exit.info1, exit.info2);
    }

    #[inline]
    fn trace_exit(&mut self, exit_code: ExitCode, reply: &Reply) {
        trace::exit(
            || self.vcpu_id(),
            exit_code,
            || (reply.info1(), reply.info2()),
        );
    }

    #[inline]
    fn traces_msr(&self) -> bool {
        trace::is_msr_traced()
    }

    #[inline]
    fn trace_msr_enter(&mut self, msr: GhcbMsr) {
        trace::msr_enter(|| self.vcpu_id(), msr.0);
    }

    #[inline]
    fn trace_msr_exit(&mut self, outcome: AfterExit) {
        let msr = || self.ghcb_msr().0;
        trace::msr_exit(|| self.vcpu_id(), msr, outcome.to_kvm());
    }

    #[inline(always)]
    fn count(&mut self, kind: Kind, _: Action) {
        observe::count(self, kind);
    }

    fn complain(&mut self, complaint: Complaint) {
        let slot = &raw const imports::address::DUMP_INVALID_VMCB;
        // SAFETY: The livepatch loader has filled the slot; the module parameter lives as long as kvm_amd.
        let dump = unsafe { slot.read_volatile().read_volatile() };
        observe::complain(self, self.ghcb_msr(), dump, &complaint);
    }
}

impl observe::Vcpu for KvmVcpu {
    #[inline]
    fn key(&self) -> usize {
        self.svm().addr()
    }

    fn number(&self) -> u32 {
        self.vcpu_id()
    }

    fn vm(&self) -> VmName {
        // SAFETY: By the invariant, the VM is there. Its directory in debugfs, if it has one, goes when all of its vCPUs have
        // left KVM_RUN, and is never renamed.
        unsafe {
            let entry = (*self.kvm()).debugfs_dentry.cast::<dentry>();
            if entry.is_null() || from_err_ptr(entry).is_err() {
                return VmName::unnamed((*self.kvm()).userspace_pid as u32);
            }
            let name = (*entry).__bindgen_anon_1.d_name.name;
            VmName::new((0..VmName::LENGTH).map(|at| *name.add(at)))
        }
    }
}
