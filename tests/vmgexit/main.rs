// SPDX-License-Identifier: GPL-2.0

//! Tests of the handling path on a scripted vCPU: every event with its fields, every refusal, every way
//! in which an exit may end.

// A test fails by panicking.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used
)]

#[path = "../support/mod.rs"]
mod support;

mod replies;

mod between_exits;
mod buffers;
mod complaints;
mod differential;
mod handover;
mod instructions;
mod judge;
mod kinds;
mod msr_protocol;
mod port_io;
mod properties;
mod refusals;
mod snp;
mod system;
mod way_out;
