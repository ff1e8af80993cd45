// SPDX-License-Identifier: GPL-2.0

//! What the fuzz targets share: input taken apart, and a page made of it.

use std::cell::{Cell, RefCell};

use ghcb_rs::ghcb_abi::page::{BufferRange, Qword, SharedPage};

/// A page whose other owner writes to it between any two accesses: each load returns the next eight
/// bytes of the input, whatever was there before.
pub struct Changing<'a> {
    rest: Cell<&'a [u8]>,
    loads: RefCell<Vec<(Qword, u64)>>,
    stores: RefCell<Vec<(Qword, u64)>>,
}

impl<'a> Changing<'a> {
    /// A page that says `input`; zeros when that is used up.
    pub fn new(input: &'a [u8]) -> Self {
        Self {
            rest: Cell::new(input),
            loads: RefCell::default(),
            stores: RefCell::default(),
        }
    }

    /// Each load so far: where, and what it returned.
    pub fn loads(&self) -> Vec<(Qword, u64)> {
        self.loads.borrow().clone()
    }

    /// Each store so far.
    pub fn stores(&self) -> Vec<(Qword, u64)> {
        self.stores.borrow().clone()
    }

    /// What the one load of a place returned.
    pub fn loaded(&self, at: Qword) -> Option<u64> {
        let loads = self.loads.borrow();
        loads
            .iter()
            .find(|(place, _)| *place == at)
            .map(|(_, value)| *value)
    }

    /// Panics if any place was read twice.
    pub fn assert_one_look(&self) {
        let mut places: Vec<_> = self.loads.borrow().iter().map(|(at, _)| *at).collect();
        let count = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), count, "read twice: {:?}", self.loads.borrow());
    }
}

impl SharedPage for Changing<'_> {
    fn load(&self, at: Qword) -> u64 {
        assert!(at.offset() % 8 == 0 && at.offset() < 4096);
        let mut input = self.rest.get();
        let value = take(&mut input);
        self.rest.set(input);
        self.loads.borrow_mut().push((at, value));
        value
    }

    fn store(&self, at: Qword, value: u64) {
        assert!(at.offset() % 8 == 0 && at.offset() < 4096);
        self.stores.borrow_mut().push((at, value));
    }

    fn read_buffer(&self, from: BufferRange, to: &mut [u8]) {
        assert!(from.offset() >= 0x800 && from.offset() + from.len() <= 0xff0);
        for byte in to.iter_mut().take(from.len()) {
            let mut input = self.rest.get();
            *byte = take(&mut input) as u8;
            self.rest.set(input);
        }
    }

    fn write_buffer(&self, to: BufferRange, _: &[u8]) {
        assert!(to.offset() >= 0x800 && to.offset() + to.len() <= 0xff0);
    }
}

/// The next number of the input; short or absent bytes are zero.
pub fn take(input: &mut &[u8]) -> u64 {
    let (head, tail) = input.split_at(input.len().min(8));
    *input = tail;
    let mut bytes = [0; 8];
    bytes[..head.len()].copy_from_slice(head);
    u64::from_le_bytes(bytes)
}
