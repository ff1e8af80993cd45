// SPDX-License-Identifier: GPL-2.0
//! Events as a guest puts them into its page, and the path that KVM is no part of: read, prove, reply.

use ghcb_rs::ghcb_abi::bitmap::ValidBitmap;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{
    BufferRange, Field, Qword, SharedPage, PAGE_SIZE, PROTOCOL_VERSION_OFFSET, SHARED_BUFFER_OFFSET,
};
use ghcb_rs::ghcb_abi::reply::{Action, ErrorReason, Reply};
use ghcb_rs::ghcb_abi::snapshot::Snapshot;
use ghcb_rs::ghcb_abi::version::Version;
use ghcb_rs::vmgexit::request::NaeEvent;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

/// Guest-physical address of the page.
const GPA: u64 = 0x12_3000;
const CACHE_LINE: usize = 64;

/// A page of this process's memory, each access of which reaches memory.
pub struct Page(Vec<Cell<u64>>);

impl Default for Page {
    fn default() -> Self {
        Self(vec![Cell::new(0); PAGE_SIZE / 8])
    }
}

impl SharedPage for Page {
    #[inline]
    fn load(&self, at: Qword) -> u64 {
        // The compiler must not know what it stored before.
        std::hint::black_box(self.0[at.offset() / 8].get())
    }

    #[inline]
    fn store(&self, at: Qword, value: u64) {
        self.0[at.offset() / 8].set(std::hint::black_box(value));
    }

    fn read_buffer(&self, from: BufferRange, to: &mut [u8]) {
        for (at, byte) in (from.offset()..).zip(to) {
            *byte = self.0[at / 8].get().to_le_bytes()[at % 8];
        }
    }

    fn write_buffer(&self, to: BufferRange, from: &[u8]) {
        for (at, byte) in (to.offset()..).zip(from) {
            let mut word = self.0[at / 8].get().to_le_bytes();
            word[at % 8] = *byte;
            self.0[at / 8].set(u64::from_le_bytes(word));
        }
    }
}

/// A page that notes which cache lines are touched.
pub struct Noted<'a> {
    page: &'a Page,
    lines: RefCell<BTreeSet<usize>>,
}

impl<'a> Noted<'a> {
    /// `page`, untouched.
    pub fn new(page: &'a Page) -> Self {
        Self {
            page,
            lines: RefCell::default(),
        }
    }

    /// How many lines were touched.
    pub fn lines(&self) -> usize {
        self.lines.borrow().len()
    }

    fn note(&self, offset: usize) {
        self.lines.borrow_mut().insert(offset / CACHE_LINE);
    }

    fn note_range(&self, range: BufferRange) {
        (range.offset()..range.offset() + range.len()).for_each(|at| self.note(at));
    }
}

impl SharedPage for Noted<'_> {
    fn load(&self, at: Qword) -> u64 {
        self.note(at.offset());
        self.page.load(at)
    }

    fn store(&self, at: Qword, value: u64) {
        self.note(at.offset());
        self.page.store(at, value);
    }

    fn read_buffer(&self, from: BufferRange, to: &mut [u8]) {
        self.note_range(from);
        self.page.read_buffer(from, to);
    }

    fn write_buffer(&self, to: BufferRange, from: &[u8]) {
        self.note_range(to);
        self.page.write_buffer(to, from);
    }
}

/// An event, and what a host replies to it.
pub struct Event {
    pub name: &'static str,
    code: ExitCode,
    info1: u64,
    info2: u64,
    fields: Vec<(Field, u64)>,
    reply: Reply,
}

impl Event {
    fn new(name: &'static str, code: ExitCode, info1: u64, fields: &[Field]) -> Self {
        Self {
            name,
            code,
            info1,
            info2: 0,
            fields: fields.iter().map(|field| (*field, 1)).collect(),
            reply: Reply::no_action(0),
        }
    }

    fn info2(mut self, info2: u64) -> Self {
        self.info2 = info2;
        self
    }

    fn scratch(mut self) -> Self {
        let buffer = GPA + SHARED_BUFFER_OFFSET as u64;
        self.fields.push((Field::SwScratch, buffer));
        self
    }

