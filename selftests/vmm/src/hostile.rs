// SPDX-License-Identifier: GPL-2.0
//! A seeded source of VMGEXITs: right ones, nearly right ones, and noise.

pub mod random;
pub mod snp;
pub mod table;

use crate::exchange::catalog::{self, Right};
use crate::exchange::page_image::PageImage;
use crate::exchange::request::Request;
use crate::exchange::steps::{Attempt, StepVm};
use crate::launch::kind::Kind;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::IoInfo;
use ghcb_rs::ghcb_abi::page::{Field, PAGE_SIZE};
use ghcb_rs::ghcb_abi::scratch::ScratchArea;
use mailbox::map;
use random::Random;

/// Numbers at which handlers err.
const EDGES: [u64; 22] = [
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    0xd,
    0xfff,
    0x1000,
    0x7f0,
    0x7f1,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x3fff_ffff_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_f000,
    u64::MAX,
];

/// MSRs that a hostile guest may write without destroying its own memory through KVM's paravirtual ones.
const MSRS: [u64; 10] = [
    0x10,
    0x1b,
    0x200,
    0x2ff,
    0x174,
    0x277,
    0xc000_0080,
    0xc001_0015,
    0xc001_011f,
    0x4000_4000,
];

/// From this attempt of a table on, its page may be named by another attempt's address. A shorter table has no attempt
/// that meets another one's request, or what became of it.
pub const OTHER_PAGE: usize = map::PAGE_COUNT as usize / 2;

/// A source of attempts.
pub struct Hostile {
    random: Random,
    rights: Vec<Right>,
    kind: Kind,
}

impl Hostile {
    /// Begin at `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            rights: catalog::rights(),
            kind: Kind::chosen(),
        }
    }

    /// The generator itself, for choices around the attempts.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The next attempt.
    pub fn attempt(&mut self) -> Attempt {
        if self.kind.is_snp() && self.random.once_in(3) {
            return self.snp();
        }
        match self.random.below(100) {
            0..15 => Attempt::page(&self.random.choose(&self.rights).request.clone()),
            15..45 => self.nearly_right(),
            45..60 => self.event(),
            60..70 => self.noise(),
            70..85 => self.msr_protocol(),
            85..93 => self.address(),
            _ => {
                let attempt = self.event();
                attempt.in_ring3()
            }
        }
    }

    fn number(&mut self) -> u64 {
        match self.random.below(3) {
            0 => *self.random.choose(&EDGES),
            1 => self.random.below(0x10000),
            _ => self.random.word(),
        }
    }

    /// A right request with one or two things wrong.
    fn nearly_right(&mut self) -> Attempt {
        let right = self.random.choose(&self.rights).clone();
        let mut request = right.request;
        for _ in 0..=self.random.below(2) {
            let field = *self.random.choose(&Field::ALL);
            request = match self.random.below(6) {
                0 => request.without(field),
                1 => request.version(self.number() as u16),
                2 => request.usage(self.random.below(2) as u32),
                3 => self.other_scratch(request),
                4 => {
                    let number = self.number();
                    request.with(Field::SwExitInfo2, number)
                }
                _ => {
                    let bit = 1 << self.random.below(64);
                    let info1 = request.info1() ^ bit;
                    request.with(Field::SwExitInfo1, info1)
                }
            };
        }
        Attempt::page(&self.tame(request))
    }

    fn other_scratch(&mut self, request: Request) -> Request {
        let offset = self.random.below(PAGE_SIZE as u64 + 16) as usize;
        match self.random.below(4) {
            0 => request.scratch_outside(map::SCRATCH + self.random.below(0x8000)),
            1 => {
                let number = self.number();
                request.scratch_outside(spare(number))
            }
            2 => request.scratch_outside(map::MMIO),
            _ => request.scratch_inside(offset),
        }
    }

    /// A legal number of an event, with any operands.
    fn event(&mut self) -> Attempt {
        let code = match self.random.below(4) {
            0 => self.random.below(0x410),
            1 => 0x8000_0000 + self.random.below(0x30),
            2 => 0x8000_fff0 + self.random.below(0x10),
            _ => self.random.choose(&self.rights).request.code().0,
        };
        let (info1, info2) = (self.number(), self.number());
        let mut request = Request::new(ExitCode(code), info1, info2);
        for field in [Field::Rax, Field::Rbx, Field::Rcx, Field::Rdx, Field::Cpl] {
            if !self.random.once_in(4) {
                let number = match field {
                    Field::Rbx => map::SCRATCH,
                    Field::Rcx => *self.random.choose(&MSRS),
                    _ => self.number(),
                };
                request = request.with(field, number);
            }
        }
        let request = self.other_scratch(request);
        Attempt::page(&self.tame(request))
    }

    /// A page of random words, sometimes with the marks of a request.
    fn noise(&mut self) -> Attempt {
        let mut image = PageImage::default();
        for word in &mut image.0 {
            *word = self.random.word();
        }
        // An MSR number or hypercall by chance could name the guest's own memory.
        image.set_word(Field::Rcx.offset(), *self.random.choose(&MSRS));
        image.set_word(Field::Rbx.offset(), map::SCRATCH);
        let scratch = spare(image.word(Field::SwScratch.offset()));
        image.set_word(Field::SwScratch.offset(), scratch);
        image.set_word(Field::Rax.offset(), self.random.below(0x100));
        if self.random.once_in(2) {
            image.set_word(PAGE_SIZE - 8, 2 << 16);
        }
        Attempt::image(image)
    }

    fn msr_protocol(&mut self) -> Attempt {
        const REQUESTS: [u64; 10] = [2, 4, 6, 0x10, 0x12, 0x14, 0x16, 0x80, 0x100, 0x999];
        let info = if self.random.once_in(4) {
            self.random.below(0xfff) + 1
        } else {
            *self.random.choose(&REQUESTS)
        };
        Attempt::msr(self.number() & !0xfff | info)
    }

    /// A page somewhere else.
    fn address(&mut self) -> Attempt {
        let random = self.random.word();
        let list = [
            0,
            map::MMIO,
            map::NOWHERE,
            map::PRIVATE_SPARE,
            map::SHARED + map::SHARED_SIZE,
            map::GHCBS + 4096,
            StepVm::page_of(self.random.below(map::PAGE_COUNT) as usize | OTHER_PAGE),
            0xfee0_0000,
            // The encryption bit of one processor or the other.
            1 << if random & 1 == 0 { 51 } else { 47 },
            1 << 52,
            random | (1 << 40),
            u64::MAX,
        ];
        Attempt::msr(*self.random.choose(&list) & !0xfff)
    }

    /// Keep the guest from asking KVM to overwrite the guest's own memory: MSRs and hypercalls come from lists.
    fn tame(&mut self, request: Request) -> Request {
        let request = match self.kind {
            Kind::SevEs => request,
            Kind::SevSnp => self.tame_snp(request),
        };
        match request.code() {
            ExitCode::MSR => match request.field(Field::Rcx) {
                Some(number) => {
                    let known = MSRS[(number % MSRS.len() as u64) as usize];
                    request.with(Field::Rcx, known)
                }
                None => request,
            },
            ExitCode::VMMCALL => match request.field(Field::Rax) {
                Some(number) => request.with(Field::Rax, number % 0x100),
                None => request,
            },
            ExitCode::IOIO => {
                // The doorbell's port is not for others.
                let info = IoInfo(request.info1());
                if info.port() == mailbox::doorbell::PORT {
                    request.with(Field::SwExitInfo1, info.0 ^ (1 << 20))
                } else {
                    request
                }
            }
            ExitCode::MMIO_READ | ExitCode::MMIO_WRITE => {
                // Each eight bytes are an exit to userspace: a long access costs as much as thousands of others.
                let length = request.field(Field::SwExitInfo2).unwrap_or(0);
                if (SHORT..=ScratchArea::EXTERNAL_LIMIT).contains(&length)
                    && !self.random.once_in(32)
                {
                    request.with(Field::SwExitInfo2, length % SHORT)
                } else {
                    request
                }
            }
            _ => request,
        }
    }
}

