// SPDX-License-Identifier: GPL-2.0

//! Guest memory, as the handling path sees it: the page, and scratch areas.

use crate::ghcb_abi::{page::SharedPage, reply::ErrorReason, scratch::ScratchArea};

/// A guest's page that may vanish while it is looked at.
pub trait GuestPage: SharedPage {
    /// Whether every access so far has reached the page. A load that did not yields zero.
    fn intact(&self) -> bool;
}

/// A scratch area with what lies in it, for as long as userspace works on it.
pub struct Scratch<B> {
    /// Where the area lies.
    pub area: ScratchArea,
    /// Copy of its bytes.
    pub buffer: B,
    /// Whether the copy goes back to the guest when the exit is complete.
    pub write_back: bool,
}

/// What a copy of a scratch area is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The guest's data go to a device, which has them when KVM returns.
    Send,
    /// The guest's data go to a device piece by piece, also after KVM has returned.
    SendInPieces,
    /// A device's data go to the guest.
    Receive,
}

/// The memory of a guest.
pub trait Memory {
    /// The guest's page while a request in it is handled.
    type Page: GuestPage;

    /// Host memory that stands in for a scratch area.
    type Buffer;

    /// Finds the page at `gpa`, which is aligned. `None` if it is not writable guest memory.
    fn open(&mut self, gpa: u64) -> Option<Self::Page>;

    /// Ends the use of a page that a reply went into.
    fn close(&mut self, page: Self::Page);

    /// Makes a copy of a scratch area: of what the guest put into it, or zero for what it will receive.
    ///
    /// # Errors
    ///
    /// The area is not guest memory, or there is no memory for the copy.
    fn fetch(
        &mut self,
        page: &Self::Page,
        area: ScratchArea,
        purpose: Purpose,
    ) -> Result<Self::Buffer, ErrorReason>;

    /// Copies a buffer to the scratch area that it stands for.
    fn put_back(&mut self, page: &Self::Page, area: ScratchArea, data: &Self::Buffer);
}
