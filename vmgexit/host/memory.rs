// SPDX-License-Identifier: GPL-2.0

//! Guest memory, as the handling path sees it: the page, and scratch areas.

use crate::ghcb_abi::{page::GuestPage, reply::ErrorReason, scratch::ScratchArea};

/// The guest's page cannot be reached: the exit gets no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// See [`Fault`].
    Fault,
    /// The guest gets this error.
    Refused(ErrorReason),
}

impl From<Fault> for Failure {
    fn from(_: Fault) -> Self {
        Self::Fault
    }
}

impl From<ErrorReason> for Failure {
    fn from(reason: ErrorReason) -> Self {
        Self::Refused(reason)
    }
}

/// A scratch area and the copy of its bytes, while userspace carries out the access.
pub struct Scratch<B> {
    /// Where the area lies.
    pub area: ScratchArea,
    /// Copy of its bytes.
    pub buffer: B,
}

/// What a copy of a scratch area is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The guest sends data to a device, which has all of them when KVM returns.
    Send,
    /// The guest sends data to a device in several pieces, some of them after KVM has returned.
    SendInPieces,
    /// The guest receives data from a device.
    Receive,
}

/// The memory of a guest.
pub trait Memory {
    /// The guest's page while a request in it is handled.
    type Page: GuestPage<Error = Fault>;

    /// Host memory that stands in for a scratch area.
    type Buffer: AsRef<[u8]> + AsMut<[u8]>;

    /// Finds the page at `gpa`, which is aligned.
    ///
    /// # Errors
    ///
    /// It is not writable guest memory.
    fn open(&mut self, gpa: u64) -> Result<Self::Page, Fault>;

    /// Ends the use of a page. An access may have written to it even if one has failed.
    fn close(&mut self, page: Self::Page);

    /// Makes a copy of a scratch area: of what the guest put into it, or zero for what it will receive.
    ///
    /// # Errors
    ///
    /// The page cannot be reached, the area is not guest memory, or there is no memory for the copy.
    fn fetch(
        &mut self,
        page: &Self::Page,
        area: ScratchArea,
        purpose: Purpose,
    ) -> Result<Self::Buffer, Failure>;

    /// Copies a buffer to the scratch area that it stands for.
    ///
    /// # Errors
    ///
    /// The area lies in the page, and that cannot be reached. One elsewhere that cannot be written to stays
    /// as it is, as in C.
    fn put_back(
        &mut self,
        page: &Self::Page,
        area: ScratchArea,
        data: &Self::Buffer,
    ) -> Result<(), Fault>;
}
