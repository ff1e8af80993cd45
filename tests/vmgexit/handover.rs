// SPDX-License-Identifier: GPL-2.0

//! Exits that another handler has begun, and exits that another one completes.

use ghcb_rs::{
    ghcb_abi::{
        exit_code::ExitCode,
        page::{BufferRange, Field::*},
        reply::Action,
        scratch::ScratchArea,
        version::Version,
    },
    vmgexit::{
        kind::Kind,
        vcpu::{Fulfilment, HoldType},
        Outcome,
    },
};

use crate::{
    replies::{done, filled},
    support::{Call, Host, GPA},
};

/// A vCPU as C's `sev_handle_vmgexit()` leaves it behind: on each exit the page stays mapped, its bitmap
/// marks both infos, and "no action" is in them.
fn begun_by_c(code: ExitCode, info1: u64) -> Host {
    let mut host = Host::new().request(code, info1, 0, &[]);
    host.page.put(0x398, 0);
    host.page.put(0x3a0, 0);
    host.page.put(0x3f0, 0);
    host.page.put(0x3f8, 3 << (115 - 64));
    host.sev_es.ghcb = true;
    host.sev_es.exit = [code.0, info1, 0];
    host
}

#[test]
fn an_exit_that_c_has_finished_returns_what_the_event_returns() {
    for (code, info1, fields) in [
        (ExitCode::CPUID, 0, &[Rax, Rbx, Rcx, Rdx][..]),
        (ExitCode::MSR, 0, &[Rax, Rdx]),
        (ExitCode::MSR, 1, &[]),
        (ExitCode::IOIO, 0x80_0011, &[Rax]),
        (ExitCode::IOIO, 0x80_0010, &[]),
        (ExitCode::IOIO, 0x80_0015, &[]),
        (ExitCode::RDPMC, 0, &[Rax, Rdx]),
        (ExitCode::VMMCALL, 0, &[Rax]),
        (ExitCode::WBINVD, 0, &[]),
        (ExitCode::HV_FEATURES, 0, &[]),
        // One that C has refused.
        (ExitCode(0x403), 0, &[]),
    ] {
        let mut host = begun_by_c(code, info1);
        let before = host.page.bytes();
        let value = |field| match field {
            Rax => host.registers.rax,
            Rbx => host.registers.rbx,
            Rcx => host.registers.rcx,
            _ => host.registers.rdx,
        };
        let fields: Vec<_> = fields.iter().map(|field| (*field, value(*field))).collect();
        host.complete();
        done(0, &fields).assert_in(&before, &host.page.bytes());
        assert!(!host.holds_anything());
        assert!(host.log.contains(&Call::TraceExit(code.0, 0, 0)));
    }
}

#[test]
fn the_reply_that_c_wrote_stays() {
    for (info1, info2) in [(1, 0x8000_030d), (2, 4), (0, 0x1234)] {
        let mut host = begun_by_c(ExitCode::MSR, 1);
        host.page.put(0x398, info1);
        host.page.put(0x3a0, info2);
        host.complete();
        assert_eq!(
            (host.page.peek(0x398), host.page.peek(0x3a0)),
            (info1, info2)
        );
        assert!(!host.holds_anything());
    }
}

#[test]
fn a_scratch_area_elsewhere_that_c_has_copied() {
    for write_back in [true, false] {
        let mut host = begun_by_c(ExitCode::MMIO_READ, 0xfee0_0000);
        host.memory = Some((0x5000, vec![0; 0x100]));
        let area = ScratchArea::External {
            gpa: 0x5010,
            len: 8,
        };
        host.sev_es.scratch = Some((area, vec![7; 8]));
        host.sev_es.write_back = write_back;
        host.complete();
        let mut expected = vec![0; 0x100];
        if write_back {
            expected[0x10..0x18].fill(7);
        }
        assert_eq!(host.memory.as_ref().unwrap().1, expected);
        assert!(!host.holds_anything());
    }
}

