// SPDX-License-Identifier: GPL-2.0
//! AP creation: requests that are legal but for what a test changes.

use crate::exchange::request::Request;
use ghcb_rs::ghcb_abi::ap::{ApCreation, ApOperation};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::page::Field;

/// The features of the VMs: SEV-SNP alone.
pub const FEATURES: u64 = 1;

/// What is asked of the vCPU with this APIC ID.
pub fn info(operation: ApOperation, apic_id: u32) -> ApCreation {
    ApCreation {
        operation,
        vmpl: 0,
        reserved: 0,
        apic_id,
    }
}

/// The request for it, with a VMSA.
pub fn request(info: ApCreation, vmsa: u64) -> Request {
    Request::new(ExitCode::AP_CREATION, info.encode(), vmsa).with(Field::Rax, FEATURES)
}
