// SPDX-License-Identifier: GPL-2.0

//! What bindgen makes of KVM's private headers and of the kernel's livepatch interface.
//!
//! Not to be used outside the `kvm` and `livepatch` rooms. The compiler checks every offset and size
//! against clang's view of the headers, and `scripts/kvm-layout` those against the BTF of the modules.

#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unknown_lints,
    unnecessary_transmutes,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

use kernel::ffi;

type __kernel_size_t = usize;
type __kernel_ssize_t = isize;
type __kernel_ptrdiff_t = isize;

include!(env!("GHCB_RS_BINDINGS"));
