// SPDX-License-Identifier: GPL-2.0

//! Registration of the GHCB, and the MSR protocol of guests with SEV-SNP.

use ghcb_rs::{
    ghcb_abi::{
        exit_code::ExitCode,
        page::Field,
        reply::{Action, ErrorReason},
    },
    vmgexit::{host::PageRange, kind::Kind, AfterExit},
};

use super::{asked_of, assert_refused, infos, request};
use crate::support::{Call, Host, GPA};

/// A request in the MSR, and what it holds then.
fn respond(host: &mut Host, msr: u64) -> u64 {
    host.msr = msr;
    host.log.clear();
    host.counts.clear();
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(host.page.accesses(), 0);
    host.msr
}

#[test]
fn a_page_that_is_not_registered_is_refused_whatever_is_in_it() {
    for (code, valid) in [
        (ExitCode::CPUID, u64::MAX),
        (ExitCode::PAGE_STATE_CHANGE, u64::MAX),
        (ExitCode(0x403), u64::MAX),
        (ExitCode::CPUID, 0),
    ] {
        let mut host = request(code, 0, 0, &[(Field::Rax, 0), (Field::Rcx, 0)]);
        host.snp.registered = GPA + 0x1000;
        // Neither the usage nor missing fields are looked at before.
        host.page.put(0xff8, 1 << 32);
        if valid == 0 {
            host.page.put(0x3f8, 0);
        }
        assert_refused(host, ErrorReason::NOT_REGISTERED);
    }
}

#[test]
fn a_registered_page_is_answered_until_another_is_registered() {
    let mut host = Host::snp();
    host.snp.registered = u64::MAX;
    assert_eq!(respond(&mut host, GPA | 0x12), GPA | 0x13);
    assert_eq!(asked_of(&host)[0], Call::Register(GPA));
    assert_eq!(host.counts, [(Kind::MsrRegisterGpa, Action::NO_ACTION)]);
    let mut host = host.request(ExitCode::HV_FEATURES, 0, 0, &[]);
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(infos(&host), (0, 0x13));

    let mut host = Host::snp();
    respond(&mut host, (GPA + 0x1000) | 0x12);
    let host = host.request(ExitCode::HV_FEATURES, 0, 0, &[]);
    let mut host = host;
    host.counts.clear();
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(infos(&host), (2, 1));
}

#[test]
fn a_guest_without_snp_registers_nothing() {
    let mut host = Host::new().request(ExitCode::HV_FEATURES, 0, 0, &[]);
    host.snp.registered = u64::MAX;
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(infos(&host), (0, 0));
}

#[test]
fn any_frame_may_be_registered_as_in_c() {
    for gfn in [0, 1, u64::MAX >> 12] {
        let mut host = Host::snp();
        assert_eq!(respond(&mut host, (gfn << 12) | 0x12), (gfn << 12) | 0x13);
        assert_eq!(host.snp.registered, gfn << 12);
    }
}

#[test]
fn no_page_is_preferred() {
    let mut host = Host::snp();
    assert_eq!(respond(&mut host, 0x10), 0xffff_ffff_ffff_f011);
    assert_eq!(host.counts, [(Kind::MsrPreferredGpa, Action::NO_ACTION)]);
}

#[test]
fn there_is_no_other_vmpl() {
    let mut host = Host::snp();
    assert_eq!(respond(&mut host, 0x16), 0x0000_0001_0000_0017);
    assert_eq!(host.counts, [(Kind::MsrRunVmpl, Action::MALFORMED_INPUT)]);
}

#[test]
fn features_that_are_offered_are_answered() {
    let mut host = Host::snp();
    assert_eq!(respond(&mut host, 0x80), 0x13081);
}

#[test]
fn a_page_changes_by_the_msr() {
    for (operation, is_private) in [(1, true), (2, false)] {
        let mut host = Host::snp();
        let msr = (operation << 52) | 0x1234_5000 | 0x14;
        host.msr = msr;
        assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
        let range = PageRange {
            gpa: 0x1234_5000,
            pages: 1,
            is_private,
            is_huge: false,
        };
        assert_eq!(host.asked(), [Call::PageByMsr(range)]);
        // C changes it when userspace has answered.
        assert_eq!(host.msr, msr);
        let counted = (Kind::MsrPageStateChange, Action::NO_ACTION);
        assert_eq!(host.counts, [counted]);
        assert!(!host.holds_anything());
    }
}

#[test]
fn a_page_change_by_the_msr_that_cannot_be() {
    const FAILED: u64 = 0x8000_0000_0000_0015;
    for operation in [0, 3, 4, 15] {
        let mut host = Host::snp();
        assert_eq!(respond(&mut host, (operation << 52) | 0x14), FAILED);
    }
    let mut host = Host::snp();
    host.snp.can_change_pages = false;
    assert_eq!(respond(&mut host, (1 << 52) | 0x14), FAILED);
    let counted = (Kind::MsrPageStateChange, Action::MALFORMED_INPUT);
    assert_eq!(host.counts, [counted]);
}

#[test]
fn events_that_kvm_does_not_know_are_refused_before_their_fields_are_missed() {
    for code in [
        0x8000_0014u64,
        0x8000_0015,
        0x8000_0016,
        0x8000_0018,
        0x8000_001a,
        0x8000_0020,
        0x8000_0021,
    ] {
        let host = request(ExitCode(code), 0, 0, &[]);
        host.page.put(0x3f8, 0);
        let host = assert_refused(host, ErrorReason::INVALID_EVENT);
        let (kind, _) = host.counts[0];
        assert_eq!(Some(kind.name()), ExitCode(code).name());
    }
}
