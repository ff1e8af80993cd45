// SPDX-License-Identifier: GPL-2.0

//! The MSR protocol: requests and responses in the GHCB MSR, 0xC001_0130.
//!
//! For a guest that has no page yet, and for what concerns the page itself. Bits 11:0 say what the value
//! is; a value in which they are zero is the address of a page.

use super::{
    ap::ResetHold,
    features::Features,
    open::open_enum,
    psc::PageOperation,
    terminate::{ReasonSet, Termination},
    version::Version,
};

/// Number of the MSR. C: `MSR_AMD64_SEV_ES_GHCB`.
pub const MSR_NUMBER: u32 = 0xc001_0130;

/// Bits that say what a value is. C: `GHCB_MSR_INFO_MASK`.
pub const INFO_MASK: u64 = 0xfff;

/// Lowest bit of the data. C: `GHCB_DATA_LOW`.
pub const DATA_SHIFT: u32 = 12;

/// The data after the shift. C: `GHCB_MSR_GPA_VALUE_MASK` and others.
pub const DATA_MASK: u64 = (1 << 52) - 1;

/// Frame number that stands for "no preference" and "failed". C: `GHCB_MSR_PREF_GPA_NONE`.
pub const GFN_NONE: u64 = DATA_MASK;

/// Bits of a frame number in a page state change.
pub const PSC_GFN_MASK: u64 = (1 << 40) - 1;

open_enum! {
    /// Bits 11:0 of the MSR. Requests go from guest to host, responses back; [`MsrRequest`] and
    /// [`MsrResponse`] say what the other bits of each are.
    pub struct MsrInfo(u16) {
        /// Address of a page.
        GHCB_GPA = 0x000, "ghcb_gpa";
        /// C: `GHCB_MSR_SEV_INFO_RESP`.
        SEV_INFO_RESPONSE = 0x001, "sev_info_response";
        /// C: `GHCB_MSR_SEV_INFO_REQ`.
        SEV_INFO_REQUEST = 0x002, "sev_info_request";
        /// C: `GHCB_MSR_CPUID_REQ`.
        CPUID_REQUEST = 0x004, "cpuid_request";
        /// C: `GHCB_MSR_CPUID_RESP`.
        CPUID_RESPONSE = 0x005, "cpuid_response";
        /// C: `GHCB_MSR_AP_RESET_HOLD_REQ`.
        AP_RESET_HOLD_REQUEST = 0x006, "ap_reset_hold_request";
        /// C: `GHCB_MSR_AP_RESET_HOLD_RESP`.
        AP_RESET_HOLD_RESPONSE = 0x007, "ap_reset_hold_response";
        /// C: `GHCB_MSR_PREF_GPA_REQ`.
        PREFERRED_GPA_REQUEST = 0x010, "preferred_gpa_request";
        /// C: `GHCB_MSR_PREF_GPA_RESP`.
        PREFERRED_GPA_RESPONSE = 0x011, "preferred_gpa_response";
        /// C: `GHCB_MSR_REG_GPA_REQ`.
        REGISTER_GPA_REQUEST = 0x012, "register_gpa_request";
        /// C: `GHCB_MSR_REG_GPA_RESP`.
        REGISTER_GPA_RESPONSE = 0x013, "register_gpa_response";
        /// C: `GHCB_MSR_PSC_REQ`.
        PSC_REQUEST = 0x014, "psc_request";
        /// C: `GHCB_MSR_PSC_RESP`.
        PSC_RESPONSE = 0x015, "psc_response";
        /// C: `GHCB_MSR_VMPL_REQ`.
        RUN_VMPL_REQUEST = 0x016, "run_vmpl_request";
        /// C: `GHCB_MSR_VMPL_RESP`.
        RUN_VMPL_RESPONSE = 0x017, "run_vmpl_response";
        /// C: `GHCB_MSR_HV_FT_REQ`.
        HV_FEATURES_REQUEST = 0x080, "hv_features_request";
        /// C: `GHCB_MSR_HV_FT_RESP`.
        HV_FEATURES_RESPONSE = 0x081, "hv_features_response";
        /// C: `GHCB_MSR_TERM_REQ`.
        TERMINATE_REQUEST = 0x100, "terminate_request";
    }
}

