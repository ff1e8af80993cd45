// SPDX-License-Identifier: GPL-2.0

//! How often a VM may ask the secure processor.

use ghcb_rs::vmgexit::carry_out::fairness::Limit;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

#[test]
fn there_is_no_limit_at_first() {
    assert!(Limit::new(0, 8).is_none());
    assert_eq!(Limit::NONE.admit(u64::MAX, 0), Some(u64::MAX));
}

#[test]
fn a_burst_and_then_one_after_the_other() {
    let limit = Limit::new(10, 3);
    let mut due = 0;
    for _ in 0..3 {
        due = limit.admit(due, SECOND).unwrap();
    }
    assert_eq!(limit.admit(due, SECOND), None);
    // Who is refused is not held up any longer for it.
    assert_eq!(limit.admit(due, SECOND + SECOND / 10 - 1), None);
    due = limit.admit(due, SECOND + SECOND / 10).unwrap();
    assert_eq!(limit.admit(due, SECOND + SECOND / 10), None);
}

proptest! {
    #[test]
    fn no_more_than_the_rate_and_the_burst(
        rate in 1..5000u32,
        burst in 0..50u32,
        steps in proptest::collection::vec(0..SECOND / 8, 1..200),
    ) {
        let limit = Limit::new(rate, burst);
        let (mut due, mut now, mut admitted) = (0, SECOND, 0_u64);
        for step in steps {
            now += step;
            for _ in 0..3 {
                if let Some(next) = limit.admit(due, now) {
                    due = next;
                    admitted += 1;
                }
            }
        }
        let interval = SECOND / u64::from(rate);
        let most = (now - SECOND) / interval + u64::from(burst.max(1));
        prop_assert!(admitted <= most, "{admitted} of {most}");
    }

    #[test]
    fn who_waits_long_enough_is_admitted(rate in 1..5000u32, burst: u32, due: u64) {
        prop_assert!(Limit::new(rate, burst).admit(due, due).is_some());
    }
}
