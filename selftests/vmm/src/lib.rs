// SPDX-License-Identifier: GPL-2.0
//! A VMM for SEV-ES test guests, and what the test programs share.

pub mod backing;
pub mod balance;
pub mod bpf;
mod btf;
pub mod catalog;
pub mod check;
pub mod checks;
pub mod child;
pub mod compare;
pub mod crew;
pub mod difference;
pub mod exit;
pub mod handler;
pub mod host;
pub mod hostile;
pub mod image;
pub mod ktap;
pub mod kvm_amd;
pub mod lifecycle;
pub mod memory;
pub mod neighbour;
pub mod page;
pub mod paging;
pub mod race;
pub mod replies;
pub mod request;
pub mod scratch;
pub mod settings;
pub mod sev;
pub mod steps;
pub mod tracing;
pub mod uffd;
pub mod userspace;
pub mod vm;
pub mod watchdog;
