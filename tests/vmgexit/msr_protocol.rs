// SPDX-License-Identifier: GPL-2.0

//! Requests in the MSR: every kind of value, and what is in it afterwards.

use ghcb_rs::{
    ghcb_abi::{
        exit_code::ExitCode,
        msr::{GhcbMsr, MsrInfo},
        reply::{Action, EventInjection},
        version::Version,
    },
    vmgexit::{
        host::{Fulfilment, HoldType},
        kind::Kind,
        request::instruction::{Emulation, Instruction},
        request::registers::Registers,
        AfterExit,
    },
};

use crate::support::{Call, Host};

/// Bits of a request that mean nothing: all of 63:12, some of them.
const NOISE: [u64; 3] = [0, 0x5a5a_5a5a_5a5a_5000, u64::MAX << 12];

/// Handles a request that the host answers at once.
fn assert_response(msr: u64, version: Version, kind: Kind, response: u64, asked: &[Call]) {
    let mut host = Host::new();
    (host.msr, host.version) = (msr, version);
    assert_eq!(host.vmgexit(), AfterExit::RESUME, "{msr:#x}");
    assert_eq!(host.msr, response, "{msr:#x}");
    let mut calls = asked.to_vec();
    if response != msr {
        calls.push(Call::SetMsr(response));
    }
    assert_eq!(host.asked()[..], calls);
    assert_eq!(host.log[0], Call::TraceMsrEnter(msr));
    assert_eq!(host.log.last(), Some(&Call::TraceMsrExit(response, 1)));
    let refused = matches!(
        kind,
        Kind::MsrPreferredGpa
            | Kind::MsrRegisterGpa
            | Kind::MsrPageStateChange
            | Kind::MsrRunVmpl
            | Kind::MsrUnknown
    );
    let action = if refused {
        Action::MALFORMED_INPUT
    } else {
        Action::NO_ACTION
    };
    assert_eq!(host.counts, [(kind, action)]);
    assert_eq!(host.page.accesses(), 0);
    let log = host.log.len();
    host.complete();
    assert_eq!(host.log.len(), log);
}

#[test]
fn sev_information() {
    for noise in NOISE {
        let (v1, v2) = (0x0001_0001_3300_0001, 0x0002_0001_3300_0001);
        assert_response(noise | 2, Version::V1, Kind::MsrSevInfo, v1, &[]);
        assert_response(noise | 2, Version::V2, Kind::MsrSevInfo, v2, &[]);
    }
}

#[test]
fn sev_information_is_the_same_when_nobody_listens() {
    let mut host = Host::new();
    (host.msr, host.traced) = (2, false);
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(host.msr, 0x0002_0001_3300_0001);
    assert_eq!(host.log, [Call::SetMsr(host.msr)]);
    assert_eq!(host.counts, [(Kind::MsrSevInfo, Action::NO_ACTION)]);
}

fn cpuid(function: u32) -> Call {
    let rax = function.into();
    let (registers, instruction) = (
        Registers {
            rax,
            ..Registers::default()
        },
        Instruction::of(ExitCode::CPUID, 0),
    );
    Call::Emulate(Emulation {
        instruction,
        registers,
    })
}

#[test]
fn cpuid_one_register_at_a_time() {
    for function in [0, 1, 0xd, 0x8000_001f, u32::MAX] {
        for (register, value) in [0x5151_5151u64, 0x5252_5252, 0x5353_5353, 0x5454_5454]
            .iter()
            .enumerate()
        {
            for noise in [0, 0x3fff_f000] {
                let register = (register as u64) << 30;
                let request = (u64::from(function) << 32) | register | noise | 4;
                let response = (value << 32) | register | 5;
                assert_response(
                    request,
                    Version::V2,
                    Kind::MsrCpuid,
                    response,
                    &[cpuid(function)],
                );
            }
        }
    }
}

