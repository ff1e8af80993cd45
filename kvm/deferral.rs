// SPDX-License-Identifier: GPL-2.0

//! Exits whose reply is deferred: userspace says what it is, and nothing of the page is kept meanwhile.
//!
//! The reply is written when userspace lets the vCPU run again, in a function that KVM calls before it
//! disables preemption: there, a page that is not present comes back. C knows no such exits. Before it
//! takes over, [`hand_back`] makes parked ones of them, which C can complete.
//!
//! Between its exit and its reply, a vCPU holds the request in the VMCB's exit fields, the frame of the
//! page in `ghcb_map.gfn`, the place of the data in `sw_scratch`, no page in `ghcb`, and `ghcb_sa_sync` set,
//! which C never leaves without a page. The data are where KVM puts them, see [`Buffer::of`]; an MSR access
//! that userspace refuses has [`REFUSED`] for their place. No pointer is among it: userspace may move the
//! guest to the vCPU of another VM meanwhile.

use super::{
    bindings::{self, kvm, kvm_vcpu, vcpu_svm},
    buffer::Buffer,
    imports::{self, address},
    page::UserPage,
    KvmVcpu, PAGE_SHIFT,
};
use crate::{
    ghcb_abi::{page::BufferRange, scratch::ScratchArea},
    vmgexit::vcpu::{Deferred, Exit, Scratch},
};
use core::{
    mem::offset_of,
    ptr::{self, NonNull},
    sync::atomic::{fence, AtomicBool, AtomicI32, Ordering},
};
use kernel::{
    ffi::{c_int, c_long, c_uint, c_ulong, c_void},
    mm::Mm,
    prelude::*,
    time::{delay::fsleep, Delta},
};

#[expect(
    improper_ctypes,
    reason = "the kernel's structures hold empty ones, which C never passes by value"
)]
extern "C" {
    /// C: `include/linux/mm.h`.
    fn pin_user_pages_remote(
        mm: *mut bindings::mm_struct,
        start: c_ulong,
        count: c_ulong,
        flags: c_uint,
        pages: *mut *mut bindings::page,
        locked: *mut c_int,
    ) -> c_long;
    /// C: `include/linux/mutex.h`.
    fn mutex_lock(lock: *mut bindings::mutex);
    fn mutex_trylock(lock: *mut bindings::mutex) -> c_int;
    fn mutex_unlock(lock: *mut bindings::mutex);
    /// C: `include/linux/srcu.h`.
    fn __srcu_read_lock(srcu: *mut bindings::srcu_struct) -> c_int;
    fn __srcu_read_unlock(srcu: *mut bindings::srcu_struct, index: c_int);
    /// C: `include/linux/xarray.h`.
    fn xa_load(array: *mut bindings::xarray, index: c_ulong) -> *mut c_void;
}

/// Whether replies may be deferred: the function that writes them is in place.
static ALLOWED: AtomicBool = AtomicBool::new(false);

/// What is in `sw_scratch` when userspace has refused an MSR access: no place in a page.
const REFUSED: u64 = u64::MAX;

/// Allows replies to be deferred.
pub(crate) fn allow() {
    ALLOWED.store(true, Ordering::Relaxed);
}

/// Whether the reply to an exit of this vCPU is deferred.
///
/// # Safety
///
/// `svm` points to a vCPU of kvm_amd.
#[inline(always)]
pub(crate) unsafe fn is_pending(svm: *const vcpu_svm) -> bool {
    // SAFETY: By the caller. The fields may be changed by the task that runs the vCPU.
    unsafe {
        let sev_es = &raw const (*svm).sev_es;
        (&raw const (*sev_es).ghcb_sa_sync).read_volatile()
            && (&raw const (*sev_es).ghcb).read_volatile().is_null()
    }
}

/// Notes that userspace refuses the MSR access whose reply is deferred.
///
/// # Safety
///
/// `svm` points to a vCPU that this task runs, and whose reply [is pending](is_pending).
pub(crate) unsafe fn refuse(svm: *mut vcpu_svm) {
    // SAFETY: By the caller.
    unsafe { (*svm).sev_es.sw_scratch = REFUSED };
}

impl KvmVcpu {
    /// Marks the reply to an exit as deferred; false if it cannot be.
    #[inline(always)]
    pub(super) fn mark_deferred(
        &mut self,
        page: &UserPage,
        exit: Exit,
        scratch: Option<&Scratch<Buffer>>,
    ) -> bool {
        let place = match scratch {
            None => 0,
            Some(Scratch {
                area: ScratchArea::Shared(range),
                buffer: Buffer::InVcpu { .. },
                ..
            }) => (range.offset() << 32 | range.len()) as u64,
            Some(_) => return false,
        };
        self.set_exit(exit.code, exit.info1, exit.info2);
        // SAFETY: By the invariant, these fields are this task's alone, and free between two exits.
        unsafe {
            let sev_es = &raw mut (*self.svm()).sev_es;
            (*sev_es).ghcb_map.gfn = page.gfn();
            (*sev_es).sw_scratch = place;
            (*sev_es).ghcb_sa_len = 0;
            (&raw mut (*sev_es).ghcb_sa_sync).write_volatile(true);
        }
        // Either this sees that replies may not be deferred any more, or `hand_back()` sees this one.
        fence(Ordering::SeqCst);
        let is_allowed = ALLOWED.load(Ordering::Relaxed);
        if !is_allowed {
            self.unmark_deferred();
        }
        is_allowed
    }

