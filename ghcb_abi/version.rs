// SPDX-License-Identifier: GPL-2.0

//! Protocol versions and usage.

use super::open::open_enum;

open_enum! {
    /// Protocol version, two bytes at 0xffa. Guest to host.
    ///
    /// Negotiated through [`MsrResponse::SevInfo`](super::msr::MsrResponse::SevInfo) before the first
    /// page is used. What a guest then writes into the page is not checked by a host.
    pub struct Version(u16) {
        /// SEV-ES. The scratch area may lie outside the page. C: `GHCB_PROTOCOL_MIN`.
        V1 = 1, "1";
        /// SEV-SNP. The scratch area lies in the page. C: `GHCB_PROTOCOL_MAX`.
        V2 = 2, "2";
    }
}

impl Version {
    /// Whether the scratch area must lie within the page.
    #[inline]
    pub const fn confines_scratch(self) -> bool {
        self.0 >= Self::V2.0
    }

    /// The version to speak when this side knows `ours.0` to `ours.1` and the other `theirs.0` to
    /// `theirs.1`: the highest that both know.
    ///
    /// ```
    /// use ghcb_abi::version::Version;
    /// let (one, two) = (Version::V1, Version::V2);
    /// assert_eq!(Version::negotiate((one, two), (one, Version(3))), Some(two));
    /// assert_eq!(Version::negotiate((one, one), (two, two)), None);
    /// ```
    pub const fn negotiate(ours: (Self, Self), theirs: (Self, Self)) -> Option<Self> {
        let max = if ours.1 .0 < theirs.1 .0 {
            ours.1
        } else {
            theirs.1
        };
        if max.0 < ours.0 .0 || max.0 < theirs.0 .0 {
            return None;
        }
        Some(max)
    }
}

open_enum! {
    /// Usage of the page, four bytes at 0xffc. Guest to host.
    ///
    /// Names the format of the rest of the page. A host answers a usage that it does not know with
    /// [`ErrorReason::INVALID_USAGE`](super::reply::ErrorReason::INVALID_USAGE).
    pub struct Usage(u32) {
        /// The format of this module. C: `GHCB_DEFAULT_USAGE`.
        DEFAULT = 0, "default";
        /// Hyper-V's hypercall format. C: `GHCB_USAGE_HYPERV_CALL`.
        HYPERV_CALL = 1, "hyperv_call";
    }
}