/// Which register of CPUID a request is about: bits 31:30.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CpuidRegister {
    /// C: `GHCB_CPUID_REQ_EAX`.
    Eax = 0,
    /// C: `GHCB_CPUID_REQ_EBX`.
    Ebx = 1,
    /// C: `GHCB_CPUID_REQ_ECX`.
    Ecx = 2,
    /// C: `GHCB_CPUID_REQ_EDX`.
    Edx = 3,
}

impl CpuidRegister {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Eax, Self::Ebx, Self::Ecx, Self::Edx];

    /// Lowest bit of the register. C: `GHCB_MSR_CPUID_REG_POS`.
    pub const SHIFT: u32 = 30;

    /// Mask after the shift. C: `GHCB_MSR_CPUID_REG_MASK`.
    pub const MASK: u64 = 3;

    /// The register that a request or a response is about.
    #[inline]
    pub const fn of(GhcbMsr(msr): GhcbMsr) -> Self {
        let (high, low) = ((msr >> 31) & 1 != 0, (msr >> Self::SHIFT) & 1 != 0);
        match (high, low) {
            (false, false) => Self::Eax,
            (false, true) => Self::Ebx,
            (true, false) => Self::Ecx,
            (true, true) => Self::Edx,
        }
    }
}

/// A value of the GHCB MSR. Both directions.
///
/// ```
/// use ghcb_abi::msr::{CpuidRegister, GhcbMsr, MsrRequest, MsrResponse};
///
/// let request = GhcbMsr(0x8000_001f_4000_0004).request();
/// let (function, register) = (0x8000_001f, CpuidRegister::Ebx);
/// assert_eq!(request, MsrRequest::Cpuid { function, register });
///
/// let response = MsrResponse::Cpuid { value: 0x33, register };
/// assert_eq!(response.encode(), GhcbMsr(0x0000_0033_4000_0005));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct GhcbMsr(pub u64);

impl GhcbMsr {
    /// Bits 11:0.
    #[inline]
    pub const fn info(self) -> MsrInfo {
        MsrInfo((self.0 & INFO_MASK) as u16)
    }

    /// Bits 63:12. C: `GHCB_DATA()`.
    #[inline]
    pub const fn data(self) -> u64 {
        self.0 >> DATA_SHIFT
    }

    #[inline]
    const fn new(info: MsrInfo, data: u64) -> Self {
        Self((data << DATA_SHIFT) | info.0 as u64)
    }

    /// The value as a guest's request. Every value is one.
    #[inline]
    pub const fn request(self) -> MsrRequest {
        MsrRequest::decode(self)
    }

    /// The value as a host's response, if it is one.
    #[inline]
    pub const fn response(self) -> Option<MsrResponse> {
        MsrResponse::decode(self)
    }
}

impl core::fmt::Debug for GhcbMsr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "GhcbMsr({:#018x}: {})", self.0, self.info())
    }
}

/// What a guest asks. Guest to host.
///
/// Bits that a request does not use are ignored, as KVM does: decoding and encoding again clears them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MsrRequest {
    /// No request: the address of a page, a multiple of 4096. Zero stands for no page.
    GhcbGpa(u64),
    /// Versions and encryption bit, 0x002.
    SevInfo,
    /// One register of CPUID, subfunction 0; 0x004.
    Cpuid {
        /// Bits 63:32.
        function: u32,
        /// Bits 31:30.
        register: CpuidRegister,
    },
    /// Wait for a SIPI, 0x006.
    ApResetHold,
    /// Preferred address of the page (SNP), 0x010.
    PreferredGpa,
    /// Register the address of the page (SNP), 0x012.
    RegisterGpa {
        /// Bits 63:12: frame number.
        gfn: u64,
    },
    /// Make one 4 KiB page private or shared (SNP), 0x014.
    PageStateChange {
        /// Bits 51:12: frame number.
        gfn: u64,
        /// Bits 55:52.
        operation: PageOperation,
    },
    /// Run another VMPL of this vCPU (SNP), 0x016.
    RunVmpl {
        /// Bits 39:32.
        vmpl: u8,
    },
    /// Hypervisor features, 0x080.
    HypervisorFeatures,
    /// End this guest, 0x100. Has no response.
    Terminate(Termination),
    /// Anything else, among it all responses.
    Unknown(u64),
}

