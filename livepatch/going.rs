// SPDX-License-Identifier: GPL-2.0

//! Detects that kvm_amd is unloaded when the livepatch core no longer calls the callbacks.
//!
//! A cumulative livepatch (`klp_patch.replace`) makes the core drop this one: its callbacks are not called
//! again. Module notifiers still are.
//!
//! C headers: `include/linux/module.h`, `include/linux/notifier.h`.

use super::{handover, news, zeroed, Shared, OBJECT};
use core::cell::UnsafeCell;
use kernel::{
    bindings::{
        module, module_state_MODULE_STATE_GOING, notifier_block, register_module_notifier,
        unregister_module_notifier, NOTIFY_DONE,
    },
    error::to_result,
    ffi::{c_int, c_ulong, c_void},
    prelude::*,
};

static NOTIFIER: Shared<notifier_block> = Shared(UnsafeCell::new({
    let mut notifier: notifier_block = zeroed();
    notifier.notifier_call = Some(notice);
    notifier
}));

/// Restores the functions of kvm_amd before it is unloaded. Harmless if the core's callback already has.
///
/// # Safety
///
/// Called as a module's notifier: `data` points to the module.
unsafe extern "C" fn notice(_: *mut notifier_block, state: c_ulong, data: *mut c_void) -> c_int {
    // SAFETY: By the caller; the name never changes.
    let name: &[u8] = unsafe { &(*data.cast::<module>()).name };
    let is_going = state == module_state_MODULE_STATE_GOING as c_ulong;
    if is_going && name.starts_with(OBJECT.to_bytes_with_nul()) {
        handover::abandon();
        news::gone(!handover::is_stuck());
    }
    NOTIFY_DONE as c_int
}

/// Registers the notifier.
pub(super) fn watch() -> Result {
    // SAFETY: The structure is registered once, and lives until `forget()` has taken it out.
    to_result(unsafe { register_module_notifier(NOTIFIER.0.get()) })
}

/// Unregisters the notifier.
pub(super) fn forget() {
    // SAFETY: The structure may be registered or not. No call of `notice()` is in progress afterwards.
    unsafe { unregister_module_notifier(NOTIFIER.0.get()) };
}
