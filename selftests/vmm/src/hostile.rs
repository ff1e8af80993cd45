// SPDX-License-Identifier: GPL-2.0
//! A seeded source of VMGEXITs: right ones, nearly right ones, and noise.

use crate::catalog::{self, Right};
use crate::page::PageImage;
use crate::request::Request;
use crate::steps::{Attempt, StepVm};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::IoInfo;
use ghcb_rs::ghcb_abi::page::{Field, PAGE_SIZE};
use mailbox::map;

/// xorshift64*: small, and the same everywhere.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// Begin at `seed`.
    pub fn new(seed: u64) -> Self {
        // Zero is the generator's fixed point.
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    /// Any number.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.word() >> 32) % bound
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `list`, which is not empty.
    pub fn choose<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

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

/// A source of attempts.
pub struct Hostile {
    random: Random,
    rights: Vec<Right>,
}

impl Hostile {
    /// Begin at `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            rights: catalog::rights(),
        }
    }

    /// The generator itself, for choices around the attempts.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The next attempt.
    pub fn attempt(&mut self) -> Attempt {
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
        Attempt::page(&tame(request))
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
        Attempt::page(&tame(request))
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
            StepVm::page_of(self.random.below(map::PAGE_COUNT) as usize),
            0xfee0_0000,
            1 << 51,
            1 << 52,
            random | (1 << 40),
            u64::MAX,
        ];
        Attempt::msr(*self.random.choose(&list) & !0xfff)
    }
}

/// `gpa`, unless the guest's own tables, stacks or mailboxes lie there: data that come in would destroy them.
fn spare(gpa: u64) -> u64 {
    if (map::TABLES..map::SCRATCH).contains(&gpa) {
        map::SCRATCH + (gpa & 0xfff)
    } else {
        gpa
    }
}

/// Keep the guest from asking KVM to overwrite the guest's own memory, which would end the run early: MSRs and
/// hypercalls come from lists.
fn tame(request: Request) -> Request {
    match request.code() {
        ExitCode::MSR => {
            let number = request.field(Field::Rcx).unwrap_or(0);
            let known = MSRS[(number % MSRS.len() as u64) as usize];
            if request.field(Field::Rcx).is_some() {
                request.with(Field::Rcx, known)
            } else {
                request
            }
        }
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
        _ => request,
    }
}
