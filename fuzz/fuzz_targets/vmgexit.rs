// SPDX-License-Identifier: GPL-2.0

//! The whole handling path, of guests with SEV-SNP and without, on a page that another vCPU rewrites between any two
//! accesses, with whatever KVM makes of what it is asked: see `Case::check()` for what must hold. And on a page that holds
//! still, beside the model of KVM's C handler.

#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use support::{
    case::Case,
    differential::{compare, fair},
};

fuzz_target!(|input: &[u8]| {
    let case = Case::of_any_guest(input);
    case.check();
    compare(&fair(case), &mut BTreeMap::new());
});
