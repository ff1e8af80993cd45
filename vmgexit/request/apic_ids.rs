// SPDX-License-Identifier: GPL-2.0

//! APIC-ID list.

use crate::ghcb_abi::snapshot::Snapshot;

/// A request for the APIC IDs of all vCPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApicIdList {
    /// Guest physical address of the pages that take the list. Of no meaning if they are too few.
    pub gpa: u64,
    /// Their number. One that is too small asks for the right one.
    pub pages: u64,
}

impl ApicIdList {
    /// Decodes an APIC-ID list event.
    pub(super) fn decode(snapshot: &Snapshot) -> Self {
        Self {
            gpa: snapshot.info1(),
            pages: snapshot.rax(),
        }
    }
}
