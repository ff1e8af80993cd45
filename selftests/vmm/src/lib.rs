// SPDX-License-Identifier: GPL-2.0
//! A VMM for SEV-ES test guests, and what the test programs share.

pub mod catalog;
pub mod check;
pub mod checks;
pub mod compare;
pub mod crew;
pub mod difference;
pub mod exit;
pub mod handler;
pub mod host;
pub mod hostile;
pub mod image;
pub mod ktap;
pub mod page;
pub mod paging;
pub mod race;
pub mod request;
pub mod scratch;
pub mod sev;
pub mod steps;
pub mod vm;
pub mod watchdog;
