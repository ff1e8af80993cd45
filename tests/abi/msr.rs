// SPDX-License-Identifier: GPL-2.0

//! The MSR protocol over all 4096 kinds of value.

use std::collections::BTreeSet;

use ghcb_rs::ghcb_abi::{
    ap::ResetHold,
    features::Features,
    msr::{CpuidRegister, GhcbMsr, MsrInfo, MsrRequest, MsrResponse, GFN_NONE},
    psc::PageOperation,
    terminate::{ReasonSet, Termination},
    version::Version,
};
use proptest::{prelude::*, sample::select};

/// Kind of request, bits that mean something in it besides bits 11:0.
const REQUESTS: [(u64, u64); 10] = [
    (0x000, 0xffff_ffff_ffff_f000),
    (0x002, 0),
    (0x004, 0xffff_ffff_c000_0000),
    (0x006, 0),
    (0x010, 0),
    (0x012, 0xffff_ffff_ffff_f000),
    (0x014, 0x00ff_ffff_ffff_f000),
    (0x016, 0x0000_00ff_0000_0000),
    (0x080, 0),
    (0x100, 0x0000_0000_00ff_f000),
];

/// The same for responses.
const RESPONSES: [(u64, u64); 8] = [
    (0x001, 0xffff_ffff_ff00_0000),
    (0x005, 0xffff_ffff_c000_0000),
    (0x007, 0xffff_ffff_ffff_f000),
    (0x011, 0xffff_ffff_ffff_f000),
    (0x013, 0xffff_ffff_ffff_f000),
    (0x015, 0xffff_ffff_0000_0000),
    (0x017, 0xffff_ffff_0000_0000),
    (0x081, 0xffff_ffff_ffff_f000),
];

fn used_bits(table: &[(u64, u64)], kind: u64) -> Option<u64> {
    table
        .iter()
        .find(|(known, _)| *known == kind)
        .map(|(_, bits)| bits | 0xfff)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_kinds(payload: u64) {
        for kind in 0..0x1000 {
            let msr = GhcbMsr(payload & !0xfff | kind);
            prop_assert_eq!(u64::from(msr.info().0), kind);
            prop_assert_eq!(msr.data(), payload / 0x1000);

            let request = msr.request();
            match used_bits(&REQUESTS, kind) {
                // Encoding keeps the used bits and clears the others.
                Some(used) => prop_assert_eq!(request.encode().0, msr.0 & used, "{:?}", msr),
                None => prop_assert_eq!(request, MsrRequest::Unknown(msr.0)),
            }
            prop_assert_eq!(request.encode().request(), request);

            match (used_bits(&RESPONSES, kind), msr.response()) {
                (Some(used), Some(response)) => {
                    prop_assert_eq!(response.encode().0, msr.0 & used, "{:?}", msr);
                    prop_assert_eq!(response.encode().response(), Some(response));
                }
                (None, None) => {}
                (used, response) => prop_assert!(false, "{:?}: {:?} {:?}", msr, used, response),
            }
        }
    }
}

fn any_register() -> impl Strategy<Value = CpuidRegister> {
    select(CpuidRegister::ALL.to_vec())
}

fn any_request() -> impl Strategy<Value = MsrRequest> {
    prop_oneof![
        (0u64..1 << 52).prop_map(|gfn| MsrRequest::GhcbGpa(gfn << 12)),
        Just(MsrRequest::SevInfo),
        (any::<u32>(), any_register())
            .prop_map(|(function, register)| MsrRequest::Cpuid { function, register }),
        Just(MsrRequest::ApResetHold),
        Just(MsrRequest::PreferredGpa),
        (0u64..1 << 52).prop_map(|gfn| MsrRequest::RegisterGpa { gfn }),
        (0u64..1 << 40, 0u8..16).prop_map(|(gfn, op)| MsrRequest::PageStateChange {
            gfn,
            operation: PageOperation(op)
        }),
        any::<u8>().prop_map(|vmpl| MsrRequest::RunVmpl { vmpl }),
        Just(MsrRequest::HypervisorFeatures),
        (0u8..16, any::<u8>()).prop_map(|(set, code)| MsrRequest::Terminate(Termination {
            set: ReasonSet(set),
            code
        })),
    ]
}

fn any_response() -> impl Strategy<Value = MsrResponse> {
    prop_oneof![
        (any::<u16>(), any::<u16>(), any::<u8>()).prop_map(|(max, min, c_bit)| {
            MsrResponse::SevInfo {
                max: Version(max),
                min: Version(min),
                c_bit,
            }
        }),
        (any::<u32>(), any_register())
            .prop_map(|(value, register)| MsrResponse::Cpuid { value, register }),
        (0u64..1 << 52).prop_map(|result| MsrResponse::ApResetHold(ResetHold(result))),
        (0u64..1 << 52).prop_map(|gfn| MsrResponse::PreferredGpa { gfn }),
        (0u64..1 << 52).prop_map(|gfn| MsrResponse::RegisterGpa { gfn }),
        any::<u32>().prop_map(|error| MsrResponse::PageStateChange { error }),
        any::<u32>().prop_map(|error| MsrResponse::RunVmpl { error }),
        (0u64..1 << 52).prop_map(|bits| MsrResponse::HypervisorFeatures(Features(bits))),
    ]
}

