// SPDX-License-Identifier: GPL-2.0

//! What holds for every exit, whatever the guest says and does meanwhile.

use proptest::{collection::vec, prelude::*};

use crate::support::case::Case;

pub(crate) fn any_case() -> impl Strategy<Value = Case> {
    vec(any::<u8>(), 0..320).prop_map(|bytes| Case::of_any_guest(&bytes))
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(10_000)
    })]

    #[test]
    fn every_exit_keeps_the_promises(bytes in vec(any::<u8>(), 0..220)) {
        Case::from_bytes(&bytes).check();
    }

    #[test]
    fn every_exit_of_an_snp_guest_keeps_the_promises(bytes in vec(any::<u8>(), 0..320)) {
        Case::snp_from_bytes(&bytes).check();
    }
}
