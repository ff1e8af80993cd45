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
    vmgexit::{
        host::{Complaint, Fulfilment},
        kind::Kind,
        refusal::Refusal,
        request::registers::Registers,
    },
};

use crate::support::{Call, Host, GPA};
use std::collections::BTreeSet;

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
                registers: Registers::default(),
                reason,
            },
        );
    }
}

#[test]
fn a_refusal_is_told_with_the_registers_of_the_request() {
    // RDMSR with another usage.
    let host = Host::new().request(ExitCode::MSR, 0, 0, &[(Field::Rcx, 0x1b), (Field::Rdx, 7)]);
    host.page.put(0xff8, 1 << 32);
    assert_complains(
        host,
        Complaint::Refused {
            exit: ExitInfo {
                code: ExitCode::MSR,
                info1: 0,
                info2: 0,
            },
            valid: ValidBitmap::EXIT.with(Field::Rcx).with(Field::Rdx),
            scratch: 0,
            registers: Registers {
                rcx: 0x1b,
                rdx: 7,
                ..Registers::default()
            },
            reason: ErrorReason::INVALID_USAGE,
        },
    );
}

#[test]
fn a_request_that_the_host_cannot_carry_out_is_told() {
    let exit = |code, info1| ExitInfo {
        code,
        info1,
        info2: 0,
    };
    // KVM returns an error.
    let mut host = Host::new().request(ExitCode::WBINVD, 0, 0, &[]);
    host.answer = Fulfilment::Error;
    assert_complains(
        host,
        Complaint::NotDone {
            exit: exit(ExitCode::WBINVD, 0),
            reason: ErrorReason::INVALID_INPUT,
        },
    );
    // No memory for a copy of the scratch area.
    let mut host = Host::new().request(
        ExitCode::MMIO_WRITE,
        0xfee0_0000,
        4,
        &[(Field::SwScratch, GPA + 0x800)],
    );
    host.can_allocate = false;
    assert_complains(
        host,
        Complaint::NotDone {
            exit: ExitInfo {
                info2: 4,
                ..exit(ExitCode::MMIO_WRITE, 0xfee0_0000)
            },
            reason: ErrorReason::INVALID_SCRATCH_AREA,
        },
    );
}

#[test]
fn each_reason_has_its_number_its_name_and_its_refusal() {
    for (number, refusal) in Refusal::ALL.iter().enumerate() {
        assert_eq!(*refusal as usize, number);
    }
    let names: BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
    assert_eq!(names.len(), Refusal::COUNT);
    for number in 1..=6 {
        let reason = ErrorReason(number);
        let name = format!("{reason:?}").to_lowercase();
        assert!(name.contains(Refusal::from(reason).name()), "{name}");
    }
    for number in [0, 7, u32::MAX] {
        assert_eq!(Refusal::from(ErrorReason(number)), Refusal::OtherReason);
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
    assert_complains(
        msr(0x0000_0005_0000_0016),
        Complaint::MsrFailed {
            kind: Kind::MsrRunVmpl,
            msr: GhcbMsr(0x0000_0005_0000_0016),
        },
    );
    assert_complains(msr(0), Complaint::UnreachablePage(0));
    assert_complains(msr(GPA + 0x1000), Complaint::UnreachablePage(GPA + 0x1000));
}