/// Most MMIO accesses are shorter.
const SHORT: u64 = 64;

/// `gpa`, unless an area that begins there can reach what the guest itself needs: tables, stacks, mailboxes, steps.
/// Data that come in would destroy it, as the guest asked for.
fn spare(gpa: u64) -> u64 {
    let end = gpa.saturating_add(ScratchArea::EXTERNAL_LIMIT);
    let reaches = |own: std::ops::Range<u64>| gpa < own.end && end > own.start;
    if reaches(map::PRIVATE..map::SCRATCH) || reaches(map::CHECKS..map::PAGES) {
        map::SCRATCH + (gpa & 0xfff)
    } else {
        gpa
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_attempts() {
        let list = |seed| {
            let mut hostile = Hostile::new(seed);
            let list: Vec<_> = (0..200)
                .map(|_| format!("{:x?}", hostile.attempt()))
                .collect();
            list
        };
        assert_eq!(list(7), list(7));
        assert_ne!(list(7), list(8));
    }

    #[test]
    fn no_address_is_that_of_another_attempt_s_page() {
        let own = map::page(0)..map::page(OTHER_PAGE as u64);
        let mut hostile = Hostile::new(7);
        for _ in 0..20_000 {
            let named = hostile.attempt().msr_value();
            assert!(!named.is_some_and(|gpa| own.contains(&gpa) && gpa % PAGE_SIZE as u64 == 0));
        }
    }

    #[test]
    fn no_area_reaches_what_the_guest_needs() {
        let needed = |at: u64| at < map::SCRATCH || (map::CHECKS..map::PAGES).contains(&at);
        for gpa in EDGES.into_iter().chain((0..map::PAGES).step_by(0x7f1)) {
            let start = spare(gpa);
            for at in [0, 1, 0xfff, 0x1000, ScratchArea::EXTERNAL_LIMIT - 1] {
                assert!(!needed(start.saturating_add(at)), "{gpa:#x} to {start:#x}");
            }
        }
        assert_eq!(spare(map::NOWHERE), map::NOWHERE);
        assert_eq!(spare(map::page(3)), map::page(3));
    }
}
