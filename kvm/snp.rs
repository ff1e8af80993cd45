// SPDX-License-Identifier: GPL-2.0

//! What the events of SEV-SNP need of KVM.

mod ap_creation;
mod apic_ids;
pub(crate) mod fairness;
mod guest_request;
mod lock;
mod other_vcpu;
mod page_state;
mod registration;
