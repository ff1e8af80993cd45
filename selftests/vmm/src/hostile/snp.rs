// SPDX-License-Identifier: GPL-2.0
//! Attempts that guests with SEV-SNP alone can make: lists of page state changes, guest requests, AP creation.

use super::random::Random;
use super::{spare, Hostile};
use crate::exchange::page_list::{by_msr, page, PageList, BEGIN, GFN};
use crate::exchange::request::Request;
use crate::exchange::steps::Attempt;
use ghcb_rs::ghcb_abi::ap::ApCreation;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::msr::MsrRequest;
use ghcb_rs::ghcb_abi::page::Field;
use ghcb_rs::ghcb_abi::psc::{PageOperation, PscEntry};
use mailbox::{map, PAGE};

impl Hostile {
    pub(super) fn snp(&mut self) -> Attempt {
        match self.random.below(10) {
            0..4 => self.page_list(),
            4..6 => self.guest_request(),
            6 => self.ap_creation(),
            7 => self.apic_ids(),
            8 => self.snp_msr(),
            _ => Attempt::page(&self.random.choose(&self.rights).request.clone()).unregistered(),
        }
    }

    fn page_list(&mut self) -> Attempt {
        let (list, offset) = any_list(&mut self.random);
        let mut request = list.request(offset);
        if self.random.once_in(8) {
            request = self.other_scratch(request);
        }
        let attempt = Attempt::page(&request);
        if self.random.once_in(8) {
            attempt.in_ring3()
        } else {
            attempt
        }
    }

    /// An address that may be that of a page, and is not one that the guest itself needs.
    fn place(&mut self) -> u64 {
        let place = map::SCRATCH + PAGE * self.random.below(4);
        match self.random.below(8) {
            0 => spare(self.random.word()),
            1 => place + self.random.below(PAGE),
            2 => map::MMIO,
            _ => place,
        }
    }

    fn guest_request(&mut self) -> Attempt {
        let code = match self.random.below(2) {
            0 => ExitCode::GUEST_REQUEST,
            _ => ExitCode::EXT_GUEST_REQUEST,
        };
        let mut request = Request::new(code, self.place(), self.place());
        if !self.random.once_in(4) {
            request = request.with(Field::Rax, self.place());
        }
        if !self.random.once_in(4) {
            let pages = self.random.below(3);
            request = request.with(Field::Rbx, pages);
        }
        Attempt::page(&request)
    }

    /// Of the third vCPU, or of nobody: one that stops itself stands still for ever, as it asked to, and the second
    /// has its own work.
    fn ap_creation(&mut self) -> Attempt {
        let info = ApCreation::decode(match self.random.below(3) {
            0 => self.random.word(),
            _ => self.random.below(4),
        });
        let info = ApCreation {
            apic_id: 2 + self.random.below(2) as u32,
            ..info
        };
        let vmsa = match self.random.below(4) {
            0 => self.number(),
            1 => self.number() & !0x1f_ffff,
            _ => map::VMSA,
        };
        let features = self.random.below(3);
        let request = Request::new(ExitCode::AP_CREATION, info.encode(), vmsa);
        Attempt::page(&request.with(Field::Rax, features))
    }

    fn apic_ids(&mut self) -> Attempt {
        let request = Request::new(ExitCode::APIC_ID_LIST, self.place(), 0);
        let pages = self.random.below(3);
        Attempt::page(&request.with(Field::Rax, pages))
    }

    fn snp_msr(&mut self) -> Attempt {
        let number = self.number();
        match self.random.below(3) {
            0 => by_msr(
                GFN + self.random.below(8),
                PageOperation(self.random.below(4) as u8),
            ),
            1 => Attempt::msr(MsrRequest::RegisterGpa { gfn: number / PAGE }.encode().0),
            _ => Attempt::msr(MsrRequest::PreferredGpa.encode().0),
        }
    }

    /// Keep a request of SEV-SNP from what would end the guest, or its memory.
    pub(super) fn tame_snp(&mut self, request: Request) -> Request {
        let info1 = request.info1();
        match request.code() {
            ExitCode::GUEST_REQUEST | ExitCode::EXT_GUEST_REQUEST => {
                let written = [Field::SwExitInfo2, Field::Rax];
                written
                    .iter()
                    .fold(request, |request, field| match request.field(*field) {
                        Some(place) => request.with(*field, spare(place)),
                        None => request,
                    })
            }
            ExitCode::APIC_ID_LIST => request.with(Field::SwExitInfo1, spare(info1)),
            ExitCode::AP_CREATION => request.with(Field::SwExitInfo1, of_third(info1)),
            _ => request,
        }
    }
}

/// `info1` of an AP creation, about another vCPU than the first two.
pub(super) fn of_third(info1: u64) -> u64 {
    if info1 >> 32 < 2 {
        info1 | (2 << 32)
    } else {
        info1
    }
}

/// A list with values that matter, in any order.
pub fn any_list(random: &mut Random) -> (PageList, usize) {
    let entries = (0..1 + random.below(12)).map(|_| {
        let operation = PageOperation([1, 2, 1, 2, 1, 2, 3, 0][random.below(8) as usize]);
        let entry = match random.below(8) {
            0 => PscEntry::new(GFN + 512 * random.below(2), operation, true),
            1 => PscEntry::new(GFN + random.below(3), operation, true),
            _ => page(random.below(6), operation),
        };
        let done = [0, 0, 0, 0, 0, 1, 510, 512, 513][random.below(9) as usize];
        entry.with_cur_page(done)
    });
    let list = PageList::new(entries.collect());
    let last = list.header.end_entry;
    let list = match random.below(6) {
        0 => list.between(random.below(14) as u16, last),
        1 => list.between(0, random.below(260) as u16),
        _ => list,
    };
    let offset = BEGIN + 8 * random.below(4) as usize;
    (list, offset)
}
