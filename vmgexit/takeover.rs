// SPDX-License-Identifier: GPL-2.0

//! How functions of KVM's are taken over and given back: in which order, and when the module may go.
//!
//! There are two sets. *Handling* answers new exits; giving it back takes effect at once, without waiting for
//! a vCPU. *Delivery* writes replies that are pending, for which a VMM may take any time: it stays
//! taken over until no reply is pending, and until then the module holds a reference to itself.
//!
//! ```text
//!            begin()                end()                look()                 look()
//! Away ────────────────► Taken ───────────────► Draining ───────► Leaving ───────────────► Away
//!      handling, delivery        no handling      nothing to       no delivery   nobody
//!      and a reference                            deliver                        inside
//! ```
//!
//! C has no code for pending replies: while there is one, each function that could meet it is replaced.
//!
//! A machine that does not give a set back never will. Then that set stays ours, and so does the module's reference to
//! itself: a jump into memory that has been freed is worse than a module that nobody can remove.

use super::tally::{inside, nothing_to_deliver, Tallies};

/// A set of functions that are taken over and given back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// What handles exits.
    Handling,
    /// What writes pending replies, and what meets a vCPU that has one.
    Delivery,
}

/// The machine on which functions are taken over.
pub trait Machine {
    /// Why a function cannot be taken over.
    type Error;

    /// Where calls and pending replies are counted.
    type Tallies: Tallies;

    /// Takes a set over.
    ///
    /// # Errors
    ///
    /// The machine says why. A part of the set may have been taken over: [`detach()`](Self::detach) follows.
    fn attach(&mut self, set: Set) -> Result<(), Self::Error>;

    /// Gives back what is taken over of a set. Calls that have begun go on. False if the machine keeps any of it, for
    /// good.
    fn detach(&mut self, set: Set) -> bool;

    /// Waits until each call that had begun when its function was given back has been counted, and each
    /// that has been counted as over has left the module. Does not wait for calls that sleep.
    fn settle(&mut self);

    /// Takes a reference to the module, which must have one.
    fn hold_module(&mut self);

    /// Drops that reference: the module may go as soon as this returns.
    fn release_module(&mut self);

    /// The counters.
    fn tallies(&self) -> &Self::Tallies;
}

/// What is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takeover {
    handling: bool,
    delivery: bool,
    held: bool,
    stuck: bool,
}

impl Takeover {
    /// Nothing is.
    pub const fn new() -> Self {
        Self {
            handling: false,
            delivery: false,
            held: false,
            stuck: false,
        }
    }

    /// Whether new exits are handled here.
    pub const fn is_handling(&self) -> bool {
        self.handling
    }

    /// Whether pending replies are written here.
    pub const fn is_delivering(&self) -> bool {
        self.delivery
    }

    /// Whether something has to be looked after by [`look()`](Self::look).
    pub const fn is_over(&self) -> bool {
        !self.held
    }

    /// Whether the machine has kept what was to be given back. The module stays for good.
    pub const fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Takes over what is not taken over yet.
    ///
    /// # Errors
    ///
    /// As the machine says. New exits are C's then; the rest is for [`abandon()`](Self::abandon) or
    /// [`look()`](Self::look).
    pub fn begin<M: Machine>(&mut self, machine: &mut M) -> Result<(), M::Error> {
        if !self.held {
            machine.hold_module();
            self.held = true;
        }
        // In this order: there is no exit without someone to write its reply.
        if !self.delivery {
            self.attach(machine, Set::Delivery)?;
            self.delivery = true;
        }
        if !self.handling {
            self.attach(machine, Set::Handling)?;
            self.handling = true;
        }
        Ok(())
    }

    /// Gives new exits back to C. Waits for nobody.
    pub fn end<M: Machine>(&mut self, machine: &mut M) {
        if self.handling && self.detach(machine, Set::Handling) {
            self.handling = false;
        }
    }

    /// Gives back what is not needed any more, and lets the module go when that is all.
    ///
    /// True if it has to be looked at again later: exits are handled here, a reply is pending, or somebody
    /// is inside. False also if nothing can be given back any more.
    pub fn look<M: Machine>(&mut self, machine: &mut M) -> bool {
        if self.stuck {
            return false;
        }
        if self.handling {
            return true;
        }
        if self.delivery {
            // Without it, a call on its way to being counted could still defer a reply.
            machine.settle();
            if !nothing_to_deliver(machine.tallies()) {
                return true;
            }
            if !self.detach(machine, Set::Delivery) {
                return false;
            }
            self.delivery = false;
        }
        self.leave(machine)
    }

    /// Gives everything back because KVM goes, and has no vCPU any more, or because [`begin()`](Self::begin) has failed: no
    /// reply is pending.
    pub fn abandon<M: Machine>(&mut self, machine: &mut M) {
        // What the machine keeps goes with KVM's functions, but for what it knows of them: the module stays.
        if core::mem::take(&mut self.handling) {
            self.detach(machine, Set::Handling);
        }
        if core::mem::take(&mut self.delivery) {
            self.detach(machine, Set::Delivery);
        }
    }

    /// Takes a set over, all of it or nothing.
    fn attach<M: Machine>(&mut self, machine: &mut M, set: Set) -> Result<(), M::Error> {
        machine.attach(set).inspect_err(|_| {
            self.detach(machine, set);
        })
    }

    /// Gives a set back. False if the machine keeps any of it.
    fn detach<M: Machine>(&mut self, machine: &mut M, set: Set) -> bool {
        let is_back = machine.detach(set);
        self.stuck |= !is_back;
        is_back
    }

    /// Lets the module go if nobody is inside, when everything has been given back.
    fn leave<M: Machine>(&mut self, machine: &mut M) -> bool {
        if self.held {
            machine.settle();
            if inside(machine.tallies()) != 0 {
                return true;
            }
            // Who has just been counted as over has not returned yet.
            machine.settle();
            self.held = false;
            machine.release_module();
        }
        false
    }
}
