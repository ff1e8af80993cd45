// SPDX-License-Identifier: GPL-2.0
//! Those of SEV-SNP.

use super::{Emulated, Event};
use ghcb_rs::ghcb_abi::ap::ApOperation;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::msr::{MsrInfo, MsrRequest};
use ghcb_rs::ghcb_abi::page::Field;
use ghcb_rs::ghcb_abi::psc::{PageOperation, MAX_COUNT};
use mailbox::map;
use vmm::exchange::ap_creation;
use vmm::exchange::guest_request::{MESSAGE, RESPONSE};
use vmm::exchange::page_list::{page, PageList, BEGIN, GFN};
use vmm::exchange::request::Request;

/// What the names of page state changes begin with.
pub const PAGE_STATE_CHANGE: &str = "psc_";

/// The vCPU that is created, and never runs.
pub const AP: u32 = 1;

/// Frame that registers the page at `gpa`, before anything else.
pub fn registration(gpa: u64) -> Event {
    let asked = MsrRequest::RegisterGpa { gfn: gpa >> 12 };
    Event::by_msr(
        "registration",
        asked,
        MsrInfo::REGISTER_GPA_RESPONSE,
        Emulated::NONE,
    )
}

/// A list of changes to pages that are shared already: what userspace would do about them is not measured.
fn list(name: &'static str, count: usize, stride: u64) -> Event {
    let entry = |number| page(number * stride, PageOperation::SHARED);
    let list = PageList::new((0..count as u64).map(entry).collect());
    let ranges = if stride == 1 { 1 } else { count as u64 };
    Event {
        length: count as u64,
        ..Event::page(name, list.request(BEGIN), Emulated::exits(ranges))
    }
}

/// All of them.
pub fn events() -> Vec<Event> {
    let creation = ap_creation::info(ApOperation::CREATE_ON_INIT, AP);
    let creation = ap_creation::request(creation, map::VMSA);
    let apic_ids = Request::new(ExitCode::APIC_ID_LIST, MESSAGE, 0).with(Field::Rax, 1);
    let by_msr = MsrRequest::PageStateChange {
        gfn: GFN,
        operation: PageOperation::SHARED,
    };
    vec![
        list("psc_1", 1, 1),
        list("psc_16_one_range", 16, 1),
        list("psc_16_ranges", 16, 2),
        list("psc_253_one_range", MAX_COUNT, 1),
        list("psc_253_ranges", MAX_COUNT, 2),
        Event::by_msr("psc_msr", by_msr, MsrInfo::PSC_RESPONSE, Emulated::exits(1)),
        Event::page("ap_creation", creation, Emulated::NONE),
        Event {
            emulated: None,
            ..Event::page(
                "guest_request",
                Request::new(ExitCode::GUEST_REQUEST, MESSAGE, RESPONSE),
                Emulated::NONE,
            )
        },
        Event {
            in_c: false,
            ..Event::page("apic_id_list", apic_ids, Emulated::NONE)
        },
    ]
}
