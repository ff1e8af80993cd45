// SPDX-License-Identifier: GPL-2.0

//! Page state change by the page.

use ghcb_rs::{
    ghcb_abi::{
        exit_code::ExitCode,
        page::Field,
        psc::{PscEntry, PscStatus},
        reply::{Action, ErrorReason},
    },
    vmgexit::{host::End, host::RangeAnswer, kind::Kind, AfterExit},
};

use super::{
    asked_of, assert_refused, infos,
    page_list::{entry, huge, list, range, PRIVATE, SHARED},
    request,
};
use crate::support::{Call, Host, GPA};

/// Where the list lies in the page.
const PLACE: usize = 0x800;

/// Asks for a list at an offset of the page.
fn at(offset: usize, bytes: &[u8]) -> Host {
    let scratch = GPA + offset as u64;
    let host = request(
        ExitCode::PAGE_STATE_CHANGE,
        0,
        0,
        &[(Field::SwScratch, scratch)],
    );
    host.page.put_bytes(offset, bytes);
    host
}

fn change(bytes: &[u8]) -> Host {
    at(PLACE, bytes)
}

/// The list in the page.
fn seen(host: &Host, offset: usize, len: usize) -> Vec<u8> {
    host.page.bytes()[offset..offset + len].to_vec()
}

/// The list is over: the guest finds this status, and nothing is left.
fn assert_ends(host: &Host, status: PscStatus) {
    assert_eq!(infos(host), (0, status.0));
    assert!(!host.holds_anything());
    assert_eq!(host.counts, [(Kind::PageStateChange, Action::NO_ACTION)]);
    assert!(host
        .log
        .contains(&Call::TraceExit(0x8000_0010, 0, status.0)));
}

#[test]
fn a_list_goes_to_userspace_range_by_range() {
    let entries = [
        entry(0x10, SHARED),
        entry(0x11, SHARED),
        huge(0x200, PRIVATE),
    ];
    let bytes = list(0, 2, &entries);
    let mut host = change(&bytes);
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
    assert_eq!(
        asked_of(&host)[0],
        Call::Range(range(0x10, 2, SHARED, false))
    );
    // Nothing shows before the end.
    assert_eq!(seen(&host, PLACE, bytes.len()), bytes);
    assert_eq!(host.range_done(RangeAnswer::Done), AfterExit::USERSPACE);
    assert!(asked_of(&host).contains(&Call::Range(range(0x200, 512, PRIVATE, true))));
    assert_eq!(host.range_done(RangeAnswer::Done), AfterExit::RESUME);
    assert_ends(&host, PscStatus::SUCCESS);
    let done = entries.map(|entry| entry.with_cur_page(entry.pages()));
    assert_eq!(seen(&host, PLACE, bytes.len()), list(3, 2, &done));
    host.run();
}

#[test]
fn header_and_entries_are_read_once() {
    // Another vCPU rewrites the page after each access, and between two exits.
    let entries: Vec<_> = (0..30).map(|n| entry(0x100 + 2 * n, SHARED)).collect();
    let mut host = change(&list(0, 29, &entries));
    host.page.rewrite_by(7);
    let mut outcome = host.vmgexit();
    assert_eq!(host.page.read_twice(), None);
    // What was seen is what counts.
    let seen = host.page.as_seen();
    let mut still = change(&[]);
    still.page = std::rc::Rc::new(seen);
    let mut other = still.vmgexit();
    while outcome == AfterExit::USERSPACE {
        assert_eq!(other, outcome);
        outcome = host.range_done(RangeAnswer::Done);
        other = still.range_done(RangeAnswer::Done);
        assert_eq!(host.page.read_twice(), None);
    }
    assert_eq!(asked_of(&host), asked_of(&still));
}

