// SPDX-License-Identifier: GPL-2.0

//! What the events of SEV-SNP need of the host: a trait for each subject.

mod ap_creation;
mod apic_ids;
mod guest_request;
mod page_state;
mod registration;

pub use ap_creation::{ApCreation, NoSuchVcpu};
pub use apic_ids::ApicIds;
pub use guest_request::{CertificateAnswer, FirmwareAnswer, GuestRequests, HostFault, OutOfReach};
pub use page_state::{PageRange, PageState, RangeAnswer};
pub use registration::Registration;

/// All that the events of SEV-SNP need.
pub trait Snp: Registration + PageState + GuestRequests + ApCreation + ApicIds {}

impl<T: Registration + PageState + GuestRequests + ApCreation + ApicIds> Snp for T {}
