// SPDX-License-Identifier: GPL-2.0

//! vCPUs of the same VM, which other tasks run.

use super::lock::Locked;
use crate::kvm::{
    bindings::{self, kvm_vcpu, vcpu_svm},
    imports, KvmVcpu,
};
use core::{
    marker::PhantomData,
    ptr::NonNull,
    sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering},
};
use kernel::{bindings::xa_load, ffi::c_ulong};

/// Any vCPU of a VM: perhaps one that another task runs at this moment.
///
/// Nothing of it can be touched here but what a lock of it protects, or atomically.
///
/// # Invariants
///
/// `svm` points to a vCPU of the VM whose vCPU `'a` borrows. KVM frees vCPUs with their VM alone.
pub(super) struct OtherVcpu<'a> {
    svm: NonNull<vcpu_svm>,
    _vm: PhantomData<&'a KvmVcpu>,
}

impl KvmVcpu {
    /// Number of vCPUs that the VM has now; each of them is there for good.
    pub(super) fn online_vcpus(&self) -> u32 {
        // SAFETY: By the invariant. C: `atomic_read(&kvm->online_vcpus)`.
        let count = unsafe { AtomicI32::from_ptr(&raw mut (*self.kvm()).online_vcpus.counter) };
        // What was there before it was counted is seen. C: `kvm_get_vcpu()`.
        count.load(Ordering::Acquire) as u32
    }

    /// The vCPUs of the VM, this one among them. C: `kvm_for_each_vcpu()`.
    pub(super) fn all_vcpus(&self) -> impl Iterator<Item = OtherVcpu<'_>> {
        (0..self.online_vcpus()).filter_map(|index| self.vcpu_at(index))
    }

    /// The vCPU that was created at a place in the order of all. C: `kvm_get_vcpu()`.
    fn vcpu_at(&self, index: u32) -> Option<OtherVcpu<'_>> {
        if index >= self.online_vcpus() {
            return None;
        }
        // SAFETY: By the invariant; the array takes care of concurrent changes itself.
        let vcpu = unsafe { xa_load((&raw mut (*self.kvm()).vcpu_array).cast(), index as c_ulong) };
        // INVARIANT: It is one of this VM's; a vCPU is the first member of a `vcpu_svm`.
        Some(OtherVcpu {
            svm: NonNull::new(vcpu.cast())?,
            _vm: PhantomData,
        })
    }

    /// The vCPU with an APIC ID, which is its number; mostly at the place of that number. C: `kvm_get_vcpu_by_id()`.
    pub(super) fn vcpu_by_apic_id(&self, apic_id: u32) -> Option<OtherVcpu<'_>> {
        self.vcpu_at(apic_id)
            .filter(|vcpu| vcpu.apic_id() == apic_id)
            .or_else(|| self.all_vcpus().find(|vcpu| vcpu.apic_id() == apic_id))
    }
}

impl<'a> OtherVcpu<'a> {
    fn vcpu(&self) -> *mut kvm_vcpu {
        // SAFETY: By the invariant, the pointer is valid.
        unsafe { &raw mut (*self.svm.as_ptr()).vcpu }
    }

    /// APIC ID.
    pub(super) fn apic_id(&self) -> u32 {
        // SAFETY: By the invariant; the number never changes.
        unsafe { (*self.vcpu()).vcpu_id as u32 }
    }

