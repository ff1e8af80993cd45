// SPDX-License-Identifier: GPL-2.0
//! What guest and host exchange: requests and replies, the page that carries them, exits to userspace.

pub mod ap_creation;
pub mod catalog;
pub mod device;
pub mod exit;
pub mod guest_request;
pub mod page_image;
pub mod page_list;
pub mod pending;
pub mod race;
pub mod request;
pub mod scratch;
pub mod sipi;
pub mod steps;
pub mod userspace;
