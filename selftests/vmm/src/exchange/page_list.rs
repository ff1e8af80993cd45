// SPDX-License-Identifier: GPL-2.0
//! A list of page state changes in the shared buffer of a GHCB.

use crate::exchange::exit::Exit;
use crate::exchange::page_image::PageImage;
use crate::exchange::request::Request;
use crate::exchange::steps::Attempt;
use crate::exchange::userspace::MAP_GPA_RANGE;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::msr::{MsrRequest, MsrResponse};
use ghcb_rs::ghcb_abi::page::{SHARED_BUFFER_END, SHARED_BUFFER_OFFSET};
use ghcb_rs::ghcb_abi::psc::{PageOperation, PscEntry, PscHeader, ELEMENT_SIZE};
use mailbox::{map, PAGE};

/// The first frame that lists of the tests are about.
pub const GFN: u64 = map::CONVERTED / PAGE;
/// Where most lists begin in the page.
pub const BEGIN: usize = SHARED_BUFFER_OFFSET;

/// The page with that number, of those that lists are about.
pub fn page(number: u64, operation: PageOperation) -> PscEntry {
    PscEntry::new(GFN + number, operation, false)
}

/// The large page that lists are about.
pub fn large(operation: PageOperation) -> PscEntry {
    PscEntry::new(GFN, operation, true)
}

/// The change of one page by the MSR protocol.
pub fn by_msr(gfn: u64, operation: PageOperation) -> Attempt {
    Attempt::msr(MsrRequest::PageStateChange { gfn, operation }.encode().0)
}

/// The response to it.
pub fn response(error: u32) -> u64 {
    MsrResponse::PageStateChange { error }.encode().0
}

/// Header and entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageList {
    /// Which entries to work on.
    pub header: PscHeader,
    /// All entries.
    pub entries: Vec<PscEntry>,
}

impl PageList {
    /// A list of these entries, from the first to the last.
    pub fn new(entries: Vec<PscEntry>) -> Self {
        let header = PscHeader {
            cur_entry: 0,
            end_entry: entries.len().saturating_sub(1) as u16,
            reserved: 0,
        };
        Self { header, entries }
    }

    /// `count` pages from `gfn` that change the same way.
    pub fn range(gfn: u64, count: u64, operation: PageOperation) -> Self {
        let entry = |page| PscEntry::new(gfn + page, operation, false);
        Self::new((0..count).map(entry).collect())
    }

    /// The same list, worked on from entry `cur` up to and with entry `end`.
    pub fn between(mut self, cur: u16, end: u16) -> Self {
        self.header.cur_entry = cur;
        self.header.end_entry = end;
        self
    }

    /// The list at `offset` of `page`, as far as the shared buffer goes.
    pub fn of(page: &PageImage, offset: usize) -> Self {
        let words = page.bytes(offset, (Self::room(offset) + 1) * ELEMENT_SIZE);
        let mut words = words.chunks_exact(ELEMENT_SIZE).map(|bytes| {
            let bytes = bytes.iter().rev();
            bytes.fold(0, |word, byte| (word << 8) | u64::from(*byte))
        });
        Self {
            header: PscHeader::decode(words.next().unwrap_or(0)),
            entries: words.map(PscEntry).collect(),
        }
    }

    /// Entries for which there is room if the list begins at `offset` of the page.
    pub fn room(offset: usize) -> usize {
        (SHARED_BUFFER_END - offset) / ELEMENT_SIZE - 1
    }

    /// All bytes of the list.
    pub fn bytes(&self) -> Vec<u8> {
        let words = [self.header.encode()].into_iter();
        words
            .chain(self.entries.iter().map(|entry| entry.0))
            .flat_map(u64::to_le_bytes)
            .collect()
    }

    /// The shared buffer with the list at `offset` of the page; what has no room is cut off.
    pub fn buffer(&self, offset: usize) -> Vec<u8> {
        let mut buffer = vec![0; offset - SHARED_BUFFER_OFFSET];
        buffer.extend(self.bytes());
        buffer.resize(SHARED_BUFFER_END - SHARED_BUFFER_OFFSET, 0);
        buffer
    }

    /// The request to work on the list at `offset` of the page.
    pub fn request(&self, offset: usize) -> Request {
        Request::new(ExitCode::PAGE_STATE_CHANGE, 0, 0)
            .scratch_inside(offset)
            .buffer(&self.buffer(offset))
    }
}

/// What userspace is asked for: address, number of pages, attributes.
pub type Asked = (u64, u64, u64);

/// The change that `exit` asks for, if it does.
pub fn asked(exit: &Exit) -> Option<Asked> {
    match *exit {
        Exit::Hypercall {
            nr: MAP_GPA_RANGE,
            args: [gpa, pages, attributes, ..],
        } => Some((gpa, pages, attributes)),
        _ => None,
    }
}
