// SPDX-License-Identifier: GPL-2.0

//! Lists of page state changes: what is asked of userspace, and how far they get.

use ghcb_rs::{
    ghcb_abi::psc::{PageOperation, PscEntry, PscHeader, PscStatus},
    vmgexit::{
        carry_out::page_list::{Next, PageList},
        host::PageRange,
    },
};
use proptest::prelude::*;

pub(crate) const PRIVATE: PageOperation = PageOperation::PRIVATE;
pub(crate) const SHARED: PageOperation = PageOperation::SHARED;

pub(crate) fn entry(gfn: u64, operation: PageOperation) -> PscEntry {
    PscEntry::new(gfn, operation, false)
}

pub(crate) fn huge(gfn: u64, operation: PageOperation) -> PscEntry {
    PscEntry::new(gfn, operation, true)
}

/// The bytes of a list.
pub(crate) fn list(cur_entry: u16, end_entry: u16, entries: &[PscEntry]) -> Vec<u8> {
    let header = PscHeader {
        cur_entry,
        end_entry,
        reserved: 0,
    };
    let words = std::iter::once(header.encode()).chain(entries.iter().map(|entry| entry.0));
    words.flat_map(u64::to_le_bytes).collect()
}

pub(crate) fn range(gfn: u64, pages: u64, operation: PageOperation, is_huge: bool) -> PageRange {
    PageRange {
        gpa: gfn << 12,
        pages,
        is_private: operation == PRIVATE,
        is_huge,
    }
}

/// What userspace is asked for if it does everything, the status, and the bytes at the end.
fn run(mut bytes: Vec<u8>) -> (Vec<PageRange>, PscStatus, Vec<u8>) {
    let mut asked = Vec::new();
    loop {
        match PageList::new(&mut bytes).proceed() {
            Next::Ask(range) => asked.push(range),
            Next::End(status) => return (asked, status, bytes),
        }
        PageList::new(&mut bytes).advance();
    }
}

#[test]
fn adjacent_entries_are_one_range() {
    let entries = [
        entry(0x100, SHARED),
        entry(0x101, SHARED),
        entry(0x102, SHARED),
        // Another state.
        entry(0x103, PRIVATE),
        // Not adjacent.
        entry(0x105, PRIVATE),
        entry(0x104, PRIVATE),
        // Another size.
        huge(0x200, PRIVATE),
        huge(0x400, PRIVATE),
        entry(0x600, PRIVATE),
    ];
    let (asked, status, after) = run(list(0, 8, &entries));
    assert_eq!(
        asked,
        [
            range(0x100, 3, SHARED, false),
            range(0x103, 1, PRIVATE, false),
            range(0x105, 1, PRIVATE, false),
            range(0x104, 1, PRIVATE, false),
            range(0x200, 1024, PRIVATE, true),
            range(0x600, 1, PRIVATE, false),
        ]
    );
    assert_eq!(status, PscStatus::SUCCESS);
    let done = entries.map(|entry| entry.with_cur_page(entry.pages()));
    assert_eq!(after, list(9, 8, &done));
}

#[test]
fn nothing_continues_the_last_frame() {
    const LAST: u64 = (1 << 40) - 1;
    let small = [entry(LAST, PRIVATE), entry(0, SHARED)];
    let (asked, ..) = run(list(0, 1, &small));
    assert_eq!(
        asked,
        [range(LAST, 1, PRIVATE, false), range(0, 1, SHARED, false)]
    );
    let large = [huge(LAST - 511, PRIVATE), huge(0, SHARED)];
    let (asked, ..) = run(list(0, 1, &large));
    assert_eq!(
        asked,
        [
            range(LAST - 511, 512, PRIVATE, true),
            range(0, 512, SHARED, true)
        ]
    );
}

#[test]
fn a_partly_done_entry_is_carried_out_alone() {
    // The last one is where KVM's C code, counting from the beginning of the first, takes it to be adjacent.
    let first = huge(0x200, SHARED).with_cur_page(100);
    let (asked, status, _) = run(list(0, 1, &[first, entry(0x200 + 412, SHARED)]));
    assert_eq!(
        asked,
        [
            range(0x264, 412, SHARED, true),
            range(0x39c, 1, SHARED, false)
        ]
    );
    assert_eq!(status, PscStatus::SUCCESS);
}

#[test]
fn entries_that_are_as_far_done_do_not_continue_each_other() {
    let entries = [0x200, 0x400].map(|gfn| huge(gfn, SHARED).with_cur_page(100));
    let (asked, status, _) = run(list(0, 1, &entries));
    assert_eq!(
        asked,
        [
            range(0x264, 412, SHARED, true),
            range(0x464, 412, SHARED, true)
        ]
    );
    assert_eq!(status, PscStatus::SUCCESS);
}

#[test]
fn what_follows_a_partly_done_entry_is_checked_too() {
    let entries = [
        huge(0x200, SHARED).with_cur_page(100),
        huge(0x200 + 412, SHARED),
    ];
    let (asked, status, after) = run(list(0, 1, &entries));
    assert_eq!(asked, [range(0x264, 412, SHARED, true)]);
    assert_eq!(status, PscStatus::INVALID_ENTRY);
    assert_eq!(after[..2], [1, 0]);
}

