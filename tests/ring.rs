// SPDX-License-Identifier: GPL-2.0

//! The ring of records: what is in it, and that no reader ever sees half of a record, in any order in which accesses to
//! memory can take effect.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use ghcb_rs::vmgexit::ring::{Ring, Word};
use loom::{
    sync::{
        atomic::{
            fence, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
        Arc,
    },
    thread,
};

/// A word of Loom's.
struct Modelled(AtomicU64);

impl Modelled {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Word for Modelled {
    fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn load_first(&self) -> u64 {
        self.0.load(Acquire)
    }

    fn store(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    fn store_last(&self, value: u64) {
        self.0.store(value, Release);
    }

    fn take_number(&self) -> u64 {
        self.0.fetch_add(1, Relaxed)
    }

    fn claim(&self, old: u64, new: u64) -> bool {
        let is_mine = self.0.compare_exchange(old, new, Acquire, Relaxed).is_ok();
        fence(Release);
        is_mine
    }

    fn settle() {
        fence(Acquire);
    }
}

/// Numbers of the records that are there, each of which must be of one piece.
fn numbers<W: Word, const SLOTS: usize>(ring: &Ring<W, SLOTS, 2>) -> Vec<u64> {
    let mut numbers = Vec::new();
    ring.each(|number, record| {
        assert_eq!(record[0], record[1], "record {number} in pieces");
        numbers.push(number);
    });
    numbers
}

#[test]
fn a_reader_sees_no_half_of_a_record() {
    loom::model(|| {
        // One slot, so that they meet.
        let ring = Arc::new(Ring::<_, 1, 2>::with(Modelled::new));
        let writer = thread::spawn({
            let ring = ring.clone();
            move || (1..=2).all(|value| ring.push(&[value; 2]))
        });
        assert!(numbers(&ring).len() <= 1);
        assert!(writer.join().unwrap());
        assert_eq!(numbers(&ring), [1]);
    });
}

#[test]
fn two_writers_do_not_mix_their_records() {
    loom::model(|| {
        let ring = Arc::new(Ring::<_, 1, 2>::with(Modelled::new));
        let other = thread::spawn({
            let ring = ring.clone();
            move || ring.push(&[2; 2])
        });
        let mine = ring.push(&[1; 2]);
        let its = other.join().unwrap();
        // Who has lost has lost to the other.
        assert!(mine || its);
        let left = numbers(&ring);
        assert!(left == [1] || (left.is_empty() && mine != its), "{left:?}");
    });
}

#[test]
fn the_last_records_are_there_in_their_order() {
    loom::model(|| {
        let ring = Ring::<_, 4, 2>::with(Modelled::new);
        assert_eq!(numbers(&ring), []);
        for value in 0..11 {
            assert!(ring.push(&[value; 2]));
        }
        let mut records = Vec::new();
        ring.each(|number, record| records.push((number, record[0])));
        assert_eq!(records, [(7, 7), (8, 8), (9, 9), (10, 10)]);
    });
}

#[test]
fn the_ring_of_the_module_is_one() {
    let ring = Ring::<std::sync::atomic::AtomicU64, 4, 2>::new();
    for value in 0..6 {
        assert!(ring.push(&[value; 2]));
    }
    assert_eq!(numbers(&ring), [2, 3, 4, 5]);
}
