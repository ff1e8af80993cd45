// SPDX-License-Identifier: GPL-2.0

//! KVM as the handling path sees it: the real [`Vcpu`], and everything that touches KVM's memory.
//!
//! What is left behind in a vCPU between two exits is always what KVM's own code would have left: a task
//! may change between the replaced and the original functions wherever neither is on its stack. An exit
//! that is complete leaves nothing. One whose reply is deferred leaves what [`deferral`] says, and becomes a
//! parked one before C takes over. A parked exit leaves the page mapped in `sev_es.ghcb`, "no action"
//! written into it, the request in the VMCB's exit fields, and the scratch area in `sev_es.ghcb_sa`, which
//! points into the mapped page, or to a copy of what is sent or lies elsewhere.

mod abi_proof;
pub(crate) mod bindings;
mod buffer;
pub(crate) mod deferral;
pub(crate) mod identity;
pub(crate) mod imports;
mod page;
mod trace;

use crate::{
    ghcb_abi::{
        bitmap::ValidBitmap,
        exit_code::ExitCode,
        msr::GhcbMsr,
        page::{Field, SharedPage, PAGE_SIZE},
        reply::{Action, ErrorReason, EventInjection, Reply},
        scratch::ScratchArea,
        version::Version,
    },
    observe,
    vmgexit::{
        instruction::{Emulation, Instruction},
        kind::Kind,
        mmio::MmioAccess,
        port_io::{PortAccess, StringTransfer},
        vcpu::{
            Complaint, Deferred, Exit, Fulfilment, HoldType, Purpose, Registers, Scratch, Vcpu,
        },
        Outcome,
    },
};
use bindings::{kvm, kvm_sev_info, kvm_svm, kvm_vcpu, vcpu_svm, vmcb, vmcb_control_area};
use buffer::Buffer;
use core::{
    arch::x86_64::_rdtsc,
    mem::{self, MaybeUninit},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};
use kernel::error::Result;
use page::{MappedPage, UserPage};

// bindgen has no offset for what an unnamed union holds: the save area, where C keeps the CPL.
const _: () = assert!(
    mem::offset_of!(vmcb, __bindgen_anon_1) == 0x400,
    "vmcb.save moved"
);

/// log2 of the page size. C: `PAGE_SHIFT`.
const PAGE_SHIFT: u32 = PAGE_SIZE.trailing_zeros();

/// `AP_RESET_HOLD_*` of `arch/x86/kvm/svm/sev.c`.
mod reset_hold {
    pub(super) const NONE: u32 = 0;
    pub(super) const NAE_EVENT: u32 = 1;
    pub(super) const MSR_PROTO: u32 = 2;
}

