// SPDX-License-Identifier: GPL-2.0
//! What a test program says, and how it ends.

pub mod ktap;
pub mod times;
