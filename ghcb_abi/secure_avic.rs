// SPDX-License-Identifier: GPL-2.0

//! The backing page of Secure AVIC.
//!
//! [`SECURE_AVIC`](super::exit_code::ExitCode::SECURE_AVIC) has the vCPU's APIC ID in RAX and the guest
//! physical address of its backing page in RBX, which an unregistration leaves out. RBX of the reply to an
//! unregistration is the address that was registered.

use super::open::open_enum;

open_enum! {
    /// SW_EXITINFO1. Guest to host.
    pub struct SecureAvicOperation(u64) {
        /// Use the page. C: `SVM_VMGEXIT_SAVIC_REGISTER_GPA`.
        REGISTER_GPA = 0, "register_gpa";
        /// Stop using the page. C: `SVM_VMGEXIT_SAVIC_UNREGISTER_GPA`.
        UNREGISTER_GPA = 1, "unregister_gpa";
    }
}

/// RAX when the calling vCPU means itself. C: `SVM_VMGEXIT_SAVIC_SELF_GPA`.
pub const SELF: u64 = u64::MAX;