impl MsrRequest {
    /// Says what a value asks for.
    #[inline]
    pub const fn decode(msr: GhcbMsr) -> Self {
        match msr.info() {
            MsrInfo::GHCB_GPA => Self::GhcbGpa(msr.0),
            MsrInfo::SEV_INFO_REQUEST => Self::SevInfo,
            MsrInfo::CPUID_REQUEST => Self::Cpuid {
                function: (msr.0 >> 32) as u32,
                register: CpuidRegister::of(msr),
            },
            MsrInfo::AP_RESET_HOLD_REQUEST => Self::ApResetHold,
            MsrInfo::PREFERRED_GPA_REQUEST => Self::PreferredGpa,
            MsrInfo::REGISTER_GPA_REQUEST => Self::RegisterGpa { gfn: msr.data() },
            MsrInfo::PSC_REQUEST => Self::PageStateChange {
                gfn: msr.data() & PSC_GFN_MASK,
                operation: PageOperation(((msr.0 >> 52) & 0xf) as u8),
            },
            MsrInfo::RUN_VMPL_REQUEST => Self::RunVmpl {
                vmpl: (msr.0 >> 32) as u8,
            },
            MsrInfo::HV_FEATURES_REQUEST => Self::HypervisorFeatures,
            MsrInfo::TERMINATE_REQUEST => Self::Terminate(Termination {
                set: ReasonSet(((msr.0 >> 12) & 0xf) as u8),
                code: (msr.0 >> 16) as u8,
            }),
            _ => Self::Unknown(msr.0),
        }
    }

    /// Makes the value. Frame numbers and operations lose the bits that have no room.
    pub const fn encode(self) -> GhcbMsr {
        match self {
            Self::GhcbGpa(gpa) => GhcbMsr(gpa & !INFO_MASK),
            Self::SevInfo => GhcbMsr::new(MsrInfo::SEV_INFO_REQUEST, 0),
            Self::Cpuid { function, register } => GhcbMsr(
                ((function as u64) << 32)
                    | ((register as u64) << CpuidRegister::SHIFT)
                    | MsrInfo::CPUID_REQUEST.0 as u64,
            ),
            Self::ApResetHold => GhcbMsr::new(MsrInfo::AP_RESET_HOLD_REQUEST, 0),
            Self::PreferredGpa => GhcbMsr::new(MsrInfo::PREFERRED_GPA_REQUEST, 0),
            Self::RegisterGpa { gfn } => GhcbMsr::new(MsrInfo::REGISTER_GPA_REQUEST, gfn),
            Self::PageStateChange { gfn, operation } => GhcbMsr::new(
                MsrInfo::PSC_REQUEST,
                gfn & PSC_GFN_MASK | ((operation.0 as u64 & 0xf) << 40),
            ),
            Self::RunVmpl { vmpl } => {
                GhcbMsr(((vmpl as u64) << 32) | MsrInfo::RUN_VMPL_REQUEST.0 as u64)
            }
            Self::HypervisorFeatures => GhcbMsr::new(MsrInfo::HV_FEATURES_REQUEST, 0),
            Self::Terminate(Termination { set, code }) => GhcbMsr::new(
                MsrInfo::TERMINATE_REQUEST,
                set.0 as u64 & 0xf | ((code as u64) << 4),
            ),
            Self::Unknown(value) => GhcbMsr(value),
        }
    }
}

