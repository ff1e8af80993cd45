// SPDX-License-Identifier: GPL-2.0

use ghcb_rs::ghcb_abi::{
    page::BufferRange, reply::ErrorReason, scratch::ScratchArea, version::Version,
};
use proptest::prelude::*;

const GPA: u64 = 0x7_f000;

/// The rules once more, in numbers wide enough not to overflow.
fn model(version: u16, ghcb: u64, scratch: u64, len: u64) -> Option<(bool, u64)> {
    let (start, end) = (u128::from(scratch), u128::from(scratch) + u128::from(len));
    let page = u128::from(ghcb);
    if len == 0 || scratch == 0 || end > u128::from(u64::MAX) {
        None
    } else if (page..page + 0x1000).contains(&start) {
        (start >= page + 0x800 && end <= page + 0xff0).then_some((true, scratch - ghcb))
    } else {
        (version < 2 && len <= 0x1_0000).then_some((false, scratch))
    }
}

fn check(version: u16, ghcb: u64, scratch: u64, len: u64) -> Result<(), TestCaseError> {
    let found = ScratchArea::locate(Version(version), ghcb, scratch, len);
    let expected = match model(version, ghcb, scratch, len) {
        None => Err(ErrorReason::INVALID_SCRATCH_AREA),
        Some((true, offset)) => Ok(ScratchArea::Shared(
            BufferRange::new(offset as usize, len as usize).unwrap(),
        )),
        Some((false, gpa)) => Ok(ScratchArea::External { gpa, len }),
    };
    prop_assert_eq!(
        found,
        expected,
        "{} {:#x} {:#x} {:#x}",
        version,
        ghcb,
        scratch,
        len
    );
    Ok(())
}

#[test]
fn every_offset_of_the_page() {
    for offset in 0..0x1000 {
        for len in [
            0,
            1,
            2,
            4,
            8,
            9,
            0x7ef,
            0x7f0,
            0x7f1,
            0x1000,
            0x1001,
            1 << 32,
            u64::MAX,
        ] {
            for version in 0..4 {
                check(version, GPA, GPA + offset, len).unwrap();
            }
        }
    }
}

proptest! {
    #[test]
    fn anywhere(version in 0u16..4, frame in 0u64..1 << 52, scratch: u64, len: u64) {
        check(version, frame << 12, scratch, len)?;
    }

    #[test]
    fn about_the_page(version in 0u16..4, distance in -0x3000i64..0x3000, len in 0u64..0x1_2000) {
        check(version, GPA, GPA.wrapping_add_signed(distance), len)?;
    }

    #[test]
    fn at_the_end_of_memory(version in 0u16..4, below in 0u64..0x2000, len in 0u64..0x2000) {
        check(version, u64::MAX << 12, u64::MAX - below, len)?;
        check(version, 0, u64::MAX - below, len)?;
    }
}

#[test]
fn limits_of_external_areas() {
    let locate = |version, len| ScratchArea::locate(version, GPA, 0x1000, len);
    assert!(locate(Version::V1, 0x1_0000).is_ok());
    assert_eq!(
        locate(Version::V1, 0x1_0001),
        Err(ErrorReason::INVALID_SCRATCH_AREA)
    );
    assert_eq!(
        locate(Version::V2, 1),
        Err(ErrorReason::INVALID_SCRATCH_AREA)
    );
    assert_eq!(ScratchArea::EXTERNAL_LIMIT, 0x1_0000);
}
