// SPDX-License-Identifier: GPL-2.0

//! The reader, on a page that changes at each access: looks at each place once, at no place that it
//! need not know, and says afterwards what it saw.

#![no_main]

use ghcb_rs::ghcb_abi::{
    bitmap::ValidBitmap,
    page::{Field, Qword},
    scratch::ScratchArea,
    snapshot::{Header, Snapshot},
    version::Version,
};
use ghcb_rs_fuzz::Changing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let page = Changing::new(input);
    let Ok(header) = Header::take(&page);
    assert_eq!(page.loads().len(), 6);
    let operands = header.exit_code().operands(header.info1());
    let Ok(snapshot) = Snapshot::read(header, &page, operands);

    page.assert_one_look();
    let cleared = [Qword::VALID_BITMAP_LOW, Qword::VALID_BITMAP_HIGH].map(|at| (at, 0));
    assert_eq!(page.stores(), cleared);
    let wanted = operands.intersection(header.valid());
    assert_eq!(page.loads().len() - 6, wanted.len() as usize);

    for field in Field::ALL {
        let seen = page.loaded(field.qword());
        let seen = if field == Field::Cpl {
            seen.map(|word| word >> 24 & 0xff)
        } else {
            seen
        };
        if let Some(value) = snapshot.get(field) {
            assert_eq!(Some(value), seen);
            assert!(header.valid().contains(field));
        } else if wanted.contains(field) {
            panic!("{field:?} was wanted and valid");
        }
    }
    let low = page.loaded(Qword::VALID_BITMAP_LOW).unwrap();
    let high = page.loaded(Qword::VALID_BITMAP_HIGH).unwrap();
    assert_eq!(header.valid(), ValidBitmap::from_words(low, high));

    let missing = snapshot.missing();
    assert!(missing.intersection(header.valid()).is_empty());
    if missing.is_empty() {
        assert!(header.is_exit());
        assert!(snapshot
            .valid()
            .is_superset_of(snapshot.exit_code().required(snapshot.info1()).fields));
    }

    for version in [Version::V1, Version::V2] {
        let len = snapshot.info2();
        match ScratchArea::locate(version, 0x1_0000, snapshot.scratch(), len) {
            Ok(ScratchArea::Shared(range)) => {
                assert_eq!(range.len() as u64, len);
                assert!(range.offset() >= 0x800 && range.offset() + range.len() <= 0xff0);
            }
            Ok(ScratchArea::External { gpa, len }) => {
                assert_eq!(version, Version::V1);
                assert!(
                    gpa != 0 && (1..=0x1_0000).contains(&len) && gpa.checked_add(len).is_some()
                );
            }
            Err(_) => {}
        }
    }
});
