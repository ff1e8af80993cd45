// SPDX-License-Identifier: GPL-2.0

//! Direct calls: the first instruction of a function of kvm_amd becomes a jump to its replacement.
//!
//! A function that the livepatch core redirects costs some 90 instructions a call, because ftrace saves
//! and restores all registers around the detour; a jump costs five. What the core does for nothing must
//! then be done here: the change-over is not per task, which is why each exit is complete in itself (see
//! [`kvm`](crate::kvm)), and [`wait`] sees to it that nobody is left in a replacement.
//!
//! C header: `include/linux/ftrace.h`.

use super::replacement;
use crate::kvm::{
    bindings::ftrace_ops,
    deferral,
    imports::{self, entry},
};
use core::{cell::UnsafeCell, mem::MaybeUninit};
use kernel::{
    error::to_result,
    ffi::{c_int, c_ulong},
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        global_lock,
    },
    time::{delay::fsleep, Delta},
};

#[expect(
    improper_ctypes,
    reason = "the kernel's structures hold empty ones, which C never passes by value"
)]
extern "C" {
    fn ftrace_set_filter_ip(
        ops: *mut ftrace_ops,
        ip: c_ulong,
        remove: c_int,
        reset: c_int,
    ) -> c_int;
    fn register_ftrace_direct(ops: *mut ftrace_ops, address: c_ulong) -> c_int;
    fn unregister_ftrace_direct(
        ops: *mut ftrace_ops,
        address: c_ulong,
        free_filters: bool,
    ) -> c_int;
    fn synchronize_rcu_tasks();
}

/// Bit of the address that asks for a jump instead of a call. C: `ftrace_jmp_set()`.
const JUMP: usize = 1;

/// A function of kvm_amd and what replaces it.
struct Redirection {
    /// Where the livepatch loader puts the address of the function.
    function: *const *const u8,
    /// Address of the replacement, if there is to be one.
    replacement: fn() -> Option<usize>,
    ops: UnsafeCell<MaybeUninit<ftrace_ops>>,
    is_attached: Atomic<i32>,
}

// SAFETY: Used with the lock held.
unsafe impl Sync for Redirection {}

global_lock! {
    // SAFETY: `init()` comes before anything else of this file.
    unsafe(uninit) static LOCK: Mutex<()> = ();
}

/// Makes the lock ready.
///
/// # Safety
///
/// To be called once, and before any other function here.
pub(super) unsafe fn init() {
    // SAFETY: By the caller.
    unsafe { LOCK.init() };
}

/// What looks after deferred replies: there before any can be, until none is left.
static DELIVERY: [Redirection; 2] = [
    Redirection::new(
        &raw const entry::SVM_COMPLETE_EMULATED_MSR,
        replacement::of_svm_complete_emulated_msr,
    ),
    Redirection::new(
        &raw const entry::SEV_VCPU_NEEDS_INITIALIZATION,
        replacement::of_sev_vcpu_needs_initialization,
    ),
];

/// What handles exits.
static HANDLING: [Redirection; 2] = [
    Redirection::new(
        &raw const entry::SEV_HANDLE_VMGEXIT,
        replacement::of_sev_handle_vmgexit,
    ),
    Redirection::new(
        &raw const entry::SEV_ES_UNMAP_GHCB,
        replacement::of_sev_es_unmap_ghcb,
    ),
];

impl Redirection {
    const fn new(function: *const *const u8, replacement: fn() -> Option<usize>) -> Self {
        Self {
            function,
            replacement,
            // What C's static initializers leave.
            ops: UnsafeCell::new(MaybeUninit::zeroed()),
            is_attached: Atomic::new(0),
        }
    }

    fn ops(&self) -> *mut ftrace_ops {
        self.ops.get().cast()
    }

    fn attach(&self) -> Result {
        let Some(replacement) = (self.replacement)() else {
            return Ok(());
        };
        if self.is_attached.load(Relaxed) != 0 {
            return Ok(());
        }
        // SAFETY: The livepatch loader has filled the slot with the address of a function of kvm_amd, whose
        // entry is where `imports` says. The structure lives as long as the module, which goes only after
        // `detach()` and `wait()`. The replacement has the prototype of the function.
        unsafe {
            let ip = self.function.read_volatile().add(imports::FENTRY_OFFSET);
            to_result(ftrace_set_filter_ip(self.ops(), ip as c_ulong, 0, 0))?;
            to_result(register_ftrace_direct(self.ops(), replacement | JUMP)).inspect_err(
                |_| {
                    // Only the filter has been set, and taking it away cannot fail.
                    ftrace_set_filter_ip(self.ops(), ip as c_ulong, 1, 0);
                },
            )?;
        }
        self.is_attached.store(1, Relaxed);
        Ok(())
    }

    fn detach(&self) {
        let Some(replacement) = (self.replacement)() else {
            return;
        };
        if self.is_attached.load(Relaxed) == 0 {
            return;
        }
        // SAFETY: The structure is registered, with this address.
        let error = unsafe { unregister_ftrace_direct(self.ops(), replacement | JUMP, true) };
        if error != 0 {
            pr_err!("ftrace does not give back a function of kvm_amd ({error})\n");
            return;
        }
        self.is_attached.store(0, Relaxed);
    }
}

/// Redirects the functions, those that are not yet. Called with kvm_amd in place.
pub(super) fn attach() -> Result {
    let _lock = LOCK.lock();
    for redirection in [&DELIVERY, &HANDLING].into_iter().flatten() {
        if let Err(error) = redirection.attach() {
            give_back();
            return Err(error);
        }
    }
    deferral::allow();
    Ok(())
}

/// Gives the functions back. Calls that have begun go on.
pub(super) fn detach() {
    let _lock = LOCK.lock();
    give_back();
}

/// The same, with the lock held.
fn give_back() {
    HANDLING.iter().for_each(Redirection::detach);
    deferral::hand_back();
    DELIVERY.iter().for_each(Redirection::detach);
}

/// Waits until nobody is in a replacement, once they are detached.
///
/// No new call can begin. Those that have begun are of three kinds:
///
/// - on the way from the jump to [`replacement`]'s count, or from there to the return. No function on that
///   way sleeps, so that such a task is running, or was preempted and is runnable. `synchronize_rcu_tasks()`
///   waits until each task has given up its CPU by itself, has been in user mode, or entered a guest, none
///   of which it can do before it has left that way;
/// - counted, which `calls_in_flight()` sees, however long they sleep;
/// - never counted, because nothing in them sleeps: what ends an exit before the guest runs, with preemption
///   off, the end of an MSR access, and the answer to a request for SEV information. They are like those of
///   the first kind.
///
/// Functions of C that a replacement has ended in by a jump have no address of this module on their stack.
pub(super) fn wait() {
    // SAFETY: In a task that may sleep.
    unsafe { synchronize_rcu_tasks() };
    // A task may sleep in a replacement for as long as a page fault takes.
    while replacement::calls_in_flight() != 0 {
        fsleep(Delta::from_millis(10));
    }
    // Those that have just been counted as over are of the first kind now.
    // SAFETY: As above.
    unsafe { synchronize_rcu_tasks() };
}
