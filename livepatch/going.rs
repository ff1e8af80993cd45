// SPDX-License-Identifier: GPL-2.0

//! kvm_amd goes, and the livepatch core says nothing of it.
//!
//! A livepatch that takes the place of all others (`klp_patch.replace`) has the core forget this one: its
//! callbacks are not called again. The module's notifiers still are.
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

/// Gives kvm_amd its functions back before it goes. Once more than needed if the core has asked for it.
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
        news::gone();
    }
    NOTIFY_DONE as c_int
}

/// Begins to watch.
pub(super) fn watch() -> Result {
    // SAFETY: The structure is registered once, and lives until `forget()` has taken it out.
    to_result(unsafe { register_module_notifier(NOTIFIER.0.get()) })
}

/// Ends it.
pub(super) fn forget() {
    // SAFETY: The structure may be registered or not. No call of `notice()` is in progress afterwards.
    unsafe { unregister_module_notifier(NOTIFIER.0.get()) };
}
