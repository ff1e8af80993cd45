// SPDX-License-Identifier: GPL-2.0

//! Requests that are none, and pages that cannot be reached.

use ghcb_rs::{
    ghcb_abi::{
        bitmap::ValidBitmap,
        exit_code::ExitCode,
        page::Field,
        reply::{Action, ErrorReason},
    },
    vmgexit::{host::Fulfilment, kind::Kind, AfterExit},
};
use proptest::prelude::*;

use crate::{
    replies::{assert_reply, done, refused, zeros},
    support::{case::EVENTS, Call, Host, GPA},
};

fn is_event(code: u64) -> bool {
    EVENTS.contains(&code) || code == 0x8000_ffff
}

/// What an event is counted as that is defined for SEV-SNP alone, and any other number.
fn kind_of_invalid_event(code: u64) -> Kind {
    match code {
        0x8000_0010 => Kind::PageStateChange,
        0x8000_0011 => Kind::GuestRequest,
        0x8000_0012 => Kind::ExtGuestRequest,
        0x8000_0013 => Kind::ApCreation,
        0x8000_0014 => Kind::HvDoorbell,
        0x8000_0015 => Kind::HvIpi,
        0x8000_0016 => Kind::HvTimer,
        0x8000_0017 => Kind::ApicIdList,
        0x8000_0018 => Kind::RunVmpl,
        0x8000_001a => Kind::SecureAvic,
        0x8000_0020 => Kind::TioGuestRequest,
        0x8000_0021 => Kind::TioOperation,
        _ => Kind::UnknownEvent,
    }
}

fn assert_invalid_event(code: u64) {
    let kind = kind_of_invalid_event(code);
    let host = Host::new().request(ExitCode(code), 0, 0, &[]);
    let expected = refused(ErrorReason::INVALID_EVENT).with(&zeros(code, 0));
    assert_reply(host, kind, &expected, &[]);
}

#[test]
fn every_other_exit_code_is_an_invalid_event() {
    let codes = (0..0x500)
        .chain(0x8000_0000..0x8000_0040)
        .chain(0x8000_ff00..0x8001_0000);
    for code in codes.filter(|code| !is_event(*code)) {
        assert_invalid_event(code);
    }
    // No code is taken for another by its low bits.
    for code in EVENTS {
        for high in [1 << 32, 1 << 63] {
            assert_invalid_event(code | high);
        }
    }
}

proptest! {
    #[test]
    fn any_other_exit_code(code: u64) {
        if !is_event(code) {
            assert_invalid_event(code);
        }
    }
}

#[test]
fn a_code_and_both_infos_must_be_valid() {
    for code in (0..0x500).chain(EVENTS).chain([0x8000_ffff]) {
        for field in [Field::SwExitCode, Field::SwExitInfo1, Field::SwExitInfo2] {
            let mut host = Host::new().request(ExitCode(code), 0, 0, &[]);
            let (low, high) = ValidBitmap::from_bits(u128::MAX).without(field).to_words();
            host.page.put(0x3f0, low);
            host.page.put(0x3f8, high);
            assert_eq!(host.vmgexit(), AfterExit::RESUME);
            assert_eq!(
                (host.page.peek(0x398), host.page.peek(0x3a0)),
                (2, 4),
                "{code:#x} {field:?}"
            );
            assert_eq!(host.asked(), [Call::Open(GPA), Call::Close]);
        }
    }
}

#[test]
fn a_bitmap_may_mark_itself_and_everything_else() {
    let host = Host::new().request(ExitCode::INVD, 0, 0, &[]);
    host.page.put(0x3f0, u64::MAX);
    host.page.put(0x3f8, u64::MAX);
    let mut host = host;
    let before = host.page.bytes();
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    done(0, &[]).assert_in(&before, &host.page.bytes());
}

#[test]
fn usage_comes_first() {
    for usage in [1, 2, 0xffff, 1 << 31, u32::MAX] {
        for code in [
            ExitCode::CPUID,
            ExitCode(0x403),
            ExitCode::PAGE_STATE_CHANGE,
            ExitCode::TERMINATE,
        ] {
            let host = Host::new().request(code, 0, 0, &[]);
            host.page.put(0xff8, (u64::from(usage) << 32) | 0x0001_0000);
            let kind = Kind::of(code, 0);
            let expected = refused(ErrorReason::INVALID_USAGE).with(&zeros(code.0, 0));
            assert_reply(host, kind, &expected, &[]);
        }
    }
}

#[test]
fn an_snp_event_is_refused_before_its_fields_are_missed() {
    let host = Host::new().request(ExitCode::AP_CREATION, 1, 0, &[]);
    host.page.put(0x3f0, 0);
    host.page.put(0x3f8, 0);
    assert_reply(
        host,
        Kind::ApCreation,
        &refused(ErrorReason::INVALID_EVENT),
        &[],
    );
}

#[test]
fn what_the_page_says_of_its_version_is_not_looked_at() {
    for version in [0, 1, 2, 3, 0xffff] {
        let host = Host::new().request(ExitCode::INVD, 0, 0, &[]);
        host.page.put(0xff8, version << 16);
        let mut host = host;
        assert_eq!(host.vmgexit(), AfterExit::RESUME);
        assert_eq!(host.page.peek(0x398), 0);
    }
}