#[test]
fn entries_that_change_while_userspace_is_asked_change_nothing() {
    let entries = [entry(0x10, SHARED), entry(0x20, SHARED)];
    let bytes = list(0, 1, &entries);
    let mut host = change(&bytes);
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
    // CVE-2026-63937: header and entries after the check.
    let evil = [huge(0x201, PRIVATE).with_cur_page(4095); 253];
    host.page.put_bytes(PLACE, &list(0xffff, 0xffff, &evil));
    assert_eq!(host.range_done(RangeAnswer::Done), AfterExit::USERSPACE);
    assert!(asked_of(&host).contains(&Call::Range(range(0x20, 1, SHARED, false))));
    assert_eq!(host.range_done(RangeAnswer::Done), AfterExit::RESUME);
    assert_ends(&host, PscStatus::SUCCESS);
}

#[test]
fn progress_is_written_when_userspace_refuses() {
    let entries = [entry(0x10, SHARED), entry(0x20, SHARED)];
    let mut host = change(&list(0, 1, &entries));
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
    assert_eq!(host.range_done(RangeAnswer::Done), AfterExit::USERSPACE);
    assert_eq!(host.range_done(RangeAnswer::Failed), AfterExit::RESUME);
    assert_ends(&host, PscStatus::GENERIC);
    let after = [entries[0].with_cur_page(1), entries[1]];
    assert_eq!(seen(&host, PLACE, 24), list(1, 1, &after));
}

#[test]
fn an_answer_that_is_none_fails_kvm_run_and_leaves_the_reply() {
    let entries = [entry(0x10, SHARED), entry(0x20, SHARED)];
    let mut host = change(&list(0, 1, &entries));
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
    assert_eq!(host.range_done(RangeAnswer::Done), AfterExit::USERSPACE);
    assert_eq!(host.range_done(RangeAnswer::Invalid).to_kvm(), -22);
    assert!(host.sev_es.is_pending());
    // If userspace runs the vCPU nevertheless, the guest sees how far the list has got, as in C.
    host.end(End::Resumed);
    assert_ends(&host, PscStatus::SUCCESS);
    let after = [entries[0].with_cur_page(1), entries[1]];
    assert_eq!(seen(&host, PLACE, 24), list(1, 1, &after));
    host.run();
}

#[test]
fn a_vcpu_that_dies_in_mid_list_leaves_what_c_frees() {
    let mut host = change(&list(0, 0, &[entry(0x10, SHARED)]));
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
    assert!(!host.page.is_viewed(), "the page is held");
    assert!(host.sev_es.ghcb_sa.is_some(), "C would not free it");
}

#[test]
fn nothing_left_to_do_is_no_exit_to_userspace() {
    let entries = [entry(0x10, SHARED).with_cur_page(1); 3];
    let mut host = change(&list(0, 2, &entries));
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_ends(&host, PscStatus::SUCCESS);
    assert_eq!(seen(&host, PLACE, 32), list(3, 2, &entries));
}

#[test]
fn a_wrong_entry_is_told_with_its_number() {
    let entries = [entry(0x10, SHARED), huge(0x201, SHARED)];
    let mut host = change(&list(0, 1, &entries));
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
    assert_eq!(host.range_done(RangeAnswer::Done), AfterExit::RESUME);
    assert_ends(&host, PscStatus::INVALID_ENTRY);
    assert_eq!(seen(&host, PLACE, 2), [1, 0]);
}

#[test]
fn a_list_that_does_not_fit_is_an_invalid_header() {
    // CVE-2026-63938, CVE-2026-63939: the end of the list against what the page really holds.
    for offset in 0x800..0xff0_usize {
        let Some(most) = (0xff0 - offset).checked_sub(16).map(|left| left / 8) else {
            continue;
        };
        let mut host = at(offset, &list(most as u16 + 1, most as u16, &[]));
        assert_eq!(host.vmgexit(), AfterExit::RESUME, "{offset:#x}");
        assert_eq!(infos(&host), (0, PscStatus::SUCCESS.0), "{offset:#x}");
        let mut host = at(offset, &list(0, most as u16 + 1, &[]));
        assert_eq!(host.vmgexit(), AfterExit::RESUME, "{offset:#x}");
        assert_ends(&host, PscStatus::INVALID_HEADER);
        assert_eq!(asked_of(&host), []);
    }
    for end_entry in [0x7ff0 / 8, 0xfffe, 0xffff] {
        let mut host = change(&list(0, end_entry, &[]));
        assert_eq!(host.vmgexit(), AfterExit::RESUME);
        assert_ends(&host, PscStatus::INVALID_HEADER);
    }
}

