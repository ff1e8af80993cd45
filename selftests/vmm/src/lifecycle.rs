// SPDX-License-Identifier: GPL-2.0
//! The module's life under guests: guests that notice any change of handler, VMMs that are killed, and how long it took.

pub mod load;
pub mod victim;