proptest! {
    #[test]
    fn requests_decode_as_they_were_made(request in any_request()) {
        prop_assert_eq!(request.encode().request(), request);
    }

    #[test]
    fn responses_decode_as_they_were_made(response in any_response()) {
        prop_assert_eq!(response.encode().response(), Some(response));
        // A response is never taken for a request.
        let msr = response.encode();
        prop_assert_eq!(msr.request(), MsrRequest::Unknown(msr.0));
    }

    #[test]
    fn numbers_that_have_no_room_do_not_spill(gfn: u64, op: u8, set: u8) {
        let change = MsrRequest::PageStateChange { gfn, operation: PageOperation(op) };
        prop_assert_eq!(change.encode().0 & !0x00ff_ffff_ffff_f000, 0x014);
        let end = MsrRequest::Terminate(Termination { set: ReasonSet(set), code: 0 });
        prop_assert_eq!(end.encode().0 & !0xf000, 0x100);
        prop_assert_eq!(MsrRequest::RegisterGpa { gfn }.encode().0 & 0xfff, 0x012);
        prop_assert_eq!(MsrRequest::GhcbGpa(gfn).encode().0 & 0xfff, 0);
    }
}

#[test]
fn values_that_linux_makes() {
    // GHCB_MSR_SEV_INFO(2, 1, 51), the value after a reset.
    let (max, min) = (Version::V2, Version::V1);
    let info = MsrResponse::SevInfo {
        max,
        min,
        c_bit: 51,
    };
    assert_eq!(info.encode().0, 0x0002_0001_3300_0001);
    // GHCB_CPUID_REQ(0x8000001f, GHCB_CPUID_REQ_ECX)
    let (function, register) = (0x8000_001f, CpuidRegister::Ecx);
    assert_eq!(
        MsrRequest::Cpuid { function, register }.encode().0,
        0x8000_001f_8000_0004
    );
    // GHCB_MSR_PSC_REQ_GFN(0x12345, SNP_PAGE_STATE_SHARED)
    let (gfn, operation) = (0x12345, PageOperation::SHARED);
    assert_eq!(
        MsrRequest::PageStateChange { gfn, operation }.encode().0,
        0x0020_0000_1234_5014
    );
    // GHCB_MSR_PSC_RESP_ERROR
    let refused = MsrResponse::PageStateChange {
        error: MsrResponse::PSC_ERROR,
    };
    assert_eq!(refused.encode().0, (1 << 63) | 0x015);
    // GHCB_MSR_REG_GPA_REQ_VAL(0xabcde)
    assert_eq!(
        MsrRequest::RegisterGpa { gfn: 0xabcde }.encode().0,
        0xabcd_e012
    );
    // GHCB_MSR_VMPL_REQ_LEVEL(2)
    assert_eq!(
        MsrRequest::RunVmpl { vmpl: 2 }.encode().0,
        0x0000_0002_0000_0016
    );
    // GHCB_MSR_TERM_REQ | GHCB_SEV_TERM_REASON(SEV_TERM_SET_LINUX, GHCB_TERM_CPUID_HV)
    let end = Termination {
        set: ReasonSet::LINUX,
        code: 5,
    };
    assert_eq!(MsrRequest::Terminate(end).encode().0, 0x0005_1100);
    assert_eq!(
        MsrResponse::PreferredGpa { gfn: GFN_NONE }.encode().0,
        0xffff_ffff_ffff_f011
    );
    assert_eq!(MsrResponse::ApResetHold(ResetHold::SIPI).encode().0, 0x1007);
    assert_eq!(
        MsrResponse::HypervisorFeatures(Features(3)).encode().0,
        0x3081
    );
}

#[test]
fn kinds_are_distinct_and_shown() {
    let kinds: BTreeSet<_> = MsrInfo::NAMED.iter().map(|info| info.0).collect();
    assert_eq!(kinds.len(), MsrInfo::NAMED.len());
    assert_eq!(kinds.len(), REQUESTS.len() + RESPONSES.len());
    assert_eq!(
        format!("{:?}", GhcbMsr(0x2)),
        "GhcbMsr(0x0000000000000002: sev_info_request)"
    );
    assert_eq!(
        format!("{:?}", GhcbMsr(0xffe)),
        "GhcbMsr(0x0000000000000ffe: 0xffe)"
    );
}
