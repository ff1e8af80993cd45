// SPDX-License-Identifier: GPL-2.0

//! Exits whose reply is pending: userspace determines it, and until then the page is neither mapped nor pinned.
//!
//! The reply is written when KVM takes in what userspace did, or at the latest before the vCPU runs again.
//! Both are in KVM_RUN with preemption on, where a page that is not present comes back.
//!
//! Until then the vCPU holds a [`Record`] in fields of `vcpu_sev_es_state` which C fills at the next VMGEXIT
//! and does not look at before: `ghcb_map` with no page in `ghcb`, `valid_bitmap`, `sw_scratch` and
//! `ghcb_sa_len`, for guests with SEV-SNP and without. `sev_migrate_from()` moves it to the vCPU of another
//! VM with the rest of the structure. Data that the guest receives in its page are where KVM puts them,
//! see [`Buffer::of`], until KVM has them all; those with memory of their own are in `ghcb_sa`, from where C
//! frees them with the vCPU.
//!
//! C has no part in such an exit: what could meet one is replaced for as long as there is one, see
//! [`takeover`](crate::vmgexit::takeover).

use super::{
    bindings::{kvm, kvm_vcpu, vcpu_sev_es_state, vcpu_svm},
    buffer::Buffer,
    imports::address,
    user_memory::UserPage,
    KvmVcpu, PAGE_SHIFT,
};
use crate::{
    ghcb_abi::{
        exit_code::ExitCode,
        exit_info::ExitInfo,
        page::{BufferRange, GuestPage},
        scratch::ScratchArea,
    },
    observe::Counters,
    vmgexit::{
        carry_out::deferred,
        host::{Deferred, End, Fault, HoldType, Memory, Scratch, Waiting},
        record::{Record, Words},
        request::registers::Registers,
        tally::{self, Tallies, Tally},
        AfterExit,
    },
};
use core::{
    mem::offset_of,
    ptr::{self, NonNull},
    slice,
    sync::atomic::{fence, AtomicI32, Ordering},
};
use kernel::{
    bindings::{mutex_lock, mutex_unlock, xa_load},
    ffi::c_ulong,
    fmt,
};

/// Calls and pending replies.
#[link_section = ".data..percpu"]
// SAFETY: A static in that section.
static COUNTERS: Counters<{ Tally::COUNT }> = unsafe { Counters::new() };

/// The module's [`Tallies`].
pub(crate) struct PerCpu;

impl Tallies for PerCpu {
    #[inline]
    fn add<const TALLY: usize>(&self) {
        // The processor makes its stores visible in order.
        COUNTERS.increment_at::<TALLY>();
    }

    fn sum(&self, tally: Tally) -> u64 {
        let sum = COUNTERS.sum(tally as usize);
        // What is summed up next is not older.
        fence(Ordering::Acquire);
        sum
    }
}

/// Whether the reply to an exit of this vCPU is pending.
///
/// # Safety
///
/// `svm` points to a vCPU of kvm_amd.
#[inline]
pub(crate) unsafe fn is_pending(svm: *const vcpu_svm) -> bool {
    // SAFETY: By the caller. The field may be changed by the task that runs the vCPU.
    Words::is_mark(unsafe { (&raw const (*svm).sev_es.ghcb_map.pfn).read_volatile() })
}

/// Writes the reply of a vCPU, if one is pending. May sleep.
#[inline]
pub(crate) fn deliver(vcpu: &mut KvmVcpu, end: End) {
    if deferred::deliver(vcpu, end) {
        PerCpu.add::<{ Tally::Settled as usize }>();
    }
}

/// Goes on with an exit that userspace has answered, by `step`. May sleep.
pub(crate) fn go_on(vcpu: &mut KvmVcpu, step: impl FnOnce(&mut KvmVcpu) -> AfterExit) -> AfterExit {
    let outcome = step(vcpu);
    // SAFETY: The vCPU is one of kvm_amd's.
    if !unsafe { is_pending(vcpu.as_ptr()) } {
        PerCpu.add::<{ Tally::Settled as usize }>();
    }
    outcome
}

/// Forgets the reply of a vCPU that is about to be freed. What lies in `ghcb_sa` is for C to free.
///
/// # Safety
///
/// `svm` points to a vCPU that nobody else uses any more.
pub(crate) unsafe fn forget(svm: *mut vcpu_svm) {
    // SAFETY: By the caller.
    unsafe {
        if is_pending(svm) {
            (*svm).sev_es.ghcb_map.pfn = 0;
            PerCpu.add::<{ Tally::Settled as usize }>();
        }
    }
}

impl Waiting for KvmVcpu {
    fn hold(&mut self, hold: HoldType) -> AfterExit {
        self.begin_hold(hold)
    }

