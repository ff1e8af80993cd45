// SPDX-License-Identifier: GPL-2.0

//! The judge of observe mode beside the comparison with the model of C: both know the same differences.

use std::collections::{BTreeMap, BTreeSet};

use ghcb_rs::{
    ghcb_abi::{
        bitmap::ValidBitmap,
        page::Field,
        reply::{ErrorReason, EventInjection},
    },
    vmgexit::{
        judge::{CAnswer, CPage, Foresight},
        verdict::Verdict,
    },
};

use crate::support::{
    case::Case,
    differential::{compare, fair, judged::judged},
    page::Sequence,
    GPA,
};

/// What cannot be seen when C's function returns, or not from outside: what comes later, what is kept for later, and what
/// would have happened here alone.
const UNSEEN: [&str; 5] = [
    "certificates-unanswered",
    "no-memory",
    "psc-partly-done",
    "request-rate",
    "request-no-answer",
];

/// Exits of both kinds of guests.
fn each(count: u32, mut check: impl FnMut(&Case)) {
    let mut sequence = Sequence(0x1357_9bdf_2468_ace1);
    for number in 0..count {
        let bytes: Vec<u8> = (0..300).map(|_| (sequence.next() >> 32) as u8).collect();
        check(&fair(Case::from_bytes(&bytes)));
        if number % 2 == 0 {
            check(&fair(Case::snp_from_bytes(&bytes)));
        }
    }
}

/// Judges an exit, and compares that with the differences that it shows.
fn check(case: &Case, verdicts: &mut BTreeSet<&'static str>) {
    let (foresight, c) = judged(case);
    let verdict = foresight.judge(&c);
    let mut met = BTreeMap::new();
    compare(case, &mut met);
    verdicts.insert(verdict.name());
    let context = || format!("{case:#x?}: {foresight:#x?}, {c:#x?}: {verdict:?}, {met:?}");
    assert!(
        !matches!(verdict, Verdict::Unexplained | Verdict::Raced),
        "{}",
        context()
    );
    if matches!(
        verdict,
        Verdict::Same | Verdict::Accepted | Verdict::ReturnedRegisters
    ) {
        let mut rest = met.keys().filter(|name| !UNSEEN.contains(name));
        // A write of DR7 is remembered here alone.
        let is_seen = rest.all(|name| *name == "returned-registers" || *name == "read-dr7");
        assert!(is_seen, "{}", context());
        if verdict == Verdict::Same {
            assert!(!met.contains_key("returned-registers"), "{}", context());
        }
    } else {
        assert!(met.contains_key(verdict.name()), "{}", context());
    }
}

#[test]
fn c_is_judged_by_the_differences_that_it_shows() {
    let mut verdicts = BTreeSet::new();
    each(6_000, |case| check(case, &mut verdicts));
    // Memory that cannot be pinned, a page that changes, and another CPL are not in the model.
    for verdict in Verdict::ALL {
        let unmet = [
            Verdict::Raced,
            Verdict::AnyUserMemory,
            Verdict::MsrCpuidCpl,
            Verdict::Unexplained,
        ];
        let is_met = verdicts.contains(verdict.name());
        assert!(is_met || unmet.contains(verdict), "{verdict:?}");
    }
}

#[test]
fn every_value_of_the_msr_is_judged() {
    let mut verdicts = BTreeSet::new();
    let mut sequence = Sequence(1);
    for mut case in [Case::from_bytes(&[]), Case::snp_from_bytes(&[])].map(fair) {
        for kind in 0..0x1000 {
            case.msr = sequence.next() & !0xfff | kind;
            if case.msr & !0xfff != GPA {
                check(&case, &mut verdicts);
            }
        }
    }
}

/// Whether a verdict says that C's answer is as it should be.
fn is_right(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Same | Verdict::ReturnedRegisters)
}

/// Judges with one thing changed in C's answer.
fn wrong(foresight: &Foresight, c: &CAnswer, change: impl FnOnce(&mut CAnswer)) -> Verdict {
    let mut wrong = *c;
    change(&mut wrong);
    foresight.judge(&wrong)
}

/// Judges with one thing changed in the page as C has it.
fn with_page(foresight: &Foresight, c: &CAnswer, change: impl FnOnce(&mut CPage)) -> Verdict {
    wrong(foresight, c, |c| {
        if let Some(page) = &mut c.page {
            change(page);
        }
    })
}

