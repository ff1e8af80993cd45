// SPDX-License-Identifier: GPL-2.0

//! What takes the place of functions of kvm_amd and kvm.

use super::settings::{self, Mode};
use crate::{
    kvm::{
        bindings::{kvm_vcpu, vcpu_svm},
        deferral::{self, PerCpu},
        differences::{c_before_run, BeforeRun},
        imports, witness, KvmVcpu,
    },
    observe,
    vmgexit::{
        self,
        carry_out::{guest_request, page_state},
        host::End,
        tally::Call,
    },
};
use core::{
    ops::{Deref, DerefMut},
    ptr::NonNull,
};
use kernel::ffi::c_int;

/// Address of what replaces `sev_handle_vmgexit()`.
pub(super) fn of_sev_handle_vmgexit() -> usize {
    match (settings::mode(), settings::takes_time()) {
        (Mode::Answer, false) => sev_handle_vmgexit as *const () as usize,
        (Mode::Answer, true) => time_rust as *const () as usize,
        (Mode::Observe, false) => watch_c as *const () as usize,
        (Mode::Observe, true) => time_c as *const () as usize,
    }
}

/// Replaces `sev_handle_vmgexit()`.
///
/// # Safety
///
/// As for the original: called by KVM for the vCPU of an SEV-ES guest that executed VMGEXIT.
pub(super) unsafe extern "C" fn sev_handle_vmgexit(vcpu: *mut kvm_vcpu) -> c_int {
    // SAFETY: The vCPU is the first member of a `vcpu_svm`, and KVM calls with what `KvmVcpu` wants.
    let vcpu = unsafe { wrap(vcpu) };
    vmgexit::handle(ByValue(vcpu), || Call::handling(&PerCpu)).to_kvm()
}

/// A vCPU that is passed by value.
struct ByValue(KvmVcpu);

impl Deref for ByValue {
    type Target = KvmVcpu;

    #[inline]
    fn deref(&self) -> &KvmVcpu {
        &self.0
    }
}

impl DerefMut for ByValue {
    #[inline]
    fn deref_mut(&mut self) -> &mut KvmVcpu {
        &mut self.0
    }
}

/// Replaces `sev_handle_vmgexit()` in observe mode: C answers.
///
/// # Safety
///
/// As for the original.
unsafe extern "C" fn watch_c(vcpu: *mut kvm_vcpu) -> c_int {
    let _call = Call::handling(&PerCpu);
    // SAFETY: As for `sev_handle_vmgexit()`.
    unsafe { witness::watch(&mut wrap(vcpu), || imports::c_sev_handle_vmgexit(vcpu)) }
}

/// Replaces `sev_handle_vmgexit()` while times are taken.
///
/// # Safety
///
/// As for the original.
unsafe extern "C" fn time_rust(vcpu: *mut kvm_vcpu) -> c_int {
    let _call = Call::handling(&PerCpu);
    // SAFETY: As for `sev_handle_vmgexit()`.
    unsafe { observe::time(&wrap(vcpu), || sev_handle_vmgexit(vcpu)) }
}

/// The same in observe mode, where the time is that of C and of judging it.
///
/// # Safety
///
/// As for the original.
unsafe extern "C" fn time_c(vcpu: *mut kvm_vcpu) -> c_int {
    let _call = Call::handling(&PerCpu);
    // SAFETY: As for `sev_handle_vmgexit()`.
    unsafe { observe::time(&wrap(vcpu), || watch_c(vcpu)) }
}

/// The vCPU that KVM calls for.
///
/// # Safety
///
/// `vcpu` is one of kvm_amd's, and is what [`KvmVcpu`] wants if it has a pending reply.
unsafe fn wrap(vcpu: *mut kvm_vcpu) -> KvmVcpu {
    // SAFETY: By the caller; the vCPU is the first member of a `vcpu_svm`.
    unsafe { KvmVcpu::new(NonNull::new_unchecked(vcpu.cast())) }
}

// What is replaced returns this.
const _: unsafe extern "C" fn(*mut kvm_vcpu) -> BeforeRun = c_before_run;

/// Replaces what KVM calls before a vCPU runs, see [`differences`](crate::kvm::differences): before it, a pending reply is
/// written.
///
/// # Safety
///
/// As for the original: called by KVM when userspace lets a vCPU run, when what it did for the last exit
/// has been taken in.
pub(super) unsafe extern "C" fn before_run(vcpu: *mut kvm_vcpu) -> BeforeRun {
    // SAFETY: KVM calls for a vCPU of kvm_amd, which is the first member of a `vcpu_svm`. Only an exit of an
    // SEV-ES guest leaves a reply to be written; its vCPU is what `KvmVcpu` wants.
    unsafe {
        if deferral::is_pending(vcpu.cast()) {
            deliver(wrap(vcpu), End::Resumed);
        }
        c_before_run(vcpu)
    }
}

/// Replaces `svm_complete_emulated_msr()`: what userspace says of an MSR access is the pending reply.
///
/// # Safety
///
/// As for the original: called by KVM when an MSR access of any vCPU of kvm_amd has succeeded or failed.
pub(super) unsafe extern "C" fn svm_complete_emulated_msr(
    vcpu: *mut kvm_vcpu,
    error: c_int,
) -> c_int {
    // SAFETY: The vCPU is the first member of a `vcpu_svm`, which this task runs. While an access is
    // emulated, no reply is pending.
    unsafe {
        if !deferral::is_pending(vcpu.cast()) {
            return imports::c_svm_complete_emulated_msr(vcpu, error);
        }
        if error == 0 {
            let result = imports::c_svm_complete_emulated_msr(vcpu, error);
            deliver(wrap(vcpu), End::Completed);
            return result;
        }
        // C's function would access the page.
        deliver(wrap(vcpu), End::Failed);
    }
    vmgexit::AfterExit::RESUME.to_kvm()
}

