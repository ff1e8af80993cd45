// SPDX-License-Identifier: GPL-2.0
//! What the measured guest is told to do, and what it brings back: one [`Order`] and one row of samples a vCPU.
//!
//! All of it lies in the guest's shared memory, in rooms of [`mailbox::map`] that this guest has no other use for.

#![no_std]
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU64;
use mailbox::{map, PAGE};

/// Most words that one request writes into its page.
pub const STORES: usize = 16;

/// Most round trips that one order asks for.
pub const SAMPLES: u64 = 4096;

/// Guest-physical address of the order for `vcpu`.
pub const fn order(vcpu: u64) -> u64 {
    map::STEPS + vcpu * PAGE
}

/// Guest-physical address of the samples of `vcpu`, 8 bytes each.
pub const fn samples(vcpu: u64) -> u64 {
    map::PAGES + vcpu * SAMPLES * 8
}

/// Guest-physical address of the GHCB of `vcpu`.
pub const fn page(vcpu: u64) -> u64 {
    map::GHCBS + vcpu * PAGE
}

/// The same request, over and over.
#[repr(C)]
pub struct Order {
    /// Value for the GHCB MSR before each VMGEXIT.
    pub msr: AtomicU64,
    /// How many round trips, at most [`SAMPLES`].
    pub count: AtomicU64,
    /// How many entries of `stores` count.
    pub store_count: AtomicU64,
    /// The GHCB MSR after the last round trip.
    pub msr_after: AtomicU64,
    /// Words that each request writes into the page before the VMGEXIT.
    pub stores: [Store; STORES],
    /// A row of words that it writes, too.
    pub row: Row,
}

/// One word of a request.
#[repr(C)]
pub struct Store {
    /// Offset in the page.
    pub offset: AtomicU64,
    /// The word.
    pub value: AtomicU64,
}

/// Words side by side, of which each is larger than the one before by the same number.
#[repr(C)]
pub struct Row {
    /// How many.
    pub count: AtomicU64,
    /// Offset of the first one in the page.
    pub offset: AtomicU64,
    /// The first one.
    pub first: AtomicU64,
    /// What is added for the next.
    pub step: AtomicU64,
}

const _: () = assert!(size_of::<Order>() <= PAGE as usize);
const _: () = assert!(samples(mailbox::MAX_VCPUS) <= map::SHARED + map::SHARED_SIZE);
