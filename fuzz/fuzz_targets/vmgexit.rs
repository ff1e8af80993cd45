// SPDX-License-Identifier: GPL-2.0

//! The whole handling path, of guests with SEV-SNP and without, on a page that another vCPU rewrites between any two accesses, with whatever
//! KVM makes of what it is asked: see `Case::check()` for what must hold.

#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use support::case::Case;

fuzz_target!(|input: &[u8]| {
    Case::of_any_guest(input).check();
});
