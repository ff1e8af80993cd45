// SPDX-License-Identifier: GPL-2.0

//! Accesses whose data lie in a scratch area.

use crate::{
    ghcb_abi::scratch::ScratchArea,
    vmgexit::{
        flow::Flow,
        host::{AfterExit, Failure, Fulfilment, Purpose, Scratch, Vcpu},
        request::port_io::Direction,
    },
};

/// What a copy of `area` is for, when KVM takes `most` bytes at once.
#[inline(always)]
pub(super) const fn purpose(direction: Direction, area: ScratchArea, most: u64) -> Purpose {
    match direction {
        Direction::In => Purpose::Receive,
        Direction::Out if area.len() <= most => Purpose::Send,
        Direction::Out => Purpose::SendInPieces,
    }
}

/// Copies a scratch area, lets `access` work on the copy, and copies it back when the guest receives.
#[inline(always)]
pub(super) fn transfer<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    area: ScratchArea,
    purpose: Purpose,
    access: impl FnOnce(&mut V, &mut V::Buffer) -> Fulfilment,
) -> Result<Flow<V::Buffer>, Failure> {
    let mut buffer = vcpu.fetch(page, area, purpose)?;
    Ok(match (access(vcpu, &mut buffer), purpose) {
        (Fulfilment::Userspace, Purpose::Send) => Flow::ReplyEarly(AfterExit::Userspace),
        (Fulfilment::Userspace, _) => Flow::ReplyLater(Some(Scratch { area, buffer })),
        (fulfilment, _) => {
            if purpose == Purpose::Receive && fulfilment == Fulfilment::Done {
                vcpu.put_back(page, area, &buffer)?;
            }
            Flow::after(fulfilment)
        }
    })
}
