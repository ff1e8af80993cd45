// SPDX-License-Identifier: GPL-2.0

//! AP creation.

use super::guest_request::is_page_aligned;
use crate::ghcb_abi::{
    ap::{ApCreation, ApOperation},
    reply::ErrorReason,
    snapshot::Snapshot,
};

/// What shall become of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It runs with another VMSA.
    Create {
        /// Guest physical address of the VMSA: aligned to 4 KiB, and not to 2 MiB.
        vmsa: u64,
        /// RAX: SEV features that the guest says are in the VMSA.
        features: u64,
        /// Whether it does so only after the next INIT.
        on_init: bool,
    },
    /// It stops.
    Destroy,
}

/// Something about the VMSA of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApChange {
    /// Which vCPU.
    pub apic_id: u32,
    /// What shall become of it.
    pub change: Change,
}

/// Size of a page that the RMP may hold as one entry, in bytes.
const HUGE_PAGE_SIZE: u64 = 2 << 20;

impl ApChange {
    /// Decodes an AP creation event.
    ///
    /// A VMSA at a multiple of 2 MiB is refused, as in C: the guest may have made it part of a large page, and
    /// then, by an erratum, the processor reports an RMP fault for another page of it.
    pub(super) fn decode(snapshot: &Snapshot) -> Result<Self, ErrorReason> {
        const INVALID: ErrorReason = ErrorReason::INVALID_INPUT;
        let request = ApCreation::decode(snapshot.info1());
        // KVM runs VMPL 0 alone.
        if request.vmpl != 0 || request.reserved != 0 {
            return Err(INVALID);
        }
        let create = |on_init| {
            let vmsa = snapshot.info2();
            if !is_page_aligned(vmsa) || vmsa % HUGE_PAGE_SIZE == 0 {
                return Err(INVALID);
            }
            Ok(Change::Create {
                vmsa,
                features: snapshot.rax(),
                on_init,
            })
        };
        let change = match request.operation {
            ApOperation::CREATE_ON_INIT => create(true)?,
            ApOperation::CREATE => create(false)?,
            ApOperation::DESTROY => Change::Destroy,
            _ => return Err(INVALID),
        };
        Ok(Self {
            apic_id: request.apic_id,
            change,
        })
    }
}
