// SPDX-License-Identifier: GPL-2.0

//! Guest requests, plain and extended.

use ghcb_rs::{
    ghcb_abi::{
        exit_code::ExitCode,
        page::Field,
        reply::{Action, ErrorReason},
    },
    vmgexit::{
        host::End,
        host::{CertificateAnswer, FirmwareAnswer, HostFault},
        kind::Kind,
        AfterExit,
    },
};

use super::{asked_of, assert_refused, assert_refused_after, infos, request};
use crate::support::{Call, Host, GPA};

/// Where the guest's memory is: a page for the message, one for the response, two for certificates.
const REQUEST: u64 = 0x70_0000;
const RESPONSE: u64 = REQUEST + 0x1000;
const DATA: u64 = REQUEST + 0x2000;

/// Types of messages.
const REPORT: u8 = 5;
const KEY: u8 = 3;

/// "Invalid length", "busy" and "generic" of the hypervisor's errors.
const LENGTH: u64 = 1 << 32;
const BUSY: u64 = 2 << 32;
const GENERIC: u64 = 0xffff_ffff << 32;

fn message(kind: u8) -> Vec<u8> {
    let mut message = vec![0x11; 0x1000];
    message[0x34] = kind;
    message
}

fn with_memory(mut host: Host, kind: u8) -> Host {
    let mut memory = message(kind);
    memory.resize(0x4000, 0x99);
    host.memory = Some((REQUEST, memory));
    host
}

fn plain() -> Host {
    with_memory(
        request(ExitCode::GUEST_REQUEST, REQUEST, RESPONSE, &[]),
        KEY,
    )
}

fn extended(kind: u8) -> Host {
    let fields = [(Field::Rax, DATA), (Field::Rbx, 2)];
    with_memory(
        request(ExitCode::EXT_GUEST_REQUEST, REQUEST, RESPONSE, &fields),
        kind,
    )
}

fn memory(host: &Host, gpa: u64, len: usize) -> &[u8] {
    let start = (gpa - REQUEST) as usize;
    &host.memory.as_ref().unwrap().1[start..start + len]
}

fn inverted(message: &[u8]) -> Vec<u8> {
    message.iter().map(|byte| !byte).collect()
}

/// The whole conversation with the firmware.
fn conversation(kind: u8) -> [Call; 3] {
    [
        Call::ReadMessage(REQUEST),
        Call::Firmware(message(kind)),
        Call::WriteMessage(RESPONSE),
    ]
}

#[test]
fn a_message_goes_to_the_firmware_and_its_response_back() {
    let mut host = plain();
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(infos(&host), (0, 0));
    assert_eq!(asked_of(&host), conversation(KEY));
    assert_eq!(memory(&host, RESPONSE, 0x1000), inverted(&message(KEY)));
    assert_eq!(host.counts, [(Kind::GuestRequest, Action::NO_ACTION)]);
}

#[test]
fn what_the_firmware_refuses_is_for_the_guest() {
    let mut host = plain();
    host.snp.firmware = Ok(FirmwareAnswer { status: 0x16 });
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(infos(&host), (0, 0x16));
}

#[test]
fn a_firmware_that_does_not_answer_is_the_hosts_fault() {
    for mut host in [plain(), extended(REPORT)] {
        host.snp.firmware = Err(HostFault(-110));
        assert_eq!(host.vmgexit().to_kvm(), -110);
        // Should the guest run nevertheless, it may ask again.
        assert_eq!(infos(&host), (0, BUSY));
        assert_eq!(memory(&host, RESPONSE, 0x1000), [0x99; 0x1000]);
    }
}

#[test]
fn pages_that_are_no_pair_of_pages() {
    for code in [ExitCode::GUEST_REQUEST, ExitCode::EXT_GUEST_REQUEST] {
        for (info1, info2) in [
            (REQUEST + 1, RESPONSE),
            (REQUEST, RESPONSE + 0x800),
            (REQUEST, REQUEST),
            (0, 0),
        ] {
            let host = with_memory(request(code, info1, info2, &[]), KEY);
            assert_refused(host, ErrorReason::INVALID_INPUT);
        }
    }
}

#[test]
fn pages_that_cannot_be_reached() {
    for code in [ExitCode::GUEST_REQUEST, ExitCode::EXT_GUEST_REQUEST] {
        let host = with_memory(request(code, 0x1000, RESPONSE, &[]), KEY);
        let asked = [Call::ReadMessage(0x1000)];
        assert_refused_after(host, ErrorReason::INVALID_INPUT, &asked);
        let host = with_memory(request(code, REQUEST, 0x1000, &[]), KEY);
        let mut asked = conversation(KEY);
        asked[2] = Call::WriteMessage(0x1000);
        assert_refused_after(host, ErrorReason::INVALID_INPUT, &asked);
    }
}

#[test]
fn a_guest_that_asks_too_often_is_told_busy() {
    for mut host in [plain(), extended(REPORT)] {
        host.snp.may_ask = false;
        assert_eq!(host.vmgexit(), AfterExit::RESUME);
        assert_eq!(infos(&host), (0, BUSY));
        assert_eq!(asked_of(&host), []);
    }
    let mut host = plain();
    host.can_allocate = false;
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(infos(&host), (0, BUSY));
}

#[test]
fn the_message_is_read_once() {
    for kind in [REPORT, KEY] {
        let mut host = extended(kind);
        host.snp.changing = true;
        host.snp.has_certificates = true;
        let mut outcome = host.vmgexit();
        assert_eq!(outcome == AfterExit::USERSPACE, kind == REPORT);
        if outcome == AfterExit::USERSPACE {
            outcome = host.certificates_done(CertificateAnswer::Done);
        }
        assert_eq!(outcome, AfterExit::RESUME);
        // What decided is what the firmware gets.
        assert!(asked_of(&host).contains(&Call::Firmware(message(kind))));
        let reads = asked_of(&host);
        let reads = reads
            .iter()
            .filter(|call| matches!(call, Call::ReadMessage(_)));
        assert_eq!(reads.count(), 1);
    }
}