/// Exits of which C has reached the page.
fn each_with_page(count: u32, mut check: impl FnMut(&Foresight, &CAnswer, &CPage)) {
    each(count, |case| {
        let (foresight, c) = judged(case);
        if let Some(page) = &c.page {
            check(&foresight, &c, page);
        }
    });
}

#[test]
fn a_wrong_answer_of_c_has_no_name() {
    let mut count = 0;
    each(2_000, |case| {
        let (foresight, c) = judged(case);
        if !is_right(foresight.judge(&c)) {
            return;
        }
        count += 1;
        let verdicts = [
            wrong(&foresight, &c, |c| c.result = -5),
            wrong(&foresight, &c, |c| c.msr.0 ^= 1 << 20),
            wrong(&foresight, &c, |c| match &mut c.page {
                Some(page) => match page.info1 {
                    0 => page.info2 ^= 1 << 14,
                    1 => {
                        page.info2 ^=
                            u64::from(EventInjection::UD_VECTOR ^ EventInjection::GP_VECTOR)
                    }
                    _ => page.info2 = page.info2 % 6 + 1,
                },
                None => c.exception = Some(13),
            }),
            wrong(&foresight, &c, |c| match &mut c.page {
                Some(page) => {
                    (page.info1, page.info2) = match page.info1 {
                        2 => (1, EventInjection::UD.0),
                        _ => (2, ErrorReason::NOT_REGISTERED.0.into()),
                    }
                }
                None => c.msr.0 ^= 1 << 4,
            }),
        ];
        for verdict in verdicts {
            let is_known = verdict == Verdict::Unexplained
                // The AP jump table may be changed by another vCPU.
                || (verdict == Verdict::Raced && case.code == 0x8000_0005)
                // CPUID by the MSR: the guest gets the exception, or what the request has brought.
                || matches!(verdict, Verdict::MsrCpuidCpl | Verdict::MsrReservedBits);
            assert!(
                is_known,
                "{case:#x?}: {foresight:#x?}, {c:#x?}: {verdict:?}"
            );
        }
    });
    assert!(count > 500, "{count}");
}

#[test]
fn a_request_that_changes_is_not_judged() {
    each_with_page(300, |foresight, c, page| {
        for number in 0..4 {
            let verdict = with_page(foresight, c, |page| match number {
                0 => page.exit.code.0 ^= 1,
                1 => page.exit.info1 ^= 1,
                2 => page.exit.info2 ^= 1,
                _ => {
                    let (low, high) = page.valid.to_words();
                    page.valid = ValidBitmap::from_words(low ^ 1, high);
                }
            });
            assert_eq!(verdict, Verdict::Raced);
        }
        let exit = page.exit;
        if exit.code.operands(exit.info1).contains(Field::SwScratch) {
            let verdict = with_page(foresight, c, |page| page.scratch ^= 8);
            assert_eq!(verdict, Verdict::Raced);
        }
    });
}

#[test]
fn a_reply_that_no_handler_writes_is_the_guests() {
    each_with_page(300, |foresight, c, _| {
        let replies = [
            (3, 0),
            (1 << 32, 0),
            (1, 0),
            (1, EventInjection::UD.0 & !EventInjection::VALID),
            (2, 0),
            (2, 7),
            (2, (1 << 32) | 5),
        ];
        for (info1, info2) in replies {
            let verdict = with_page(foresight, c, |page| {
                (page.info1, page.info2) = (info1, info2);
            });
            assert_eq!(verdict, Verdict::Raced, "{info1:#x} {info2:#x}");
        }
    });
}

#[test]
fn a_page_that_c_does_not_reach_is_another_kind_of_memory() {
    each_with_page(300, |foresight, c, _| {
        let unpinned = wrong(foresight, c, |c| {
            (c.page, c.result, c.exception) = (None, 1, None);
        });
        assert_eq!(unpinned, Verdict::AnyUserMemory);
        let failed = wrong(foresight, c, |c| (c.page, c.result) = (None, -14));
        assert_eq!(failed, Verdict::Unexplained);
    });
}

#[test]
fn the_documentation_has_the_names() {
    let documentation = include_str!("../../docs/differences.md");
    for verdict in Verdict::ALL {
        let own = [
            Verdict::Same,
            Verdict::Accepted,
            Verdict::Raced,
            Verdict::Unexplained,
        ];
        let row = format!("\n| `{}` |", verdict.name());
        assert_eq!(
            documentation.contains(&row),
            !own.contains(verdict),
            "{row}"
        );
    }
    for (number, verdict) in Verdict::ALL.iter().enumerate() {
        assert_eq!(*verdict as usize, number);
    }
}
