// SPDX-License-Identifier: GPL-2.0

//! The handling path beside a model of KVM's C handler: see `tests/support/differential.rs`.

use std::collections::{BTreeMap, BTreeSet};

use proptest::test_runner::{Config, TestRunner};

use crate::{
    properties::any_case,
    support::{
        case::Case,
        differential::{compare, deliberate::DIFFERENCES, fair},
        page::Sequence,
        GPA,
    },
};

#[test]
fn only_what_is_meant_to_differ_differs() {
    let mut met = BTreeMap::new();
    let mut sequence = Sequence(0x2545_f491_4f6c_dd1d);
    for number in 0..20_000 {
        let bytes: Vec<u8> = (0..300).map(|_| (sequence.next() >> 32) as u8).collect();
        compare(&fair(Case::from_bytes(&bytes)), &mut met);
        if number % 2 == 0 {
            compare(&fair(Case::snp_from_bytes(&bytes)), &mut met);
        }
    }
    // A difference that is never met is none.
    for difference in &DIFFERENCES {
        assert!(
            met.contains_key(difference.name),
            "{}: {met:?}",
            difference.name
        );
    }
}

#[test]
fn also_for_exits_that_shrink() {
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(2_000)
    };
    let result = TestRunner::new(config).run(&any_case(), |case| {
        compare(&fair(case), &mut BTreeMap::new());
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_value_of_the_msr() {
    let mut case = fair(Case::from_bytes(&[]));
    let mut sequence = Sequence(1);
    for kind in 0..0x1000 {
        for _ in 0..4 {
            case.msr = sequence.next() & !0xfff | kind;
            if case.msr & !0xfff != GPA {
                compare(&case, &mut BTreeMap::new());
            }
        }
    }
}

#[test]
fn the_documentation_names_them_all_and_no_others() {
    let documented: BTreeSet<_> = include_str!("../../docs/differences.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let mut known: BTreeSet<_> = DIFFERENCES.iter().map(|one| one.name).collect();
    known.extend(crate::snp::c_model::DIFFERENCES);
    // The model has no page that changes under an exit, no kinds of memory, no exit before this one, no device
    // without data, no vCPU but this one, and no list after one about which userspace gave no answer.
    known.extend([
        "ap-that-waits",
        "psc-unanswered",
        "unread-data",
        "reply-in-the-present-page",
        "any-user-memory",
        "msr-cpuid-cpl",
    ]);
    assert_eq!(documented, known);
}
