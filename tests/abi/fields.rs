// SPDX-License-Identifier: GPL-2.0

use ghcb_rs::ghcb_abi::page::{self, BufferRange, Field, Qword, SharedPage};
use proptest::prelude::*;

use crate::pages::Memory;

/// Name, offset, size, index: the layout as the specification tables have it.
const LAYOUT: [(Field, usize, usize, u8); 27] = [
    (Field::Cpl, 0x0cb, 1, 25),
    (Field::Xss, 0x140, 8, 40),
    (Field::Dr7, 0x160, 8, 44),
    (Field::Rip, 0x178, 8, 47),
    (Field::Rsp, 0x1d8, 8, 59),
    (Field::Rax, 0x1f8, 8, 63),
    (Field::Rcx, 0x308, 8, 97),
    (Field::Rdx, 0x310, 8, 98),
    (Field::Rbx, 0x318, 8, 99),
    (Field::Rbp, 0x328, 8, 101),
    (Field::Rsi, 0x330, 8, 102),
    (Field::Rdi, 0x338, 8, 103),
    (Field::R8, 0x340, 8, 104),
    (Field::R9, 0x348, 8, 105),
    (Field::R10, 0x350, 8, 106),
    (Field::R11, 0x358, 8, 107),
    (Field::R12, 0x360, 8, 108),
    (Field::R13, 0x368, 8, 109),
    (Field::R14, 0x370, 8, 110),
    (Field::R15, 0x378, 8, 111),
    (Field::SwExitCode, 0x390, 8, 114),
    (Field::SwExitInfo1, 0x398, 8, 115),
    (Field::SwExitInfo2, 0x3a0, 8, 116),
    (Field::SwScratch, 0x3a8, 8, 117),
    (Field::Xcr0, 0x3e8, 8, 125),
    (Field::ValidBitmapLow, 0x3f0, 8, 126),
    (Field::ValidBitmapHigh, 0x3f8, 8, 127),
];

#[test]
fn layout() {
    assert_eq!(Field::ALL, LAYOUT.map(|(field, ..)| field));
    for (field, offset, size, index) in LAYOUT {
        assert_eq!(field.offset(), offset, "{field:?}");
        assert_eq!(field.size(), size, "{field:?}");
        assert_eq!(field.index(), index, "{field:?}");
        assert_eq!(field.qword().offset(), offset / 8 * 8, "{field:?}");
    }
    assert_eq!(
        Qword::VERSION_USAGE.offset() + 2,
        page::PROTOCOL_VERSION_OFFSET
    );
    assert_eq!(Qword::VERSION_USAGE.offset() + 4, page::USAGE_OFFSET);
    assert_eq!(page::VALID_BITMAP_OFFSET, Field::ValidBitmapLow.offset());
    assert_eq!(page::SAVE_AREA_SIZE, page::X87_STATE_GPA_OFFSET + 8);
    assert_eq!(page::SHARED_BUFFER_END, 0xff0);
}

#[test]
fn index_finds_its_field_or_none() {
    for index in 0..=u8::MAX {
        let expected = LAYOUT
            .iter()
            .find(|(.., i)| *i == index)
            .map(|(field, ..)| *field);
        assert_eq!(Field::from_index(index), expected, "{index}");
    }
}

#[test]
fn quad_words_are_aligned_and_inside() {
    for offset in 0..2 * page::PAGE_SIZE {
        let legal = offset % 8 == 0 && offset < page::PAGE_SIZE;
        assert_eq!(
            Qword::new(offset).map(Qword::offset),
            legal.then_some(offset)
        );
    }
    assert_eq!(Qword::new(usize::MAX), None);
    let all: Vec<_> = Qword::all().map(Qword::offset).collect();
    assert_eq!(all, (0..4096).step_by(8).collect::<Vec<_>>());
    assert_eq!(all.len(), Qword::COUNT);
}

#[test]
fn every_field_loads_what_was_stored() {
    for field in Field::ALL {
        let page = Memory::filled(0);
        field.store(&page, 0x8877_6655_4433_2211);
        let expected = if field == Field::Cpl {
            0x11
        } else {
            0x8877_6655_4433_2211
        };
        assert_eq!(field.load(&page), expected, "{field:?}");
        let bytes = page.bytes();
        assert_eq!(bytes[field.offset()], 0x11, "{field:?}");
        let set = bytes.iter().filter(|byte| **byte != 0).count();
        assert_eq!(set, field.size(), "{field:?} spills");
    }
}

#[test]
fn a_reference_to_a_page_is_a_page() {
    let page = Memory::filled(0);
    let by_reference = &page;
    SharedPage::store(&by_reference, Field::Rbx.qword(), 7);
    assert_eq!(SharedPage::load(&by_reference, Field::Rbx.qword()), 7);
    assert_eq!(page.peek(0x318), 7);
}

#[test]
fn cpl_ignores_the_bytes_around_it() {
    let page = Memory::filled(0xaaaa_aaaa_03aa_aaaa);
    assert_eq!(Field::Cpl.load(&page), 3);
}

proptest! {
    #[test]
    fn buffer_ranges_stay_in_the_buffer(offset in 0usize..0x2000, len in 0usize..0x2000) {
        let inside = offset >= 0x800 && offset + len <= 0xff0;
        let range = BufferRange::new(offset, len);
        prop_assert_eq!(range.map(|r| (r.offset(), r.len())), inside.then_some((offset, len)));
    }

    #[test]
    fn subranges_stay_in_the_range(
        offset in 0x800usize..=0xff0, len in 0usize..0x7f0, skip in 0usize..0x1000, sub in 0usize..0x1000,
    ) {
        if let Some(range) = BufferRange::new(offset, len) {
            let inside = skip + sub <= len;
            let found = range.subrange(skip, sub).map(|r| (r.offset(), r.len()));
            prop_assert_eq!(found, inside.then_some((offset + skip, sub)));
            prop_assert_eq!(range.is_empty(), len == 0);
            let rest = range.to_end();
            prop_assert_eq!((rest.offset(), rest.offset() + rest.len()), (offset, 0xff0));
        }
    }

    #[test]
    fn buffer_copies_are_inverse(offset in 0x800usize..0xff0, data: Vec<u8>) {
        let len = data.len().min(0xff0 - offset);
        let range = BufferRange::new(offset, len).unwrap();
        let page = Memory::filled(0);
        let by_reference = &page;
        SharedPage::write_buffer(&by_reference, range, &data);
        let mut back = vec![0; len];
        SharedPage::read_buffer(&by_reference, range, &mut back);
        prop_assert_eq!(&back, &data[..len]);
    }
}

#[test]
fn every_subrange_of_a_small_range() {
    for offset in [0x800, 0x9ab, 0xff0 - 20] {
        let range = BufferRange::new(offset, 20).unwrap();
        for skip in 0..25 {
            for len in 0..25 {
                let found = range.subrange(skip, len).map(|r| (r.offset(), r.len()));
                let expected = (skip + len <= 20).then_some((offset + skip, len));
                assert_eq!(found, expected, "{offset:#x} {skip} {len}");
            }
        }
    }
}

#[test]
fn huge_numbers_make_no_range() {
    assert_eq!(BufferRange::new(usize::MAX, 1), None);
    assert_eq!(BufferRange::new(0x800, usize::MAX), None);
    assert_eq!(BufferRange::WHOLE.subrange(usize::MAX, usize::MAX), None);
    assert_eq!(BufferRange::new(0x800, 0x7f0), Some(BufferRange::WHOLE));
    assert!(BufferRange::new(0xff0, 0).unwrap().is_empty());
}
