// SPDX-License-Identifier: GPL-2.0

//! The time stamp counter: RDTSC and RDTSCP.

use crate::ghcb_abi::{exit_code::ExitCode, snapshot::Snapshot};

/// Which instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeStampRead {
    /// RDTSC: RDX and RAX.
    Rdtsc,
    /// RDTSCP: RCX as well, which is IA32_TSC_AUX.
    Rdtscp,
}

impl TimeStampRead {
    /// Decodes an event about the time stamp counter.
    #[inline]
    pub(super) const fn decode(snapshot: &Snapshot) -> Self {
        match snapshot.exit_code() {
            ExitCode::RDTSCP => Self::Rdtscp,
            _ => Self::Rdtsc,
        }
    }
}
