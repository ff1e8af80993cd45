// SPDX-License-Identifier: GPL-2.0

//! What KVM's C code makes of a list of page state changes, written down from it.
//!
//! C: `snp_begin_psc()`, `snp_do_psc()`, `snp_complete_one_psc()`, of `arch/x86/kvm/svm/sev.c`.

use ghcb_rs::{
    ghcb_abi::psc::PscEntry,
    vmgexit::host::{PageRange, RangeAnswer},
};

pub const INVALID_HEADER: u64 = 0x1_0000_0001;
const INVALID_ENTRY: u64 = 0x1_0000_0002;
pub const GENERIC: u64 = 0x100_0000_0000;

/// What becomes of a list: what was asked for, SW_EXITINFO2, and the page.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    pub asked: Vec<PageRange>,
    pub info2: u64,
    pub page: Vec<u8>,
}

/// C's. `quirk`: it looks for the entry after a partly done one where the guest's page does not go on.
struct Psc<'a> {
    offset: usize,
    quirk: bool,
    page: Vec<u8>,
    cur_idx: u16,
    end_idx: u16,
    batch_size: u16,
    asked: Vec<PageRange>,
    answer: &'a mut dyn FnMut() -> RangeAnswer,
}

/// Runs the list at an offset in a page, with what userspace answers for each range.
pub fn run(
    page: Vec<u8>,
    offset: usize,
    quirk: bool,
    mut answer: impl FnMut() -> RangeAnswer,
) -> End {
    let mut psc = Psc {
        offset,
        quirk,
        page,
        cur_idx: 0,
        end_idx: 0,
        batch_size: 0,
        asked: Vec::new(),
        answer: &mut answer,
    };
    let info2 = psc.begin();
    End {
        asked: psc.asked,
        info2,
        page: psc.page,
    }
}

impl Psc<'_> {
    fn half(&mut self, at: usize) -> &mut [u8; 2] {
        self.page[at..].first_chunk_mut().unwrap()
    }

    fn entry(&self, index: u16) -> PscEntry {
        let at = self.offset + 8 + 8 * usize::from(index);
        PscEntry(u64::from_le_bytes(*self.page[at..].first_chunk().unwrap()))
    }

    fn begin(&mut self) -> u64 {
        let room = 0xff0 - self.offset;
        let most = ((room - 8) / 8) as u16;
        self.cur_idx = u16::from_le_bytes(*self.half(self.offset));
        self.end_idx = u16::from_le_bytes(*self.half(self.offset + 2));
        if self.end_idx >= most {
            return INVALID_HEADER;
        }
        self.next_range()
    }

    fn next_range(&mut self) -> u64 {
        loop {
            let mut idx = self.cur_idx;
            let (mut entry, mut gfn, mut npages, mut huge) = (PscEntry(0), 0, 0, false);
            while idx <= self.end_idx {
                entry = self.entry(idx);
                (gfn, huge) = (entry.gfn(), entry.is_huge());
                npages = if huge { 512 } else { 1 };
                if u64::from(entry.cur_page()) > npages || gfn % npages != 0 {
                    return INVALID_ENTRY;
                }
                if entry.cur_page() != 0 {
                    npages -= u64::from(entry.cur_page());
                    gfn += u64::from(entry.cur_page());
                    huge = false;
                }
                if npages != 0 {
                    break;
                }
                let at = self.offset;
                let shown = u16::from_le_bytes(*self.half(at)).wrapping_add(1);
                *self.half(at) = shown.to_le_bytes();
                idx += 1;
            }
            if idx > self.end_idx {
                return 0;
            }
            self.cur_idx = idx;
            self.batch_size = 1;
            let is_partly_done = entry.cur_page() != 0;
            loop {
                idx += 1;
                if idx > self.end_idx || is_partly_done && !self.quirk {
                    break;
                }
                let next = self.entry(idx);
                if next.operation() != entry.operation()
                    || next.gfn() != entry.gfn() + npages
                    || next.cur_page() != 0
                    || next.is_huge() != huge
                {
                    break;
                }
                self.batch_size += 1;
                npages += if huge { 512 } else { 1 };
            }
            if matches!(entry.operation().0, 1 | 2) {
                self.asked.push(PageRange {
                    gpa: gfn << 12,
                    pages: npages,
                    is_private: entry.operation().0 == 1,
                    is_huge: entry.is_huge(),
                });
                match (self.answer)() {
                    RangeAnswer::Done => {}
                    RangeAnswer::Failed => return GENERIC,
                    // KVM_RUN fails, and what is in the page stays.
                    RangeAnswer::Invalid => return 0,
                }
            }
            self.complete_one();
        }
    }

    fn complete_one(&mut self) {
        let mut idx = self.cur_idx;
        while self.batch_size != 0 {
            let at = self.offset + 8 + 8 * usize::from(idx);
            let entry = self.entry(idx);
            let done = entry.with_cur_page(entry.pages());
            self.page[at..at + 8].copy_from_slice(&done.0.to_le_bytes());
            self.batch_size -= 1;
            idx += 1;
        }
        self.cur_idx = idx;
        let at = self.offset;
        *self.half(at) = idx.to_le_bytes();
    }
}
