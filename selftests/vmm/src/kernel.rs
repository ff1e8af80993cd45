// SPDX-License-Identifier: GPL-2.0
//! The host's kernel: the module, its neighbours, its settings, and what it has handed out.

pub mod balance;
pub mod bpf;
mod btf;
pub mod counters;
pub mod handler;
pub mod host;
pub mod kvm_amd;
pub mod module;
pub mod neighbour;
mod rmp;
pub mod settings;
pub mod shortage;
pub mod tracing;
