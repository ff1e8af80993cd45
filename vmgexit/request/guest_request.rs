// SPDX-License-Identifier: GPL-2.0

//! Guest request and extended guest request.

use crate::ghcb_abi::{
    exit_code::ExitCode, page::Field, page::PAGE_SIZE, reply::ErrorReason, snapshot::Snapshot,
};

/// Where the guest wants certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataArea {
    /// RAX: guest physical address, not checked.
    pub gpa: u64,
    /// RBX: number of pages.
    pub pages: u64,
}

/// A message for the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestRequest {
    /// Guest physical address of the page with the message; aligned.
    pub request: u64,
    /// Guest physical address of the page for the response; aligned, and another one.
    pub response: u64,
    /// Whether certificates may come along.
    pub is_extended: bool,
    /// The data area of an extended request, if the guest has marked both halves valid.
    pub data: Option<DataArea>,
}

/// Whether an address is one of a page.
pub(crate) const fn is_page_aligned(gpa: u64) -> bool {
    gpa % PAGE_SIZE as u64 == 0
}

impl GuestRequest {
    /// Decodes a guest request.
    pub(super) fn decode(snapshot: &Snapshot) -> Result<Self, ErrorReason> {
        let (request, response) = (snapshot.info1(), snapshot.info2());
        if !is_page_aligned(request) || !is_page_aligned(response) || request == response {
            return Err(ErrorReason::INVALID_INPUT);
        }
        let is_extended = snapshot.exit_code() == ExitCode::EXT_GUEST_REQUEST;
        let valid = snapshot.header().valid();
        let has_data = is_extended && valid.contains(Field::Rax) && valid.contains(Field::Rbx);
        Ok(Self {
            request,
            response,
            is_extended,
            data: has_data.then(|| DataArea {
                gpa: snapshot.rax(),
                pages: snapshot.rbx(),
            }),
        })
    }
}