    fn reply(mut self, reply: Reply) -> Self {
        self.reply = reply;
        self
    }

    /// The guest's part: put the request into the page.
    pub fn ask(&self, page: &Page) {
        let mut valid = ValidBitmap::EXIT;
        let exit = [
            (Field::SwExitCode, self.code.0),
            (Field::SwExitInfo1, self.info1),
            (Field::SwExitInfo2, self.info2),
        ];
        for &(field, value) in exit.iter().chain(&self.fields) {
            valid.insert(field);
            page.0[field.offset() / 8].set(value);
        }
        let (low, high) = valid.to_words();
        page.0[Field::ValidBitmapLow.offset() / 8].set(low);
        page.0[Field::ValidBitmapHigh.offset() / 8].set(high);
        page.0[PROTOCOL_VERSION_OFFSET / 8].set(2 << 16);
    }

    /// The host's part, without KVM.
    #[inline]
    pub fn handle<P: SharedPage>(&self, page: &P) -> Action {
        let Ok(snapshot) = Snapshot::take(page);
        let reply = match prove(&snapshot) {
            Ok(request) => {
                std::hint::black_box(request);
                self.reply
            }
            Err(reason) => Reply::error(reason),
        };
        let Ok(()) = reply.write(page);
        reply.action()
    }

    /// What the host's part must come to.
    pub fn expected(&self) -> Action {
        self.reply.action()
    }
}

#[inline]
fn prove(snapshot: &Snapshot) -> Result<NaeEvent, ErrorReason> {
    if !snapshot.missing().is_empty() {
        return Err(ErrorReason::MISSING_INPUT);
    }
    NaeEvent::decode(snapshot, Version::V2, GPA)
}

/// The events that are measured.
pub fn events() -> Vec<Event> {
    use Field::{Rax, Rcx, Rdx, Xcr0};
    let no_action = Reply::no_action(0);
    let out = IoInfo::new(0x500, IoSize::Byte, false);
    let outs = out.string(true, AddressSize::BITS_64, Segment::DS);
    vec![
        Event::new("cpuid", ExitCode::CPUID, 0, &[Rax, Rcx, Xcr0])
            .reply(no_action.with_rax(1).with_rbx(2).with_rcx(3).with_rdx(4)),
        Event::new("msr_read", ExitCode::MSR, 0, &[Rcx]).reply(no_action.with_rax(1).with_rdx(2)),
        Event::new("msr_write", ExitCode::MSR, 1, &[Rcx, Rax, Rdx]),
        Event::new("ioio_out", ExitCode::IOIO, out.0, &[Rax]),
        Event::new("ioio_outs", ExitCode::IOIO, outs.0, &[])
            .info2(512)
            .scratch(),
        Event::new("mmio_write", ExitCode::MMIO_WRITE, 0xd000_0000, &[])
            .info2(4)
            .scratch(),
        Event::new("mmio_read", ExitCode::MMIO_READ, 0xd000_0000, &[])
            .info2(4)
            .scratch(),
        Event::new("rdtsc", ExitCode::RDTSC, 0, &[]).reply(no_action.with_rax(1).with_rdx(2)),
        Event::new("hv_features", ExitCode::HV_FEATURES, 0, &[]),
        Event::new("missing_input", ExitCode::CPUID, 0, &[Rax])
            .reply(Reply::error(ErrorReason::MISSING_INPUT)),
        Event::new("unknown_event", ExitCode(0x1234), 0, &[])
            .reply(Reply::error(ErrorReason::INVALID_EVENT)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_answered_as_named() {
        for event in events() {
            let page = Page::default();
            event.ask(&page);
            assert_eq!(event.handle(&page), event.expected(), "{}", event.name);
        }
    }

    /// The header lies in three lines; more than six for registers and reply, and something is read in vain.
    #[test]
    fn no_event_touches_more_lines_than_its_fields_have() {
        for event in events() {
            let page = Page::default();
            event.ask(&page);
            let noted = Noted::new(&page);
            event.handle(&noted);
            assert!(
                (3..=6).contains(&noted.lines()),
                "{}: {}",
                event.name,
                noted.lines()
            );
        }
    }
}
