// SPDX-License-Identifier: GPL-2.0

//! Messages between an SEV-SNP guest and the firmware, which the hypervisor carries.
//!
//! [`GUEST_REQUEST`](super::exit_code::ExitCode::GUEST_REQUEST) and
//! [`EXT_GUEST_REQUEST`](super::exit_code::ExitCode::EXT_GUEST_REQUEST) have the guest physical address of
//! the request page in SW_EXITINFO1 and that of the response page in SW_EXITINFO2: page aligned, and
//! not the same. The extended one adds the address of a data area in RAX and its size in pages in RBX;
//! RBX of the reply is the number of pages needed when that was too small.

use super::open::open_enum;

open_enum! {
    /// What a message to the firmware is about: one byte of its header. C: `SNP_MSG_*`.
    pub struct MessageType(u8) {
        /// A request for an attestation report. C: `SNP_MSG_REPORT_REQ`.
        REPORT_REQUEST = 5, "report_request";
    }
}

impl MessageType {
    /// Where the byte lies in a message. C: `snp_guest_msg_hdr.msg_type`.
    pub const OFFSET: usize = 0x34;

    /// That of a message; zero, which is none, if the message is too short.
    pub fn of(message: &[u8]) -> Self {
        Self(message.get(Self::OFFSET).copied().unwrap_or(0))
    }
}

open_enum! {
    /// The hypervisor's own error: bits 63:32 of [`GuestRequestStatus`].
    pub struct VmmError(u32) {
        /// The firmware was asked; its status is in the other half.
        NONE = 0, "none";
        /// The data area is too small. C: `SNP_GUEST_VMM_ERR_INVALID_LEN`.
        INVALID_LENGTH = 1, "invalid_length";
        /// Try again later. C: `SNP_GUEST_VMM_ERR_BUSY`.
        BUSY = 2, "busy";
        /// Anything else. C: `SNP_GUEST_VMM_ERR_GENERIC`, private to KVM.
        GENERIC = u32::MAX, "generic";
    }
}

/// SW_EXITINFO2 of the reply to a guest request. Host to guest. C: `SNP_GUEST_ERR()`.
///
/// ```
/// use ghcb_abi::guest_request::{GuestRequestStatus, VmmError};
/// let busy = GuestRequestStatus { vmm: VmmError::BUSY, firmware: 0 };
/// assert_eq!(busy.to_info2(), 2 << 32);
/// assert_eq!(GuestRequestStatus::from_info2(2 << 32), busy);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestRequestStatus {
    /// The hypervisor's error.
    pub vmm: VmmError,
    /// The firmware's status.
    pub firmware: u32,
}

impl GuestRequestStatus {
    /// Lowest bit of the hypervisor's error. C: `SNP_GUEST_VMM_ERR_SHIFT`.
    pub const VMM_SHIFT: u32 = 32;

    /// The hypervisor did not ask the firmware, and will not.
    pub const FAILED: Self = Self {
        vmm: VmmError::GENERIC,
        firmware: 0,
    };

    /// Reads SW_EXITINFO2.
    pub const fn from_info2(info2: u64) -> Self {
        Self {
            vmm: VmmError((info2 >> Self::VMM_SHIFT) as u32),
            firmware: info2 as u32,
        }
    }

    /// Makes SW_EXITINFO2.
    pub const fn to_info2(self) -> u64 {
        ((self.vmm.0 as u64) << Self::VMM_SHIFT) | self.firmware as u64
    }
}
