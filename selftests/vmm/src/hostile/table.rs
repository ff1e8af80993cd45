// SPDX-License-Identifier: GPL-2.0
//! A table of hostile attempts: singly and in bursts, and the changes that another vCPU makes to their pages.

use super::snp::of_third;
use super::{spare, Hostile};
use crate::exchange::request::Request;
use crate::exchange::steps::{Attempt, StepVm};
use crate::launch::kind::Kind;
use crate::launch::vm::set_word;
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
use mailbox::{map, Flip, Mailbox, PAGE};
use std::mem::offset_of;
use vm_memory::GuestMemoryMmap;

/// Most VMGEXITs of a burst.
const BURST: u64 = 48;

/// Words that the other vCPU changes, one for each [`Flip`]. Each flip keeps to its word: the vCPU may see the address
/// of one aim with the values of another, and a value that is meant for RAX must not become an address.
const WORDS: [usize; 8] = [
    Field::SwExitCode.offset(),
    Field::SwExitInfo1.offset(),
    Field::SwExitInfo2.offset(),
    Field::SwScratch.offset(),
    Field::ValidBitmapLow.offset(),
    Field::ValidBitmapHigh.offset(),
    Field::Rax.offset(),
    SHARED_BUFFER_OFFSET,
];

/// Those that tell how C has answered.
const REPLY: [usize; 2] = [Field::SwExitInfo1.offset(), Field::SwExitInfo2.offset()];

/// A word of a page that alternates between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Aim {
    page: u64,
    even: u64,
    odd: u64,
}

/// Attempts, and the words that change under them.
#[derive(Debug)]
pub struct Table {
    /// To be taken in turn.
    pub attempts: Vec<Attempt>,
    aims: [Aim; WORDS.len()],
}

impl Hostile {
    /// The next `length` attempts, for pages in this order.
    pub fn table(&mut self, length: usize) -> Table {
        let mut attempts: Vec<Attempt> = (0..length).map(|_| self.attempt()).collect();
        let first = self.random.below(length as u64) as usize;
        let count = (1 + self.random.below(BURST) as usize).min(length - first - 1);
        let burst = first + 1..first + 1 + count;
        let aims = if self.random.once_in(2) {
            // One page, over and over, while it turns from one right request into another.
            let requests = [(); 2].map(|()| self.random.choose(&self.rights).request.clone());
            attempts[first] = Attempt::page(&requests[0]);
            attempts[burst].fill(Attempt::msr(StepVm::page_of(first)));
            self.aims_at(first, &requests)
        } else {
            let same = attempts[first].clone();
            attempts[burst].fill(same);
            self.aims_anywhere(length)
        };
        Table { attempts, aims }
    }

    fn aims_at(&mut self, page: usize, requests: &[Request; 2]) -> [Aim; WORDS.len()] {
        let gpa = StepVm::page_of(page);
        let images = requests.each_ref().map(|request| {
            let mut image = request.image();
            if request.is_scratch_inside() {
                let at = Field::SwScratch.offset();
                image.set_word(at, image.word(at).wrapping_add(gpa));
            }
            image
        });
        WORDS.map(|word| {
            let [even, odd] = images.each_ref().map(|image| image.word(word));
            // A reply clears marks: without this, the page would hold no whole request again.
            let all = [
                Field::ValidBitmapLow.offset(),
                Field::ValidBitmapHigh.offset(),
            ];
            let odd = if all.contains(&word) { even | odd } else { odd };
            Aim {
                page: page as u64,
                even: kept(word, even),
                odd: kept(word, odd),
            }
        })
    }

    fn aims_anywhere(&mut self, length: usize) -> [Aim; WORDS.len()] {
        WORDS.map(|word| {
            let even = match self.random.below(3) {
                0 => u64::MAX,
                1 => self.random.below(0x100),
                _ => self.random.word(),
            };
            Aim {
                page: self.random.below(length as u64),
                even: kept(word, even),
                odd: kept(word, self.random.word()),
            }
        })
    }
}

/// `value`, unless as the word at `offset` it would have the guest's own memory overwritten.
fn kept(offset: usize, value: u64) -> u64 {
    if offset == Field::SwScratch.offset() {
        spare(value)
    } else if Kind::chosen().is_snp() && offset == Field::SwExitInfo1.offset() {
        // It may meet an AP creation.
        of_third(value)
    } else {
        value
    }
}

impl Table {
    /// Have the vCPU `other`, which flips, change the words; if C is judged, not those of a reply: one that is written
    /// over cannot be told from a wrong one.
    pub fn aim(&self, memory: &GuestMemoryMmap, other: u64, is_judged: bool) {
        let flips = map::MAILBOXES + other * PAGE + offset_of!(Mailbox, flips) as u64;
        for (index, (aim, word)) in (0..).zip(self.aims.iter().zip(WORDS)) {
            let flip = flips + index * size_of::<Flip>() as u64;
            let set = |offset: usize, value| set_word(memory, flip + offset as u64, value);
            set(offset_of!(Flip, address), 0);
            set(offset_of!(Flip, width), 8);
            set(offset_of!(Flip, even), aim.even);
            set(offset_of!(Flip, odd), aim.odd);
            if !(is_judged && REPLY.contains(&word)) {
                set(offset_of!(Flip, address), map::page(aim.page) + word as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ghcb_rs::ghcb_abi::scratch::ScratchArea;

    #[test]
    fn tables_have_bursts_and_keep_their_length() {
        let mut hostile = Hostile::new(3);
        let mut repeated = 0;
        for length in [1, 2, 64, 256] {
            for _ in 0..50 {
                let table = hostile.table(length);
                assert_eq!(table.attempts.len(), length);
                let texts: Vec<_> = table
                    .attempts
                    .iter()
                    .map(|attempt| format!("{attempt:x?}"))
                    .collect();
                repeated += texts.windows(2).filter(|pair| pair[0] == pair[1]).count();
            }
        }
        assert!(repeated > 1000, "{repeated}");
    }

    #[test]
    fn no_aim_reaches_what_the_guest_needs() {
        let mut hostile = Hostile::new(4);
        for _ in 0..500 {
            let aims = hostile.table(256).aims;
            for value in [aims[3].even, aims[3].odd] {
                let end = value.saturating_add(ScratchArea::EXTERNAL_LIMIT);
                assert!(value >= map::SCRATCH, "{value:#x}");
                assert!(end <= map::CHECKS || value >= map::PAGES, "{value:#x}");
            }
        }
    }
}
