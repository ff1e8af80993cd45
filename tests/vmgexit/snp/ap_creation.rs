// SPDX-License-Identifier: GPL-2.0

//! AP creation.

use ghcb_rs::{
    ghcb_abi::{
        exit_code::ExitCode,
        page::Field,
        reply::{Action, ErrorReason},
    },
    vmgexit::{kind::Kind, AfterExit},
};

use super::{asked_of, assert_refused, infos, request};
use crate::support::{snp::FEATURES, Call, Host};

const VMSA: u64 = 0x7654_3000;

fn create(operation: u64, apic_id: u64, vmsa: u64, features: u64) -> Host {
    let info1 = (apic_id << 32) | operation;
    let fields = [(Field::Rax, features)];
    request(ExitCode::AP_CREATION, info1, vmsa, &fields)
}

#[test]
fn a_vcpu_takes_its_vmsa() {
    for (operation, now) in [(0, false), (1, true)] {
        let mut host = create(operation, 4, VMSA, FEATURES);
        assert_eq!(host.vmgexit(), AfterExit::RESUME);
        assert_eq!(infos(&host), (0, 0));
        assert_eq!(asked_of(&host), [Call::Vmsa(4, Some(VMSA), now)]);
        assert_eq!(host.counts, [(Kind::ApCreation, Action::NO_ACTION)]);
    }
}

#[test]
fn a_vcpu_stops_whatever_the_other_fields_say() {
    let mut host = request(ExitCode::AP_CREATION, (1 << 32) | 2, 0x123, &[]);
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(infos(&host), (0, 0));
    assert_eq!(asked_of(&host), [Call::Vmsa(1, None, true)]);
}

#[test]
fn each_of_the_checks_of_c() {
    for (name, host) in [
        ("APIC ID", create(1, 2, VMSA, FEATURES)),
        (
            "APIC ID of no number",
            create(1, 0xffff_ffff, VMSA, FEATURES),
        ),
        ("features", create(1, 1, VMSA, FEATURES | 8)),
        ("features of on INIT", create(0, 1, VMSA, 0)),
        ("alignment", create(1, 1, VMSA + 8, FEATURES)),
        ("reserved bit", create(1, 1, VMSA | (1 << 46), FEATURES)),
        ("2 MiB erratum", create(1, 1, 0x7660_0000, FEATURES)),
        ("2 MiB erratum on INIT", create(0, 1, 0x7660_0000, FEATURES)),
        ("operation", create(3, 1, VMSA, FEATURES)),
        ("VMPL", create(1 | (1 << 16), 1, VMSA, FEATURES)),
        ("VMPL of destroy", create(2 | (1 << 16), 1, VMSA, FEATURES)),
        ("reserved field", create(1 | (1 << 20), 1, VMSA, FEATURES)),
    ] {
        println!("{name}");
        assert_refused(host, ErrorReason::INVALID_INPUT);
    }
}

#[test]
fn features_are_missed() {
    for operation in [0, 1, 3] {
        let host = request(ExitCode::AP_CREATION, (1 << 32) | operation, VMSA, &[]);
        assert_refused(host, ErrorReason::MISSING_INPUT);
    }
}