#[test]
fn a_header_alone_is_no_list() {
    for offset in 0xfe1..=0xfe8 {
        let mut host = at(offset, &list(0, 0, &[]));
        assert_eq!(host.vmgexit(), AfterExit::RESUME, "{offset:#x}");
        assert_ends(&host, PscStatus::INVALID_HEADER);
    }
}

#[test]
fn a_scratch_area_that_holds_no_header() {
    for scratch in [
        0,
        GPA,
        GPA + 0x7f8,
        GPA + 0x7ff,
        GPA + 0xfe9,
        GPA + 0xff0,
        GPA + 0xff1,
        GPA + 0xfff,
        GPA + 0x1000,
        0x50_0000,
        u64::MAX - 7,
        u64::MAX,
    ] {
        let fields = [(Field::SwScratch, scratch)];
        let host = request(ExitCode::PAGE_STATE_CHANGE, 0, 0, &fields);
        assert_refused(host, ErrorReason::INVALID_SCRATCH_AREA);
    }
    let host = request(ExitCode::PAGE_STATE_CHANGE, 0, 0, &[]);
    assert_refused(host, ErrorReason::MISSING_INPUT);
}

#[test]
fn the_longest_list_takes_no_more_than_the_buffer() {
    let entries: Vec<_> = (0..252).map(|n| entry(n, SHARED)).collect();
    let mut host = change(&list(0, 251, &entries));
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
    assert_eq!(
        asked_of(&host)[0],
        Call::Range(range(0, 252, SHARED, false))
    );
    let mut host = change(&list(0, 252, &entries));
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
}

#[test]
fn a_host_that_cannot_says_so() {
    let bytes = list(0, 0, &[entry(0x10, SHARED)]);
    let mut host = change(&bytes);
    host.snp.can_change_pages = false;
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_ends(&host, PscStatus::GENERIC);
    let mut host = change(&bytes);
    host.can_allocate = false;
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_ends(&host, PscStatus::GENERIC);
}

#[test]
fn a_page_that_vanishes_at_each_access() {
    let entries = [entry(0x10, SHARED), entry(0x20, SHARED)];
    for access in 0..24 {
        let mut host = change(&list(0, 1, &entries));
        host.page.vanish(access, access + 1);
        let mut outcome = host.vmgexit();
        while outcome == AfterExit::USERSPACE {
            outcome = host.range_done(RangeAnswer::Done);
        }
        assert_eq!(outcome, AfterExit::RESUME);
        assert!(!host.holds_anything(), "at access {access}");
        let is_lost = host.counts.last().unwrap().0 == Kind::UnreachablePage;
        let asked = asked_of(&host);
        let ranges = asked
            .iter()
            .filter(|call| matches!(call, Call::Range(_)))
            .count();
        // What userspace was asked for goes on to its end, whether the guest can be told or not.
        assert!(ranges == 2 || is_lost && ranges == 0, "at access {access}");
    }
}

#[test]
fn a_guest_without_snp_changes_nothing() {
    let fields = [(Field::SwScratch, GPA + 0x800)];
    let host = Host::new().request(ExitCode::PAGE_STATE_CHANGE, 0, 0, &fields);
    assert_refused(host, ErrorReason::INVALID_EVENT);
}

#[test]
fn the_reserved_bits_of_an_entry_mean_nothing() {
    let odd = PscEntry(entry(0x10, PRIVATE).0 | (0x7f << 57));
    let mut host = change(&list(0, 0, &[odd]));
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
    let asked = Call::Range(range(0x10, 1, PRIVATE, false));
    assert_eq!(asked_of(&host)[0], asked);
}
