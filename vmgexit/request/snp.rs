// SPDX-License-Identifier: GPL-2.0

//! The events of SEV-SNP that are answered.

use super::{
    ap_creation::ApChange, apic_ids::ApicIdList, guest_request::GuestRequest,
    page_state::PageStateChange,
};
use crate::ghcb_abi::{
    exit_code::ExitCode, reply::ErrorReason, snapshot::Snapshot, version::Version,
};

/// An event that only guests with SEV-SNP may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnpRequest {
    /// Page state change.
    PageState(PageStateChange),
    /// Guest request, plain or extended.
    Guest(GuestRequest),
    /// AP creation.
    Ap(ApChange),
    /// APIC-ID list.
    ApicIds(ApicIdList),
}

impl SnpRequest {
    /// Whether an event is one of these.
    #[inline]
    pub const fn is_answered(code: ExitCode) -> bool {
        matches!(
            code,
            ExitCode::PAGE_STATE_CHANGE
                | ExitCode::GUEST_REQUEST
                | ExitCode::EXT_GUEST_REQUEST
                | ExitCode::AP_CREATION
                | ExitCode::APIC_ID_LIST
        )
    }

    /// Decodes one of them.
    pub(super) fn decode(
        snapshot: &Snapshot,
        version: Version,
        gpa: u64,
    ) -> Result<Self, ErrorReason> {
        match snapshot.exit_code() {
            ExitCode::PAGE_STATE_CHANGE => {
                PageStateChange::decode(snapshot, version, gpa).map(Self::PageState)
            }
            ExitCode::GUEST_REQUEST | ExitCode::EXT_GUEST_REQUEST => {
                GuestRequest::decode(snapshot).map(Self::Guest)
            }
            ExitCode::AP_CREATION => ApChange::decode(snapshot).map(Self::Ap),
            ExitCode::APIC_ID_LIST => Ok(Self::ApicIds(ApicIdList::decode(snapshot))),
            _ => Err(ErrorReason::INVALID_EVENT),
        }
    }
}
