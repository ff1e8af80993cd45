// SPDX-License-Identifier: GPL-2.0

//! What keeps the module in the kernel: calls of it that are in flight, and replies that are pending.
//!
//! Each is counted twice, as begun and as over, in counters that only grow. So each CPU can have its own,
//! and counting shares nothing.

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Tally {
    /// A call that handles an exit has begun.
    HandlingBegun,
    /// It is over.
    HandlingOver,
    /// A call that may write a pending reply has begun.
    DeliveryBegun,
    /// It is over.
    DeliveryOver,
    /// A reply has become pending.
    Deferred,
    /// A pending reply has been written, or will never be: its vCPU is gone.
    Settled,
}

impl Tally {
    /// How many there are.
    pub const COUNT: usize = 6;
}

/// The counters.
pub trait Tallies {
    /// Adds one to `TALLY`, the number of a [`Tally`]. Whoever sees it in a sum sees what came before.
    fn add<const TALLY: usize>(&self);

    /// The sum over all CPUs. May miss what is counted meanwhile, but nothing that came before the last
    /// call of [`settle()`](super::takeover::Machine::settle).
    fn sum(&self, tally: Tally) -> u64;
}

/// How many have begun and are not over. Never too small: what is over was begun before.
fn between<T: Tallies>(tallies: &T, begun: Tally, over: Tally) -> u64 {
    let over = tallies.sum(over);
    tallies.sum(begun).wrapping_sub(over)
}

/// Replies that are pending. Exact when no call that handles an exit can be in flight.
pub fn pending<T: Tallies>(tallies: &T) -> u64 {
    between(tallies, Tally::Deferred, Tally::Settled)
}

/// Whether no reply is pending, and none will be. Right if no call that handles an exit can begin.
pub fn nothing_to_deliver<T: Tallies>(tallies: &T) -> bool {
    // In this order: a call in flight may defer a reply before it is over.
    between(tallies, Tally::HandlingBegun, Tally::HandlingOver) == 0 && pending(tallies) == 0
}

/// Calls that are in flight. Exact when none can begin.
pub fn inside<T: Tallies>(tallies: &T) -> u64 {
    between(tallies, Tally::HandlingBegun, Tally::HandlingOver).wrapping_add(between(
        tallies,
        Tally::DeliveryBegun,
        Tally::DeliveryOver,
    ))
}

/// A call that is in flight for as long as this exists.
pub struct Call<'a, T: Tallies, const OVER: usize>(&'a T);

impl<'a, T: Tallies> Call<'a, T, { Tally::HandlingOver as usize }> {
    /// A call that handles an exit begins.
    #[inline]
    pub fn handling(tallies: &'a T) -> Self {
        tallies.add::<{ Tally::HandlingBegun as usize }>();
        Self(tallies)
    }
}

impl<'a, T: Tallies> Call<'a, T, { Tally::DeliveryOver as usize }> {
    /// A call that may write a pending reply begins.
    #[inline]
    pub fn delivery(tallies: &'a T) -> Self {
        tallies.add::<{ Tally::DeliveryBegun as usize }>();
        Self(tallies)
    }
}

impl<T: Tallies, const OVER: usize> Drop for Call<'_, T, OVER> {
    #[inline]
    fn drop(&mut self) {
        self.0.add::<OVER>();
    }
}
