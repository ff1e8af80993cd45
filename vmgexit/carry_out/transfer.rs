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
#[inline]
pub(super) const fn purpose(direction: Direction, area: ScratchArea, most: u64) -> Purpose {
    match direction {
        Direction::In => Purpose::Receive,
        Direction::Out if area.len() <= most => Purpose::Send,
        Direction::Out => Purpose::SendInPieces,
    }
}

/// What happens to the reply after an access that has worked on a copy of a scratch area: copies it back when the guest
/// receives.
#[inline(always)]
pub(super) fn after<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    area: ScratchArea,
    purpose: Purpose,
    buffer: V::Buffer,
    fulfilment: Fulfilment,
) -> Result<Flow<V::Buffer>, Failure> {
    match (fulfilment, purpose) {
        (Fulfilment::Userspace, Purpose::Send) => Ok(Flow::ReplyEarly(AfterExit::USERSPACE)),
        (Fulfilment::Userspace, _) => Ok(Flow::ReplyLater(Some(Scratch { area, buffer }))),
        (Fulfilment::Done, Purpose::Receive) => {
            vcpu.put_back(page, area, &buffer)?;
            Ok(Flow::after(Fulfilment::Done))
        }
        (fulfilment, _) => Ok(Flow::after(fulfilment)),
    }
}
