// SPDX-License-Identifier: GPL-2.0

//! A list of page state changes, and how far it has got.

use crate::{
    ghcb_abi::psc::{PageOperation, PscEntry, PscHeader, PscStatus, ELEMENT_SIZE},
    vmgexit::host::PageRange,
};
use core::ops::Range;

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

    /// The header: `cur_entry` says how far the list has got. An empty list if there is none.
    pub fn header(&self) -> PscHeader {
        let word = self.0.first_chunk().copied();
        PscHeader::decode(word.map_or(0, u64::from_le_bytes))
    }

    /// Goes on to an entry.
    fn set_current(&mut self, index: u16) {
        let header = PscHeader {
            cur_entry: index,
            ..self.header()
        };
        if let Some(word) = self.0.first_chunk_mut() {
            *word = header.encode().to_le_bytes();
        }
    }

    /// Where the entries from the current one up to the last one are in the copy.
    fn rest(&self) -> Range<usize> {
        let header = self.header();
        let place = |index: u16| {
            usize::from(index)
                .saturating_add(1)
                .saturating_mul(ELEMENT_SIZE)
        };
        let end = place(header.end_entry).saturating_add(ELEMENT_SIZE);
        place(header.cur_entry)..end.min(self.0.len())
    }

    /// These entries.
    fn entries(&self) -> impl Iterator<Item = PscEntry> + '_ {
        let words = self.0.get(self.rest()).unwrap_or_default();
        words.chunks_exact(ELEMENT_SIZE).map(|word| {
            let word = word.try_into().unwrap_or_default();
            PscEntry(u64::from_le_bytes(word))
        })
    }

    /// The entries that are next: a first one with something left to do, and those that continue it.
    ///
    /// # Errors
    ///
    /// The status for the guest, when the list ends here.
    fn batch(&mut self) -> Result<Batch, PscStatus> {
        let mut passed: u16 = 0;
        let mut end = Err(PscStatus::SUCCESS);
        let mut entries = self.entries();
        for first in entries.by_ref() {
            if first.cur_page() > first.pages() || !first.is_aligned() {
                end = Err(PscStatus::INVALID_ENTRY);
                break;
            }
            if first.cur_page() < first.pages() {
                end = Ok(first);
                break;
            }
            passed = passed.saturating_add(1);
        }
        let batch = end.map(|first| Batch::begin(first, entries));
        if passed != 0 {
            self.set_current(self.header().cur_entry.saturating_add(passed));
        }
        batch
    }

    /// Notes that the next batch is done.
    pub fn advance(&mut self) {
        if let Ok(batch) = self.batch() {
            self.finish(&batch);
        }
    }

    /// Notes that a batch, which is the next one, is done.
    fn finish(&mut self, batch: &Batch) {
        let begin = self.rest().start;
        let len = usize::from(batch.count).saturating_mul(ELEMENT_SIZE);
        let words = self.0.get_mut(begin..begin.saturating_add(len));
        for word in words.unwrap_or_default().chunks_exact_mut(ELEMENT_SIZE) {
            if let Some(word) = word.first_chunk_mut() {
                let entry = PscEntry(u64::from_le_bytes(*word));
                *word = entry.with_cur_page(entry.pages()).0.to_le_bytes();
            }
        }
        self.set_current(self.header().cur_entry.saturating_add(batch.count));
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

impl Batch {
    /// A first entry with something left to do, and as many of those after it as continue it.
    fn begin(first: PscEntry, after: impl Iterator<Item = PscEntry>) -> Self {
        let done = u64::from(first.cur_page());
        let mut count: u16 = 1;
        // What is left of an entry is no multiple of 2 MiB, and is carried out alone.
        if done == 0 {
            let step = first.pages();
            let mut last = first;
            let continues = |next: &PscEntry| {
                last = last.moved(step);
                last.is_same(*next)
            };
            let after = after
                .take(first.room_behind() as usize)
                .take_while(continues);
            count = count.saturating_add(after.count() as u16);
        }
        let pages = u64::from(first.pages()).saturating_mul(count.into());
        Self {
            count,
            range: PageRange {
                gpa: PscEntry::address(first.gfn().saturating_add(done)),
                pages: pages.saturating_sub(done),
                is_private: first.operation() == PageOperation::PRIVATE,
                is_huge: first.is_huge(),
            },
            operation: first.operation(),
        }
    }
}
