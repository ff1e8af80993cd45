// SPDX-License-Identifier: GPL-2.0

//! The proof that [`ghcb_abi`](crate::ghcb_abi) describes the kernel's protocol.
//!
//! The compiler compares each offset, size, index and number with that of the headers of the kernel
//! which is built for.
//!
//! Holds no code. A difference stops the build with a message that names what differs.

#![allow(
    dead_code,
    reason = "a constant without a name does not count as a use"
)]

use core::mem::{offset_of, size_of};

use super::bindings as c;
use crate::ghcb_abi::{
    guest_request::{GuestRequestStatus, VmmError},
    ioio::IoInfo,
    page::{self, Field},
    psc::{self, PageOperation, PscHeader, PscStatus},
    reply::{Action, ErrorReason, EventInjection},
    terminate::{GeneralReason, LinuxReason, ReasonSet, Termination},
    version::{Usage, Version},
};

/// `name == value;`: the constant of `abi_proof.h` is what `ghcb_abi` has.
macro_rules! same {
    ($($name:ident == $value:expr;)*) => {
        $(
            const _: () = assert!(
                // C's `unsigned long` is `usize` here.
                c::$name as u64 == $value,
                concat!(stringify!($name), ": the kernel's headers and ghcb_abi differ"),
            );
        )*
    };
}

/// `field @ offset: size;`: the field of the C structure lies and is as large as `ghcb_abi` says.
macro_rules! layout {
    ($structure:ident { $($field:ident @ $offset:expr, $size:expr;)* } $whole:expr) => {
        $(
            const _: () = assert!(
                offset_of!(c::$structure, $field) == $offset,
                concat!(stringify!($structure), ".", stringify!($field), " moved"),
            );
            const _: () = assert!(
                size_of_field(|all: &c::$structure| &raw const all.$field) == $size,
                concat!(stringify!($structure), ".", stringify!($field), " changed its size"),
            );
        )*
        const _: () = assert!(
            size_of::<c::$structure>() == $whole,
            concat!(stringify!($structure), " changed its size"),
        );
    };
}

mod exit_codes;
mod msr;

/// Size of the field that a closure points at.
const fn size_of_field<S, T, F: FnOnce(&S) -> *const T>(field: F) -> usize {
    core::mem::forget(field);
    size_of::<T>()
}

/// Arguments of the samples of C's macros about termination.
const TERMINATION: Termination = Termination {
    set: ReasonSet(0x9),
    code: 0xa5,
};

layout! { ghcb_save_area {
    cpl @ Field::Cpl.offset(), Field::Cpl.size();
    xss @ Field::Xss.offset(), Field::Xss.size();
    dr7 @ Field::Dr7.offset(), Field::Dr7.size();
    rip @ Field::Rip.offset(), Field::Rip.size();
    rsp @ Field::Rsp.offset(), Field::Rsp.size();
    rax @ Field::Rax.offset(), Field::Rax.size();
    rcx @ Field::Rcx.offset(), Field::Rcx.size();
    rdx @ Field::Rdx.offset(), Field::Rdx.size();
    rbx @ Field::Rbx.offset(), Field::Rbx.size();
    rbp @ Field::Rbp.offset(), Field::Rbp.size();
    rsi @ Field::Rsi.offset(), Field::Rsi.size();
    rdi @ Field::Rdi.offset(), Field::Rdi.size();
    r8 @ Field::R8.offset(), Field::R8.size();
    r9 @ Field::R9.offset(), Field::R9.size();
    r10 @ Field::R10.offset(), Field::R10.size();
    r11 @ Field::R11.offset(), Field::R11.size();
    r12 @ Field::R12.offset(), Field::R12.size();
    r13 @ Field::R13.offset(), Field::R13.size();
    r14 @ Field::R14.offset(), Field::R14.size();
    r15 @ Field::R15.offset(), Field::R15.size();
    sw_exit_code @ Field::SwExitCode.offset(), Field::SwExitCode.size();
    sw_exit_info_1 @ Field::SwExitInfo1.offset(), Field::SwExitInfo1.size();
    sw_exit_info_2 @ Field::SwExitInfo2.offset(), Field::SwExitInfo2.size();
    sw_scratch @ Field::SwScratch.offset(), Field::SwScratch.size();
    xcr0 @ Field::Xcr0.offset(), Field::Xcr0.size();
    valid_bitmap @ page::VALID_BITMAP_OFFSET, 16;
    x87_state_gpa @ page::X87_STATE_GPA_OFFSET, 8;
} page::SAVE_AREA_SIZE }

