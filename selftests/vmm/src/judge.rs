// SPDX-License-Identifier: GPL-2.0
//! What an outcome has to be.

pub mod check;
pub mod compare;
mod compare_snp;
pub mod difference;
pub mod in_guest;
pub mod page_list;
pub mod permit;
pub mod replies;
