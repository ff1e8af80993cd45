// SPDX-License-Identifier: GPL-2.0

//! The parts of `ghcb_rs` that know no kernel, as a crate for guests, VMMs and host-side tests.
//!
//! The same files are modules of `ghcb_rs.ko`; `crate::ghcb_abi` names them in both.

#![no_std]

pub mod ghcb_abi;
pub mod vmgexit;
