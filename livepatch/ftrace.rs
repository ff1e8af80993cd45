// SPDX-License-Identifier: GPL-2.0

//! Whether ftrace, by which functions are redirected, does anything.
//!
//! It shuts itself down for good when it finds code that it does not expect. Then code stays as it is: no function can be
//! redirected, and none can be restored.
//!
//! C: `ftrace_bug()`, `ftrace_kill()`.

use crate::kvm::imports;
use kernel::prelude::*;

/// Whether it has shut itself down.
pub(super) fn is_dead() -> bool {
    // SAFETY: The module's loader has filled in where the function is, which reads a variable.
    unsafe { imports::ftrace_is_dead() != 0 }
}

/// Whether it was switched off, which kernels before 7.3 allow: what is redirected then has no effect.
fn is_off() -> bool {
    // SAFETY: The module's loader has filled the slot with the address of the variable, which may change at any moment.
    unsafe {
        let enabled = (&raw const imports::address::FTRACE_ENABLED).read_volatile();
        enabled.read_volatile() == 0
    }
}

/// Refuses an ftrace by which no function can be redirected.
///
/// # Errors
///
/// ENODEV if it has shut itself down, EBUSY if it was switched off. The log says so.
pub(super) fn check() -> Result {
    if is_dead() {
        pr_err!("ftrace has shut itself down, see the lines above: no function of kvm_amd can be replaced until the host is started anew\n");
        return Err(ENODEV);
    }
    if is_off() {
        pr_err!("ftrace is switched off (kernel.ftrace_enabled=0): no function of kvm_amd can be replaced\n");
        return Err(EBUSY);
    }
    Ok(())
}
