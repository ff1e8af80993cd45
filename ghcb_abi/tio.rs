// SPDX-License-Identifier: GPL-2.0

//! Trusted I/O (SEV-TIO): devices assigned to an SEV-SNP guest.
//!
//! [`TIO_GUEST_REQUEST`](super::exit_code::ExitCode::TIO_GUEST_REQUEST) is an extended guest request which
//! also has the device in RCX and a parameter in RDX; RDX of the reply is that parameter's answer.
//! [`TIO_OPERATION`](super::exit_code::ExitCode::TIO_OPERATION) returns the firmware's status in
//! SW_EXITINFO2, and for a bind the identity of the device in RCX.

use super::open::open_enum;

open_enum! {
    /// What is done to the device: bits 63:32 of [`TioOperation`].
    pub struct TioAction(u32) {
        /// Bind the device to the guest.
        BIND = 0, "bind";
        /// Undo that.
        UNBIND = 1, "unbind";
        /// Start the bound device.
        RUN = 2, "run";
        /// Stop it.
        STOP = 3, "stop";
    }
}

/// SW_EXITINFO1 of [`TIO_OPERATION`](super::exit_code::ExitCode::TIO_OPERATION). Guest to host.
///
/// ```
/// use ghcb_abi::tio::{TioAction, TioOperation};
/// let run = TioOperation { action: TioAction::RUN, device: 0x18 };
/// assert_eq!(run.encode(), 0x2_0000_0018);
/// assert_eq!(TioOperation::decode(0x2_0000_0018), run);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TioOperation {
    /// What to do.
    pub action: TioAction,
    /// Bits 31:0: the guest's number for the device (segment, bus, device, function).
    pub device: u32,
}

impl TioOperation {
    /// Reads SW_EXITINFO1.
    pub const fn decode(info1: u64) -> Self {
        Self {
            action: TioAction((info1 >> 32) as u32),
            device: info1 as u32,
        }
    }

    /// Makes SW_EXITINFO1.
    pub const fn encode(self) -> u64 {
        ((self.action.0 as u64) << 32) | self.device as u64
    }
}
