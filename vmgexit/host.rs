// SPDX-License-Identifier: GPL-2.0

//! The host, as the handling path sees it: a trait for each need, and [`Vcpu`], which has them all.
//!
//! Traits are cut by subject, so that a function or a test can ask for one alone; [`Snp`] gathers those of SEV-SNP.

mod after_exit;
mod ap_creation;
mod apic_ids;
mod emulator;
mod guest_request;
mod guest_state;
mod memory;
mod observer;
mod page_state;
mod protocol;
mod registration;
mod waiting;

pub use after_exit::AfterExit;
pub use ap_creation::{ApCreation, NoSuchVcpu};
pub use apic_ids::ApicIds;
pub use emulator::{Emulator, Fulfilment};
pub use guest_request::{CertificateAnswer, FirmwareAnswer, GuestRequests, HostFault, OutOfReach};
pub use guest_state::GuestState;
pub use memory::{Failure, Fault, Memory, Purpose, Scratch};
pub use observer::{Complaint, Observer};
pub use page_state::{PageRange, PageState, RangeAnswer};
pub use protocol::Protocol;
pub use registration::Registration;
pub use waiting::{Deferred, End, HoldType, Waiting};

/// All that the events of SEV-SNP need.
pub trait Snp: Registration + PageState + GuestRequests + ApCreation + ApicIds {}

impl<T: Registration + PageState + GuestRequests + ApCreation + ApicIds> Snp for T {}

/// A vCPU of a guest with SEV-ES, with SEV-SNP or without, and the host around it.
pub trait Vcpu: Protocol + Emulator + Waiting + GuestState + Observer + Snp {}

impl<T: Protocol + Emulator + Waiting + GuestState + Observer + Snp> Vcpu for T {}
