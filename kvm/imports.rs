// SPDX-License-Identifier: GPL-2.0

//! Functions and data of kvm.ko and kvm-amd.ko that are not exported, or not to this module. What is used,
//! and in which way, is said here; how it is reached, in [`relocation`](super::relocation).

use super::{
    bindings::{kvm, kvm_host_map, kvm_memory_slot, kvm_vcpu, vcpu_svm},
    relocation::{addresses, functions},
};
use kernel::ffi::{c_int, c_uint, c_ulong, c_void};

/// Bytes of a traced C function that the functions named `c_*` here skip, so that
/// they reach the C function although it is replaced: ENDBR64, and the five bytes that ftrace owns.
#[expect(dead_code, reason = "assembly below takes literals alone")]
pub(crate) const ENTRY_LENGTH: usize = 9;

/// Offset of the five bytes that ftrace owns, from the start of the function.
pub(crate) const FENTRY_OFFSET: usize = 4;

functions! {
    "kvm_amd" "sev_handle_vmgexit" as "ghcb_rs_c_sev_handle_vmgexit", 9;
    "kvm_amd" "sev_es_unmap_ghcb" as "ghcb_rs_c_sev_es_unmap_ghcb", 9;
    "kvm_amd" "sev_vcpu_needs_initialization" as "ghcb_rs_c_sev_vcpu_needs_initialization", 9;
    "kvm_amd" "svm_complete_emulated_msr" as "ghcb_rs_c_svm_complete_emulated_msr", 9;
    "kvm_amd" "sev_hardware_unsetup" as "ghcb_rs_c_sev_hardware_unsetup", 9;
    "kvm_amd" "svm_invoke_exit_handler" as "ghcb_rs_svm_invoke_exit_handler", 0;
    "kvm" "kvm_vcpu_gfn_to_memslot" as "ghcb_rs_kvm_vcpu_gfn_to_memslot", 0;
    "kvm" "mark_page_dirty_in_slot" as "ghcb_rs_mark_page_dirty_in_slot", 0;
    "kvm" "__kvm_vcpu_map" as "ghcb_rs_kvm_vcpu_map", 0;
    "kvm" "kvm_vcpu_unmap" as "ghcb_rs_kvm_vcpu_unmap", 0;
    "kvm" "kvm_read_guest" as "ghcb_rs_kvm_read_guest", 0;
    "kvm" "kvm_write_guest" as "ghcb_rs_kvm_write_guest", 0;
    "kvm" "kvm_sev_es_mmio" as "ghcb_rs_kvm_sev_es_mmio", 0;
    "kvm" "kvm_sev_es_string_io" as "ghcb_rs_kvm_sev_es_string_io", 0;
    "kvm" "kvm_fast_pio" as "ghcb_rs_kvm_fast_pio", 0;
    "kvm" "kvm_emulate_ap_reset_hold" as "ghcb_rs_kvm_emulate_ap_reset_hold", 0;
    "kvm" "__kvm_set_xcr" as "ghcb_rs_kvm_set_xcr", 0;
    "kvm" "__kvm_emulate_msr_write" as "ghcb_rs_kvm_emulate_msr_write", 0;
    "kvm" "kvm_read_l1_tsc" as "ghcb_rs_kvm_read_l1_tsc", 0;
    "kvm" "__traceiter_kvm_vmgexit_enter" as "ghcb_rs_traceiter_enter", 0;
    "kvm" "__traceiter_kvm_vmgexit_exit" as "ghcb_rs_traceiter_exit", 0;
    "kvm" "__traceiter_kvm_vmgexit_msr_protocol_enter" as "ghcb_rs_traceiter_msr_enter", 0;
    "kvm" "__traceiter_kvm_vmgexit_msr_protocol_exit" as "ghcb_rs_traceiter_msr_exit", 0;
}