    /// Waits until nobody else replaces the vCPU's VMSA.
    pub(super) fn lock_vmsa(&self) -> LockedVmsa<'a> {
        // SAFETY: By the invariant. Whoever handles an exit may sleep, and holds no such lock.
        let lock = unsafe {
            Locked::new(NonNull::new_unchecked(
                &raw mut (*self.svm.as_ptr()).sev_es.snp_vmsa_mutex,
            ))
        };
        // INVARIANT: The lock has just been taken.
        LockedVmsa {
            svm: self.svm,
            _lock: lock,
        }
    }

    /// Has the vCPU look for a VMSA, and waits until it does not run the guest any more. C:
    /// `kvm_make_request_and_kick(KVM_REQ_UPDATE_PROTECTED_GUEST_STATE)`.
    pub(super) fn update_state(&self) {
        const REQUEST: u64 = 1 << bindings::GHCB_RS_KVM_REQ_UPDATE_PROTECTED_GUEST_STATE;
        // SAFETY: KVM makes this request of other vCPUs, too: `kvm_make_request_and_kick()` in `sev_snp_ap_creation()`.
        unsafe { self.request(REQUEST, true) };
    }

    /// Whether only an INIT, or the SIPI after it, lets the vCPU run.
    pub(super) fn waits_for_start(&self) -> bool {
        // SAFETY: By the invariant. The vCPU's own task changes the state, which is one word.
        let state = unsafe { AtomicI32::from_ptr(&raw mut (*self.vcpu()).arch.mp_state) };
        matches!(
            state.load(Ordering::Relaxed) as u32,
            bindings::GHCB_RS_KVM_MP_STATE_UNINITIALIZED
                | bindings::GHCB_RS_KVM_MP_STATE_INIT_RECEIVED
        )
    }

    /// Sends INIT and SIPI to a vCPU that waits for them: at the INIT it takes the VMSA that was kept for it, whose
    /// registers the SIPI leaves alone. C: `__apic_accept_irq()`.
    pub(super) fn start(&self) {
        const EVENTS: usize =
            1 << bindings::GHCB_RS_KVM_APIC_INIT | 1 << bindings::GHCB_RS_KVM_APIC_SIPI;
        // SAFETY: By the invariant. Only a VM whose APICs are KVM's own has a vCPU that waits, and an APIC is freed
        // with its vCPU; all that change its events while the vCPU runs do so atomically, or by one store. KVM makes this
        // request of any vCPU.
        unsafe {
            let Some(apic) = NonNull::new((*self.vcpu()).arch.apic) else {
                return;
            };
            AtomicUsize::from_ptr(&raw mut (*apic.as_ptr()).pending_events)
                .fetch_or(EVENTS, Ordering::Release);
            self.request(1 << bindings::GHCB_RS_KVM_REQ_EVENT, false);
        }
    }

    /// Makes a request of the vCPU, and has it look. C: `kvm_make_request()`, `__kvm_vcpu_kick()`.
    ///
    /// # Safety
    ///
    /// `request` is one that any task may make, at any time: others end the VM, or have KVM use what is not there.
    unsafe fn request(&self, request: u64, wait: bool) {
        // SAFETY: By the invariant; all change `requests` by atomic operations alone. KVM kicks any vCPU of a VM
        // from any task.
        unsafe {
            AtomicU64::from_ptr(&raw mut (*self.vcpu()).requests)
                .fetch_or(request, Ordering::Release);
            imports::__kvm_vcpu_kick(self.vcpu(), wait);
        }
    }
}

/// A vCPU whose VMSA nobody else replaces, for as long as this exists.
///
/// # Invariants
///
/// This task holds `snp_vmsa_mutex` of the vCPU.
pub(super) struct LockedVmsa<'a> {
    svm: NonNull<vcpu_svm>,
    _lock: Locked<'a>,
}

impl LockedVmsa<'_> {
    /// Keeps a VMSA, or none, until the vCPU looks for it.
    pub(super) fn set_pending(&mut self, vmsa: Option<u64>) {
        /// C: `INVALID_PAGE`.
        const NONE: u64 = u64::MAX;
        // SAFETY: By the invariant; the lock protects both fields.
        unsafe {
            let sev_es = &raw mut (*self.svm.as_ptr()).sev_es;
            (*sev_es).snp_pending_vmsa_gpa = vmsa.unwrap_or(NONE);
            (*sev_es).snp_ap_waiting_for_reset = true;
        }
    }
}
