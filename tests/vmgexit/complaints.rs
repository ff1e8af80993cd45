// SPDX-License-Identifier: GPL-2.0

//! What the host's log is told about a guest.

use ghcb_rs::{
    ghcb_abi::{
        bitmap::ValidBitmap,
        exit_code::ExitCode,
        exit_info::ExitInfo,
        msr::GhcbMsr,
        page::Field,
        reply::ErrorReason,
        terminate::{ReasonSet, Termination},
    },
    vmgexit::host::Complaint,
};

use crate::support::{Call, Host, GPA};

/// Expects that an exit leads to this complaint and no other.
fn assert_complains(mut host: Host, expected: Complaint) {
    host.vmgexit();
    let complaints: Vec<_> = host
        .log
        .iter()
        .filter(|call| matches!(call, Call::Complain(_)))
        .collect();
    assert_eq!(
        complaints,
        [&Call::Complain(format!("{expected:?}"))],
        "{:#x}",
        host.msr
    );
}

#[test]
fn a_refusal_is_told_with_the_request() {
    // OUTS without a size, OUT without RAX.
    let fields = [(Field::Rcx, 0x10), (Field::SwScratch, 0x1234_5000)];
    for (info1, scratch, reason) in [
        (0x03f8_0014 | 0x20, 0x1234_5000, ErrorReason::INVALID_INPUT),
        (0x03f8_0010, 0, ErrorReason::MISSING_INPUT),
    ] {
        let host = Host::new().request(ExitCode::IOIO, info1, 7, &fields);
        assert_complains(
            host,
            Complaint::Refused {
                exit: ExitInfo {
                    code: ExitCode::IOIO,
                    info1,
                    info2: 7,
                },
                valid: ValidBitmap::EXIT.with(Field::Rcx).with(Field::SwScratch),
                // Read only where the event can have a scratch area.
                scratch,
                reason,
            },
        );
    }
}

#[test]
fn what_a_guest_says_of_its_end_is_told() {
    let event = |code, info1, info2| Host::new().request(code, info1, info2, &[]);
    assert_complains(
        event(ExitCode::TERMINATE, 0x21, 0x7777),
        Complaint::Terminated {
            info1: 0x21,
            info2: 0x7777,
        },
    );
    assert_complains(
        event(ExitCode::UNSUPPORTED_EVENT, 0x72, 0x8888),
        Complaint::UnsupportedEvent {
            info1: 0x72,
            info2: 0x8888,
        },
    );
}

#[test]
fn what_the_msr_holds_is_told() {
    let msr = |value| {
        let mut host = Host::new();
        host.msr = value;
        host
    };
    assert_complains(
        msr(0xffff_ffff_ff12_3100),
        Complaint::TerminatedByMsr(Termination {
            set: ReasonSet(3),
            code: 0x12,
        }),
    );
    assert_complains(
        msr(0x1234_5555),
        Complaint::UnknownMsr(GhcbMsr(0x1234_5555)),
    );
    assert_complains(msr(0), Complaint::UnreachablePage(0));
    assert_complains(msr(GPA + 0x1000), Complaint::UnreachablePage(GPA + 0x1000));
}