#[test]
fn a_hold_that_c_has_begun() {
    let mut host = begun_by_c(ExitCode::AP_RESET_HOLD, 0);
    host.sev_es.hold = Some(HoldType::Page);
    let before = host.page.bytes();
    host.sipi();
    host.complete();
    done(1, &[]).assert_in(&before, &host.page.bytes());
    assert_eq!(host.sev_es.hold, None);

    // A hold by the MSR leaves no page.
    let mut host = Host::new();
    (host.msr, host.sev_es.hold) = (7, Some(HoldType::Msr));
    host.complete();
    assert_eq!((host.msr, host.sev_es.hold), (7, None));
    assert!(host.log.is_empty());
}

#[test]
fn c_finds_what_it_would_have_left() {
    // The request in the VMCB, the page mapped, both infos marked and "no action" in them; a copy of the
    // scratch area that is to be freed, and written back if the guest receives.
    for (code, info1, len, write_back) in [
        (ExitCode::MMIO_READ, 0xfee0_0000, 8, true),
        // More than KVM sends at once.
        (ExitCode::MMIO_WRITE, 0xfee0_0000, 16, false),
        (ExitCode::IOIO, 0x80_0015, 8, true),
    ] {
        let scratch = [(SwScratch, GPA + 0x840)];
        let mut host = Host::new().request(code, info1, len, &scratch);
        (host.version, host.answer) = (Version::V1, Fulfilment::Userspace);
        let before = host.page.bytes();
        assert_eq!(host.vmgexit(), Outcome::Userspace);
        // Those whose replies are deferred become parked ones before C takes over.
        assert_eq!(host.sev_es.deferred, write_back);
        host.hand_back();
        done(0, &[]).assert_in(&before, &host.page.bytes());
        assert!(host.sev_es.ghcb);
        assert_eq!(host.sev_es.exit, [code.0, info1, len]);
        let (area, copy) = host.sev_es.scratch.as_ref().unwrap();
        let range = BufferRange::new(0x840, len as usize).unwrap();
        assert_eq!(*area, ScratchArea::Shared(range));
        let expected = if write_back {
            vec![0; 8]
        } else {
            before[0x840..0x850].to_vec()
        };
        assert_eq!(*copy, expected);
        assert_eq!(host.sev_es.write_back, write_back);
        // Nothing looks at the page as userspace has it any more.
        assert!(!host.page.is_viewed());
    }
}

#[test]
fn what_the_guest_does_to_a_parked_page_changes_nothing_else() {
    let mut host = Host::new().request(
        ExitCode::MMIO_READ,
        0xfee0_0000,
        8,
        &[(SwScratch, GPA + 0x840)],
    );
    (host.answer, host.can_defer) = (Fulfilment::Userspace, false);
    assert_eq!(host.vmgexit(), Outcome::Userspace);
    // Another vCPU puts a different request there.
    host.page.put(0x390, 0x72);
    host.page.put(0x398, u64::MAX);
    host.page.put(0x3a8, GPA + 0xfe8);
    host.page.put(0x3f0, u64::MAX);
    host.page.put(0x3f8, u64::MAX);
    host.sev_es.scratch.as_mut().unwrap().1.fill(0x99);
    let before = host.page.bytes();
    host.complete();
    let mut expected = before.clone();
    // Its own infos stay as it wrote them.
    expected[0x398..0x3a0].fill(0);
    let after = {
        let mut after = host.page.bytes();
        after[0x398..0x3a0].fill(0);
        after
    };
    filled(0x840, &[0x99; 8]).assert_in(&expected, &after);
}

#[test]
fn what_the_guest_does_to_its_page_meanwhile_changes_no_deferred_reply() {
    let mut host = Host::new().request(
        ExitCode::MMIO_READ,
        0xfee0_0000,
        8,
        &[(SwScratch, GPA + 0x840)],
    );
    host.answer = Fulfilment::Userspace;
    assert_eq!(host.vmgexit(), Outcome::Userspace);
    for word in 0..512 {
        host.page.put(word * 8, u64::MAX);
    }
    host.sev_es.kept.as_mut().unwrap().1.fill(0x99);
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
        assert_eq!(host.vmgexit(), Outcome::Userspace);
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
