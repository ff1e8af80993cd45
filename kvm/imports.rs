// SPDX-License-Identifier: GPL-2.0

//! Functions and data of the kernel, kvm.ko and kvm-amd.ko that are not exported, or not to this module. What is used,
//! and in which way, is said here, once; how it is reached, in [`relocation`](super::relocation).
//!
//! Each function, but for those of `vmlinux`, is to be called only while kvm_amd is loaded, that is, from a function that
//! replaces one of kvm_amd's or from a livepatch callback. Prototypes are those of `arch/x86/kvm/svm/`, `arch/x86/kvm/x86.h`,
//! `include/linux/kvm_host.h` and `arch/x86/kvm/trace.h`; `scripts/kvm-prototypes` proves them, and the sizes of variables,
//! against the kernel's modules.

use super::{
    bindings::{file, ghcb, kvm, kvm_host_map, kvm_memory_slot, kvm_vcpu},
    relocation::{called, klp_section, klp_symbol, replaced, slot, trampoline, variables},
};
use kernel::ffi::{c_int, c_uint, c_ulong, c_void};

/// Bytes of a traced C function that the functions named `c_*` here skip, so that
/// they reach the C function although it is replaced: ENDBR64, and the five bytes that ftrace owns.
#[expect(dead_code, reason = "assembly takes literals alone")]
pub(crate) const ENTRY_LENGTH: usize = 9;

/// Offset of the five bytes that ftrace owns, from the start of the function.
pub(crate) const FENTRY_OFFSET: usize = 4;

replaced! {
    kvm_amd {
        fn sev_handle_vmgexit(vcpu: *mut kvm_vcpu) -> c_int;
        fn svm_complete_emulated_msr(vcpu: *mut kvm_vcpu, error: c_int) -> c_int;
        fn sev_free_vcpu(vcpu: *mut kvm_vcpu);
        fn snp_complete_one_psc(vcpu: *mut kvm_vcpu) -> c_int;
        fn snp_complete_req_certs(vcpu: *mut kvm_vcpu) -> c_int;
        fn sev_hardware_unsetup();
    }
    kvm {
        fn complete_sev_es_emulated_mmio(vcpu: *mut kvm_vcpu) -> c_int;
        fn complete_sev_es_emulated_ins(vcpu: *mut kvm_vcpu) -> c_int;
        fn complete_sev_es_emulated_outs(vcpu: *mut kvm_vcpu) -> c_int;
    }
}

called! {
    vmlinux {
        fn ftrace_is_dead() -> c_int;
    }
    kvm_amd {
        fn svm_invoke_exit_handler(vcpu: *mut kvm_vcpu, exit_code: u64) -> c_int;
    }
    kvm {
        fn kvm_vcpu_gfn_to_memslot(vcpu: *mut kvm_vcpu, gfn: u64) -> *mut kvm_memory_slot;
        fn mark_page_dirty_in_slot(kvm: *mut kvm, slot: *const kvm_memory_slot, gfn: u64);
        fn __kvm_vcpu_map(vcpu: *mut kvm_vcpu, gfn: u64, map: *mut kvm_host_map, writable: bool) -> c_int;
        fn kvm_read_guest(kvm: *mut kvm, gpa: u64, data: *mut c_void, len: c_ulong) -> c_int;
        fn kvm_write_guest(kvm: *mut kvm, gpa: u64, data: *const c_void, len: c_ulong) -> c_int;
        fn kvm_clear_guest(kvm: *mut kvm, gpa: u64, len: c_ulong) -> c_int;
        fn __kvm_vcpu_kick(vcpu: *mut kvm_vcpu, wait: bool);
        fn kvm_emulate_cpuid(vcpu: *mut kvm_vcpu) -> c_int;
        fn kvm_emulate_rdmsr(vcpu: *mut kvm_vcpu) -> c_int;
        fn kvm_emulate_wrmsr(vcpu: *mut kvm_vcpu) -> c_int;
        fn kvm_emulate_hypercall(vcpu: *mut kvm_vcpu) -> c_int;
        fn kvm_sev_es_mmio(vcpu: *mut kvm_vcpu, is_write: bool, gpa: u64, bytes: c_uint, data: *mut c_void) -> c_int;
        fn kvm_sev_es_string_io(
            vcpu: *mut kvm_vcpu, size: c_uint, port: c_uint, data: *mut c_void, count: c_uint, is_in: c_int,
        ) -> c_int;
        fn kvm_fast_pio(vcpu: *mut kvm_vcpu, size: c_int, port: u16, is_in: c_int) -> c_int;
        fn kvm_emulate_ap_reset_hold(vcpu: *mut kvm_vcpu) -> c_int;
        fn __kvm_set_xcr(vcpu: *mut kvm_vcpu, index: u32, value: u64) -> c_int;
        fn __kvm_emulate_msr_write(vcpu: *mut kvm_vcpu, index: u32, value: u64) -> c_int;
        fn kvm_read_l1_tsc(vcpu: *mut kvm_vcpu, host_tsc: u64) -> u64;
        fn __traceiter_kvm_vmgexit_enter(data: *mut c_void, vcpu_id: c_uint, page: *mut ghcb) -> c_int;
        fn __traceiter_kvm_vmgexit_exit(data: *mut c_void, vcpu_id: c_uint, page: *mut ghcb) -> c_int;
        fn __traceiter_kvm_vmgexit_msr_protocol_enter(data: *mut c_void, vcpu_id: c_uint, msr: u64) -> c_int;
        fn __traceiter_kvm_vmgexit_msr_protocol_exit(
            data: *mut c_void, vcpu_id: c_uint, msr: u64, result: c_int,
        ) -> c_int;
    }
    ccp {
        fn sev_issue_cmd_external_user(
            file: *mut file, command: c_uint, data: *mut c_void, status: *mut c_int,
        ) -> c_int;
    }
}

variables! {
    vmlinux {
        ftrace_enabled: i32;
        vmlinux_build_id: [u8; 20];
    }
    kvm_amd {
        // Code: KVM is given its address.
        snp_complete_psc_msr: u8;
        sev_enc_bit: u8;
        dump_invalid_vmcb: bool;
    }
    kvm {
        kvm_lock: mutex;
        vm_list: list_head;
        __this_module: module;
        __tracepoint_kvm_vmgexit_enter: tracepoint;
        __tracepoint_kvm_vmgexit_exit: tracepoint;
        __tracepoint_kvm_vmgexit_msr_protocol_enter: tracepoint;
        __tracepoint_kvm_vmgexit_msr_protocol_exit: tracepoint;
    }
}