addresses! {
    "kvm_amd" "sev_handle_vmgexit" as "ghcb_rs_addr_sev_handle_vmgexit";
    "kvm_amd" "sev_es_unmap_ghcb" as "ghcb_rs_addr_sev_es_unmap_ghcb";
    "kvm_amd" "sev_vcpu_needs_initialization" as "ghcb_rs_addr_sev_vcpu_needs_initialization";
    "kvm_amd" "svm_complete_emulated_msr" as "ghcb_rs_addr_svm_complete_emulated_msr";
    "kvm_amd" "sev_enc_bit" as "ghcb_rs_addr_sev_enc_bit";
    "kvm_amd" "dump_invalid_vmcb" as "ghcb_rs_addr_dump_invalid_vmcb";
    "kvm" "kvm_lock" as "ghcb_rs_addr_kvm_lock";
    "kvm" "vm_list" as "ghcb_rs_addr_vm_list";
    "kvm" "__tracepoint_kvm_vmgexit_enter" as "ghcb_rs_addr_tp_enter";
    "kvm" "__tracepoint_kvm_vmgexit_exit" as "ghcb_rs_addr_tp_exit";
    "kvm" "__tracepoint_kvm_vmgexit_msr_protocol_enter" as "ghcb_rs_addr_tp_msr_enter";
    "kvm" "__tracepoint_kvm_vmgexit_msr_protocol_exit" as "ghcb_rs_addr_tp_msr_exit";
}

#[expect(
    improper_ctypes,
    reason = "KVM's structures hold empty ones, which C never passes by value"
)]
// Prototypes are those of arch/x86/kvm/svm/svm.h, arch/x86/kvm/x86.h, include/linux/kvm_host.h and
// arch/x86/kvm/trace.h. Each is to be called only while kvm_amd is loaded, that is, from a function
// that replaces one of kvm_amd's or from a livepatch callback.
extern "C" {
    #[link_name = "ghcb_rs_c_sev_handle_vmgexit"]
    pub(crate) fn c_sev_handle_vmgexit(vcpu: *mut kvm_vcpu) -> c_int;
    #[link_name = "ghcb_rs_c_sev_es_unmap_ghcb"]
    pub(crate) fn c_sev_es_unmap_ghcb(svm: *mut vcpu_svm);
    #[link_name = "ghcb_rs_c_sev_vcpu_needs_initialization"]
    pub(crate) fn c_sev_vcpu_needs_initialization(vcpu: *mut kvm_vcpu) -> bool;
    #[link_name = "ghcb_rs_c_svm_complete_emulated_msr"]
    pub(crate) fn c_svm_complete_emulated_msr(vcpu: *mut kvm_vcpu, error: c_int) -> c_int;
    #[link_name = "ghcb_rs_c_sev_hardware_unsetup"]
    pub(crate) fn c_sev_hardware_unsetup();
    #[link_name = "ghcb_rs_svm_invoke_exit_handler"]
    pub(super) fn svm_invoke_exit_handler(vcpu: *mut kvm_vcpu, exit_code: u64) -> c_int;
    #[link_name = "ghcb_rs_kvm_vcpu_gfn_to_memslot"]
    pub(super) fn kvm_vcpu_gfn_to_memslot(vcpu: *mut kvm_vcpu, gfn: u64) -> *mut kvm_memory_slot;
    #[link_name = "ghcb_rs_mark_page_dirty_in_slot"]
    pub(super) fn mark_page_dirty_in_slot(kvm: *mut kvm, slot: *const kvm_memory_slot, gfn: u64);
    #[link_name = "ghcb_rs_kvm_vcpu_map"]
    pub(super) fn kvm_vcpu_map(
        vcpu: *mut kvm_vcpu,
        gfn: u64,
        map: *mut kvm_host_map,
        writable: bool,
    ) -> c_int;
    #[link_name = "ghcb_rs_kvm_vcpu_unmap"]
    pub(super) fn kvm_vcpu_unmap(vcpu: *mut kvm_vcpu, map: *mut kvm_host_map);
    #[link_name = "ghcb_rs_kvm_read_guest"]
    pub(super) fn kvm_read_guest(kvm: *mut kvm, gpa: u64, data: *mut c_void, len: c_ulong)
        -> c_int;
    #[link_name = "ghcb_rs_kvm_write_guest"]
    pub(super) fn kvm_write_guest(
        kvm: *mut kvm,
        gpa: u64,
        data: *const c_void,
        len: c_ulong,
    ) -> c_int;
    #[link_name = "ghcb_rs_kvm_sev_es_mmio"]
    pub(super) fn kvm_sev_es_mmio(
        vcpu: *mut kvm_vcpu,
        is_write: bool,
        gpa: u64,
        bytes: c_uint,
        data: *mut c_void,
    ) -> c_int;
    #[link_name = "ghcb_rs_kvm_sev_es_string_io"]
    pub(super) fn kvm_sev_es_string_io(
        vcpu: *mut kvm_vcpu,
        size: c_uint,
        port: c_uint,
        data: *mut c_void,
        count: c_uint,
        is_in: c_int,
    ) -> c_int;
    #[link_name = "ghcb_rs_kvm_fast_pio"]
    pub(super) fn kvm_fast_pio(vcpu: *mut kvm_vcpu, size: c_int, port: u16, is_in: c_int) -> c_int;
    #[link_name = "ghcb_rs_kvm_emulate_ap_reset_hold"]
    pub(super) fn kvm_emulate_ap_reset_hold(vcpu: *mut kvm_vcpu) -> c_int;
    #[link_name = "ghcb_rs_kvm_set_xcr"]
    pub(super) fn kvm_set_xcr(vcpu: *mut kvm_vcpu, index: u32, value: u64) -> c_int;
    #[link_name = "ghcb_rs_kvm_emulate_msr_write"]
    pub(super) fn kvm_emulate_msr_write(vcpu: *mut kvm_vcpu, index: u32, value: u64) -> c_int;
    #[link_name = "ghcb_rs_kvm_read_l1_tsc"]
    pub(super) fn kvm_read_l1_tsc(vcpu: *mut kvm_vcpu, host_tsc: u64) -> u64;
    #[link_name = "ghcb_rs_traceiter_enter"]
    pub(super) fn traceiter_enter(data: *mut c_void, vcpu_id: c_uint, ghcb: *const c_void)
        -> c_int;
    #[link_name = "ghcb_rs_traceiter_exit"]
    pub(super) fn traceiter_exit(data: *mut c_void, vcpu_id: c_uint, ghcb: *const c_void) -> c_int;
    #[link_name = "ghcb_rs_traceiter_msr_enter"]
    pub(super) fn traceiter_msr_enter(data: *mut c_void, vcpu_id: c_uint, msr: u64) -> c_int;
    #[link_name = "ghcb_rs_traceiter_msr_exit"]
    pub(super) fn traceiter_msr_exit(
        data: *mut c_void,
        vcpu_id: c_uint,
        msr: u64,
        result: c_int,
    ) -> c_int;
}

