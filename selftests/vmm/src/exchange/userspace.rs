// SPDX-License-Identifier: GPL-2.0
//! What KVM leaves to userspace if it is asked to: MSR accesses and hypercalls.

use crate::exchange::request::Request;
use anyhow::{ensure, Context, Result};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::page::Field;
use kvm_bindings::{
    kvm_enable_cap, kvm_msr_filter, kvm_msr_filter_range, KVMIO, KVM_CAP_EXIT_HYPERCALL,
    KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_FILTER_READ, KVM_MSR_FILTER_WRITE,
};
pub use kvm_bindings::{KVM_MSR_EXIT_REASON_FILTER, KVM_MSR_EXIT_REASON_UNKNOWN};
use kvm_ioctls::VmFd;
use mailbox::map;
use std::io::Error;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::{ioctl_ioc_nr, ioctl_iow_nr};

ioctl_iow_nr!(KVM_X86_SET_MSR_FILTER, KVMIO, 0xc6, kvm_msr_filter);

/// `KVM_HC_MAP_GPA_RANGE`: the guest shares pages, or makes them private. The only hypercall that can be left.
pub const MAP_GPA_RANGE: u64 = 12;

/// Leave hypercalls to userspace.
pub fn leave_hypercalls(vm: &VmFd) -> Result<()> {
    let cap = kvm_enable_cap {
        cap: KVM_CAP_EXIT_HYPERCALL,
        args: [1 << MAP_GPA_RANGE, 0, 0, 0],
        ..Default::default()
    };
    vm.enable_cap(&cap).context("KVM_CAP_EXIT_HYPERCALL")
}

/// The hypercall that shares `pages` pages of scratch memory; nobody looks at the attributes.
pub fn map_gpa_range(pages: u64) -> Request {
    Request::new(ExitCode::VMMCALL, 0, 0)
        .with(Field::Rax, MAP_GPA_RANGE)
        .with(Field::Rbx, map::SCRATCH)
        .with(Field::Rcx, pages)
        .with(Field::Rdx, 0)
        .with(Field::Cpl, 0)
}

/// Leave `count` MSRs from `base` to userspace, at most eight, and those that KVM does not know.
pub fn leave_msrs(vm: &VmFd, base: u32, count: u32) -> Result<()> {
    let reasons = KVM_MSR_EXIT_REASON_FILTER | KVM_MSR_EXIT_REASON_UNKNOWN;
    let cap = kvm_enable_cap {
        cap: KVM_CAP_X86_USER_SPACE_MSR,
        args: [u64::from(reasons), 0, 0, 0],
        ..Default::default()
    };
    vm.enable_cap(&cap).context("KVM_CAP_X86_USER_SPACE_MSR")?;
    // Clear bits are denied, all else is allowed.
    let mut denied = [0u8; 1];
    let mut filter = kvm_msr_filter::default();
    filter.ranges[0] = kvm_msr_filter_range {
        flags: KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
        nmsrs: count.min(8),
        base,
        bitmap: denied.as_mut_ptr(),
    };
    // SAFETY: KVM copies the structure, and a byte of the bitmap, which lives as long as the call.
    let status = unsafe { ioctl_with_ref(vm, KVM_X86_SET_MSR_FILTER(), &filter) };
    ensure!(
        status == 0,
        "KVM_X86_SET_MSR_FILTER: {}",
        Error::last_os_error()
    );
    Ok(())
}