    #[inline(always)]
    fn defer(
        &mut self,
        page: &UserPage,
        exit: ExitInfo,
        scratch: Option<Scratch<Buffer>>,
    ) -> Result<(), Fault> {
        let (area, memory) = match scratch {
            None => (None, None),
            Some(Scratch { area, buffer }) => {
                if let Err(fault) = self.show_received(page, exit, area, &buffer) {
                    self.cancel_userspace_exit();
                    return Err(fault);
                }
                (Some(area), buffer.into_raw())
            }
        };
        self.remember(
            &Record {
                gfn: page.gfn(),
                exit,
                area,
            },
            memory,
        );
        PerCpu.add::<{ Tally::Deferred as usize }>();
        Ok(())
    }

    #[inline]
    fn take_deferred(&mut self, end: End) -> Option<Deferred<Buffer>> {
        // SAFETY: By the invariant, these fields are this task's alone. With `ghcb_sa_free` set, the memory
        // is `ghcb_sa_len` bytes that `Buffer::into_raw()` has given away.
        unsafe {
            let sev_es = &raw mut (*self.svm()).sev_es;
            let record = words(sev_es).decode()?;
            (*sev_es).ghcb_map.pfn = 0;
            let buffer = if (*sev_es).ghcb_sa_free {
                (*sev_es).ghcb_sa_free = false;
                let memory = ptr::replace(&raw mut (*sev_es).ghcb_sa, ptr::null_mut());
                let len = (*sev_es).ghcb_sa_len as usize;
                Some(Buffer::from_raw(memory.cast(), len))
            } else {
                match record.area {
                    // What is in a vCPU that the guest has moved to is not the guest's.
                    Some(ScratchArea::Shared(range)) if end == End::Completed => {
                        Some(Buffer::of(self.vcpu(), range.len()))
                    }
                    _ => None,
                }
            };
            Some(Deferred {
                gpa: record.gfn << PAGE_SHIFT,
                exit: record.exit,
                data: record.area.zip(buffer),
            })
        }
    }

    fn deferred_data(&mut self) -> Option<&mut [u8]> {
        // SAFETY: By the invariant, these fields are this task's alone. With `ghcb_sa_free` set, the memory is
        // `ghcb_sa_len` bytes that `Buffer::into_raw()` has given away, and which are borrowed with the vCPU.
        unsafe {
            let sev_es = &raw mut (*self.svm()).sev_es;
            let is_there = is_pending(self.svm()) && (*sev_es).ghcb_sa_free;
            is_there.then(|| {
                slice::from_raw_parts_mut((*sev_es).ghcb_sa.cast(), (*sev_es).ghcb_sa_len as usize)
            })
        }
    }

    fn park(
        &mut self,
        page: &UserPage,
        exit: ExitInfo,
        registers: &Registers,
    ) -> Result<(), Fault> {
        self.set_registers(registers);
        self.map(page, exit)
    }
}

impl KvmVcpu {
    /// Keeps a record in the vCPU, and memory that C frees with it.
    #[inline(always)]
    fn remember(&mut self, record: &Record, memory: Option<*mut u8>) {
        let words = record.encode();
        // SAFETY: By the invariant, these fields are this task's alone, and free between two exits.
        unsafe {
            let sev_es = &raw mut (*self.svm()).sev_es;
            (*sev_es).ghcb_sa = memory.unwrap_or(ptr::null_mut()).cast();
            (*sev_es).ghcb_sa_free = memory.is_some();
            (*sev_es).ghcb_sa_sync = false;
            (*sev_es).ghcb_sa_len = words.len;
            (*sev_es).sw_scratch = words.place;
            (*sev_es).ghcb_map.gfn = words.info2;
            set_infos(sev_es, [words.code, words.info1]);
            (*sev_es).ghcb_map.pfn = words.mark;
        }
    }

    /// Whether the vCPU is an SEV-ES guest's still: not if the guest has moved to another VM.
    pub(crate) fn has_guest(&self) -> bool {
        // SAFETY: By the invariant. The field changes with the vCPU's mutex held.
        unsafe { (*self.sev()).es_active }
    }

    /// Clears what KVM has prepared for userspace, so that KVM does not complete it.
    #[cold]
    pub(crate) fn cancel_userspace_exit(&mut self) {
        // SAFETY: By the invariant, these fields are this task's alone.
        unsafe {
            let vcpu = self.vcpu();
            (*vcpu).arch.complete_userspace_io = None;
            (*vcpu).arch.pio.count = 0;
            (*vcpu).mmio_needed = 0;
        }
    }

