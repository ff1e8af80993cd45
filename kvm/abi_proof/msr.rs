// SPDX-License-Identifier: GPL-2.0

//! The MSR protocol: kinds, positions and masks, and C's macros at one point each.

use super::{c, TERMINATION};
use crate::ghcb_abi::{
    features::Features,
    msr::{self, CpuidRegister, GhcbMsr, MsrInfo, MsrRequest, MsrResponse},
    psc::PageOperation,
    terminate::{ReasonSet, Termination},
    version::Version,
};

/// A value of the MSR in which each digit differs from its neighbours.
const SAMPLE: GhcbMsr = GhcbMsr(0x1122_3344_5566_7788);

/// Bits which differ between two requests: the place of what differs between them.
const fn request_bits(zero: MsrRequest, ones: MsrRequest) -> u64 {
    zero.encode().0 ^ ones.encode().0
}

const fn response_bits(zero: MsrResponse, ones: MsrResponse) -> u64 {
    zero.encode().0 ^ ones.encode().0
}

const fn cpuid(function: u32, register: CpuidRegister) -> MsrRequest {
    MsrRequest::Cpuid { function, register }
}

const fn cpuid_value(value: u32) -> MsrResponse {
    MsrResponse::Cpuid {
        value,
        register: CpuidRegister::Eax,
    }
}

const fn page_change_request(gfn: u64, operation: PageOperation) -> MsrRequest {
    MsrRequest::PageStateChange { gfn, operation }
}

const fn terminate(set: u8, code: u8) -> MsrRequest {
    MsrRequest::Terminate(Termination {
        set: ReasonSet(set),
        code,
    })
}

const CPUID_FUNCTION: u64 =
    request_bits(cpuid(0, CpuidRegister::Eax), cpuid(!0, CpuidRegister::Eax));
const CPUID_VALUE: u64 = response_bits(cpuid_value(0), cpuid_value(!0));
const TERM_SET: u64 = request_bits(terminate(0, 0), terminate(0xf, 0));
const TERM_CODE: u64 = request_bits(terminate(0, 0), terminate(0, !0));

/// The number in a response that has one.
const fn number(msr: u64) -> u64 {
    match GhcbMsr(msr).response() {
        Some(MsrResponse::PreferredGpa { gfn } | MsrResponse::RegisterGpa { gfn }) => gfn,
        Some(MsrResponse::PageStateChange { error } | MsrResponse::RunVmpl { error }) => {
            error as u64
        }
        Some(MsrResponse::HypervisorFeatures(features)) => features.0,
        Some(MsrResponse::ApResetHold(result)) => result.0,
        _ => u64::MAX,
    }
}

/// Both versions in a response, the highest first.
const fn versions(msr: u64) -> (u64, u64) {
    match GhcbMsr(msr).response() {
        Some(MsrResponse::SevInfo { max, min, .. }) => (max.0 as u64, min.0 as u64),
        _ => (u64::MAX, u64::MAX),
    }
}

/// Frame number and operation in a request to change a page.
const fn page_change(msr: u64) -> (u64, u64) {
    match GhcbMsr(msr).request() {
        MsrRequest::PageStateChange { gfn, operation } => (gfn, operation.0 as u64),
        _ => (u64::MAX, u64::MAX),
    }
}

