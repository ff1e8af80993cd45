// SPDX-License-Identifier: GPL-2.0

//! Events about the guest as a whole, and registers that the host keeps: NMI complete, hypervisor
//! features, termination, unsupported event, DR7.

use crate::ghcb_abi::{exit_code::ExitCode, reply::ErrorReason, snapshot::Snapshot};

/// An event about the guest as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemEvent {
    /// The guest has handled its NMI.
    NmiComplete,
    /// Which features the host has.
    HypervisorFeatures,
    /// End this guest.
    Terminate {
        /// SW_EXITINFO1: reason.
        info1: u64,
        /// SW_EXITINFO2: information about it.
        info2: u64,
    },
    /// The guest met a #VC that it cannot handle.
    Unsupported {
        /// SW_EXITINFO1: the exit code in question.
        info1: u64,
        /// SW_EXITINFO2: information about it.
        info2: u64,
    },
    /// Return DR7.
    ReadDr7,
    /// Keep DR7.
    WriteDr7(u64),
}

impl SystemEvent {
    /// Decodes what no other family knows.
    #[inline(always)]
    pub(super) fn decode(snapshot: &Snapshot) -> Result<Self, ErrorReason> {
        let (info1, info2) = (snapshot.info1(), snapshot.info2());
        match snapshot.exit_code() {
            ExitCode::NMI_COMPLETE => Ok(Self::NmiComplete),
            ExitCode::HV_FEATURES => Ok(Self::HypervisorFeatures),
            ExitCode::TERMINATE => Ok(Self::Terminate { info1, info2 }),
            ExitCode::UNSUPPORTED_EVENT => Ok(Self::Unsupported { info1, info2 }),
            ExitCode::READ_DR7 => Ok(Self::ReadDr7),
            ExitCode::WRITE_DR7 => Ok(Self::WriteDr7(snapshot.rax())),
            _ => Err(ErrorReason::INVALID_EVENT),
        }
    }
}
