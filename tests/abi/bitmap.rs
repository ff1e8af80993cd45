// SPDX-License-Identifier: GPL-2.0

//! The bitmap against a model: a set of bit numbers, and the bytes that bit operations on memory give.

use std::collections::BTreeSet;

use ghcb_rs::ghcb_abi::{bitmap::ValidBitmap, page::Field};
use proptest::{prelude::*, sample::select};

use crate::pages::Memory;

type Model = BTreeSet<u8>;

fn model_of(bytes: [u8; 16]) -> Model {
    (0..128)
        .filter(|bit| (bytes[*bit as usize / 8] >> (bit % 8)) & 1 == 1)
        .collect()
}

fn any_field() -> impl Strategy<Value = Field> {
    select(Field::ALL.to_vec())
}

proptest! {
    #[test]
    fn bytes_words_and_bits_agree(bytes: [u8; 16]) {
        let map = ValidBitmap::from_bytes(bytes);
        let (low, high) = map.to_words();
        prop_assert_eq!(&low.to_le_bytes(), &bytes[..8]);
        prop_assert_eq!(&high.to_le_bytes(), &bytes[8..]);
        prop_assert_eq!(ValidBitmap::from_words(low, high), map);
        prop_assert_eq!(ValidBitmap::from_bits(map.bits()), map);
        prop_assert_eq!(map.to_bytes(), bytes);
        prop_assert_eq!(map.len() as usize, model_of(bytes).len());
        prop_assert_eq!(map.is_empty(), bytes == [0; 16]);
    }

    #[test]
    fn single_bits(bytes: [u8; 16], field in any_field()) {
        let mut model = model_of(bytes);
        let mut map = ValidBitmap::from_bytes(bytes);
        prop_assert_eq!(map.contains(field), model.contains(&field.index()));

        map.insert(field);
        model.insert(field.index());
        prop_assert_eq!(model_of(map.to_bytes()), model.clone());
        prop_assert!(map.contains(field));

        map.remove(field);
        model.remove(&field.index());
        prop_assert_eq!(model_of(map.to_bytes()), model);
        prop_assert!(!map.contains(field));
    }

    #[test]
    fn set_operations(a: [u8; 16], b: [u8; 16], subset: bool) {
        // Unrelated random sets are never subsets of each other.
        let b = if subset { std::array::from_fn(|i| a[i] & b[i]) } else { b };
        let (x, y) = (ValidBitmap::from_bytes(a), ValidBitmap::from_bytes(b));
        let (s, t) = (model_of(a), model_of(b));
        prop_assert_eq!(x.is_superset_of(y), s.is_superset(&t));
        prop_assert_eq!(model_of(x.missing(y).to_bytes()), t.difference(&s).copied().collect());
        prop_assert_eq!(model_of(x.union(y).to_bytes()), s.union(&t).copied().collect());
        prop_assert_eq!(model_of(x.intersection(y).to_bytes()), s.intersection(&t).copied().collect());
    }

    #[test]
    fn one_missing_bit_is_noticed_wherever_it_is(bit in 0u8..128) {
        let all = ValidBitmap::from_bits(u128::MAX);
        let hole = ValidBitmap::from_bits(!(1 << bit));
        prop_assert!(all.is_superset_of(hole));
        prop_assert!(!hole.is_superset_of(all));
        prop_assert_eq!(hole.missing(all).bits(), 1 << bit);
    }

    #[test]
    fn fields_are_those_with_a_name(bytes: [u8; 16]) {
        let map = ValidBitmap::from_bytes(bytes);
        let found: Vec<_> = map.fields().collect();
        let expected: Vec<_> = model_of(bytes).into_iter().filter_map(Field::from_index).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn memory_holds_the_bytes(bytes: [u8; 16]) {
        let page = Memory::filled(0);
        ValidBitmap::from_bytes(bytes).store(&page);
        prop_assert_eq!(&page.bytes()[0x3f0..0x400], bytes);
        prop_assert_eq!(ValidBitmap::load(&page), ValidBitmap::from_bytes(bytes));
    }
}

#[test]
fn an_exit_needs_all_three() {
    let three = [Field::SwExitCode, Field::SwExitInfo1, Field::SwExitInfo2];
    assert!(ValidBitmap::of(&three).is_exit());
    assert!(ValidBitmap::from_bits(u128::MAX).is_exit());
    for field in three {
        assert!(
            !ValidBitmap::from_bits(u128::MAX).without(field).is_exit(),
            "{field:?}"
        );
    }
    assert!(!ValidBitmap::EMPTY.is_exit());
}

#[test]
fn shows_its_fields() {
    let shown = format!("{:?}", ValidBitmap::of(&[Field::Rax, Field::Xcr0]));
    assert_eq!(
        shown,
        "ValidBitmap(0x20000000000000008000000000000000: {Rax, Xcr0})"
    );
}
