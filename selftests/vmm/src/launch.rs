// SPDX-License-Identifier: GPL-2.0
//! Launch of a guest: memory, page tables, encryption, vCPUs, and the threads that run them.

pub mod crew;
pub mod image;
pub mod kind;
pub mod memory;
pub mod page_states;
pub mod paging;
pub mod sev;
pub mod snp;
pub mod successor;
pub mod vm;
pub mod watchdog;