layout! { ghcb {
    save @ 0, page::SAVE_AREA_SIZE;
    shared_buffer @ page::SHARED_BUFFER_OFFSET, page::SHARED_BUFFER_SIZE;
    reserved_0xff0 @ page::SHARED_BUFFER_END, 10;
    protocol_version @ page::PROTOCOL_VERSION_OFFSET, size_of::<Version>();
    ghcb_usage @ page::USAGE_OFFSET, size_of::<Usage>();
} page::PAGE_SIZE }

layout! { psc_hdr {
    cur_entry @ 0, 2;
    end_entry @ 2, 2;
    reserved @ 4, 4;
} psc::ELEMENT_SIZE }

layout! { psc_entry {} psc::ELEMENT_SIZE }

const _: () = assert!(
    PscHeader::decode(u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8])).end_entry == 0x0403,
    "psc_hdr.end_entry is the second pair of bytes",
);

// The valid bitmap.
same! {
    GHCB_RS_INDEX_cpl == Field::Cpl.index() as u64;
    GHCB_RS_INDEX_xss == Field::Xss.index() as u64;
    GHCB_RS_INDEX_dr7 == Field::Dr7.index() as u64;
    GHCB_RS_INDEX_rip == Field::Rip.index() as u64;
    GHCB_RS_INDEX_rsp == Field::Rsp.index() as u64;
    GHCB_RS_INDEX_rax == Field::Rax.index() as u64;
    GHCB_RS_INDEX_rcx == Field::Rcx.index() as u64;
    GHCB_RS_INDEX_rdx == Field::Rdx.index() as u64;
    GHCB_RS_INDEX_rbx == Field::Rbx.index() as u64;
    GHCB_RS_INDEX_rbp == Field::Rbp.index() as u64;
    GHCB_RS_INDEX_rsi == Field::Rsi.index() as u64;
    GHCB_RS_INDEX_rdi == Field::Rdi.index() as u64;
    GHCB_RS_INDEX_r8 == Field::R8.index() as u64;
    GHCB_RS_INDEX_r9 == Field::R9.index() as u64;
    GHCB_RS_INDEX_r10 == Field::R10.index() as u64;
    GHCB_RS_INDEX_r11 == Field::R11.index() as u64;
    GHCB_RS_INDEX_r12 == Field::R12.index() as u64;
    GHCB_RS_INDEX_r13 == Field::R13.index() as u64;
    GHCB_RS_INDEX_r14 == Field::R14.index() as u64;
    GHCB_RS_INDEX_r15 == Field::R15.index() as u64;
    GHCB_RS_INDEX_sw_exit_code == Field::SwExitCode.index() as u64;
    GHCB_RS_INDEX_sw_exit_info_1 == Field::SwExitInfo1.index() as u64;
    GHCB_RS_INDEX_sw_exit_info_2 == Field::SwExitInfo2.index() as u64;
    GHCB_RS_INDEX_sw_scratch == Field::SwScratch.index() as u64;
    GHCB_RS_INDEX_xcr0 == Field::Xcr0.index() as u64;
}

