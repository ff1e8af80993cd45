// SPDX-License-Identifier: GPL-2.0

//! What an exit is about: the three fields that every request in the page has. Guest to host.

use super::{bitmap::ValidBitmap, exit_code::ExitCode, ioio::IoInfo, snapshot::Snapshot};

/// SW_EXITCODE and both SW_EXITINFO fields of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExitInfo {
    /// SW_EXITCODE.
    pub code: ExitCode,
    /// SW_EXITINFO1.
    pub info1: u64,
    /// SW_EXITINFO2.
    pub info2: u64,
}

impl ExitInfo {
    /// What a request is about.
    #[inline]
    pub const fn of(snapshot: &Snapshot) -> Self {
        Self {
            code: snapshot.exit_code(),
            info1: snapshot.info1(),
            info2: snapshot.info2(),
        }
    }

    /// Registers that the reply holds.
    #[inline]
    pub const fn returned(&self) -> ValidBitmap {
        self.code.returned(self.info1)
    }

    /// Whether the guest receives data in a scratch area, a list of page state changes among them.
    #[inline]
    pub const fn receives(&self) -> bool {
        match self.code {
            ExitCode::MMIO_READ | ExitCode::PAGE_STATE_CHANGE => true,
            ExitCode::IOIO => IoInfo(self.info1).is_in() && IoInfo(self.info1).is_string(),
            _ => false,
        }
    }
}