#[test]
fn cpuid_that_kvm_does_not_do() {
    for answer in [
        Fulfilment::Error,
        Fulfilment::Userspace,
        Fulfilment::Exception(EventInjection::GP),
    ] {
        let mut host = Host::new();
        (host.msr, host.answer) = (0x1_0000_0004, answer);
        assert_eq!(host.vmgexit(), AfterExit::RESUME);
        // As in C, the value stays, and the guest notices.
        assert_eq!(host.msr, 0x1_0000_0004);
        assert_eq!(host.counts, [(Kind::MsrCpuid, Action::MALFORMED_INPUT)]);
        assert!(!host.holds_anything());
    }
}

#[test]
fn hypervisor_features() {
    for noise in NOISE {
        // All that are defined are for SEV-SNP.
        assert_response(noise | 0x80, Version::V2, Kind::MsrHvFeatures, 0x81, &[]);
    }
}

#[test]
fn what_is_for_snp_fails() {
    for noise in NOISE {
        for (request, kind, response) in [
            (0x10, Kind::MsrPreferredGpa, 0xffff_ffff_ffff_f011),
            (0x12, Kind::MsrRegisterGpa, 0xffff_ffff_ffff_f013),
            (0x14, Kind::MsrPageStateChange, 0x8000_0000_0000_0015),
            (0x16, Kind::MsrRunVmpl, 0x0000_0001_0000_0017),
        ] {
            assert_response(noise | request, Version::V2, kind, response, &[]);
        }
    }
}

#[test]
fn every_other_value_stays() {
    const REQUESTS: [u64; 10] = [0, 2, 4, 6, 0x10, 0x12, 0x14, 0x16, 0x80, 0x100];
    for kind in 0..0x1000 {
        if REQUESTS.contains(&kind) {
            continue;
        }
        for noise in NOISE {
            assert_response(
                noise | kind,
                Version::V2,
                Kind::MsrUnknown,
                noise | kind,
                &[],
            );
        }
    }
    // Responses are no requests either.
    for info in MsrInfo::NAMED {
        let is_response = info.0 & 1 == 1;
        assert_eq!(
            is_response,
            !REQUESTS.contains(&info.0.into()),
            "{:?}",
            GhcbMsr(info.0.into())
        );
    }
}

#[test]
fn termination_goes_to_userspace_with_its_reason() {
    for reason in [0, 0x0000_1000, 0x00ff_f000, 0xffff_ffff_ff00_0000] {
        let mut host = Host::new();
        host.msr = reason | 0x100;
        assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
        // `kvm_run` holds the MSR.
        assert_eq!(host.msr, reason | 0x100);
        assert_eq!(host.asked(), [Call::Terminate]);
        assert_eq!(host.counts, [(Kind::MsrTerminate, Action::NO_ACTION)]);
        assert!(host.log.iter().any(
            |call| matches!(call, Call::Complain(text) if text.starts_with("TerminatedByMsr"))
        ));
        // As in C, there is no response to trace.
        assert!(!host
            .log
            .iter()
            .any(|call| matches!(call, Call::TraceMsrExit(..))));
    }
}

#[test]
fn ap_reset_hold() {
    for (held, result) in [(AfterExit::RESUME, 1), (AfterExit::USERSPACE, 0)] {
        for noise in NOISE {
            let mut host = Host::new();
            (host.msr, host.held) = (noise | 6, held);
            assert_eq!(host.vmgexit(), held);
            assert_eq!(host.asked(), [Call::Hold(HoldType::Msr), Call::SetMsr(7)]);
            assert_eq!(host.log.last(), Some(&Call::TraceMsrExit(7, result)));
            assert_eq!(host.counts, [(Kind::MsrApResetHold, Action::NO_ACTION)]);

            // Woken without a SIPI: the result stays zero.
            host.complete();
            assert_eq!((host.msr, host.sev_es.hold), (7, None));
        }
    }
}

#[test]
fn a_sipi_ends_the_hold() {
    let mut host = Host::new();
    host.msr = 6;
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    host.sipi();
    host.complete();
    assert_eq!((host.msr, host.sev_es.hold), (0x1007, None));
    // The next one finds no hold.
    host.msr = 7;
    host.sipi();
    assert_eq!(host.msr, 7);
}
