// SPDX-License-Identifier: GPL-2.0

//! Page state change.

use crate::ghcb_abi::{
    page::BufferRange,
    psc::{PscHeader, ELEMENT_SIZE},
    reply::ErrorReason,
    scratch::ScratchArea,
    snapshot::Snapshot,
    version::Version,
};

/// A list of pages that become private or shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageStateChange {
    /// Where its header lies.
    pub header: BufferRange,
}

impl PageStateChange {
    /// Decodes a page state change event. Nothing of the list has been read yet.
    pub(super) fn decode(
        snapshot: &Snapshot,
        version: Version,
        gpa: u64,
    ) -> Result<Self, ErrorReason> {
        match ScratchArea::locate(version, gpa, snapshot.scratch(), ELEMENT_SIZE as u64)? {
            ScratchArea::Shared(header) => Ok(Self { header }),
            // Guests with SEV-SNP speak version 2.
            ScratchArea::External { .. } => Err(ErrorReason::INVALID_SCRATCH_AREA),
        }
    }

    /// Where a list with this header lies, up to and with its last entry. `None` if that is not in the shared
    /// buffer: what the page really holds is the bound, not what the protocol allows.
    pub fn list(&self, header: PscHeader) -> Option<BufferRange> {
        let elements = usize::from(header.end_entry).saturating_add(2);
        BufferRange::new(self.header.offset(), elements.saturating_mul(ELEMENT_SIZE))
    }
}
