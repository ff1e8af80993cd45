// SPDX-License-Identifier: GPL-2.0

//! Shows what `ghcb_rs` answers, and for which guests, from the files that it has in debugfs.
//!
//! | file | what is in it |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`table`] | the module's files are tables |
//! | [`snapshot`] | all of them at one moment |
//! | [`names`] | what QEMU or libvirt call a guest |
//! | [`rates`] | what happened between two moments |
//! | [`screen`] | the live table |
//! | [`live`] | the terminal, and time |
//! | [`text`] | the same as plain text |
//! | [`prometheus`] | the same in OpenMetrics |
//! | [`failures`] | the ring of requests that were refused, in sentences |
//! | [`recording`] | snapshots in a file |

pub mod cli;
pub mod failures;
pub mod live;
pub mod names;
pub mod prometheus;
pub mod rates;
pub mod recording;
pub mod screen;
pub mod snapshot;
pub mod table;
pub mod text;
