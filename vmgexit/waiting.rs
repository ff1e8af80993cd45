// SPDX-License-Identifier: GPL-2.0

//! Exits that wait for userspace or a SIPI, and how they end.

use super::{
    memory::{Fault, Memory, Scratch},
    unreachable_page,
    vcpu::{ExitInfo, Registers, Vcpu},
    AfterExit,
};
use crate::ghcb_abi::{
    exit_code::ExitCode,
    guest_request::GuestRequestStatus,
    reply::{EventInjection, Reply},
    scratch::ScratchArea,
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

impl<B> Deferred<B> {
    /// The reply, if KVM's registers are those after the exit.
    fn reply(&self, end: End, after: &Registers) -> Reply {
        let reply = match (end, self.exit.code) {
            (End::Failed, _) => Reply::exception(EventInjection::GP_WITHOUT_ERROR_CODE),
            // Nobody has said that the firmware was asked.
            (_, ExitCode::EXT_GUEST_REQUEST) => {
                Reply::no_action(GuestRequestStatus::FAILED.to_info2())
            }
            _ => Reply::no_action(0),
        };
        after.returned_with(reply, self.exit)
    }
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

    /// Leaves an exit that was taken to userspace once more. Its data have memory of their own.
    fn defer_again(&mut self, deferred: Deferred<Self::Buffer>);

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

/// Writes the reply of a deferred exit. May sleep. False if there is none.
pub fn deliver<V: Vcpu>(vcpu: &mut V, end: End) -> bool {
    let Some(deferred) = vcpu.take_deferred(end) else {
        return false;
    };
    let reply = deferred.reply(end, &vcpu.registers());
    finish(vcpu, &deferred, &reply);
    true
}

/// Writes the reply of a deferred exit, and before it what the guest receives. May sleep.
pub(super) fn finish<V: Vcpu>(vcpu: &mut V, deferred: &Deferred<V::Buffer>, reply: &Reply) {
    let written = vcpu.open(deferred.gpa).and_then(|page| {
        let written = write(vcpu, &page, deferred, reply);
        vcpu.close(page);
        written
    });
    if written.is_err() {
        unreachable_page(vcpu);
    }
}

/// Writes what a deferred exit brought to its page.
fn write<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    deferred: &Deferred<V::Buffer>,
    reply: &Reply,
) -> Result<(), Fault> {
    match &deferred.data {
        Some((area, data)) if deferred.exit.receives() => vcpu.put_back(page, *area, data)?,
        _ => {}
    }
    reply.write(page)?;
    vcpu.trace_exit(deferred.exit.code, reply);
    Ok(())
}