/// Replaces `complete_sev_es_emulated_mmio()`.
///
/// # Safety
///
/// As for the original: called by KVM in KVM_RUN, when userspace has done its part of an MMIO access.
pub(super) unsafe extern "C" fn complete_sev_es_emulated_mmio(vcpu: *mut kvm_vcpu) -> c_int {
    // SAFETY: As for this function.
    unsafe { complete(vcpu, imports::c_complete_sev_es_emulated_mmio) }
}

/// Replaces `complete_sev_es_emulated_ins()`.
///
/// # Safety
///
/// As for the original: called by KVM in KVM_RUN, when userspace has done its part of INS.
pub(super) unsafe extern "C" fn complete_sev_es_emulated_ins(vcpu: *mut kvm_vcpu) -> c_int {
    // SAFETY: As for this function.
    unsafe { complete(vcpu, imports::c_complete_sev_es_emulated_ins) }
}

/// Replaces `complete_sev_es_emulated_outs()`.
///
/// # Safety
///
/// As for the original: called by KVM in KVM_RUN, when userspace has done its part of OUTS.
pub(super) unsafe extern "C" fn complete_sev_es_emulated_outs(vcpu: *mut kvm_vcpu) -> c_int {
    // SAFETY: As for this function.
    unsafe { complete(vcpu, imports::c_complete_sev_es_emulated_outs) }
}

/// Lets KVM complete the access with the data of userspace, and writes the pending reply.
///
/// # Safety
///
/// As for the originals, of which `original` is one.
#[inline(always)]
unsafe fn complete(
    vcpu: *mut kvm_vcpu,
    original: unsafe extern "C" fn(*mut kvm_vcpu) -> c_int,
) -> c_int {
    let _call = Call::delivery(&PerCpu);
    // SAFETY: By the caller; KVM calls for vCPUs of SEV-ES guests that this task runs.
    unsafe {
        if !wrap(vcpu).has_guest() {
            // The guest has moved while this task waited for the vCPU, and perhaps what KVM would access has
            // been freed.
            wrap(vcpu).cancel_userspace_exit();
            return vmgexit::AfterExit::RESUME.to_kvm();
        }
        let result = original(vcpu);
        if deferral::is_pending(vcpu.cast()) {
            match result {
                1.. => deliver_completed(wrap(vcpu)),
                0 => wrap(vcpu).write_received(),
                _ => {}
            }
        }
        result
    }
}

/// Replaces `snp_complete_one_psc()`.
///
/// # Safety
///
/// As for the original: called by KVM in KVM_RUN, when userspace has changed a range of a list of page state
/// changes, or has not.
pub(super) unsafe extern "C" fn snp_complete_one_psc(vcpu: *mut kvm_vcpu) -> c_int {
    // SAFETY: As for this function.
    unsafe { go_on(vcpu, imports::c_snp_complete_one_psc, page_state::go_on) }
}

/// Replaces `snp_complete_req_certs()`.
///
/// # Safety
///
/// As for the original: called by KVM in KVM_RUN, when userspace has been asked for certificates.
pub(super) unsafe extern "C" fn snp_complete_req_certs(vcpu: *mut kvm_vcpu) -> c_int {
    // SAFETY: As for this function.
    unsafe {
        go_on(
            vcpu,
            imports::c_snp_complete_req_certs,
            guest_request::go_on,
        )
    }
}

/// Goes on with an exit: one that was begun here, by `step`, and one that C has begun, in C.
///
/// # Safety
///
/// As for the originals, of which `original` is one.
unsafe fn go_on(
    vcpu: *mut kvm_vcpu,
    original: unsafe extern "C" fn(*mut kvm_vcpu) -> c_int,
    step: fn(&mut KvmVcpu) -> vmgexit::AfterExit,
) -> c_int {
    let _call = Call::delivery(&PerCpu);
    // SAFETY: By the caller; KVM calls for vCPUs of SEV-SNP guests that this task runs.
    unsafe {
        if deferral::is_pending(vcpu.cast()) {
            deferral::go_on(&mut wrap(vcpu), step).to_kvm()
        } else {
            original(vcpu)
        }
    }
}

/// Writes a pending reply. The caller has counted the call.
#[inline(never)]
fn deliver_completed(mut vcpu: KvmVcpu) {
    deferral::deliver(&mut vcpu, End::Completed);
}

/// Writes a pending reply.
#[inline(never)]
fn deliver(mut vcpu: KvmVcpu, end: End) {
    let _call = Call::delivery(&PerCpu);
    deferral::deliver(&mut vcpu, end);
}

/// Replaces `sev_free_vcpu()`: drops a pending reply, and what was counted of the vCPU.
///
/// # Safety
///
/// As for the original: called by KVM when a vCPU of any guest is freed.
pub(super) unsafe extern "C" fn sev_free_vcpu(vcpu: *mut kvm_vcpu) {
    let _call = Call::delivery(&PerCpu);
    // SAFETY: The vCPU is the first member of a `vcpu_svm`, and nobody else's any more.
    unsafe {
        deferral::forget(vcpu.cast::<vcpu_svm>());
        observe::forget(vcpu.addr());
        imports::c_sev_free_vcpu(vcpu);
    }
}
