// SPDX-License-Identifier: GPL-2.0

//! Application processors: reset hold, the AP jump table, and creation of vCPUs under SEV-SNP.

use super::open::open_enum;

/// SW_EXITINFO2 of the reply to [`AP_RESET_HOLD`](super::exit_code::ExitCode::AP_RESET_HOLD): non-zero
/// when a SIPI ended the hold. Host to guest.
///
/// Zero: the wait ended for another reason, and the guest asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ResetHold(pub u64);

impl ResetHold {
    /// What a host answers when a SIPI arrived.
    pub const SIPI: Self = Self(1);

    /// What a host answers otherwise.
    pub const NO_SIPI: Self = Self(0);

    /// Whether a SIPI ended the hold.
    #[inline]
    pub const fn is_sipi(self) -> bool {
        self.0 != 0
    }
}

open_enum! {
    /// SW_EXITINFO1 of [`AP_JUMP_TABLE`](super::exit_code::ExitCode::AP_JUMP_TABLE). Guest to host.
    ///
    /// The table's guest physical address goes in SW_EXITINFO2 of the request to set it, and comes in
    /// SW_EXITINFO2 of the reply to get it.
    pub struct JumpTableOperation(u64) {
        /// Store the address. C: `SVM_VMGEXIT_SET_AP_JUMP_TABLE`.
        SET = 0, "set";
        /// Return the stored address, zero if none was set. C: `SVM_VMGEXIT_GET_AP_JUMP_TABLE`.
        GET = 1, "get";
    }
}

open_enum! {
    /// What [`AP_CREATION`](super::exit_code::ExitCode::AP_CREATION) asks for. Guest to host.
    pub struct ApOperation(u16) {
        /// Use the VMSA from the next INIT on. C: `SVM_VMGEXIT_AP_CREATE_ON_INIT`.
        CREATE_ON_INIT = 0, "create_on_init";
        /// Use the VMSA now. C: `SVM_VMGEXIT_AP_CREATE`.
        CREATE = 1, "create";
        /// Stop the vCPU. C: `SVM_VMGEXIT_AP_DESTROY`.
        DESTROY = 2, "destroy";
    }
}

/// SW_EXITINFO1 of [`AP_CREATION`](super::exit_code::ExitCode::AP_CREATION). Guest to host.
///
/// SW_EXITINFO2 is the guest physical address of the VMSA, RAX the SEV features in it.
///
/// ```
/// use ghcb_abi::ap::{ApCreation, ApOperation};
/// let request = ApCreation::decode(0x0000_0007_0001_0001);
/// assert_eq!(request.operation, ApOperation::CREATE);
/// assert_eq!((request.vmpl, request.apic_id), (1, 7));
/// assert_eq!(request.encode(), 0x0000_0007_0001_0001);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApCreation {
    /// Bits 15:0.
    pub operation: ApOperation,
    /// Bits 19:16: privilege level of the VMSA.
    pub vmpl: u8,
    /// Bits 31:20, zero in a legal request.
    pub reserved: u16,
    /// Bits 63:32: APIC ID of the vCPU.
    pub apic_id: u32,
}

impl ApCreation {
    /// Reads SW_EXITINFO1.
    #[inline]
    pub const fn decode(info1: u64) -> Self {
        Self {
            operation: ApOperation(info1 as u16),
            vmpl: ((info1 >> 16) & 0xf) as u8,
            reserved: ((info1 >> 20) & 0xfff) as u16,
            apic_id: (info1 >> 32) as u32,
        }
    }

    /// Whether the vCPU is to stop. This alone needs no SEV features in RAX.
    ///
    /// KVM takes bits 31:0 for the operation: with a VMPL or a reserved bit it is none that KVM knows.
    #[inline]
    pub const fn is_destroy(self) -> bool {
        self.operation.0 == ApOperation::DESTROY.0 && self.vmpl == 0 && self.reserved == 0
    }

    /// Makes SW_EXITINFO1. Takes the low 4 bits of `vmpl` and the low 12 of `reserved`.
    #[inline]
    pub const fn encode(self) -> u64 {
        self.operation.0 as u64
            | ((self.vmpl as u64 & 0xf) << 16)
            | ((self.reserved as u64 & 0xfff) << 20)
            | ((self.apic_id as u64) << 32)
    }
}