    /// Writes to the page what KVM has received so far for an exit that is not complete, as it would in C.
    pub(crate) fn write_received(&mut self) {
        // SAFETY: By the invariant, the fields are this task's alone.
        let record = unsafe { words(&raw const (*self.svm()).sev_es).decode() };
        let Some(Record {
            gfn,
            exit,
            area: Some(area @ ScratchArea::Shared(range)),
        }) = record
        else {
            return;
        };
        if let Ok(page) = self.open(gfn << PAGE_SHIFT) {
            // SAFETY: By the invariant; this exit has no other buffer.
            let buffer = unsafe { Buffer::of(self.vcpu(), range.len()) };
            // If the page cannot be reached, it may be there again when the reply is written.
            let _ = self.show_received(&page, exit, area, &buffer);
            self.close(page);
        }
    }

    /// Writes to the page what is in `buffer` so far of an MMIO read of which a part is still to come.
    #[inline(always)]
    fn show_received(
        &self,
        page: &UserPage,
        exit: ExitInfo,
        area: ScratchArea,
        buffer: &Buffer,
    ) -> Result<(), Fault> {
        // SAFETY: By the invariant, the field is this task's alone.
        let next = unsafe { (*self.vcpu()).mmio_fragments[0].data };
        let bytes = buffer.bytes();
        let count = next.addr().wrapping_sub(bytes.as_ptr().addr());
        let is_part = count != 0 && exit.code == ExitCode::MMIO_READ;
        if let (true, ScratchArea::Shared(range), Some(bytes)) = (is_part, area, bytes.get(..count))
        {
            if let Some(range) = BufferRange::new(range.offset(), count) {
                return page.write_bytes(range, bytes);
            }
        }
        Ok(())
    }
}

/// What a vCPU holds of a pending reply.
///
/// # Safety
///
/// `sev_es` points to the state of a vCPU that this task has for itself.
#[inline]
unsafe fn words(sev_es: *const vcpu_sev_es_state) -> Words {
    // SAFETY: By the caller; the array is as large as two words.
    unsafe {
        let [code, info1] = (&raw const (*sev_es).valid_bitmap)
            .cast::<[u64; 2]>()
            .read_unaligned();
        Words {
            mark: (*sev_es).ghcb_map.pfn,
            code,
            info1,
            info2: (*sev_es).ghcb_map.gfn,
            place: (*sev_es).sw_scratch,
            len: (*sev_es).ghcb_sa_len,
        }
    }
}

/// Keeps exit code and SW_EXITINFO1 where [`words()`] finds them.
///
/// # Safety
///
/// As for [`words()`].
#[inline]
unsafe fn set_infos(sev_es: *mut vcpu_sev_es_state, infos: [u64; 2]) {
    // SAFETY: As for `words()`.
    unsafe {
        (&raw mut (*sev_es).valid_bitmap)
            .cast::<[u64; 2]>()
            .write_unaligned(infos);
    }
}

/// Writes a table of pending replies: process ID of the VMM, and vCPU, a line each.
///
/// KVM's lock is held, as KVM's own statistics files hold it, so that no VM and no vCPU is freed. Nothing waits for a
/// vCPU under it.
///
/// # Safety
///
/// kvm_amd is loaded, and is not unloaded during the call.
pub(crate) unsafe fn write_pending(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if tally::pending(&PerCpu) == 0 {
        return Ok(());
    }
    // SAFETY: By the caller, the livepatch loader has filled the slots. The list is KVM's.
    unsafe {
        let lock = (&raw const address::KVM_LOCK).read_volatile();
        let head = (&raw const address::VM_LIST).read_volatile();
        mutex_lock(lock.cast());
        let mut result = Ok(());
        let mut entry = (*head).next;
        while entry != head && result.is_ok() {
            let kvm = entry
                .cast::<kvm>()
                .wrapping_byte_sub(offset_of!(kvm, vm_list));
            result = write_pending_of(kvm, f);
            entry = (*entry).next;
        }
        mutex_unlock(lock.cast());
        result
    }
}

/// The same for one VM.
///
/// # Safety
///
/// `kvm` is a VM of kvm_amd's; neither it nor one of its vCPUs is freed during the call.
unsafe fn write_pending_of(kvm: *mut kvm, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // SAFETY: By the caller. C: `kvm_for_each_vcpu()`.
    unsafe {
        let count = AtomicI32::from_ptr(&raw mut (*kvm).online_vcpus.counter);
        for index in 0..count.load(Ordering::Acquire) {
            let vcpu = xa_load((&raw mut (*kvm).vcpu_array).cast(), index as c_ulong);
            let Some(vcpu) = NonNull::new(vcpu.cast::<kvm_vcpu>()) else {
                continue;
            };
            if is_pending(vcpu.as_ptr().cast()) {
                let (pid, id) = ((*kvm).userspace_pid, (*vcpu.as_ptr()).vcpu_id);
                writeln!(f, "{pid}\t{id}")?;
            }
        }
    }
    Ok(())
}
