// SPDX-License-Identifier: GPL-2.0

// The crate's root. The kernel module has `../ghcb_abi.rs` in its place, with the same modules.
#![doc = include_str!("README.md")]
#![no_std]
#![forbid(unsafe_code)]

mod open;

pub mod ap;
pub mod apic_ids;
pub mod bitmap;
pub mod doorbell;
pub mod event;
pub mod exit_code;
pub mod exit_info;
pub mod features;
pub mod guest;
pub mod guest_request;
pub mod ioio;
pub mod mmio;
pub mod msr;
pub mod page;
pub mod psc;
pub mod reply;
pub mod scratch;
pub mod secure_avic;
pub mod snapshot;
pub mod terminate;
pub mod tio;
pub mod version;