/// The guest runs on, and nobody was asked for anything but `asked`.
fn assert_unreachable(host: &mut Host, asked: &[Call]) {
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(host.asked(), asked);
    let lost = (Kind::UnreachablePage, Action::MALFORMED_INPUT);
    assert_eq!(host.counts.last(), Some(&lost));
    assert!(host
        .log
        .contains(&Call::Complain(format!("UnreachablePage({})", host.msr))));
    assert!(!host.holds_anything());
    host.complete();
    assert_eq!(host.asked(), asked);
}

#[test]
fn no_page_at_all() {
    for gpa in [GPA - 0x1000, GPA + 0x1000, 1 << 51, u64::MAX << 12] {
        let mut host = Host::new();
        host.msr = gpa;
        assert_unreachable(&mut host, &[Call::Open(gpa)]);
    }
    // A null page is not looked for.
    let mut host = Host::new();
    host.msr = 0;
    assert_unreachable(&mut host, &[]);
}

#[test]
fn a_page_that_vanishes_while_it_is_read() {
    let fields = [(Field::Rax, 1), (Field::Rcx, 2), (Field::Xcr0, 7)];
    for access in 0..11 {
        let mut host = Host::new().request(ExitCode::CPUID, 0, 0, &fields);
        host.page.vanish(access, access + 1);
        assert_unreachable(&mut host, &[Call::Open(GPA), Call::Close]);
        assert!(host.page.stores().len() <= 2, "more than the marks");
    }
}

#[test]
fn nothing_is_carried_out_for_a_page_that_can_only_be_read() {
    let fields = [
        (Field::Rax, 1),
        (Field::Rcx, 2),
        (Field::Rdx, 3),
        (Field::Cpl, 0),
        (Field::SwScratch, GPA + 0x800),
    ];
    for code in EVENTS.into_iter().chain([0x8000_ffff]) {
        for info1 in [0, 1, 0x80_0010, 0x80_0011, 0x80_0014, 0x80_0015] {
            let mut host = Host::new().request(ExitCode(code), info1, 4, &fields);
            host.page.protect();
            let before = host.page.bytes();
            assert_unreachable(&mut host, &[Call::Open(GPA), Call::Close]);
            assert!(host.page.bytes() == before);
        }
    }
}

#[test]
fn a_page_that_vanishes_before_the_reply() {
    for access in 8..12 {
        let mut host = Host::new().request(ExitCode::INVD, 0, 0, &[]);
        host.page.vanish(access, access + 1);
        assert_eq!(host.vmgexit(), AfterExit::RESUME);
        assert_eq!(
            host.counts.last(),
            Some(&(Kind::UnreachablePage, Action::MALFORMED_INPUT))
        );
        assert!(!host.holds_anything());
        assert!(!host
            .log
            .iter()
            .any(|call| matches!(call, Call::TraceExit(..))));
    }
}

#[test]
fn a_page_of_which_a_part_was_written_is_logged() {
    // The data are in the page, and the reply is not.
    let scratch = [(Field::SwScratch, GPA + 0x800)];
    for answer in [Fulfilment::Done, Fulfilment::Userspace] {
        let mut host = Host::new().request(ExitCode::MMIO_READ, 0xfee0_0000, 4, &scratch);
        host.answer = answer;
        host.page.vanish(10, u32::MAX);
        host.vmgexit();
        host.complete();
        assert_eq!(host.page.buffer_stores().len(), 1);
        assert_eq!(host.asked().last(), Some(&Call::Close));
        let lost = (Kind::UnreachablePage, Action::MALFORMED_INPUT);
        assert_eq!(host.counts.last(), Some(&lost));
    }
}

#[test]
fn data_that_cannot_be_read_do_not_reach_the_device() {
    let scratch = [(Field::SwScratch, GPA + 0x800)];
    for (code, info1, info2) in [
        (ExitCode::MMIO_WRITE, 0xfee0_0000, 4),
        (ExitCode::IOIO, 0x80_0014, 4),
    ] {
        let mut host = Host::new().request(code, info1, info2, &scratch);
        // Header and scratch address are read, and the marks cleared.
        host.page.vanish(9, 10);
        assert_eq!(host.vmgexit(), AfterExit::RESUME);
        let asked = host.asked();
        assert!(
            matches!(asked[..], [Call::Open(_), Call::Fetch(_), Call::Close]),
            "{asked:?}"
        );
        assert!(!host.holds_anything());
    }
}

#[test]
fn a_hold_whose_page_cannot_be_mapped_ends_at_once() {
    let mut host = Host::new().request(ExitCode::AP_RESET_HOLD, 0, 0, &[]);
    host.can_map = false;
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert!(host.asked().contains(&Call::CannotPark));
    assert_eq!(
        host.counts,
        [(Kind::UnreachablePage, Action::MALFORMED_INPUT)]
    );
    assert_eq!(host.sev_es.hold, None);
    assert!(!host.holds_anything());
}