/// Addresses that the livepatch loader fills in when kvm_amd is loaded, and clears when it goes.
#[expect(
    improper_ctypes,
    reason = "KVM's structures hold empty ones, which C never passes by value"
)]
pub(crate) mod address {
    use super::super::bindings::{list_head, mutex, tracepoint};

    extern "C" {
        #[link_name = "ghcb_rs_addr_sev_handle_vmgexit"]
        pub(crate) static SEV_HANDLE_VMGEXIT: *const u8;
        #[link_name = "ghcb_rs_addr_sev_es_unmap_ghcb"]
        pub(crate) static SEV_ES_UNMAP_GHCB: *const u8;
        #[link_name = "ghcb_rs_addr_sev_vcpu_needs_initialization"]
        pub(crate) static SEV_VCPU_NEEDS_INITIALIZATION: *const u8;
        #[link_name = "ghcb_rs_addr_svm_complete_emulated_msr"]
        pub(crate) static SVM_COMPLETE_EMULATED_MSR: *const u8;
        #[link_name = "ghcb_rs_addr_kvm_lock"]
        pub(crate) static KVM_LOCK: *mut mutex;
        #[link_name = "ghcb_rs_addr_vm_list"]
        pub(crate) static VM_LIST: *mut list_head;
        #[link_name = "ghcb_rs_addr_sev_enc_bit"]
        pub(crate) static SEV_ENC_BIT: *const u8;
        #[link_name = "ghcb_rs_addr_dump_invalid_vmcb"]
        pub(crate) static DUMP_INVALID_VMCB: *const bool;
        #[link_name = "ghcb_rs_addr_tp_enter"]
        pub(crate) static TRACEPOINT_ENTER: *const tracepoint;
        #[link_name = "ghcb_rs_addr_tp_exit"]
        pub(crate) static TRACEPOINT_EXIT: *const tracepoint;
        #[link_name = "ghcb_rs_addr_tp_msr_enter"]
        pub(crate) static TRACEPOINT_MSR_ENTER: *const tracepoint;
        #[link_name = "ghcb_rs_addr_tp_msr_exit"]
        pub(crate) static TRACEPOINT_MSR_EXIT: *const tracepoint;
    }
}
