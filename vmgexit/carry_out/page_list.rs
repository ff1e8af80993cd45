// SPDX-License-Identifier: GPL-2.0

//! A list of page state changes, and how far it has got.

use crate::{
    ghcb_abi::psc::{PageOperation, PscEntry, PscHeader, PscStatus, ELEMENT_SIZE},
    vmgexit::host::PageRange,
};

/// A copy of a list, in memory that neither guest nor userspace can reach.
///
/// What has been checked cannot change, and the range that userspace was asked for follows from the list: nothing else
/// is kept between two exits to userspace.
pub struct PageList<'a>(&'a mut [u8]);

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Userspace has to change a range.
    Ask(PageRange),
    /// Nothing.
    End(PscStatus),
}

/// Entries that are carried out together, from the current one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    /// Number of entries; not zero.
    count: u16,
    /// What they come to.
    range: PageRange,
    /// What the guest wants of them.
    operation: PageOperation,
}

impl<'a> PageList<'a> {
    /// The list in a copy of it: header, then entries.
    pub fn new(copy: &'a mut [u8]) -> Self {
        Self(copy)
    }

    /// One of the quad words: the header is the first. `None` after the end of the copy.
    fn word(&mut self, index: usize) -> Option<&mut [u8; ELEMENT_SIZE]> {
        let start = index.checked_mul(ELEMENT_SIZE)?;
        self.0.get_mut(start..)?.first_chunk_mut()
    }

    /// The header: `cur_entry` says how far the list has got. An empty list if there is none.
    pub fn header(&mut self) -> PscHeader {
        let word = self.word(0).map_or(0, |word| u64::from_le_bytes(*word));
        PscHeader::decode(word)
    }

    /// Goes on to an entry.
    fn set_current(&mut self, index: u16) {
        let header = PscHeader {
            cur_entry: index,
            ..self.header()
        };
        if let Some(word) = self.word(0) {
            *word = header.encode().to_le_bytes();
        }
    }

    /// An entry. `None` after the last one.
    fn entry(&mut self, index: u16) -> Option<PscEntry> {
        if index > self.header().end_entry {
            return None;
        }
        let word = self.word(usize::from(index).saturating_add(1))?;
        Some(PscEntry(u64::from_le_bytes(*word)))
    }

    /// The entries that are next: a first one with something left to do, and those that continue it.
    ///
    /// # Errors
    ///
    /// The status for the guest, when the list ends here.
    fn batch(&mut self) -> Result<Batch, PscStatus> {
        let mut index = self.header().cur_entry;
        let first = loop {
            let entry = self.entry(index).ok_or(PscStatus::SUCCESS)?;
            if entry.cur_page() > entry.pages() || !entry.is_aligned() {
                return Err(PscStatus::INVALID_ENTRY);
            }
            if entry.cur_page() < entry.pages() {
                break entry;
            }
            index = index.checked_add(1).ok_or(PscStatus::SUCCESS)?;
            self.set_current(index);
        };
        let done = u64::from(first.cur_page());
        let mut count: u16 = 1;
        let mut pages = u64::from(first.pages()).saturating_sub(done);
        loop {
            let next = index.checked_add(count).and_then(|next| self.entry(next));
            let is_next = next.is_some_and(|next| {
                // What is left of an entry is no multiple of 2 MiB, and is carried out alone.
                done == 0
                    && next.operation() == first.operation()
                    && next.gfn() == first.gfn().saturating_add(pages)
                    && next.is_huge() == first.is_huge()
                    && next.cur_page() == 0
            });
            if !is_next {
                break;
            }
            count = count.saturating_add(1);
            pages = pages.saturating_add(first.pages().into());
        }
        Ok(Batch {
            count,
            range: PageRange {
                gpa: PscEntry::address(first.gfn().saturating_add(done)),
                pages,
                is_private: first.operation() == PageOperation::PRIVATE,
                is_huge: first.is_huge(),
            },
            operation: first.operation(),
        })
    }

    /// Notes that the next batch is done.
    pub fn advance(&mut self) {
        if let Ok(batch) = self.batch() {
            self.finish(&batch);
        }
    }

    /// Notes that a batch, which is the next one, is done.
    fn finish(&mut self, batch: &Batch) {
        let first = self.header().cur_entry;
        for number in 0..batch.count {
            let index = first.saturating_add(number);
            if let Some(word) = self.word(usize::from(index).saturating_add(1)) {
                let entry = PscEntry(u64::from_le_bytes(*word));
                *word = entry.with_cur_page(entry.pages()).0.to_le_bytes();
            }
        }
        self.set_current(first.saturating_add(batch.count));
    }

    /// Goes on to what userspace has to do, or to the end. Operations that KVM does not know are done by doing
    /// nothing, as in C.
    pub fn proceed(&mut self) -> Next {
        loop {
            let batch = match self.batch() {
                Ok(batch) => batch,
                Err(status) => return Next::End(status),
            };
            match batch.operation {
                PageOperation::PRIVATE | PageOperation::SHARED => return Next::Ask(batch.range),
                _ => self.finish(&batch),
            }
        }
    }
}
