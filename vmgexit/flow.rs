// SPDX-License-Identifier: GPL-2.0

//! What happens to the reply, as the code that carries a request out decides.

use super::{
    host::{AfterExit, Fulfilment, Scratch},
    request::registers::Registers,
};
use crate::ghcb_abi::reply::Reply;

/// What happens to the reply, and what a family of events leaves to others.
pub(crate) enum Flow<B> {
    /// Write this reply; the exit is complete.
    Reply(Reply),
    /// Reply that KVM did not carry the request out; the exit is complete.
    ReplyNotDone(Fulfilment),
    /// Write this reply, which is for a guest that runs nevertheless: KVM_RUN fails with this error number.
    ReplyAndFail(Reply, i32),
    /// Reply early, with "no action", and end KVM_RUN: what userspace then does returns nothing.
    ReplyEarly(AfterExit),
    /// Reply later, with what userspace returns. The copy of a scratch area is kept until then.
    ReplyLater(Option<Scratch<B>>),
    /// Map the page for C, which replies with these registers when a SIPI or something else wakes the vCPU.
    ReplyByC(Registers),
}

impl<B> Flow<B> {
    /// The flow after an access that returns nothing in registers and is complete without userspace.
    #[inline]
    pub(super) fn after(fulfilment: Fulfilment) -> Self {
        match fulfilment {
            Fulfilment::Done => Self::Reply(Reply::no_action(0)),
            fulfilment => Self::ReplyNotDone(fulfilment),
        }
    }
}