    /// Takes the exit whose reply is deferred.
    pub(super) fn unmark_deferred(&mut self) -> Option<Deferred<Buffer>> {
        // SAFETY: By the invariant, these fields are this task's alone.
        unsafe {
            if !is_pending(self.svm()) {
                return None;
            }
            let sev_es = &raw mut (*self.svm()).sev_es;
            (&raw mut (*sev_es).ghcb_sa_sync).write_volatile(false);
            let is_refused = (*sev_es).sw_scratch == REFUSED;
            let place = (*sev_es).sw_scratch as usize;
            let data = BufferRange::new(place >> 32, place & 0xffff_ffff).map(|range| {
                let buffer = Buffer::of(self.vcpu(), range.len());
                (ScratchArea::Shared(range), buffer)
            });
            Some(Deferred {
                gpa: (*sev_es).ghcb_map.gfn << PAGE_SHIFT,
                exit: self.exit(),
                data,
                is_refused,
            })
        }
    }

    /// Maps the page of an exit whose reply is deferred, as C would have left it.
    ///
    /// For the vCPU of a task that is not this one, and is not inside KVM_RUN.
    fn park_deferred(&mut self) -> Result {
        let Some(deferred) = self.unmark_deferred() else {
            return Ok(());
        };
        // SAFETY: A VM holds a reference to its address space.
        let mm = unsafe { Mm::from_raw((*self.kvm()).mm.cast()) };
        // If it has no users any more, nobody will run the vCPU again.
        let Some(mm) = mm.mmget_not_zero() else {
            return Ok(());
        };
        // SAFETY: The lock is the VM's, and is released below.
        let index = unsafe { __srcu_read_lock(&raw mut (*self.kvm()).srcu) };
        let gfn = deferred.gpa >> PAGE_SHIFT;
        // SAFETY: With `kvm->srcu` and the vCPU's mutex held, as this function's caller says.
        let page = unsafe {
            NonNull::new(imports::kvm_vcpu_gfn_to_memslot(self.vcpu(), gfn))
                .and_then(|slot| UserPage::new(slot, gfn))
        };
        let mut pinned = ptr::null_mut();
        let count = page.map_or(0, |page| {
            let _guard = mm.mmap_read_lock();
            // SAFETY: The address space has users and is locked; there is room for one page.
            unsafe {
                pin_user_pages_remote(
                    mm.as_raw().cast(),
                    page.address(),
                    1,
                    bindings::GHCB_RS_FOLL_WRITE,
                    &raw mut pinned,
                    ptr::null_mut(),
                )
            }
        });
        // SAFETY: As above.
        unsafe { __srcu_read_unlock(&raw mut (*self.kvm()).srcu, index) };
        if count != 1 {
            // C would look for a page.
            self.cancel_userspace_exit();
            return Err(EFAULT);
        }
        let reply = deferred.bare_reply();
        let scratch = deferred.data.map(|(area, buffer)| Scratch {
            area,
            buffer,
            write_back: true,
        });
        // SAFETY: The page is pinned, and the fields are this task's alone while it holds the vCPU's mutex.
        unsafe {
            self.set_map(pinned, gfn);
            self.leave_mapped(scratch, &reply)
        }
    }
}

/// Sees to it that no reply is deferred any more: pages are mapped, so that C can complete the exits.
///
/// The function that writes deferred replies must still be in place; afterwards it is not needed.
pub(crate) fn hand_back() {
    if !ALLOWED.swap(false, Ordering::Relaxed) {
        return;
    }
    // See `mark_deferred()`.
    fence(Ordering::SeqCst);
    // SAFETY: The livepatch loader has filled the slots. The list is KVM's, and its lock keeps the VMs in it
    // and their vCPUs alive.
    unsafe {
        let lock = (&raw const address::KVM_LOCK).read_volatile();
        let head = (&raw const address::VM_LIST).read_volatile();
        mutex_lock(lock);
        let mut entry = (*head).next;
        while entry != head {
            let kvm = entry
                .cast::<kvm>()
                .wrapping_byte_sub(offset_of!(kvm, vm_list));
            let count = AtomicI32::from_ptr(&raw mut (*kvm).online_vcpus.counter);
            for index in 0..count.load(Ordering::Acquire) {
                let vcpu = xa_load(&raw mut (*kvm).vcpu_array, index as c_ulong);
                if let Some(vcpu) = NonNull::new(vcpu.cast()) {
                    hand_back_one(vcpu);
                }
            }
            entry = (*entry).next;
        }
        mutex_unlock(lock);
    }
}

/// The same for one vCPU.
///
/// # Safety
///
/// `vcpu` is one of kvm_amd's, and does not go meanwhile.
unsafe fn hand_back_one(vcpu: NonNull<kvm_vcpu>) {
    /// Milliseconds. A task inside KVM_RUN has its reply written in a moment, unless the page is with
    /// userspace; then the task is in the function that writes the reply, and goes on to do so.
    const PATIENCE: u32 = 5000;
    let svm = vcpu.cast::<vcpu_svm>();
    for _ in 0..PATIENCE {
        // SAFETY: By the caller. Whoever holds the mutex has the vCPU for itself; the owner of the address
        // space is looked for, not assumed.
        unsafe {
            if !is_pending(svm.as_ptr()) {
                return;
            }
            let mutex = &raw mut (*vcpu.as_ptr()).mutex;
            if mutex_trylock(mutex) != 0 {
                let result = KvmVcpu::new(svm).park_deferred();
                mutex_unlock(mutex);
                if let Err(error) = result {
                    pr_warn!("the GHCB of a guest is out of reach ({error:?}): it gets no reply\n");
                }
                return;
            }
        }
        fsleep(Delta::from_millis(1));
    }
    pr_warn!("a vCPU does not take its reply: C goes on without\n");
}
