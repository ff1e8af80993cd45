// SPDX-License-Identifier: GPL-2.0

//! Termination: the guest gives up, and says why.

use super::open::open_enum;

open_enum! {
    /// Who defined the reason code: four bits.
    pub struct ReasonSet(u8) {
        /// The specification; see [`GeneralReason`]. C: `SEV_TERM_SET_GEN`.
        GENERAL = 0, "general";
        /// Linux; see [`LinuxReason`]. C: `SEV_TERM_SET_LINUX`.
        LINUX = 1, "linux";
    }
}

open_enum! {
    /// Reason codes of [`ReasonSet::GENERAL`].
    pub struct GeneralReason(u8) {
        /// Not said. C: `GHCB_SEV_ES_GEN_REQ`.
        UNSPECIFIED = 0, "unspecified";
        /// No common protocol version. C: `GHCB_SEV_ES_PROT_UNSUPPORTED`.
        PROTOCOL_UNSUPPORTED = 1, "protocol_unsupported";
        /// The hypervisor lacks SNP features that the guest needs. C: `GHCB_SNP_UNSUPPORTED`.
        SNP_UNSUPPORTED = 2, "snp_unsupported";
    }
}

open_enum! {
    /// Reason codes of [`ReasonSet::LINUX`].
    pub struct LinuxReason(u8) {
        /// GHCB GPA registration failed. C: `GHCB_TERM_REGISTER`.
        REGISTER = 0, "register";
        /// Page state change failed. C: `GHCB_TERM_PSC`.
        PSC = 1, "psc";
        /// PVALIDATE failed. C: `GHCB_TERM_PVALIDATE`.
        PVALIDATE = 2, "pvalidate";
        /// Not at VMPL 0. C: `GHCB_TERM_NOT_VMPL0`.
        NOT_VMPL0 = 3, "not_vmpl0";
        /// The CPUID page did not validate. C: `GHCB_TERM_CPUID`.
        CPUID = 4, "cpuid";
        /// CPUID from the hypervisor failed. C: `GHCB_TERM_CPUID_HV`.
        CPUID_HV = 5, "cpuid_hv";
        /// The secrets page is not usable. C: `GHCB_TERM_SECRETS_PAGE`.
        SECRETS_PAGE = 6, "secrets_page";
        /// The secrets page names no SVSM. C: `GHCB_TERM_NO_SVSM`.
        NO_SVSM = 7, "no_svsm";
        /// The SVSM claims VMPL 0 for the guest. C: `GHCB_TERM_SVSM_VMPL0`.
        SVSM_VMPL0 = 8, "svsm_vmpl0";
        /// The SVSM's calling area is not page aligned. C: `GHCB_TERM_SVSM_CAA`.
        SVSM_CAA = 9, "svsm_caa";
        /// Secure TSC could not be set up. C: `GHCB_TERM_SECURE_TSC`.
        SECURE_TSC = 10, "secure_tsc";
        /// The SVSM's calling area could not be mapped again. C: `GHCB_TERM_SVSM_CA_REMAP_FAIL`.
        SVSM_CA_REMAP_FAIL = 11, "svsm_ca_remap_fail";
        /// Secure AVIC failed. C: `GHCB_TERM_SAVIC_FAIL`.
        SAVIC_FAIL = 12, "savic_fail";
    }
}

/// Why a guest terminates. Guest to host.
///
/// ```
/// use ghcb_abi::terminate::{ReasonSet, Termination};
/// let reason = Termination::from_info1(0x21);
/// assert_eq!(reason, Termination { set: ReasonSet::LINUX, code: 2 });
/// assert_eq!(reason.to_info1(), 0x21);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Termination {
    /// Who defined `code`.
    pub set: ReasonSet,
    /// The reason, in the terms of `set`.
    pub code: u8,
}

impl Termination {
    /// Reads SW_EXITINFO1 of [`TERMINATE`](super::exit_code::ExitCode::TERMINATE): set in bits 3:0, code
    /// in bits 11:4.
    pub const fn from_info1(info1: u64) -> Self {
        Self {
            set: ReasonSet((info1 & 0xf) as u8),
            code: (info1 >> 4) as u8,
        }
    }

    /// Makes SW_EXITINFO1. C: `SVM_VMGEXIT_TERM_REASON`.
    pub const fn to_info1(self) -> u64 {
        (self.set.0 as u64 & 0xf) | ((self.code as u64) << 4)
    }
}
