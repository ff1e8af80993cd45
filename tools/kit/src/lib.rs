// SPDX-License-Identifier: GPL-2.0

//! The kit: `ghcb_rs` tried on a host, the harmless first, with nothing left behind.
//!
//! | file | what is in it |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`folder`] | what lies in the kit |
//! | [`facts`] | what the host is, and who else uses it |
//! | [`plan`] | the phases, in their order |
//! | [`run`] | carries the plan out, and stops at the first sign of trouble |
//! | [`stand`] | how the host was, and how it gets there again |
//! | [`counters`] | what the module has counted |
//! | [`ktap`] | what test programs say |
//! | [`report`] | what came of it |
//! | [`anonymous`] | takes out what names the machine |
//! | [`compare`] | how one report differs from another, and what that means |

pub mod anonymous;
pub mod cli;
pub mod compare;
pub mod counters;
pub mod facts;
pub mod folder;
pub mod ktap;
pub mod plan;
pub mod report;
pub mod run;
pub mod stand;
