// SPDX-License-Identifier: GPL-2.0

//! Direct calls: the first instruction of a function of KVM's becomes a jump to its replacement.
//!
//! A function that the livepatch core redirects costs some 90 instructions a call, because ftrace saves
//! and restores all registers around the detour; a jump costs five. What the core does for nothing must
//! then be done here: the change-over is not per task, which is why each exit is complete in itself (see
//! [`kvm`](crate::kvm)), and [`handover`](super::handover) sees to it that nobody is left in a replacement.
//!
//! C header: `include/linux/ftrace.h`.

use super::ftrace;
use crate::kvm::{
    bindings::{ftrace_ops, GHCB_RS_FTRACE_OPS_FL_PERMANENT},
    imports,
};
use core::{cell::UnsafeCell, mem::MaybeUninit};
use kernel::{
    error::to_result,
    ffi::{c_int, c_ulong},
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

#[allow(
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
}

/// Bit of the address that asks for a jump instead of a call. C: `ftrace_jmp_set()`.
const JUMP: usize = 1;

/// A function of KVM's and what replaces it.
pub(super) struct Redirection {
    /// Where the livepatch loader puts the address of the function.
    function: *const *const u8,
    /// Address of the replacement, which may be another one each time.
    replacement: fn() -> usize,
    ops: UnsafeCell<MaybeUninit<ftrace_ops>>,
    /// Address of the replacement that it has; zero if it has none.
    attached: Atomic<usize>,
}

// SAFETY: The structure is used by `attach()` and `detach()` alone, whose callers hold a lock.
unsafe impl Sync for Redirection {}

impl Redirection {
    /// A function, not redirected. The replacement has its prototype.
    pub(super) const fn new(function: *const *const u8, replacement: fn() -> usize) -> Self {
        Self {
            function,
            replacement,
            // What C's static initializers leave.
            ops: UnsafeCell::new(MaybeUninit::zeroed()),
            attached: Atomic::new(0),
        }
    }

    /// Address of the function.
    ///
    /// # Safety
    ///
    /// The livepatch loader has filled the slot: kvm_amd is there.
    pub(super) unsafe fn entry(&self) -> *const u8 {
        // SAFETY: By the caller.
        unsafe { self.function.read_volatile() }
    }

    fn ops(&self) -> *mut ftrace_ops {
        self.ops.get().cast()
    }

    /// Redirects the function, if it is not.
    ///
    /// # Safety
    ///
    /// As for [`entry()`](Self::entry), and no other task attaches or detaches during the call.
    pub(super) unsafe fn attach(&self) -> Result {
        if self.attached.load(Relaxed) != 0 {
            return Ok(());
        }
        let replacement = (self.replacement)();
        // SAFETY: By the caller, a function of KVM's, whose entry is where `imports` says. The structure lives
        // as long as the module, which goes only after `detach()`.
        unsafe {
            let ip = self.entry().add(imports::FENTRY_OFFSET);
            // Kernels that let ftrace be switched off do not while there is one of these.
            (*self.ops()).flags |= GHCB_RS_FTRACE_OPS_FL_PERMANENT as c_ulong;
            to_result(ftrace_set_filter_ip(self.ops(), ip as c_ulong, 0, 0))?;
            to_result(register_ftrace_direct(self.ops(), replacement | JUMP)).inspect_err(
                |_| {
                    // Only the filter has been set, and taking it away cannot fail.
                    ftrace_set_filter_ip(self.ops(), ip as c_ulong, 1, 0);
                },
            )?;
        }
        self.attached.store(replacement, Relaxed);
        Ok(())
    }

    /// Restores the function, if it is redirected. Calls in flight continue. Returns false if ftrace does not: it never
    /// will.
    ///
    /// # Safety
    ///
    /// No other task attaches or detaches during the call.
    pub(super) unsafe fn detach(&self) -> bool {
        let replacement = self.attached.load(Relaxed);
        if replacement == 0 {
            return true;
        }
        if ftrace::is_dead() {
            // It would take the structure apart, and go on using it.
            return false;
        }
        // SAFETY: The structure is registered, with this address.
        let error = unsafe { unregister_ftrace_direct(self.ops(), replacement | JUMP, true) };
        if error != 0 {
            pr_err!("ftrace does not give back a function of kvm_amd ({error})\n");
            return false;
        }
        self.attached.store(0, Relaxed);
        true
    }
}
