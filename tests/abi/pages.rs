// SPDX-License-Identifier: GPL-2.0

//! Pages to test with.

use std::cell::{Cell, RefCell};

use ghcb_rs::ghcb_abi::page::{
    BufferRange, Field, Qword, SharedPage, PAGE_SIZE, SHARED_BUFFER_END, SHARED_BUFFER_OFFSET,
};

/// Memory that keeps what is stored, and a record of the accesses.
#[derive(Debug)]
pub(crate) struct Memory {
    words: Vec<Cell<u64>>,
    pub(crate) loads: RefCell<Vec<usize>>,
    pub(crate) stores: RefCell<Vec<usize>>,
}

impl Memory {
    pub(crate) fn filled(with: u64) -> Self {
        Self {
            words: (0..PAGE_SIZE / 8).map(|_| Cell::new(with)).collect(),
            loads: RefCell::default(),
            stores: RefCell::default(),
        }
    }

    /// Sets a field without a trace in the record.
    pub(crate) fn put(&self, offset: usize, value: u64) {
        self.words[offset / 8].set(value);
    }

    pub(crate) fn peek(&self, offset: usize) -> u64 {
        self.words[offset / 8].get()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.words
            .iter()
            .flat_map(|word| word.get().to_le_bytes())
            .collect()
    }

    fn set_byte(&self, offset: usize, byte: u8) {
        let word = &self.words[offset / 8];
        let mut bytes = word.get().to_le_bytes();
        bytes[offset % 8] = byte;
        word.set(u64::from_le_bytes(bytes));
    }
}

/// Asserts what an implementation over real memory relies on.
fn assert_in_page(at: Qword) {
    assert!(
        at.offset() % 8 == 0 && at.offset() <= PAGE_SIZE - 8,
        "{at:?}"
    );
}

fn assert_in_buffer(range: BufferRange) {
    assert!(range.offset() >= SHARED_BUFFER_OFFSET, "{range:?}");
    assert!(
        range.offset() + range.len() <= SHARED_BUFFER_END,
        "{range:?}"
    );
}

impl SharedPage for Memory {
    fn load(&self, at: Qword) -> u64 {
        assert_in_page(at);
        self.loads.borrow_mut().push(at.offset());
        self.peek(at.offset())
    }

    fn store(&self, at: Qword, value: u64) {
        assert_in_page(at);
        self.stores.borrow_mut().push(at.offset());
        self.put(at.offset(), value);
    }

    fn read_buffer(&self, from: BufferRange, to: &mut [u8]) {
        assert_in_buffer(from);
        let bytes = self.bytes();
        for (offset, byte) in (from.offset()..).zip(to.iter_mut()).take(from.len()) {
            *byte = bytes[offset];
        }
    }

    fn write_buffer(&self, to: BufferRange, from: &[u8]) {
        assert_in_buffer(to);
        for (offset, byte) in (to.offset()..).zip(from).take(to.len()) {
            self.set_byte(offset, *byte);
        }
    }
}

/// A page that a hostile guest rewrites between any two accesses: the nth load returns the nth number
/// of a sequence, whatever was there before.
#[derive(Debug)]
pub(crate) struct Hostile {
    state: Cell<u64>,
    /// What the first load of a place returns, if not the next of the sequence.
    first: Vec<(usize, u64)>,
    /// Each load: where, and what it returned.
    pub(crate) seen: RefCell<Vec<(usize, u64)>>,
}

impl Hostile {
    pub(crate) fn new(seed: u64, first: Vec<(usize, u64)>) -> Self {
        Self {
            state: Cell::new(seed),
            first,
            seen: RefCell::default(),
        }
    }

    /// How often a place was read.
    pub(crate) fn count(&self, offset: usize) -> usize {
        self.seen
            .borrow()
            .iter()
            .filter(|(at, _)| *at == offset)
            .count()
    }

    /// The one value that was read from a field.
    pub(crate) fn read_value(&self, field: Field) -> Option<u64> {
        let seen = self.seen.borrow();
        let (_, word) = seen
            .iter()
            .find(|(at, _)| *at == field.index() as usize * 8)?;
        Some(if field == Field::Cpl {
            (word >> 24) & 0xff
        } else {
            *word
        })
    }
}

impl SharedPage for Hostile {
    fn load(&self, at: Qword) -> u64 {
        assert_in_page(at);
        let next = self
            .state
            .get()
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.state.set(next);
        let scripted = self.first.iter().find(|(offset, _)| *offset == at.offset());
        let value = match scripted {
            Some((_, value)) if self.count(at.offset()) == 0 => *value,
            _ => next ^ (next >> 29),
        };
        self.seen.borrow_mut().push((at.offset(), value));
        value
    }

    fn store(&self, at: Qword, value: u64) {
        // Taking a request clears its marks.
        let marks = [Qword::VALID_BITMAP_LOW, Qword::VALID_BITMAP_HIGH];
        assert!(
            marks.contains(&at) && value == 0,
            "a reader wrote {value:#x} to {at:?}"
        );
    }

    fn read_buffer(&self, from: BufferRange, _: &mut [u8]) {
        panic!("a reader copied {from:?}");
    }

    fn write_buffer(&self, to: BufferRange, _: &[u8]) {
        panic!("a reader wrote to {to:?}");
    }
}
