// SPDX-License-Identifier: GPL-2.0

//! Hypervisor features.

/// What the hypervisor offers beyond the protocol's base. Host to guest.
///
/// SW_EXITINFO2 of the reply to [`HV_FEATURES`](super::exit_code::ExitCode::HV_FEATURES), or
/// [`MsrResponse::HypervisorFeatures`](super::msr::MsrResponse::HypervisorFeatures), which carries the
/// low 52 bits.
///
/// ```
/// use ghcb_abi::features::Features;
/// let offer = Features::SNP.union(Features::SNP_AP_CREATION);
/// assert_eq!(offer, Features(3));
/// assert!(offer.contains(Features::SNP));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Features(pub u64);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// SEV-SNP. C: `GHCB_HV_FT_SNP`.
    pub const SNP: Self = Self(1 << 0);
    /// [`AP_CREATION`](super::exit_code::ExitCode::AP_CREATION). C: `GHCB_HV_FT_SNP_AP_CREATION`.
    pub const SNP_AP_CREATION: Self = Self(1 << 1);
    /// Restricted injection: interrupts arrive through the #HV doorbell page.
    pub const SNP_RESTRICTED_INJECTION: Self = Self(1 << 2);
    /// Timer under restricted injection.
    pub const SNP_RESTRICTED_INJECTION_TIMER: Self = Self(1 << 3);
    /// [`APIC_ID_LIST`](super::exit_code::ExitCode::APIC_ID_LIST).
    pub const APIC_ID_LIST: Self = Self(1 << 4);
    /// [`RUN_VMPL`](super::exit_code::ExitCode::RUN_VMPL). C: `GHCB_HV_FT_SNP_MULTI_VMPL`.
    pub const SNP_MULTI_VMPL: Self = Self(1 << 5);

    /// Both sets together.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is offered.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
