// SPDX-License-Identifier: GPL-2.0

//! A guest's page: keeps a record of what is read and written, may change between any two accesses, and
//! may vanish.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
};

use ghcb_rs::{
    ghcb_abi::page::{BufferRange, GuestPage, Qword, PAGE_SIZE},
    vmgexit::host::Fault,
};

const WORDS: usize = PAGE_SIZE / 8;

/// A pseudo-random sequence; the same seed makes the same one.
#[derive(Clone, Debug)]
pub struct Sequence(pub u64);

impl Sequence {
    pub fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 ^ (self.0 >> 29)
    }
}

/// The memory behind the page.
#[derive(Debug)]
pub struct Page {
    words: Vec<Cell<u64>>,
    /// How often each word was read.
    loads: Vec<Cell<u32>>,
    /// How often each byte was copied out.
    copies: Vec<Cell<u32>>,
    /// Words read in either way.
    read: RefCell<BTreeSet<usize>>,
    /// What each word said when it was read.
    seen: Vec<Cell<u64>>,
    /// Each word written: offset and value.
    stores: RefCell<Vec<(usize, u64)>>,
    /// Each copy into the buffer: offset and bytes.
    buffer_stores: RefCell<Vec<(usize, Vec<u8>)>>,
    /// Another vCPU that writes to the page after each access.
    writer: RefCell<Option<Sequence>>,
    accesses: Cell<u32>,
    /// Accesses that do not reach the page: from the first number up to, and without, the second.
    gone: Cell<Option<(u32, u32)>>,
    /// Whether what is written does not reach the page.
    read_only: Cell<bool>,
    /// Views that exist.
    views: Cell<u32>,
}

impl Page {
    pub fn filled(byte: u8) -> Self {
        let cells = |len| (0..len).map(|_| Cell::new(0)).collect::<Vec<_>>();
        Self {
            words: (0..WORDS)
                .map(|_| Cell::new(u64::from_ne_bytes([byte; 8])))
                .collect(),
            loads: cells(WORDS),
            copies: cells(PAGE_SIZE),
            read: RefCell::default(),
            seen: (0..WORDS).map(|_| Cell::new(0)).collect(),
            stores: RefCell::default(),
            buffer_stores: RefCell::default(),
            writer: RefCell::default(),
            accesses: Cell::new(0),
            gone: Cell::new(None),
            read_only: Cell::new(false),
            views: Cell::new(0),
        }
    }

    /// Lets another vCPU rewrite the page from now on.
    pub fn rewrite_by(&self, seed: u64) {
        *self.writer.borrow_mut() = Some(Sequence(seed));
    }

    /// Makes accesses fail; they are counted from zero.
    pub fn vanish(&self, from: u32, until: u32) {
        self.gone.set(Some((from, until)));
    }

    /// Makes all writes fail.
    pub fn protect(&self) {
        self.read_only.set(true);
    }

    pub fn put(&self, offset: usize, value: u64) {
        self.words[offset / 8].set(value);
    }

    pub fn peek(&self, offset: usize) -> u64 {
        self.words[offset / 8].get()
    }

    pub fn put_bytes(&self, offset: usize, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            let mut word = self.words[at / 8].get().to_le_bytes();
            word[at % 8] = *byte;
            self.words[at / 8].set(u64::from_le_bytes(word));
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.words
            .iter()
            .flat_map(|word| word.get().to_le_bytes())
            .collect()
    }

    pub fn stores(&self) -> Vec<(usize, u64)> {
        self.stores.borrow().clone()
    }

    pub fn buffer_stores(&self) -> Vec<(usize, Vec<u8>)> {
        self.buffer_stores.borrow().clone()
    }

    /// Whether someone still looks at the page.
    pub fn is_viewed(&self) -> bool {
        self.views.get() != 0
    }

    pub fn accesses(&self) -> u32 {
        self.accesses.get()
    }

    /// Offset of a word or byte that was read more than once.
    pub fn read_twice(&self) -> Option<usize> {
        let word = self.loads.iter().position(|count| count.get() > 1);
        let byte = self.copies.iter().position(|count| count.get() > 1);
        word.map(|word| word * 8).or(byte)
    }

