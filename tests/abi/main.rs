// SPDX-License-Identifier: GPL-2.0

//! Host-side tests of `ghcb_abi`: against the numbers of the protocol, against independent models, and
//! against pages that change between any two reads.

// A test fails by panicking.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used
)]

mod pages;

mod bitmap;
mod exit_code;
mod fields;
mod guest;
mod io;
mod msr;
mod operands;
mod reply;
mod roundtrip;
mod scratch;
mod snapshot;
