// SPDX-License-Identifier: GPL-2.0

//! Events about the guest as a whole and about application processors, and DR7.

use ghcb_rs::{
    ghcb_abi::{
        exit_code::ExitCode,
        page::Field::Rax,
        reply::{Action, ErrorReason},
    },
    vmgexit::{host::HoldType, kind::Kind, AfterExit},
};

use crate::{
    replies::{assert_parked, assert_reply, done, refused},
    support::{Call, Host, GPA},
};

fn event(code: u64, info1: u64, info2: u64) -> Host {
    Host::new().request(ExitCode(code), info1, info2, &[])
}

#[test]
fn dr7_is_what_was_last_written() {
    assert_reply(
        event(0x27, 0, 0),
        Kind::ReadDr7,
        &done(0, &[(Rax, 0x400)]),
        &[],
    );

    let write = Host::new().request(ExitCode(0x37), 0, 0, &[(Rax, 0x4401)]);
    let written = assert_reply(
        write,
        Kind::WriteDr7,
        &done(0, &[]),
        &[Call::SetDr7(0x4401)],
    );
    let mut read = event(0x27, 0, 0);
    read.dr7 = written.dr7;
    assert_reply(read, Kind::ReadDr7, &done(0, &[(Rax, 0x4401)]), &[]);

    let missing = refused(ErrorReason::MISSING_INPUT);
    assert_reply(event(0x37, 0, 0), Kind::WriteDr7, &missing, &[]);
}

#[test]
fn nmi_complete() {
    let asked = [Call::NmiComplete];
    assert_reply(
        event(0x8000_0003, 5, 6),
        Kind::NmiComplete,
        &done(0, &[]),
        &asked,
    );
}

#[test]
fn hypervisor_features_hold_for_this_guest() {
    assert_reply(
        event(0x8000_fffd, 5, 6),
        Kind::HvFeatures,
        &done(0, &[]),
        &[],
    );
}

#[test]
fn ap_jump_table() {
    let table = 0xffff_f000_1234_5678;
    let set = event(0x8000_0005, 0, table);
    let set = assert_reply(
        set,
        Kind::ApJumpTable,
        &done(0, &[]),
        &[Call::SetJumpTable(table)],
    );
    let mut get = event(0x8000_0005, 1, 0x77);
    get.jump_table = set.jump_table;
    assert_reply(get, Kind::ApJumpTable, &done(table, &[]), &[]);
    // Never set.
    assert_reply(
        event(0x8000_0005, 1, 0x77),
        Kind::ApJumpTable,
        &done(0, &[]),
        &[],
    );

    for other in [2, 3, 1 << 32, (1 << 32) | 1, u64::MAX] {
        let invalid = refused(ErrorReason::INVALID_INPUT);
        assert_reply(
            event(0x8000_0005, other, table),
            Kind::ApJumpTable,
            &invalid,
            &[],
        );
    }
}

#[test]
fn ap_reset_hold_ends_without_a_sipi() {
    for held in [AfterExit::RESUME, AfterExit::USERSPACE] {
        let mut host = event(0x8000_0004, 5, 6);
        host.held = held;
        assert_parked(&mut host, Kind::ApResetHold, held);
        // The page must be mapped when C code delivers a SIPI.
        let park = Call::Park(0x8000_0004, 5, 6);
        assert_eq!(
            host.asked(),
            [
                Call::Open(GPA),
                park,
                Call::Hold(HoldType::Page),
                Call::Close
            ]
        );
        assert_eq!(host.sev_es.hold, Some(HoldType::Page));

        let before = host.page.bytes();
        host.complete();
        done(0, &host.all_registers()).assert_in(&before, &host.page.bytes());
        assert!(!host.holds_anything());
        assert_eq!(host.sev_es.hold, None);
        assert!(host.log.contains(&Call::TraceExit(0x8000_0004, 0, 0)));
    }
}

#[test]
fn ap_reset_hold_ends_with_a_sipi() {
    let mut host = event(0x8000_0004, 0, 0);
    assert_parked(&mut host, Kind::ApResetHold, AfterExit::RESUME);
    let before = host.page.bytes();
    host.sipi();
    host.complete();
    done(1, &host.all_registers()).assert_in(&before, &host.page.bytes());
    assert!(!host.holds_anything());
    assert!(host.log.contains(&Call::TraceExit(0x8000_0004, 0, 1)));
}

#[test]
fn a_sipi_without_a_hold_touches_no_page() {
    let mut host = event(0x72, 0, 0);
    host.sipi();
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    host.sipi();
    host.complete();
    host.sipi();
    assert!(!host.holds_anything());
}

/// An event that ends KVM_RUN: userspace may go on with the guest, which finds "no action".
fn assert_left(mut host: Host, kind: Kind, outcome: AfterExit, asked: &[Call]) {
    let before = host.page.bytes();
    assert_eq!(host.vmgexit(), outcome);
    done(0, &[]).assert_in(&before, &host.page.bytes());
    let calls = [&[Call::Open(GPA)], asked, &[Call::Close]].concat();
    assert_eq!(host.asked(), calls);
    assert_eq!(host.counts, [(kind, Action::NO_ACTION)]);
    assert!(host
        .log
        .iter()
        .any(|call| matches!(call, Call::Complain(_))));
    assert!(!host.holds_anything());
    let log = host.log.len();
    host.complete();
    assert_eq!(host.log.len(), log);
}

#[test]
fn termination_goes_to_userspace() {
    let host = event(0x8000_fffe, 0x21, 7);
    assert_left(
        host,
        Kind::Terminate,
        AfterExit::USERSPACE,
        &[Call::Terminate],
    );
}

#[test]
fn an_event_that_the_guest_cannot_handle_ends_kvm_run() {
    let host = event(0x8000_ffff, 0x72, 7);
    assert_left(host, Kind::UnsupportedEvent, AfterExit::UNSUPPORTED, &[]);
}

#[test]
fn what_kvm_run_returns() {
    let results = [
        AfterExit::RESUME,
        AfterExit::USERSPACE,
        AfterExit::UNSUPPORTED,
    ]
    .map(AfterExit::to_kvm);
    assert_eq!(results, [1, 0, -22]);
}
