// SPDX-License-Identifier: GPL-2.0

//! Exits that wait for userspace or a SIPI, and how they end.

use super::{
    after_exit::AfterExit,
    memory::{Fault, Memory, Scratch},
};
use crate::{
    ghcb_abi::{exit_info::ExitInfo, scratch::ScratchArea},
    vmgexit::request::registers::Registers,
};

/// How a vCPU came to wait for a SIPI. C: `AP_RESET_HOLD_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldType {
    /// By an event in the page.
    Page,
    /// By the MSR protocol.
    Msr,
}

/// How an exit ends whose reply is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// KVM has taken in what userspace did.
    Completed,
    /// KVM has taken in that userspace failed an MSR access.
    Failed,
    /// The vCPU is about to run, and KVM may have taken in nothing: the guest has moved to another VM since.
    /// The reply has what has reached the registers and the copy of the scratch area by then.
    Resumed,
}

/// An exit whose reply is deferred.
pub struct Deferred<B> {
    /// Where the page is.
    pub gpa: u64,
    /// What the exit is about.
    pub exit: ExitInfo,
    /// A scratch area, or for a guest request the page with the message, and the copy of it.
    pub data: Option<(ScratchArea, B)>,
}

/// A vCPU whose exits can wait.
pub trait Waiting: Memory {
    /// Puts the vCPU into AP reset hold.
    fn hold(&mut self, hold: HoldType) -> AfterExit;

    /// Leaves an exit to userspace, and remembers that the reply is still to be written.
    ///
    /// # Errors
    ///
    /// A part of what the guest receives is there already, and the page cannot be reached. Then userspace is not
    /// asked.
    fn defer(
        &mut self,
        page: &Self::Page,
        exit: ExitInfo,
        scratch: Option<Scratch<Self::Buffer>>,
    ) -> Result<(), Fault>;

    /// Takes the exit whose reply is deferred, if there is one, with what came along.
    fn take_deferred(&mut self, end: End) -> Option<Deferred<Self::Buffer>>;

    /// Data of the exit whose reply is deferred, if they have memory of their own. It stays deferred.
    fn deferred_data(&mut self) -> Option<&mut [u8]>;

    /// Leaves an exit to a SIPI or whatever else wakes the vCPU: maps the page as KVM's C handler does, for
    /// C to complete the exit with `registers`.
    ///
    /// # Errors
    ///
    /// The page cannot be mapped any more. Then nothing is parked.
    fn park(
        &mut self,
        page: &Self::Page,
        exit: ExitInfo,
        registers: &Registers,
    ) -> Result<(), Fault>;
}