// Port I/O.
same! {
    GHCB_RS_SVM_IOIO_TYPE_MASK == IoInfo::TYPE_MASK;
    GHCB_RS_SVM_IOIO_STR_MASK == IoInfo::STR_MASK;
    GHCB_RS_SVM_IOIO_STR_SHIFT == IoInfo::STR_MASK.trailing_zeros() as u64;
    GHCB_RS_SVM_IOIO_REP_MASK == IoInfo::REP_MASK;
    GHCB_RS_SVM_IOIO_REP_SHIFT == IoInfo::REP_MASK.trailing_zeros() as u64;
    GHCB_RS_SVM_IOIO_SIZE_MASK == IoInfo::SIZE_MASK;
    GHCB_RS_SVM_IOIO_SIZE_SHIFT == IoInfo::SIZE_SHIFT as u64;
    GHCB_RS_SVM_IOIO_ASIZE_MASK == IoInfo::ASIZE_MASK;
    GHCB_RS_SVM_IOIO_ASIZE_SHIFT == IoInfo::ASIZE_SHIFT as u64;
}

// Event injection.
same! {
    GHCB_RS_SVM_EVTINJ_VEC_MASK == EventInjection::VECTOR_MASK;
    GHCB_RS_SVM_EVTINJ_TYPE_MASK == EventInjection::TYPE_MASK;
    GHCB_RS_SVM_EVTINJ_TYPE_SHIFT == EventInjection::TYPE_MASK.trailing_zeros() as u64;
    GHCB_RS_SVM_EVTINJ_TYPE_EXEPT == EventInjection::TYPE_EXCEPTION;
    GHCB_RS_SVM_EVTINJ_VALID == EventInjection::VALID;
    GHCB_RS_SVM_EVTINJ_VALID_ERR == EventInjection::VALID_ERROR_CODE;
}

// The page.
same! {
    GHCB_RS_GHCB_SHARED_BUF_SIZE == page::SHARED_BUFFER_SIZE as u64;
    GHCB_RS_EXPECTED_GHCB_SAVE_AREA_SIZE == page::SAVE_AREA_SIZE as u64;
    GHCB_RS_EXPECTED_GHCB_SIZE == page::PAGE_SIZE as u64;
    GHCB_RS_GHCB_PROTOCOL_MIN == Version::V1.0 as u64;
    GHCB_RS_GHCB_PROTOCOL_MAX == Version::V2.0 as u64;
    GHCB_RS_GHCB_DEFAULT_USAGE == Usage::DEFAULT.0 as u64;
}

// Page state changes.
same! {
    GHCB_RS_SNP_PAGE_STATE_PRIVATE == PageOperation::PRIVATE.0 as u64;
    GHCB_RS_SNP_PAGE_STATE_SHARED == PageOperation::SHARED.0 as u64;
    GHCB_RS_VMGEXIT_PSC_OP_PRIVATE == PageOperation::PRIVATE.0 as u64;
    GHCB_RS_VMGEXIT_PSC_OP_SHARED == PageOperation::SHARED.0 as u64;
    GHCB_RS_VMGEXIT_PSC_MAX_COUNT == psc::MAX_COUNT as u64;
    GHCB_RS_VMGEXIT_PSC_ERROR_GENERIC == PscStatus::GENERIC.0;
    GHCB_RS_VMGEXIT_PSC_ERROR_INVALID_HDR == PscStatus::INVALID_HEADER.0;
    GHCB_RS_VMGEXIT_PSC_ERROR_INVALID_ENTRY == PscStatus::INVALID_ENTRY.0;
}