#[test]
fn without_certificates_the_table_is_empty() {
    let mut host = extended(REPORT);
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(infos(&host), (0, 0));
    let [read, firmware, write] = conversation(REPORT);
    assert_eq!(
        asked_of(&host),
        [read, Call::Clear(DATA, 24), firmware, write]
    );
    assert_eq!(memory(&host, DATA, 25)[..24], [0; 24]);
    assert_eq!(memory(&host, DATA, 25)[24], 0x99);
    assert_eq!(host.page.peek(0x318), 2);
    assert_eq!(host.counts, [(Kind::ExtGuestRequest, Action::NO_ACTION)]);
}

#[test]
fn no_pages_take_no_table() {
    let fields = [(Field::Rax, DATA), (Field::Rbx, 0)];
    let mut host = with_memory(
        request(ExitCode::EXT_GUEST_REQUEST, REQUEST, RESPONSE, &fields),
        REPORT,
    );
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(asked_of(&host), conversation(REPORT));
}

#[test]
fn another_message_has_no_certificates() {
    let mut host = with_memory(
        request(ExitCode::EXT_GUEST_REQUEST, REQUEST, RESPONSE, &[]),
        KEY,
    );
    host.snp.has_certificates = true;
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(infos(&host), (0, 0));
    assert_eq!(asked_of(&host), conversation(KEY));
}

#[test]
fn a_data_area_that_is_none() {
    let read = [Call::ReadMessage(REQUEST)];
    let cases: [&[(Field, u64)]; 4] = [
        &[],
        &[(Field::Rax, DATA)],
        &[(Field::Rbx, 1)],
        &[(Field::Rax, DATA + 8), (Field::Rbx, 1)],
    ];
    for fields in cases {
        let host = request(ExitCode::EXT_GUEST_REQUEST, REQUEST, RESPONSE, fields);
        let host = with_memory(host, REPORT);
        assert_refused_after(host, ErrorReason::INVALID_INPUT, &read);
    }
    let fields = [(Field::Rax, 0x1000), (Field::Rbx, 1)];
    let host = request(ExitCode::EXT_GUEST_REQUEST, REQUEST, RESPONSE, &fields);
    let asked = [Call::ReadMessage(REQUEST), Call::Clear(0x1000, 24)];
    assert_refused_after(
        with_memory(host, REPORT),
        ErrorReason::INVALID_INPUT,
        &asked,
    );
}

/// A request for which userspace was asked.
fn asking() -> Host {
    let mut host = extended(REPORT);
    host.snp.has_certificates = true;
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
    assert!(asked_of(&host).contains(&Call::Certificates(DATA, 2)));
    assert!(!host.page.is_viewed());
    host
}

#[test]
fn each_answer_of_userspace() {
    for (answer, info2, pages) in [
        (CertificateAnswer::Done, 0, 2),
        (CertificateAnswer::TooFewPages(7), LENGTH, 7),
        (CertificateAnswer::Busy, BUSY, 2),
        (CertificateAnswer::Failed, GENERIC, 2),
    ] {
        let mut host = asking();
        assert_eq!(host.certificates_done(answer), AfterExit::RESUME);
        assert_eq!(infos(&host), (0, info2), "{answer:?}");
        assert_eq!(host.page.peek(0x318), pages, "{answer:?}");
        assert!((host.page.peek(0x3f8) >> (99 - 64)) & 1 == 1);
        let is_sent = asked_of(&host).contains(&Call::Firmware(message(REPORT)));
        assert_eq!(is_sent, answer == CertificateAnswer::Done);
        assert!(!host.holds_anything());
        host.run();
    }
}

#[test]
fn an_answer_that_is_none_fails_kvm_run_and_leaves_the_reply() {
    let mut host = asking();
    assert_eq!(
        host.certificates_done(CertificateAnswer::Invalid).to_kvm(),
        -22
    );
    assert!(host.sev_es.is_pending());
    // No success is told that was none.
    host.end(End::Resumed);
    assert_eq!(infos(&host), (0, GENERIC));
    assert!(!host.holds_anything());
}

#[test]
fn a_firmware_that_does_not_answer_after_the_certificates() {
    let mut host = asking();
    host.snp.firmware = Err(HostFault(-5));
    let outcome = host.certificates_done(CertificateAnswer::Done);
    assert_eq!(outcome.to_kvm(), -5);
    assert_eq!(infos(&host), (0, BUSY));
    assert!(!host.holds_anything());
}

#[test]
fn the_ghcb_may_be_the_request_page() {
    // Its message is what is in the page; the copy must not be taken for a scratch area of it.
    let fields = [(Field::Rax, DATA), (Field::Rbx, 1)];
    let mut host = request(ExitCode::EXT_GUEST_REQUEST, GPA, RESPONSE, &fields);
    host.snp.has_certificates = true;
    let mut memory = message(REPORT);
    memory.resize(usize::try_from(REQUEST - GPA).unwrap() + 0x4000, 0);
    host.memory = Some((GPA, memory));
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
    let outcome = host.certificates_done(CertificateAnswer::Done);
    assert_eq!(outcome, AfterExit::RESUME);
    assert_eq!(infos(&host), (0, 0));
    assert!(asked_of(&host).contains(&Call::Firmware(message(REPORT))));
}