/// What a host answers. Host to guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MsrResponse {
    /// To [`MsrRequest::SevInfo`], and the value of the MSR after a reset; 0x001. C:
    /// `GHCB_MSR_SEV_INFO()`.
    SevInfo {
        /// Bits 63:48: the highest version that the host speaks.
        max: Version,
        /// Bits 47:32: the lowest.
        min: Version,
        /// Bits 31:24: position of the encryption bit in page table entries.
        c_bit: u8,
    },
    /// To [`MsrRequest::Cpuid`], 0x005.
    Cpuid {
        /// Bits 63:32.
        value: u32,
        /// Bits 31:30: as in the request.
        register: CpuidRegister,
    },
    /// To [`MsrRequest::ApResetHold`], 0x007: the result in bits 63:12.
    ApResetHold(ResetHold),
    /// To [`MsrRequest::PreferredGpa`], 0x011.
    PreferredGpa {
        /// Bits 63:12: frame number, [`GFN_NONE`] if the host does not mind.
        gfn: u64,
    },
    /// To [`MsrRequest::RegisterGpa`], 0x013.
    RegisterGpa {
        /// Bits 63:12: that of the request, [`GFN_NONE`] if the host refuses it.
        gfn: u64,
    },
    /// To [`MsrRequest::PageStateChange`], 0x015.
    PageStateChange {
        /// Bits 63:32: zero if done.
        error: u32,
    },
    /// To [`MsrRequest::RunVmpl`], 0x017.
    RunVmpl {
        /// Bits 63:32: zero if done.
        error: u32,
    },
    /// To [`MsrRequest::HypervisorFeatures`], 0x081: bits 63:12.
    HypervisorFeatures(Features),
}

impl MsrResponse {
    /// Error of a page state change that has no code of its own. C: `GHCB_MSR_PSC_RESP_ERROR`.
    pub const PSC_ERROR: u32 = 1 << 31;

    /// Makes the value. Frame numbers, features and results lose the bits that have no room.
    #[inline]
    pub const fn encode(self) -> GhcbMsr {
        match self {
            Self::SevInfo { max, min, c_bit } => GhcbMsr(
                ((max.0 as u64) << 48)
                    | ((min.0 as u64) << 32)
                    | ((c_bit as u64) << 24)
                    | MsrInfo::SEV_INFO_RESPONSE.0 as u64,
            ),
            Self::Cpuid { value, register } => GhcbMsr(
                ((value as u64) << 32)
                    | ((register as u64) << CpuidRegister::SHIFT)
                    | MsrInfo::CPUID_RESPONSE.0 as u64,
            ),
            Self::ApResetHold(result) => GhcbMsr::new(MsrInfo::AP_RESET_HOLD_RESPONSE, result.0),
            Self::PreferredGpa { gfn } => GhcbMsr::new(MsrInfo::PREFERRED_GPA_RESPONSE, gfn),
            Self::RegisterGpa { gfn } => GhcbMsr::new(MsrInfo::REGISTER_GPA_RESPONSE, gfn),
            Self::PageStateChange { error } => {
                GhcbMsr(((error as u64) << 32) | MsrInfo::PSC_RESPONSE.0 as u64)
            }
            Self::RunVmpl { error } => {
                GhcbMsr(((error as u64) << 32) | MsrInfo::RUN_VMPL_RESPONSE.0 as u64)
            }
            Self::HypervisorFeatures(features) => {
                GhcbMsr::new(MsrInfo::HV_FEATURES_RESPONSE, features.0)
            }
        }
    }

    /// Reads a response. `None` if the value is none: a guest must not trust its host to answer.
    pub const fn decode(msr: GhcbMsr) -> Option<Self> {
        Some(match msr.info() {
            MsrInfo::SEV_INFO_RESPONSE => Self::SevInfo {
                max: Version((msr.0 >> 48) as u16),
                min: Version((msr.0 >> 32) as u16),
                c_bit: (msr.0 >> 24) as u8,
            },
            MsrInfo::CPUID_RESPONSE => Self::Cpuid {
                value: (msr.0 >> 32) as u32,
                register: CpuidRegister::of(msr),
            },
            MsrInfo::AP_RESET_HOLD_RESPONSE => Self::ApResetHold(ResetHold(msr.data())),
            MsrInfo::PREFERRED_GPA_RESPONSE => Self::PreferredGpa { gfn: msr.data() },
            MsrInfo::REGISTER_GPA_RESPONSE => Self::RegisterGpa { gfn: msr.data() },
            MsrInfo::PSC_RESPONSE => Self::PageStateChange {
                error: (msr.0 >> 32) as u32,
            },
            MsrInfo::RUN_VMPL_RESPONSE => Self::RunVmpl {
                error: (msr.0 >> 32) as u32,
            },
            MsrInfo::HV_FEATURES_RESPONSE => Self::HypervisorFeatures(Features(msr.data())),
            _ => return None,
        })
    }
}
