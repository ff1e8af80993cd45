// SPDX-License-Identifier: GPL-2.0

//! The proof that [`ghcb_abi`](crate::ghcb_abi) describes the kernel's protocol: the compiler compares
//! each offset, size, index and number with that of the headers of the kernel which is built for.
//!
//! Holds no code. A difference stops the build with a message that names what differs.

use core::mem::{offset_of, size_of};

use super::bindings as c;
use crate::ghcb_abi::{
    ap::{ApOperation, JumpTableOperation},
    exit_code::ExitCode,
    features::Features,
    guest_request::{GuestRequestStatus, VmmError},
    ioio::IoInfo,
    msr::{self, CpuidRegister, GhcbMsr, MsrInfo, MsrRequest, MsrResponse},
    page::{self, Field},
    psc::{self, PageOperation, PscHeader, PscStatus},
    reply::{Action, ErrorReason, EventInjection},
    secure_avic::{self, SecureAvicOperation},
    terminate::{GeneralReason, LinuxReason, ReasonSet, Termination},
    version::{Usage, Version},
};

/// `name == value;`: the constant of `abi_proof.h` is what `ghcb_abi` has.
macro_rules! same {
    ($($name:ident == $value:expr;)*) => {
        $(
            const _: () = assert!(
                c::$name == $value,
                concat!(stringify!($name), " of the kernel's headers is not ", stringify!($value)),
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

/// Size of the field that a closure points at.
const fn size_of_field<S, T, F: FnOnce(&S) -> *const T>(field: F) -> usize {
    core::mem::forget(field);
    size_of::<T>()
}

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

same! {
    GHCB_RS_SVM_EXIT_READ_CR0 == ExitCode::READ_CR0.0;
    GHCB_RS_SVM_EXIT_READ_CR2 == ExitCode::READ_CR2.0;
    GHCB_RS_SVM_EXIT_READ_CR3 == ExitCode::READ_CR3.0;
    GHCB_RS_SVM_EXIT_READ_CR4 == ExitCode::READ_CR4.0;
    GHCB_RS_SVM_EXIT_READ_CR8 == ExitCode::READ_CR8.0;
    GHCB_RS_SVM_EXIT_WRITE_CR0 == ExitCode::WRITE_CR0.0;
    GHCB_RS_SVM_EXIT_WRITE_CR2 == ExitCode::WRITE_CR2.0;
    GHCB_RS_SVM_EXIT_WRITE_CR3 == ExitCode::WRITE_CR3.0;
    GHCB_RS_SVM_EXIT_WRITE_CR4 == ExitCode::WRITE_CR4.0;
    GHCB_RS_SVM_EXIT_WRITE_CR8 == ExitCode::WRITE_CR8.0;
    GHCB_RS_SVM_EXIT_READ_DR0 == ExitCode::READ_DR0.0;
    GHCB_RS_SVM_EXIT_READ_DR1 == ExitCode::READ_DR1.0;
    GHCB_RS_SVM_EXIT_READ_DR2 == ExitCode::READ_DR2.0;
    GHCB_RS_SVM_EXIT_READ_DR3 == ExitCode::READ_DR3.0;
    GHCB_RS_SVM_EXIT_READ_DR4 == ExitCode::READ_DR4.0;
    GHCB_RS_SVM_EXIT_READ_DR5 == ExitCode::READ_DR5.0;
    GHCB_RS_SVM_EXIT_READ_DR6 == ExitCode::READ_DR6.0;
    GHCB_RS_SVM_EXIT_READ_DR7 == ExitCode::READ_DR7.0;
    GHCB_RS_SVM_EXIT_WRITE_DR0 == ExitCode::WRITE_DR0.0;
    GHCB_RS_SVM_EXIT_WRITE_DR1 == ExitCode::WRITE_DR1.0;
    GHCB_RS_SVM_EXIT_WRITE_DR2 == ExitCode::WRITE_DR2.0;
    GHCB_RS_SVM_EXIT_WRITE_DR3 == ExitCode::WRITE_DR3.0;
    GHCB_RS_SVM_EXIT_WRITE_DR4 == ExitCode::WRITE_DR4.0;
    GHCB_RS_SVM_EXIT_WRITE_DR5 == ExitCode::WRITE_DR5.0;
    GHCB_RS_SVM_EXIT_WRITE_DR6 == ExitCode::WRITE_DR6.0;
    GHCB_RS_SVM_EXIT_WRITE_DR7 == ExitCode::WRITE_DR7.0;
    GHCB_RS_SVM_EXIT_EXCP_BASE == ExitCode::EXCP_BASE.0;
    GHCB_RS_SVM_EXIT_LAST_EXCP == ExitCode::LAST_EXCP.0;
    GHCB_RS_SVM_EXIT_INTR == ExitCode::INTR.0;
    GHCB_RS_SVM_EXIT_NMI == ExitCode::NMI.0;
    GHCB_RS_SVM_EXIT_SMI == ExitCode::SMI.0;
    GHCB_RS_SVM_EXIT_INIT == ExitCode::INIT.0;
    GHCB_RS_SVM_EXIT_VINTR == ExitCode::VINTR.0;
    GHCB_RS_SVM_EXIT_CR0_SEL_WRITE == ExitCode::CR0_SEL_WRITE.0;
    GHCB_RS_SVM_EXIT_IDTR_READ == ExitCode::IDTR_READ.0;
    GHCB_RS_SVM_EXIT_GDTR_READ == ExitCode::GDTR_READ.0;
    GHCB_RS_SVM_EXIT_LDTR_READ == ExitCode::LDTR_READ.0;
    GHCB_RS_SVM_EXIT_TR_READ == ExitCode::TR_READ.0;
    GHCB_RS_SVM_EXIT_IDTR_WRITE == ExitCode::IDTR_WRITE.0;
    GHCB_RS_SVM_EXIT_GDTR_WRITE == ExitCode::GDTR_WRITE.0;
    GHCB_RS_SVM_EXIT_LDTR_WRITE == ExitCode::LDTR_WRITE.0;
    GHCB_RS_SVM_EXIT_TR_WRITE == ExitCode::TR_WRITE.0;
    GHCB_RS_SVM_EXIT_RDTSC == ExitCode::RDTSC.0;
    GHCB_RS_SVM_EXIT_RDPMC == ExitCode::RDPMC.0;
    GHCB_RS_SVM_EXIT_PUSHF == ExitCode::PUSHF.0;
    GHCB_RS_SVM_EXIT_POPF == ExitCode::POPF.0;
    GHCB_RS_SVM_EXIT_CPUID == ExitCode::CPUID.0;
    GHCB_RS_SVM_EXIT_RSM == ExitCode::RSM.0;
    GHCB_RS_SVM_EXIT_IRET == ExitCode::IRET.0;
    GHCB_RS_SVM_EXIT_SWINT == ExitCode::SWINT.0;
    GHCB_RS_SVM_EXIT_INVD == ExitCode::INVD.0;
    GHCB_RS_SVM_EXIT_PAUSE == ExitCode::PAUSE.0;
    GHCB_RS_SVM_EXIT_HLT == ExitCode::HLT.0;
    GHCB_RS_SVM_EXIT_INVLPG == ExitCode::INVLPG.0;
    GHCB_RS_SVM_EXIT_INVLPGA == ExitCode::INVLPGA.0;
    GHCB_RS_SVM_EXIT_IOIO == ExitCode::IOIO.0;
    GHCB_RS_SVM_EXIT_MSR == ExitCode::MSR.0;
    GHCB_RS_SVM_EXIT_TASK_SWITCH == ExitCode::TASK_SWITCH.0;
    GHCB_RS_SVM_EXIT_FERR_FREEZE == ExitCode::FERR_FREEZE.0;
    GHCB_RS_SVM_EXIT_SHUTDOWN == ExitCode::SHUTDOWN.0;
    GHCB_RS_SVM_EXIT_VMRUN == ExitCode::VMRUN.0;
    GHCB_RS_SVM_EXIT_VMMCALL == ExitCode::VMMCALL.0;
    GHCB_RS_SVM_EXIT_VMLOAD == ExitCode::VMLOAD.0;
    GHCB_RS_SVM_EXIT_VMSAVE == ExitCode::VMSAVE.0;
    GHCB_RS_SVM_EXIT_STGI == ExitCode::STGI.0;
    GHCB_RS_SVM_EXIT_CLGI == ExitCode::CLGI.0;
    GHCB_RS_SVM_EXIT_SKINIT == ExitCode::SKINIT.0;
    GHCB_RS_SVM_EXIT_RDTSCP == ExitCode::RDTSCP.0;
    GHCB_RS_SVM_EXIT_ICEBP == ExitCode::ICEBP.0;
    GHCB_RS_SVM_EXIT_WBINVD == ExitCode::WBINVD.0;
    GHCB_RS_SVM_EXIT_MONITOR == ExitCode::MONITOR.0;
    GHCB_RS_SVM_EXIT_MWAIT == ExitCode::MWAIT.0;
    GHCB_RS_SVM_EXIT_MWAIT_COND == ExitCode::MWAIT_COND.0;
    GHCB_RS_SVM_EXIT_XSETBV == ExitCode::XSETBV.0;
    GHCB_RS_SVM_EXIT_RDPRU == ExitCode::RDPRU.0;
    GHCB_RS_SVM_EXIT_EFER_WRITE_TRAP == ExitCode::EFER_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR0_WRITE_TRAP == ExitCode::CR0_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR1_WRITE_TRAP == ExitCode::CR1_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR2_WRITE_TRAP == ExitCode::CR2_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR3_WRITE_TRAP == ExitCode::CR3_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR4_WRITE_TRAP == ExitCode::CR4_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR5_WRITE_TRAP == ExitCode::CR5_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR6_WRITE_TRAP == ExitCode::CR6_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR7_WRITE_TRAP == ExitCode::CR7_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR8_WRITE_TRAP == ExitCode::CR8_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR9_WRITE_TRAP == ExitCode::CR9_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR10_WRITE_TRAP == ExitCode::CR10_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR11_WRITE_TRAP == ExitCode::CR11_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR12_WRITE_TRAP == ExitCode::CR12_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR13_WRITE_TRAP == ExitCode::CR13_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR14_WRITE_TRAP == ExitCode::CR14_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_CR15_WRITE_TRAP == ExitCode::CR15_WRITE_TRAP.0;
    GHCB_RS_SVM_EXIT_INVPCID == ExitCode::INVPCID.0;
    GHCB_RS_SVM_EXIT_BUS_LOCK == ExitCode::BUS_LOCK.0;
    GHCB_RS_SVM_EXIT_IDLE_HLT == ExitCode::IDLE_HLT.0;
    GHCB_RS_SVM_EXIT_NPF == ExitCode::NPF.0;
    GHCB_RS_SVM_EXIT_AVIC_INCOMPLETE_IPI == ExitCode::AVIC_INCOMPLETE_IPI.0;
    GHCB_RS_SVM_EXIT_AVIC_UNACCELERATED_ACCESS == ExitCode::AVIC_UNACCELERATED_ACCESS.0;
    GHCB_RS_SVM_EXIT_VMGEXIT == ExitCode::VMGEXIT.0;
    GHCB_RS_SVM_VMGEXIT_MMIO_READ == ExitCode::MMIO_READ.0;
    GHCB_RS_SVM_VMGEXIT_MMIO_WRITE == ExitCode::MMIO_WRITE.0;
    GHCB_RS_SVM_VMGEXIT_NMI_COMPLETE == ExitCode::NMI_COMPLETE.0;
    GHCB_RS_SVM_VMGEXIT_AP_HLT_LOOP == ExitCode::AP_RESET_HOLD.0;
    GHCB_RS_SVM_VMGEXIT_AP_JUMP_TABLE == ExitCode::AP_JUMP_TABLE.0;
    GHCB_RS_SVM_VMGEXIT_SET_AP_JUMP_TABLE == JumpTableOperation::SET.0;
    GHCB_RS_SVM_VMGEXIT_GET_AP_JUMP_TABLE == JumpTableOperation::GET.0;
    GHCB_RS_SVM_VMGEXIT_PSC == ExitCode::PAGE_STATE_CHANGE.0;
    GHCB_RS_SVM_VMGEXIT_GUEST_REQUEST == ExitCode::GUEST_REQUEST.0;
    GHCB_RS_SVM_VMGEXIT_EXT_GUEST_REQUEST == ExitCode::EXT_GUEST_REQUEST.0;
    GHCB_RS_SVM_VMGEXIT_AP_CREATION == ExitCode::AP_CREATION.0;
    GHCB_RS_SVM_VMGEXIT_AP_CREATE_ON_INIT == ApOperation::CREATE_ON_INIT.0 as u64;
    GHCB_RS_SVM_VMGEXIT_AP_CREATE == ApOperation::CREATE.0 as u64;
    GHCB_RS_SVM_VMGEXIT_AP_DESTROY == ApOperation::DESTROY.0 as u64;
    GHCB_RS_SVM_VMGEXIT_SNP_RUN_VMPL == ExitCode::RUN_VMPL.0;
    GHCB_RS_SVM_VMGEXIT_SAVIC == ExitCode::SECURE_AVIC.0;
    GHCB_RS_SVM_VMGEXIT_SAVIC_REGISTER_GPA == SecureAvicOperation::REGISTER_GPA.0;
    GHCB_RS_SVM_VMGEXIT_SAVIC_UNREGISTER_GPA == SecureAvicOperation::UNREGISTER_GPA.0;
    GHCB_RS_SVM_VMGEXIT_SAVIC_SELF_GPA == secure_avic::SELF;
    GHCB_RS_SVM_VMGEXIT_HV_FEATURES == ExitCode::HV_FEATURES.0;
    GHCB_RS_SVM_VMGEXIT_TERM_REQUEST == ExitCode::TERMINATE.0;
    GHCB_RS_SVM_VMGEXIT_UNSUPPORTED_EVENT == ExitCode::UNSUPPORTED_EVENT.0;
    GHCB_RS_SVM_EXIT_SW == ExitCode::SW.0;
    GHCB_RS_SVM_EXIT_ERR == ExitCode::ERR.0;
    GHCB_RS_SVM_VMGEXIT_TERM_REASON == TERMINATION.to_info1();
}