/// A vCPU whose VMGEXIT is handled.
///
/// # Invariants
///
/// `svm` points to the vCPU of an SEV-ES guest, and this task is the one that runs it: it holds
/// `vcpu->mutex` and is inside KVM_RUN, in the address space of the VM's owner, with `kvm->srcu` held for
/// reading. Only this task touches the fields that are touched here.
///
/// The exception is [`deferral::hand_back`], which holds `vcpu->mutex` and does the rest itself.
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

    /// Whether the guest has SEV-SNP active. C: `is_sev_snp_guest()`.
    #[inline]
    pub(crate) fn is_snp(&self) -> bool {
        // SAFETY: By the invariant; the features are fixed once the VM has vCPUs.
        let features = unsafe { (*self.sev()).vmsa_features };
        features & u64::from(bindings::GHCB_RS_SNP_ACTIVE) != 0
    }

    /// The vCPU, for C.
    pub(crate) fn as_ptr(&self) -> *mut vcpu_svm {
        self.svm.as_ptr()
    }

    /// Whether an exit waits for its completion.
    #[inline]
    pub(crate) fn has_parked_exit(&self) -> bool {
        // SAFETY: By the invariant, the field is this task's alone.
        unsafe { !(*self.svm()).sev_es.ghcb.is_null() }
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

    /// One of the registers that KVM keeps for its emulation.
    #[inline]
    fn register(&self, index: u32) -> *mut u64 {
        // SAFETY: By the invariant. `index` is one of `VCPU_REGS_*`, all of which are in the array.
        unsafe {
            (&raw mut (*self.vcpu()).arch.regs)
                .cast::<u64>()
                .add(index as usize)
        }
    }

    /// Hands registers to KVM's emulation.
    #[inline(always)]
    fn set_registers(&mut self, registers: &Registers) {
        for (index, value) in [
            (bindings::__VCPU_REGS_RAX, registers.rax),
            (bindings::__VCPU_REGS_RBX, registers.rbx),
            (bindings::__VCPU_REGS_RCX, registers.rcx),
            (bindings::__VCPU_REGS_RDX, registers.rdx),
            (bindings::__VCPU_REGS_RSI, registers.rsi),
        ] {
            // SAFETY: The pointer is valid, and by the invariant nobody else uses it.
            unsafe { *self.register(index) = value };
        }
    }

    /// Zeroes the registers that no request supplies, for hypercalls which read more of them.
    #[cold]
    fn zero_other_registers(&mut self) {
        // SAFETY: By the invariant, the array is this task's alone.
        unsafe { (&raw mut (*self.vcpu()).arch.regs).write_bytes(0, 1) };
    }

    /// Puts a request where KVM's code looks for it.
    #[inline(always)]
    fn set_exit(&mut self, exit_code: ExitCode, info1: u64, info2: u64) {
        let control = self.control();
        // SAFETY: By the invariant, the VMCB is this task's alone while the guest does not run.
        unsafe {
            (*control).exit_code = exit_code.0;
            (*control).exit_info_1 = info1;
            (*control).exit_info_2 = info2;
        }
    }

    /// The request that [`set_exit`](Self::set_exit) has put there.
    fn exit(&self) -> Exit {
        // SAFETY: By the invariant, the VMCB is this task's alone while the guest does not run.
        unsafe {
            Exit {
                code: ExitCode((*self.control()).exit_code),
                info1: (*self.control()).exit_info_1,
                info2: (*self.control()).exit_info_2,
            }
        }
    }

    /// Takes an exception that KVM's emulation queued for the guest: it goes into the reply, not into
    /// the guest's #VC handler.
    #[inline(always)]
    fn take_exception(&mut self) -> Option<EventInjection> {
        // SAFETY: By the invariant, the queue is this task's alone.
        unsafe {
            let queued = &raw mut (*self.vcpu()).arch.exception;
            if !(*queued).pending {
                return None;
            }
            (*queued).pending = false;
            let code = (*queued).has_error_code.then_some((*queued).error_code);
            Some(EventInjection::exception((*queued).vector, code))
        }
    }

    /// Interprets what a function of KVM returned.
    #[inline(always)]
    fn fulfilment(&mut self, result: i32) -> Fulfilment {
        match result {
            0 => Fulfilment::Userspace,
            1.. => match self.take_exception() {
                None => Fulfilment::Done,
                Some(event) => Fulfilment::Exception(event),
            },
            _ => Fulfilment::Refused,
        }
    }

    /// Invokes KVM's handler of an intercepted MSR access.
    ///
    /// `svm_complete_emulated_msr()` reports a fault by writing into `sev_es.ghcb`. That is a save area
    /// on this stack for as long as the call lasts; if userspace is to decide, [`Vcpu::park`] puts the
    /// guest's page there.
    #[inline(always)]
    fn emulate_msr(&mut self) -> Fulfilment {
        let mut area = MaybeUninit::<bindings::ghcb_save_area>::uninit();
        let save = area.as_mut_ptr();
        // SAFETY: `save` is valid for writes. C writes the infos and sets bits of the bitmap, which nobody
        // reads. `sev_es.ghcb` is this task's alone and goes back to null before the save area dies. The
        // arguments are the vCPU and an intercept whose handler exists.
        let (result, info1) = unsafe {
            (*save).sw_exit_info_1 = Action::NO_ACTION.0.into();
            (*self.svm()).sev_es.ghcb = save.cast();
            let result = imports::svm_invoke_exit_handler(self.vcpu(), ExitCode::MSR.0);
            (*self.svm()).sev_es.ghcb = ptr::null_mut();
            (result, (&raw const (*save).sw_exit_info_1).read_volatile())
        };
        if result > 0 && info1 == u64::from(Action::ISSUE_EXCEPTION.0) {
            // SAFETY: C has written both infos.
            let info2 = unsafe { (&raw const (*save).sw_exit_info_2).read_volatile() };
            return Fulfilment::Exception(EventInjection(info2));
        }
        self.fulfilment(result)
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

impl Vcpu for KvmVcpu {
    type Page = UserPage;
    type Buffer = Buffer;

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

    #[inline(always)]
    fn c_bit(&self) -> u8 {
        let slot = &raw const imports::address::SEV_ENC_BIT;
        // SAFETY: The livepatch loader has filled the slot; kvm_amd writes the variable when it loads only.
        unsafe { *slot.read_volatile() as u8 }
    }

    #[inline(always)]
    fn open(&mut self, gpa: u64) -> Option<UserPage> {
        let gfn = gpa >> PAGE_SHIFT;
        // SAFETY: By the invariant, with `kvm->srcu` held.
        let slot = unsafe { imports::kvm_vcpu_gfn_to_memslot(self.vcpu(), gfn) };
        // SAFETY: KVM has found the frame in the slot; the page is closed before `kvm->srcu` is released.
        unsafe { UserPage::new(NonNull::new(slot)?, gfn) }
    }

    #[inline(always)]
    fn close(&mut self, page: UserPage) {
        if let Some(slot) = page.logging_slot() {
            // SAFETY: By the invariant, with `kvm->srcu` held; the frame lies in the slot.
            unsafe { imports::mark_page_dirty_in_slot(self.kvm(), slot.as_ptr(), page.gfn()) };
        }
    }

    #[inline(always)]
    fn emulate(&mut self, emulation: &Emulation) -> Fulfilment {
        if emulation.instruction == Instruction::Vmmcall {
            self.zero_other_registers();
        }
        self.set_registers(&emulation.registers);
        let exit_code = emulation.instruction.exit_code();
        self.set_exit(exit_code, emulation.instruction.info1(), 0);
        // SAFETY: By the invariant, with pointers that are valid. KVM checks XCR0 and XSS itself.
        unsafe {
            (*self.vmcb()).__bindgen_anon_1.save.cpl = emulation.cpl;
            if let Some(xcr0) = emulation.xcr0 {
                if xcr0 != (*self.vcpu()).arch.xcr0 {
                    imports::kvm_set_xcr(self.vcpu(), 0, xcr0);
                }
            }
            if let Some(xss) = emulation.xss {
                if xss != (*self.vcpu()).arch.ia32_xss {
                    imports::kvm_emulate_msr_write(self.vcpu(), bindings::MSR_IA32_XSS, xss);
                }
            }
        }
        if exit_code == ExitCode::MSR {
            return self.emulate_msr();
        }
        // SAFETY: By the invariant; the intercept's handler exists.
        let result = unsafe { imports::svm_invoke_exit_handler(self.vcpu(), exit_code.0) };
        self.fulfilment(result)
    }

    #[inline(always)]
    fn cpuid(&mut self, function: u32) -> Fulfilment {
        // SAFETY: By the invariant, with pointers that are valid; CPUID reads no other registers, and the
        // intercept's handler exists.
        let result = unsafe {
            *self.register(bindings::__VCPU_REGS_RAX) = function.into();
            *self.register(bindings::__VCPU_REGS_RCX) = 0;
            (*self.vmcb()).__bindgen_anon_1.save.cpl = 0;
            imports::svm_invoke_exit_handler(self.vcpu(), ExitCode::CPUID.0)
        };
        self.fulfilment(result)
    }

    #[inline(always)]
    fn registers(&self) -> Registers {
        // SAFETY: The pointers are valid, and by the invariant nobody else writes.
        let register = |index| unsafe { *self.register(index) };
        Registers {
            rax: register(bindings::__VCPU_REGS_RAX),
            rbx: register(bindings::__VCPU_REGS_RBX),
            rcx: register(bindings::__VCPU_REGS_RCX),
            rdx: register(bindings::__VCPU_REGS_RDX),
            rsi: register(bindings::__VCPU_REGS_RSI),
        }
    }

    #[inline(always)]
    fn port_io(&mut self, access: &PortAccess) -> Fulfilment {
        // SAFETY: By the invariant; size and port are what an intercept reports. C: `io_interception()`.
        let result = unsafe {
            *self.register(bindings::__VCPU_REGS_RAX) = access.rax;
            (*self.vcpu()).stat.io_exits = (*self.vcpu()).stat.io_exits.wrapping_add(1);
            imports::kvm_fast_pio(
                self.vcpu(),
                access.size as i32,
                access.port,
                access.direction.is_in().into(),
            )
        };
        self.fulfilment(result)
    }

    #[inline(always)]
    fn string_io(&mut self, transfer: &StringTransfer, data: &mut Buffer) -> Fulfilment {
        // SAFETY: By the invariant. The buffer holds `count` elements of `size` bytes, and outlives the
        // exit: `park()` keeps it when userspace does the rest. C: `sev_es_string_io()`.
        let result = unsafe {
            (*self.vcpu()).stat.io_exits = (*self.vcpu()).stat.io_exits.wrapping_add(1);
            imports::kvm_sev_es_string_io(
                self.vcpu(),
                transfer.size as u32,
                transfer.port.into(),
                data.as_mut_ptr(),
                transfer.count,
                transfer.direction.is_in().into(),
            )
        };
        self.fulfilment(result)
    }

    #[inline(always)]
    fn mmio(&mut self, access: &MmioAccess, data: &mut Buffer) -> Fulfilment {
        // SAFETY: By the invariant. The buffer holds `len` bytes, is not on the stack, and outlives the
        // exit: `park()` keeps it when userspace does the rest.
        let result = unsafe {
            imports::kvm_sev_es_mmio(
                self.vcpu(),
                !access.direction.is_in(),
                access.gpa,
                access.len,
                data.as_mut_ptr(),
            )
        };
        self.fulfilment(result)
    }

    #[inline(always)]
    fn fetch(
        &mut self,
        page: &UserPage,
        area: ScratchArea,
        purpose: Purpose,
    ) -> Result<Buffer, ErrorReason> {
        const INVALID: ErrorReason = ErrorReason::INVALID_SCRATCH_AREA;
        let len = match area {
            ScratchArea::Shared(range) => range.len(),
            ScratchArea::External { len, .. } => usize::try_from(len).map_err(|_| INVALID)?,
        };
        let buffer = match area {
            // SAFETY: By the invariant; an exit has one buffer.
            ScratchArea::Shared(_) => unsafe { Buffer::new(self.vcpu(), len, purpose) },
            // Hardened usercopy kills who copies between user memory and a `kvm_vcpu`.
            ScratchArea::External { .. } => Buffer::allocated(len),
        };
        let mut buffer = buffer.map_err(|_| INVALID)?;
        match area {
            ScratchArea::Shared(_) if purpose == Purpose::Receive => {}
            ScratchArea::Shared(range) => page.read_buffer(range, buffer.bytes_mut()),
            // As in C, also when the guest will receive: an area that cannot be read is refused at once.
            ScratchArea::External { gpa, len } => {
                // SAFETY: By the invariant, with `kvm->srcu` held; the buffer holds `len` bytes.
                let error = unsafe {
                    imports::kvm_read_guest(self.kvm(), gpa, buffer.as_mut_ptr(), len as usize)
                };
                if error != 0 {
                    return Err(INVALID);
                }
            }
        }
        Ok(buffer)
    }

    #[inline(always)]
    fn put_back(&mut self, page: &UserPage, area: ScratchArea, data: &Buffer) {
        match area {
            ScratchArea::Shared(range) => page.write_buffer(range, data.bytes()),
            ScratchArea::External { gpa, .. } => {
                let bytes = data.bytes();
                // SAFETY: By the invariant, with `kvm->srcu` held; the slice is valid.
                unsafe {
                    imports::kvm_write_guest(self.kvm(), gpa, bytes.as_ptr().cast(), bytes.len())
                };
            }
        }
    }

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

    #[inline(always)]
    fn defer(&mut self, page: &UserPage, exit: Exit, scratch: Option<&Scratch<Buffer>>) -> bool {
        self.mark_deferred(page, exit, scratch)
    }

    fn take_deferred(&mut self) -> Option<Deferred<Buffer>> {
        self.unmark_deferred()
    }

    #[inline(never)]
    fn park(&mut self, page: UserPage, exit: Exit, scratch: Option<Scratch<Buffer>>) -> bool {
        self.set_exit(exit.code, exit.info1, exit.info2);
        // SAFETY: By the invariant, the fields are this task's alone, and no page is mapped: the last one
        // was unmapped before the guest ran.
        let is_mapped = unsafe {
            let map = &raw mut (*self.svm()).sev_es.ghcb_map;
            imports::kvm_vcpu_map(self.vcpu(), page.gfn(), map, true) == 0
                && self.leave_mapped(scratch).is_ok()
        };
        if !is_mapped {
            self.cancel_userspace_exit();
        }
        is_mapped
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

    #[inline(always)]
    fn trace_enter(&mut self, exit: Exit) {
        trace::enter(|| self.vcpu_id(), exit.code, exit.info1, exit.info2);
    }

    #[inline(always)]
    fn trace_exit(&mut self, exit_code: ExitCode, reply: &Reply) {
        trace::exit(
            || self.vcpu_id(),
            exit_code,
            || (reply.info1(), reply.info2()),
        );
    }

    #[inline(always)]
    fn traces_msr(&self) -> bool {
        trace::is_msr_traced()
    }

    #[inline(always)]
    fn trace_msr_enter(&mut self, msr: GhcbMsr) {
        trace::msr_enter(|| self.vcpu_id(), msr.0);
    }

    #[inline(always)]
    fn trace_msr_exit(&mut self, outcome: Outcome) {
        let msr = || self.ghcb_msr().0;
        trace::msr_exit(|| self.vcpu_id(), msr, outcome.to_kvm());
    }

    #[inline(always)]
    fn count(&mut self, kind: Kind, action: Action) {
        observe::count(kind, action);
    }

    fn complain(&mut self, complaint: Complaint) {
        let slot = &raw const imports::address::DUMP_INVALID_VMCB;
        // SAFETY: The livepatch loader has filled the slot; the module parameter lives as long as kvm_amd.
        let dump = unsafe { slot.read_volatile().read_volatile() };
        observe::complain(self.vcpu_id(), self.ghcb_msr(), dump, &complaint);
    }
}

impl KvmVcpu {
    /// The page that is mapped for a parked exit.
    fn mapped_page(&self) -> Option<MappedPage> {
        // SAFETY: By the invariant, the field is this task's alone. What is mapped there is a whole page,
        // and stays so until `finish()` unmaps it, which drops the result before.
        unsafe {
            let base = NonNull::new((*self.svm()).sev_es.ghcb.cast::<u64>())?;
            Some(MappedPage::new(base))
        }
    }

    /// Leaves an exit behind with its page in `ghcb_map`, which is unmapped if there is no memory.
    ///
    /// # Safety
    ///
    /// The page is mapped there, and stays so until the exit is complete.
    unsafe fn leave_mapped(&mut self, scratch: Option<Scratch<Buffer>>) -> Result {
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
            Field::SwExitInfo1.store(&mapped, Action::NO_ACTION.0.into());
            Field::SwExitInfo2.store(&mapped, 0);
            ValidBitmap::REPLY.store(&mapped);
        }
        Ok(())
    }

    /// Takes back what KVM has prepared for userspace: nobody will complete it.
    #[cold]
    fn cancel_userspace_exit(&mut self) {
        // SAFETY: By the invariant, these fields are this task's alone.
        unsafe {
            let vcpu = self.vcpu();
            (*vcpu).arch.complete_userspace_io = None;
            (*vcpu).arch.pio.count = 0;
            (*vcpu).mmio_needed = 0;
        }
    }
}
