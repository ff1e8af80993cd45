// SPDX-License-Identifier: GPL-2.0

//! A host to run the handling path on, and a guest's page that need not hold still.
//!
//! For the tests of `vmgexit` and for its fuzz target, each of which uses a part.

#![allow(dead_code, unreachable_pub)]

pub mod case;
pub mod differential;
pub mod emulator;
pub mod host;
pub mod memory;
pub mod page;
pub mod snp;
pub mod waiting;

pub use host::{Call, Host, GPA};