    /// Number of words read.
    pub fn words_read(&self) -> usize {
        self.read.borrow().len()
    }

    /// The page as the reader saw it, zero where it did not look.
    pub fn as_seen(&self) -> Page {
        let still = Self::filled(0);
        for (to, from) in still.words.iter().zip(&self.seen) {
            to.set(from.get());
        }
        still
    }

    /// Counts an access, which may not reach the page.
    fn access(&self) -> Result<(), Fault> {
        let number = self.accesses.get();
        self.accesses.set(number + 1);
        match self.gone.get() {
            Some((from, until)) if (from..until).contains(&number) => Err(Fault),
            _ => Ok(()),
        }
    }

    /// The same for a write.
    fn write_access(&self) -> Result<(), Fault> {
        self.access()?;
        if self.read_only.get() {
            return Err(Fault);
        }
        Ok(())
    }

    /// The other vCPU's turn: everything that was read so far changes, and now and then something that
    /// was not.
    fn turn_of_the_writer(&self) {
        let mut writer = self.writer.borrow_mut();
        let Some(sequence) = writer.as_mut() else {
            return;
        };
        for at in self.read.borrow().iter() {
            self.words[*at].set(sequence.next());
        }
        if sequence.next() % 8 == 0 {
            let at = sequence.next() as usize % WORDS;
            self.words[at].set(sequence.next());
        }
    }
}

/// The page as the handling path holds it.
#[derive(Debug)]
pub struct View {
    page: Rc<Page>,
}

impl View {
    pub fn of(page: &Rc<Page>) -> Self {
        page.views.set(page.views.get() + 1);
        Self { page: page.clone() }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.page.views.set(self.page.views.get() - 1);
    }
}

fn assert_in_buffer(range: BufferRange) {
    assert!(
        range.offset() >= 0x800 && range.offset() + range.len() <= 0xff0,
        "{range:?}"
    );
}

impl GuestPage for View {
    type Error = Fault;

    fn read(&self, at: Qword) -> Result<u64, Fault> {
        assert!(at.offset() % 8 == 0 && at.offset() <= PAGE_SIZE - 8);
        self.page.access()?;
        let index = at.offset() / 8;
        let value = self.page.words[index].get();
        self.page.loads[index].set(self.page.loads[index].get() + 1);
        self.page.seen[index].set(value);
        self.page.read.borrow_mut().insert(index);
        self.page.turn_of_the_writer();
        Ok(value)
    }

    fn write(&self, at: Qword, value: u64) -> Result<(), Fault> {
        assert!(at.offset() % 8 == 0 && at.offset() <= PAGE_SIZE - 8);
        self.page.write_access()?;
        self.page.put(at.offset(), value);
        self.page.stores.borrow_mut().push((at.offset(), value));
        self.page.turn_of_the_writer();
        Ok(())
    }

    fn read_bytes(&self, from: BufferRange, to: &mut [u8]) -> Result<(), Fault> {
        assert_in_buffer(from);
        self.page.access()?;
        for (at, byte) in (from.offset()..).zip(to.iter_mut()).take(from.len()) {
            *byte = self.page.words[at / 8].get().to_le_bytes()[at % 8];
            self.page.copies[at].set(self.page.copies[at].get() + 1);
            self.page.read.borrow_mut().insert(at / 8);
            let mut seen = self.page.seen[at / 8].get().to_le_bytes();
            seen[at % 8] = *byte;
            self.page.seen[at / 8].set(u64::from_le_bytes(seen));
        }
        self.page.turn_of_the_writer();
        Ok(())
    }

    fn write_bytes(&self, to: BufferRange, from: &[u8]) -> Result<(), Fault> {
        assert_in_buffer(to);
        self.page.write_access()?;
        let bytes = &from[..from.len().min(to.len())];
        self.page.put_bytes(to.offset(), bytes);
        self.page
            .buffer_stores
            .borrow_mut()
            .push((to.offset(), bytes.to_vec()));
        self.page.turn_of_the_writer();
        Ok(())
    }
}
