// SPDX-License-Identifier: GPL-2.0

//! APIC-ID list.

use super::guest_request::is_page_aligned;
use crate::ghcb_abi::{reply::ErrorReason, snapshot::Snapshot};

/// A request for the APIC IDs of all vCPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApicIdList {
    /// How many pages does the list take?
    Size,
    /// The list itself.
    List {
        /// Guest physical address of the pages; aligned.
        gpa: u64,
        /// Their number.
        pages: u64,
    },
}

impl ApicIdList {
    /// Decodes an APIC-ID list event.
    pub(super) fn decode(snapshot: &Snapshot) -> Result<Self, ErrorReason> {
        let gpa = snapshot.info1();
        if gpa == 0 {
            return Ok(Self::Size);
        }
        if !is_page_aligned(gpa) {
            return Err(ErrorReason::INVALID_INPUT);
        }
        let pages = snapshot.rax();
        Ok(Self::List { gpa, pages })
    }
}
