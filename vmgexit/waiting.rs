// SPDX-License-Identifier: GPL-2.0

//! Exits that wait for userspace or a SIPI, and how they end.

use super::{
    memory::{Fault, Memory, Scratch},
    unreachable_page,
    vcpu::{Exit, Registers, Vcpu},
    Outcome,
};
use crate::ghcb_abi::{
    bitmap::ValidBitmap,
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

/// An exit whose reply is deferred.
pub struct Deferred<B> {
    /// Where the page is.
    pub gpa: u64,
    /// What the exit is about.
    pub exit: Exit,
    /// A scratch area in the page, and what belongs there.
    pub data: Option<(ScratchArea, B)>,
    /// Whether userspace refuses an MSR access.
    pub is_refused: bool,
}

impl<B> Deferred<B> {
    /// The reply before registers are returned with it.
    pub fn bare_reply(&self) -> Reply {
        if self.is_refused {
            Reply::exception(EventInjection::GP_WITHOUT_ERROR_CODE)
        } else {
            Reply::no_action(0)
        }
    }

    /// The reply, if KVM's registers are those after the exit.
    fn reply(&self, after: &Registers) -> Reply {
        after.returned_with(self.bare_reply(), self.exit)
    }
}

/// A vCPU whose exits can wait.
pub trait Waiting: Memory {
    /// Puts the vCPU into AP reset hold.
    fn hold(&mut self, hold: HoldType) -> Outcome;

    /// Forgets what kind of hold the vCPU was in.
    fn end_hold(&mut self);

    /// Leaves an exit to userspace, and remembers that the reply is still to be written.
    ///
    /// # Errors
    ///
    /// Gives the scratch area back: its buffer does not last, or C is about to take over. The exit is to be
    /// parked then.
    fn defer(
        &mut self,
        page: &Self::Page,
        exit: Exit,
        scratch: Option<Scratch<Self::Buffer>>,
    ) -> Result<(), Option<Scratch<Self::Buffer>>>;

    /// Takes the exit whose reply is deferred, if there is one.
    fn take_deferred(&mut self) -> Option<Deferred<Self::Buffer>>;

    /// Leaves an exit to userspace or a SIPI: maps the page as KVM's C handler does, answers "no action"
    /// in advance, and keeps the scratch area's copy.
    ///
    /// # Errors
    ///
    /// The page cannot be mapped any more. Then nothing is parked: userspace is not asked either.
    fn park(
        &mut self,
        page: &Self::Page,
        exit: Exit,
        scratch: Option<Scratch<Self::Buffer>>,
    ) -> Result<(), Fault>;

    /// The parked exit, if there is one.
    fn parked(&self) -> Option<Exit>;

    /// Copies a parked scratch area back, if it is to be.
    fn flush_scratch(&mut self);

    /// Hands `returned` registers of a parked exit to the guest, and unmaps the page.
    fn finish(&mut self, parked: &Exit, returned: ValidBitmap);
}

/// Writes the reply of a deferred exit, when userspace lets the vCPU run again. May sleep.
pub fn deliver<V: Vcpu>(vcpu: &mut V) {
    let Some(deferred) = vcpu.take_deferred() else {
        return;
    };
    let delivered = vcpu.open(deferred.gpa).and_then(|page| {
        let written = write(vcpu, &page, &deferred);
        vcpu.close(page);
        written
    });
    if delivered.is_err() {
        unreachable_page(vcpu);
    }
}

/// Writes what a deferred exit brought to its page.
fn write<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    deferred: &Deferred<V::Buffer>,
) -> Result<(), Fault> {
    if let Some((area, data)) = &deferred.data {
        vcpu.put_back(page, *area, data)?;
    }
    let reply = deferred.reply(&vcpu.registers());
    reply.write(page)?;
    vcpu.trace_exit(deferred.exit.code, &reply);
    Ok(())
}

/// Ends a parked exit, before the vCPU runs again. C: `sev_es_unmap_ghcb()`.
///
/// Also right for exits that KVM's C handler has begun.
#[inline]
pub fn complete<V: Vcpu>(vcpu: &mut V) {
    vcpu.end_hold();
    let Some(parked) = vcpu.parked() else {
        return;
    };
    vcpu.flush_scratch();
    let returned = parked.code.returned(parked.info1);
    vcpu.finish(&parked, returned);
}
