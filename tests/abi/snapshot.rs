// SPDX-License-Identifier: GPL-2.0

//! The reader looks once: at nothing twice, and at nothing that it need not know.

use ghcb_rs::ghcb_abi::{
    bitmap::ValidBitmap,
    exit_code::ExitCode,
    page::{Field, Qword},
    snapshot::{Header, Snapshot},
    version::{Usage, Version},
};
use proptest::{prelude::*, sample::select};

use crate::pages::{Hostile, Memory};

const HEADER: [usize; 6] = [0x390, 0x398, 0x3a0, 0x3f0, 0x3f8, 0xff8];

fn any_code() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => select(ExitCode::NAMED.iter().map(|code| code.0).collect::<Vec<_>>()),
        1 => any::<u64>(),
    ]
}

/// A page with a plausible request at the first look.
fn hostile() -> impl Strategy<Value = Hostile> {
    (
        any::<u64>(),
        any_code(),
        prop_oneof![0u64..0x20, any::<u64>()],
        any::<u128>(),
        any::<bool>(),
    )
        .prop_map(|(seed, code, info1, bits, full)| {
            let bits = if full { u128::MAX } else { bits };
            let (low, high) = ValidBitmap::from_bits(bits).to_words();
            let first = vec![(0x390, code), (0x398, info1), (0x3f0, low), (0x3f8, high)];
            Hostile::new(seed, first)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_place_is_read_twice(page in hostile()) {
        let Ok(snapshot) = Snapshot::take(&page);
        for qword in Qword::all() {
            prop_assert!(page.count(qword.offset()) <= 1, "{:?} read twice", qword);
        }
        // Whatever the page says by now, the snapshot holds what was read.
        for field in Field::ALL {
            match snapshot.get(field) {
                Some(value) => prop_assert_eq!(Some(value), page.read_value(field)),
                None => prop_assert!(!snapshot.valid().contains(field)
                    || matches!(field, Field::ValidBitmapLow | Field::ValidBitmapHigh)),
            }
        }
        prop_assert_eq!(Some(snapshot.exit_code().0), page.read_value(Field::SwExitCode));
        prop_assert_eq!(Some(snapshot.info1()), page.read_value(Field::SwExitInfo1));
        prop_assert_eq!(Some(snapshot.info2()), page.read_value(Field::SwExitInfo2));
    }

    #[test]
    fn only_wanted_and_valid_fields_are_read(page in hostile(), wanted: u128) {
        let wanted = ValidBitmap::from_bits(wanted);
        let Ok(header) = Header::take(&page);
        let read_by_header: Vec<_> = page.seen.borrow_mut().drain(..).map(|(at, _)| at).collect();
        let mut sorted = read_by_header.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, HEADER);

        let Ok(snapshot) = Snapshot::read(header, &page, wanted);
        let legal = header.valid().intersection(wanted).intersection(Snapshot::OPERANDS);
        for field in Field::ALL {
            let expected = usize::from(legal.contains(field));
            prop_assert_eq!(page.count(field.qword().offset()), expected, "{:?}", field);
        }
        prop_assert_eq!(page.seen.borrow().len(), legal.len() as usize);
        prop_assert_eq!(snapshot.valid(), legal.union(header.valid().intersection(ValidBitmap::EXIT)));
        prop_assert_eq!(snapshot.header(), &header);
    }

    #[test]
    fn fields_that_are_not_valid_read_as_zero(code in any_code(), info1 in 0u64..0x20, bits: u128) {
        let page = Memory::filled(u64::MAX);
        page.put(0x390, code);
        page.put(0x398, info1);
        ValidBitmap::from_bits(bits).store(&page);
        let Ok(snapshot) = Snapshot::take(&page);
        let getters = [
            (Field::Rax, snapshot.rax()),
            (Field::Rbx, snapshot.rbx()),
            (Field::Rcx, snapshot.rcx()),
            (Field::Rdx, snapshot.rdx()),
            (Field::Rsi, snapshot.rsi()),
            (Field::Xcr0, snapshot.xcr0()),
            (Field::Xss, snapshot.xss()),
            (Field::SwScratch, snapshot.scratch()),
            (Field::Cpl, u64::from(snapshot.cpl())),
        ];
        for (field, value) in getters {
            let all_ones = if field == Field::Cpl { 0xff } else { u64::MAX };
            let expected = if snapshot.valid().contains(field) { all_ones } else { 0 };
            prop_assert_eq!(value, expected, "{:?}", field);
            prop_assert_eq!(snapshot.get(field), snapshot.valid().contains(field).then_some(value));
        }
    }
}

#[test]
fn header_reads_version_and_usage() {
    let page = Memory::filled(0);
    page.put(0xff8, 0x8765_4321_0002_ffff);
    let Ok(header) = Header::take(&page);
    assert_eq!(header.version(), Version::V2);
    assert_eq!(header.usage(), Usage(0x8765_4321));
    assert!(!header.is_exit());
    assert_eq!(page.bytes()[0xffa..0xffc], [2, 0]);
}

#[test]
fn header_reports_an_exit_code_that_is_not_valid() {
    let page = Memory::filled(0);
    page.put(0x390, 0x72);
    page.put(0x398, 3);
    page.put(0x3a0, 4);
    let Ok(header) = Header::take(&page);
    assert_eq!(
        (header.exit_code(), header.info1(), header.info2()),
        (ExitCode::CPUID, 3, 4)
    );
    let Ok(snapshot) = Snapshot::take(&page);
    assert_eq!(snapshot.get(Field::SwExitCode), None);
    assert!(snapshot.missing().is_superset_of(ValidBitmap::EXIT));
}

#[test]
fn a_guest_may_mark_the_bitmap_itself() {
    let page = Memory::filled(0);
    page.put(0x390, ExitCode::RDTSC.0);
    ValidBitmap::EXIT
        .with(Field::ValidBitmapLow)
        .with(Field::ValidBitmapHigh)
        .store(&page);
    let Ok(snapshot) = Snapshot::take(&page);
    assert!(snapshot.missing().is_empty());
    assert_eq!(snapshot.get(Field::ValidBitmapLow), None);
}
