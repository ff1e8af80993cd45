// SPDX-License-Identifier: GPL-2.0

//! Whether a host is ready for `ghcb_rs`: each precondition, as the module itself judges it, and what to do.
//!
//! | file | what is in it |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`host`] | the host that is looked at: this one, or one whose files were saved |
//! | [`module`] | the `ghcb_rs.ko` that would be loaded, and what it was made for |
//! | [`check`] | the preconditions, a file for each subject |
//! | [`report`] | what was found, for people and for programs |

pub mod build_id;
pub mod check;
pub mod cli;
pub mod host;
pub mod module;
pub mod packed;
pub mod report;
