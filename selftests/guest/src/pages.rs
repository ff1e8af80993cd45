// SPDX-License-Identifier: GPL-2.0
//! Role `Pages`: pages that become private and shared again are used as such; a private page is no place for a GHCB.

use crate::cpu::{self, reason, Vcpu};
use crate::ghcb::OwnPage;
use crate::snp::pvalidate;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::exit_info::ExitInfo;
use ghcb_rs::ghcb_abi::guest::{self, Registers, Sync};
use ghcb_rs::ghcb_abi::msr::{GhcbMsr, MsrRequest, MsrResponse};
use ghcb_rs::ghcb_abi::page::{BufferRange, Field, Qword, SharedPage, SHARED_BUFFER_OFFSET};
use ghcb_rs::ghcb_abi::psc::{PageOperation, PscEntry, PscHeader, ELEMENT_SIZE, MAX_COUNT};
use ghcb_rs::ghcb_abi::version::Version;
use mailbox::{map, PAGE};

/// What is in a page while it is shared, and while it is private.
const SHARED: u64 = 0x5a5a_0000_5a5a_0000;
const PRIVATE: u64 = 0x6666_7777_8888_9999;
/// Pages that are changed by the MSR protocol, and by lists.
const BY_MSR: u64 = 1;
const BY_LIST: [u64; 2] = [16, MAX_COUNT as u64];

/// Convert pages in every way, then ask for the end.
pub fn run(vcpu: &Vcpu) -> ! {
    for page in 0..BY_LIST[1] {
        write(shared(page), SHARED);
    }
    round(vcpu, BY_MSR, |vcpu, operation| by_msr(vcpu, 0, operation));
    for count in BY_LIST {
        round(vcpu, count, |vcpu, operation| {
            by_list(vcpu, count, operation)
        });
    }
    private_ghcb(vcpu);
    vcpu.terminate(reason::DONE)
}

/// The first pages become private, are used, and become shared again.
fn round(vcpu: &Vcpu, pages: u64, change: impl Fn(&Vcpu, PageOperation)) {
    change(vcpu, PageOperation::PRIVATE);
    for page in 0..pages {
        let (result, unchanged) = pvalidate(private(page), true);
        vcpu_same(vcpu, "private: PVALIDATE: done", result, 0);
        vcpu_same(
            vcpu,
            "private: PVALIDATE: it was not valid",
            unchanged.into(),
            0,
        );
        write(private(page), PRIVATE | page);
    }
    for page in 0..pages {
        vcpu_same(
            vcpu,
            "private: what was written",
            read(private(page)),
            PRIVATE | page,
        );
    }
    for page in 0..pages {
        let (result, unchanged) = pvalidate(private(page), false);
        vcpu_same(vcpu, "shared: PVALIDATE: given up", result, 0);
        vcpu_same(vcpu, "shared: PVALIDATE: it was valid", unchanged.into(), 0);
    }
    change(vcpu, PageOperation::SHARED);
    for page in 0..pages {
        // What userspace shares with the guest was not the private page.
        vcpu_same(
            vcpu,
            "shared: what was there before",
            read(shared(page)),
            SHARED,
        );
    }
}

/// Only what is wrong, but for the first page: there is not room for thousands.
fn vcpu_same(vcpu: &Vcpu, name: &'static str, got: u64, want: u64) {
    let count = vcpu
        .mailbox
        .check_count
        .load(core::sync::atomic::Ordering::Relaxed);
    if count < 64 || (got != want && count < 128) {
        vcpu.same(name, got, want);
    }
}

fn by_msr(vcpu: &Vcpu, page: u64, operation: PageOperation) {
    let gfn = shared(page) / PAGE;
    cpu::write_ghcb_msr(MsrRequest::PageStateChange { gfn, operation }.encode().0);
    cpu::vmgexit();
    let error = match GhcbMsr(cpu::read_ghcb_msr()).response() {
        Some(MsrResponse::PageStateChange { error }) => error.into(),
        _ => u64::MAX,
    };
    vcpu.same("page state change by MSR: no error", error, 0);
}

fn by_list(vcpu: &Vcpu, pages: u64, operation: PageOperation) {
    let page = vcpu.ghcb();
    let header = PscHeader {
        cur_entry: 0,
        end_entry: (pages - 1) as u16,
        reserved: 0,
    };
    let put = |index: u64, word: u64| {
        let offset = SHARED_BUFFER_OFFSET + index as usize * ELEMENT_SIZE;
        if let Some(range) = BufferRange::new(offset, ELEMENT_SIZE) {
            page.write_buffer(range, &word.to_le_bytes());
        }
    };
    put(0, header.encode());
    for number in 0..pages {
        let gfn = shared(number) / PAGE;
        put(number + 1, PscEntry::new(gfn, operation, false).0);
    }
    let mut registers = Registers {
        scratch: page.gpa() + SHARED_BUFFER_OFFSET as u64,
        ..Registers::default()
    };
    let exit = ExitInfo {
        code: ExitCode::PAGE_STATE_CHANGE,
        info1: 0,
        info2: 0,
    };
    let scratch = Sync::NONE.whole(Field::SwScratch);
    guest::copy_out(&page, Version::V2, &registers, &exit, &scratch);
    page.vmgexit();
    let status = guest::copy_in(&page, &mut registers, &Sync::NONE);
    vcpu.same(
        "page state change by list: done",
        status.unwrap_or(u64::MAX),
        0,
    );
}

/// The hypervisor sees another page at the address: the guest's own stays, whatever is answered there.
fn private_ghcb(vcpu: &Vcpu) {
    let page = OwnPage::new(map::PRIVATE_SPARE);
    let (result, _) = pvalidate(page.gpa(), true);
    vcpu.same("private GHCB: PVALIDATE", result, 0);
    for word in Qword::all() {
        page.store(word, PRIVATE);
    }
    page.vmgexit();
    let changed = Qword::all()
        .filter(|word| page.load(*word) != PRIVATE)
        .count();
    vcpu.same(
        "private GHCB: words of the guest's page that changed",
        changed as u64,
        0,
    );
}

/// Where a page is used while it is shared, and while it is private.
fn shared(page: u64) -> u64 {
    map::CONVERTED + page * PAGE
}

fn private(page: u64) -> u64 {
    map::CONVERTED_GVA + page * PAGE
}

fn write(address: u64, value: u64) {
    // SAFETY: The page is mapped, and no Rust reference covers it.
    unsafe { (address as *mut u64).write_volatile(value) };
}

fn read(address: u64) -> u64 {
    // SAFETY: As above.
    unsafe { (address as *const u64).read_volatile() }
}