#[test]
fn what_is_done_is_passed_over_and_ends_a_range() {
    let entries = [
        entry(0x10, SHARED).with_cur_page(1),
        entry(0x11, SHARED),
        entry(0x12, SHARED).with_cur_page(1),
        entry(0x13, SHARED),
    ];
    let (asked, status, after) = run(list(0, 3, &entries));
    assert_eq!(
        asked,
        [range(0x11, 1, SHARED, false), range(0x13, 1, SHARED, false)]
    );
    assert_eq!(status, PscStatus::SUCCESS);
    assert_eq!(after[..2], [4, 0]);
}

#[test]
fn an_entry_that_is_wrong_ends_the_list_where_it_is() {
    for wrong in [
        entry(0x20, SHARED).with_cur_page(2),
        huge(0x200, SHARED).with_cur_page(513),
        huge(0x201, SHARED),
        huge(0x1ff, PRIVATE),
        // Also if KVM would not carry it out.
        huge(0x300 + 1, PageOperation(7)),
    ] {
        let entries = [entry(0x10, SHARED), wrong, entry(0x12, SHARED)];
        let (asked, status, after) = run(list(0, 2, &entries));
        assert_eq!(asked, [range(0x10, 1, SHARED, false)]);
        assert_eq!(status, PscStatus::INVALID_ENTRY);
        let done = [entries[0].with_cur_page(1), wrong, entries[2]];
        assert_eq!(after, list(1, 2, &done), "{wrong:?}");
    }
}

#[test]
fn operations_that_kvm_does_not_know_are_done_by_doing_nothing() {
    for operation in [0, 3, 4, 5, 15] {
        let operation = PageOperation(operation);
        let entries = [
            entry(0x10, operation),
            huge(0x200, operation),
            entry(0x11, SHARED),
            huge(0x400, operation).with_cur_page(9),
        ];
        let (asked, status, after) = run(list(0, 3, &entries));
        assert_eq!(asked, [range(0x11, 1, SHARED, false)]);
        assert_eq!(status, PscStatus::SUCCESS);
        let done = entries.map(|entry| entry.with_cur_page(entry.pages()));
        assert_eq!(after, list(4, 3, &done));
    }
}

#[test]
fn a_list_that_has_come_to_its_end_is_done() {
    for cur_entry in [2, 3, 0xffff] {
        let entries = [entry(0x10, SHARED), entry(0x11, SHARED)];
        let (asked, status, after) = run(list(cur_entry, 1, &entries));
        assert_eq!((asked, status), (vec![], PscStatus::SUCCESS));
        assert_eq!(after, list(cur_entry, 1, &entries));
    }
    assert_eq!(run(Vec::new()).1, PscStatus::SUCCESS);
}

proptest! {
    /// Every page of every entry is asked for exactly once, in the state that the entry says, and no other; a
    /// list that is asked for what is next twice says the same.
    #[test]
    fn each_page_of_a_list_once(
        words in proptest::collection::vec(words(), 1..40),
        cur_entry in 0..42u16,
        noise: u32,
    ) {
        let entries: Vec<_> = words.into_iter().map(PscEntry).collect();
        let end = entries.len() as u16 - 1;
        let mut bytes = list(cur_entry, end, &entries);
        bytes[4..8].copy_from_slice(&noise.to_le_bytes());
        let again = {
            let mut bytes = bytes.clone();
            PageList::new(&mut bytes).proceed();
            PageList::new(&mut bytes).proceed()
        };
        prop_assert_eq!(PageList::new(&mut bytes.clone()).proceed(), again);

        let (asked, status, after) = run(bytes.clone());
        let mut wanted = Vec::new();
        let mut expected = PscStatus::SUCCESS;
        let mut stopped = end + 1;
        for (index, entry) in entries.iter().enumerate().skip(cur_entry.into()) {
            if entry.cur_page() > entry.pages() || !entry.is_aligned() {
                expected = PscStatus::INVALID_ENTRY;
                stopped = index as u16;
                break;
            }
            if matches!(entry.operation(), PRIVATE | SHARED) {
                let left = entry.cur_page()..entry.pages();
                wanted.extend(left.map(|page| {
                    (entry.gfn() + u64::from(page), entry.operation() == PRIVATE)
                }));
            }
        }
        prop_assert_eq!(status, expected);
        let found: Vec<_> = asked
            .iter()
            .flat_map(|range| {
                (0..range.pages).map(|page| ((range.gpa >> 12) + page, range.is_private))
            })
            .collect();
        prop_assert_eq!(found, wanted);
        let header = PageList::new(&mut after.clone()).header();
        prop_assert_eq!(header.cur_entry, stopped.max(cur_entry));
        prop_assert_eq!((header.end_entry, header.reserved), (end, noise));
        // The guest's words stay what they were, but for the pages done.
        for (was, is) in bytes[8..].chunks(8).zip(after[8..].chunks(8)) {
            prop_assert_eq!(was[1] >> 4, is[1] >> 4);
            prop_assert_eq!(&was[2..], &is[2..]);
        }
    }
}

/// Words of entries: mostly legal ones that are near each other.
fn words() -> impl Strategy<Value = u64> {
    let near = (0..6u64, 0..4u8, any::<bool>(), 0..8u16);
    prop_oneof![
        8 => near.prop_map(|(gfn, operation, is_huge, done)| {
            let gfn = if is_huge { gfn * 512 } else { 0x1000 + gfn };
            let entry = PscEntry::new(gfn, PageOperation(operation), is_huge);
            entry.with_cur_page(if done == 1 { 1 } else { 0 }).0
        }),
        1 => any::<u64>(),
    ]
}
