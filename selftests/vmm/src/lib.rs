// SPDX-License-Identifier: GPL-2.0
//! A VMM for test guests with SEV-ES or SEV-SNP, and what the test programs share.

pub mod backing;
pub mod exchange;
pub mod hostile;
pub mod judge;
pub mod kernel;
pub mod launch;
pub mod lifecycle;
pub mod report;