// The MSR protocol.
same! {
    GHCB_RS_MSR_AMD64_SEV_ES_GHCB == msr::MSR_NUMBER as u64;
    GHCB_RS_GHCB_MSR_INFO_POS == 0;
    GHCB_RS_GHCB_DATA_LOW == msr::DATA_SHIFT as u64;
    GHCB_RS_GHCB_MSR_INFO_MASK == msr::INFO_MASK;
    GHCB_RS_GHCB_MSR_INFO == SAMPLE.info().0 as u64;
    GHCB_RS_GHCB_RESP_CODE == SAMPLE.info().0 as u64;
    GHCB_RS_GHCB_DATA == SAMPLE.data();
    GHCB_RS_GHCB_MSR_SEV_INFO_REQ == MsrInfo::SEV_INFO_REQUEST.0 as u64;
    GHCB_RS_GHCB_MSR_SEV_INFO_RESP == MsrInfo::SEV_INFO_RESPONSE.0 as u64;
    GHCB_RS_GHCB_MSR_SEV_INFO ==
        MsrResponse::SevInfo { max: Version(0x1122), min: Version(0x3344), c_bit: 0x55 }.encode().0;
    GHCB_RS_GHCB_MSR_PROTO_MAX == versions(0x1122_3344_5566_7001).0;
    GHCB_RS_GHCB_MSR_PROTO_MIN == versions(0x1122_3344_5566_7001).1;
    GHCB_RS_GHCB_MSR_CPUID_REQ == MsrInfo::CPUID_REQUEST.0 as u64;
    GHCB_RS_GHCB_MSR_CPUID_RESP == MsrInfo::CPUID_RESPONSE.0 as u64;
    GHCB_RS_GHCB_CPUID_REQ == cpuid(0x8000_001f, CpuidRegister::Ecx).encode().0;
    GHCB_RS_GHCB_CPUID_REQ_EAX == CpuidRegister::Eax as u64;
    GHCB_RS_GHCB_CPUID_REQ_EBX == CpuidRegister::Ebx as u64;
    GHCB_RS_GHCB_CPUID_REQ_ECX == CpuidRegister::Ecx as u64;
    GHCB_RS_GHCB_CPUID_REQ_EDX == CpuidRegister::Edx as u64;
    GHCB_RS_GHCB_MSR_CPUID_REG_POS == CpuidRegister::SHIFT as u64;
    GHCB_RS_GHCB_MSR_CPUID_REG_MASK == CpuidRegister::MASK;
    GHCB_RS_GHCB_MSR_CPUID_FUNC_POS == CPUID_FUNCTION.trailing_zeros() as u64;
    GHCB_RS_GHCB_MSR_CPUID_FUNC_MASK == CPUID_FUNCTION >> CPUID_FUNCTION.trailing_zeros();
    GHCB_RS_GHCB_MSR_CPUID_VALUE_POS == CPUID_VALUE.trailing_zeros() as u64;
    GHCB_RS_GHCB_MSR_CPUID_VALUE_MASK == CPUID_VALUE >> CPUID_VALUE.trailing_zeros();
    GHCB_RS_GHCB_MSR_AP_RESET_HOLD_REQ == MsrInfo::AP_RESET_HOLD_REQUEST.0 as u64;
    GHCB_RS_GHCB_MSR_AP_RESET_HOLD_RESP == MsrInfo::AP_RESET_HOLD_RESPONSE.0 as u64;
    GHCB_RS_GHCB_MSR_AP_RESET_HOLD_RESULT_POS == msr::DATA_SHIFT as u64;
    GHCB_RS_GHCB_MSR_AP_RESET_HOLD_RESULT_MASK == msr::DATA_MASK;
    GHCB_RS_GHCB_MSR_PREF_GPA_REQ == MsrInfo::PREFERRED_GPA_REQUEST.0 as u64;
    GHCB_RS_GHCB_MSR_PREF_GPA_RESP == MsrInfo::PREFERRED_GPA_RESPONSE.0 as u64;
    GHCB_RS_GHCB_MSR_GPA_VALUE_POS == msr::DATA_SHIFT as u64;
    GHCB_RS_GHCB_MSR_GPA_VALUE_MASK == msr::DATA_MASK;
    GHCB_RS_GHCB_MSR_PREF_GPA_NONE == msr::GFN_NONE;
    GHCB_RS_GHCB_MSR_REG_GPA_REQ == MsrInfo::REGISTER_GPA_REQUEST.0 as u64;
    GHCB_RS_GHCB_MSR_REG_GPA_RESP == MsrInfo::REGISTER_GPA_RESPONSE.0 as u64;
    GHCB_RS_GHCB_MSR_REG_GPA_REQ_VAL ==
        MsrRequest::RegisterGpa { gfn: 0xf_1234_5678_9abc }.encode().0;
    GHCB_RS_GHCB_MSR_REG_GPA_RESP_VAL == number(0xf123_4567_89ab_c013);
    GHCB_RS_GHCB_MSR_PSC_REQ == MsrInfo::PSC_REQUEST.0 as u64;
    GHCB_RS_GHCB_MSR_PSC_RESP == MsrInfo::PSC_RESPONSE.0 as u64;
    GHCB_RS_GHCB_MSR_PSC_REQ_GFN ==
        page_change_request(0xf1_2345_6789, PageOperation::SHARED).encode().0;
    GHCB_RS_GHCB_MSR_PSC_REQ_TO_GFN == page_change(0xaa2f_1234_5678_9014).0;
    GHCB_RS_GHCB_MSR_PSC_REQ_TO_OP == page_change(0xaa2f_1234_5678_9014).1;
    GHCB_RS_GHCB_MSR_PSC_RESP_VAL == number(0x1234_5678_0000_0015);
    GHCB_RS_GHCB_MSR_PSC_RESP_ERROR ==
        MsrResponse::PageStateChange { error: MsrResponse::PSC_ERROR }.encode().0;
    GHCB_RS_GHCB_MSR_VMPL_REQ == MsrInfo::RUN_VMPL_REQUEST.0 as u64;
    GHCB_RS_GHCB_MSR_VMPL_RESP == MsrInfo::RUN_VMPL_RESPONSE.0 as u64;
    GHCB_RS_GHCB_MSR_VMPL_REQ_LEVEL == MsrRequest::RunVmpl { vmpl: 0xa5 }.encode().0;
    GHCB_RS_GHCB_MSR_VMPL_RESP_VAL == number(0x1234_5678_0000_0017);
    GHCB_RS_GHCB_MSR_HV_FT_REQ == MsrInfo::HV_FEATURES_REQUEST.0 as u64;
    GHCB_RS_GHCB_MSR_HV_FT_RESP == MsrInfo::HV_FEATURES_RESPONSE.0 as u64;
    GHCB_RS_GHCB_MSR_HV_FT_POS == msr::DATA_SHIFT as u64;
    GHCB_RS_GHCB_MSR_HV_FT_MASK == msr::DATA_MASK;
    GHCB_RS_GHCB_MSR_HV_FT_RESP_VAL == number(0xf123_4567_89ab_c081);
    GHCB_RS_GHCB_HV_FT_SNP == Features::SNP.0;
    GHCB_RS_GHCB_HV_FT_SNP_AP_CREATION == Features::SNP_AP_CREATION.0;
    GHCB_RS_GHCB_HV_FT_SNP_MULTI_VMPL == Features::SNP_MULTI_VMPL.0;
    GHCB_RS_GHCB_MSR_TERM_REQ == MsrInfo::TERMINATE_REQUEST.0 as u64;
    GHCB_RS_GHCB_MSR_TERM_REASON_SET_POS == TERM_SET.trailing_zeros() as u64;
    GHCB_RS_GHCB_MSR_TERM_REASON_SET_MASK == TERM_SET >> TERM_SET.trailing_zeros();
    GHCB_RS_GHCB_MSR_TERM_REASON_POS == TERM_CODE.trailing_zeros() as u64;
    GHCB_RS_GHCB_MSR_TERM_REASON_MASK == TERM_CODE >> TERM_CODE.trailing_zeros();
    GHCB_RS_GHCB_SEV_TERM_REASON == MsrRequest::Terminate(TERMINATION).encode().0 & !msr::INFO_MASK;
}
