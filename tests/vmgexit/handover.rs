// SPDX-License-Identifier: GPL-2.0

//! Exits that begin here and end after something else has happened.

use ghcb_rs::{
    ghcb_abi::{exit_code::ExitCode, page::Field::*, reply::Action},
    vmgexit::{
        host::{End, Fulfilment},
        kind::Kind,
        AfterExit,
    },
};

use crate::{
    replies::filled,
    support::{Call, Host, GPA},
};

fn mmio_read(info2: u64) -> Host {
    let scratch = [(SwScratch, GPA + 0x840)];
    let mut host = Host::new().request(ExitCode::MMIO_READ, 0xfee0_0000, info2, &scratch);
    host.answer = Fulfilment::Userspace;
    host
}

#[test]
fn what_the_guest_does_to_its_page_meanwhile_changes_no_deferred_reply() {
    let mut host = mmio_read(8);
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
    for word in 0..512 {
        host.page.put(word * 8, u64::MAX);
    }
    host.copy().unwrap().fill(0x99);
    let before = host.page.bytes();
    host.complete();
    filled(0x840, &[0x99; 8]).assert_in(&before, &host.page.bytes());
    assert!(host
        .log
        .contains(&Call::TraceExit(ExitCode::MMIO_READ.0, 0, 0)));
}

#[test]
fn a_page_that_goes_before_the_reply_is_written() {
    for (code, info1) in [
        (ExitCode::IOIO, 0x80_0011),
        (ExitCode::MMIO_READ, 0xfee0_0000),
    ] {
        let mut host = Host::new().request(code, info1, 4, &[(SwScratch, GPA + 0x840)]);
        host.answer = Fulfilment::Userspace;
        assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
        host.page.vanish(0, u32::MAX);
        let before = host.page.bytes();
        host.complete();
        assert_eq!(before, host.page.bytes());
        assert_eq!(
            host.counts.last(),
            Some(&(Kind::UnreachablePage, Action::MALFORMED_INPUT))
        );
        assert!(!host.holds_anything());
        // Once is enough.
        let log = host.log.len();
        host.complete();
        assert_eq!(host.log.len(), log);
    }
}

#[test]
fn a_reply_that_has_been_written_is_not_written_again() {
    for end in [End::Completed, End::Resumed] {
        let mut host = mmio_read(8);
        assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
        host.end(end);
        let log = host.log.len();
        for again in [End::Completed, End::Failed, End::Resumed] {
            host.end(again);
        }
        host.run();
        assert_eq!(host.log.len(), log);
    }
}
