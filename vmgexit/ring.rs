// SPDX-License-Identifier: GPL-2.0

//! The last records of something, which may be written by many at once, and read meanwhile.
//!
//! Nobody waits. Each slot has a number that is odd while it is written; who reads looks at it before and after. Who comes
//! to a slot that is being written, because the others have gone once around, loses his record.

use core::sync::atomic::{
    fence, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// A word in memory that is shared; a test may bring its own.
pub trait Word {
    /// Reads it, in no order.
    fn load(&self) -> u64;

    /// Reads it, before what is read next.
    fn load_first(&self) -> u64;

    /// Writes it, in no order.
    fn store(&self, value: u64);

    /// Writes it, after what was written before.
    fn store_last(&self, value: u64);

    /// Adds one, and returns what it was.
    fn take_number(&self) -> u64;

    /// Changes it from `old` to `new`, before what is written next. False if it is not `old`.
    fn claim(&self, old: u64, new: u64) -> bool;

    /// What was read before is not newer than what is read next.
    fn settle();
}

impl Word for AtomicU64 {
    fn load(&self) -> u64 {
        self.load(Relaxed)
    }

    fn load_first(&self) -> u64 {
        self.load(Acquire)
    }

    fn store(&self, value: u64) {
        self.store(value, Relaxed);
    }

    fn store_last(&self, value: u64) {
        self.store(value, Release);
    }

    fn take_number(&self) -> u64 {
        self.fetch_add(1, Relaxed)
    }

    fn claim(&self, old: u64, new: u64) -> bool {
        let is_mine = self.compare_exchange(old, new, Acquire, Relaxed).is_ok();
        // Who sees a word of the new record sees that the slot is being written.
        fence(Release);
        is_mine
    }

    fn settle() {
        fence(Acquire);
    }
}

/// A record's place.
struct Slot<W, const WORDS: usize> {
    /// Zero before the first record, twice its number plus one while a record is written, plus two when it is there.
    state: W,
    words: [W; WORDS],
}

/// The last `SLOTS` records of `WORDS` words each.
pub struct Ring<W, const SLOTS: usize, const WORDS: usize> {
    /// Number of the next record.
    next: W,
    slots: [Slot<W, WORDS>; SLOTS],
}

impl<const SLOTS: usize, const WORDS: usize> Ring<AtomicU64, SLOTS, WORDS> {
    /// No record.
    #[expect(clippy::new_without_default, reason = "for a static")]
    pub const fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            slots: [const {
                Slot {
                    state: AtomicU64::new(0),
                    words: [const { AtomicU64::new(0) }; WORDS],
                }
            }; SLOTS],
        }
    }
}

impl<W: Word, const SLOTS: usize, const WORDS: usize> Ring<W, SLOTS, WORDS> {
    /// No record, in words that `word` makes.
    pub fn with(word: impl Fn() -> W) -> Self {
        use core::array::from_fn;
        Self {
            next: word(),
            slots: from_fn(|_| Slot {
                state: word(),
                words: from_fn(|_| word()),
            }),
        }
    }

    /// Adds a record. False if it is lost.
    pub fn push(&self, record: &[u64; WORDS]) -> bool {
        let number = self.next.take_number();
        let Some(slot) = self.slot(number) else {
            return false;
        };
        let old = slot.state.load();
        let writing = number.wrapping_mul(2).wrapping_add(1);
        // Somebody else writes, or has written what is newer.
        if old % 2 != 0 || old >= writing || !slot.state.claim(old, writing) {
            return false;
        }
        for (word, value) in slot.words.iter().zip(record) {
            word.store(*value);
        }
        slot.state.store_last(writing.wrapping_add(1));
        true
    }

    /// Hands out each record that is there, with its number, the oldest first. One that is overwritten meanwhile is left out.
    pub fn each(&self, mut take: impl FnMut(u64, &[u64; WORDS])) {
        let end = self.next.load_first();
        for number in end.saturating_sub(SLOTS as u64)..end {
            if let Some(record) = self.read(number) {
                take(number, &record);
            }
        }
    }

    /// A record, if it is there.
    fn read(&self, number: u64) -> Option<[u64; WORDS]> {
        let slot = self.slot(number)?;
        let there = number.wrapping_mul(2).wrapping_add(2);
        if slot.state.load_first() != there {
            return None;
        }
        let mut record = [0; WORDS];
        for (value, word) in record.iter_mut().zip(&slot.words) {
            *value = word.load();
        }
        W::settle();
        (slot.state.load() == there).then_some(record)
    }

    /// Where the record with this number is.
    fn slot(&self, number: u64) -> Option<&Slot<W, WORDS>> {
        self.slots.get(number.checked_rem(SLOTS as u64)? as usize)
    }
}