// Termination.
same! {
    GHCB_RS_SEV_TERM_SET_GEN == ReasonSet::GENERAL.0 as u64;
    GHCB_RS_SEV_TERM_SET_LINUX == ReasonSet::LINUX.0 as u64;
    GHCB_RS_GHCB_SEV_ES_GEN_REQ == GeneralReason::UNSPECIFIED.0 as u64;
    GHCB_RS_GHCB_SEV_ES_PROT_UNSUPPORTED == GeneralReason::PROTOCOL_UNSUPPORTED.0 as u64;
    GHCB_RS_GHCB_SNP_UNSUPPORTED == GeneralReason::SNP_UNSUPPORTED.0 as u64;
    GHCB_RS_GHCB_TERM_REGISTER == LinuxReason::REGISTER.0 as u64;
    GHCB_RS_GHCB_TERM_PSC == LinuxReason::PSC.0 as u64;
    GHCB_RS_GHCB_TERM_PVALIDATE == LinuxReason::PVALIDATE.0 as u64;
    GHCB_RS_GHCB_TERM_NOT_VMPL0 == LinuxReason::NOT_VMPL0.0 as u64;
    GHCB_RS_GHCB_TERM_CPUID == LinuxReason::CPUID.0 as u64;
    GHCB_RS_GHCB_TERM_CPUID_HV == LinuxReason::CPUID_HV.0 as u64;
    GHCB_RS_GHCB_TERM_SECRETS_PAGE == LinuxReason::SECRETS_PAGE.0 as u64;
    GHCB_RS_GHCB_TERM_NO_SVSM == LinuxReason::NO_SVSM.0 as u64;
    GHCB_RS_GHCB_TERM_SVSM_VMPL0 == LinuxReason::SVSM_VMPL0.0 as u64;
    GHCB_RS_GHCB_TERM_SVSM_CAA == LinuxReason::SVSM_CAA.0 as u64;
    GHCB_RS_GHCB_TERM_SECURE_TSC == LinuxReason::SECURE_TSC.0 as u64;
    GHCB_RS_GHCB_TERM_SVSM_CA_REMAP_FAIL == LinuxReason::SVSM_CA_REMAP_FAIL.0 as u64;
    GHCB_RS_GHCB_TERM_SAVIC_FAIL == LinuxReason::SAVIC_FAIL.0 as u64;
}

// Replies.
same! {
    GHCB_RS_GHCB_HV_RESP_NO_ACTION == Action::NO_ACTION.0 as u64;
    GHCB_RS_GHCB_HV_RESP_ISSUE_EXCEPTION == Action::ISSUE_EXCEPTION.0 as u64;
    GHCB_RS_GHCB_HV_RESP_MALFORMED_INPUT == Action::MALFORMED_INPUT.0 as u64;
    GHCB_RS_GHCB_ERR_NOT_REGISTERED == ErrorReason::NOT_REGISTERED.0 as u64;
    GHCB_RS_GHCB_ERR_INVALID_USAGE == ErrorReason::INVALID_USAGE.0 as u64;
    GHCB_RS_GHCB_ERR_INVALID_SCRATCH_AREA == ErrorReason::INVALID_SCRATCH_AREA.0 as u64;
    GHCB_RS_GHCB_ERR_MISSING_INPUT == ErrorReason::MISSING_INPUT.0 as u64;
    GHCB_RS_GHCB_ERR_INVALID_INPUT == ErrorReason::INVALID_INPUT.0 as u64;
    GHCB_RS_GHCB_ERR_INVALID_EVENT == ErrorReason::INVALID_EVENT.0 as u64;
}

/// A status whose error is `vmm`.
const fn status(vmm: u32, firmware: u32) -> u64 {
    GuestRequestStatus {
        vmm: VmmError(vmm),
        firmware,
    }
    .to_info2()
}

// Guest requests.
same! {
    GHCB_RS_SNP_GUEST_FW_ERR_MASK == status(0, !0);
    GHCB_RS_SNP_GUEST_VMM_ERR_SHIFT == GuestRequestStatus::VMM_SHIFT as u64;
    GHCB_RS_SNP_GUEST_VMM_ERR == status(0x1234_5678, 0);
    GHCB_RS_SNP_GUEST_FW_ERR ==
        GuestRequestStatus::from_info2(0x1234_5678_90ab_cdef).firmware as u64;
    GHCB_RS_SNP_GUEST_ERR == status(0x1234_5678, 0x9abc_def0);
    GHCB_RS_SNP_GUEST_VMM_ERR_INVALID_LEN == VmmError::INVALID_LENGTH.0 as u64;
    GHCB_RS_SNP_GUEST_VMM_ERR_BUSY == VmmError::BUSY.0 as u64;
}
