// SPDX-License-Identifier: GPL-2.0

use ghcb_rs::ghcb_abi::{
    bitmap::ValidBitmap,
    page::Field,
    reply::{Action, ErrorReason, EventInjection, Reply},
};
use proptest::prelude::*;

use crate::pages::Memory;

const REGISTERS: [Field; 4] = [Field::Rax, Field::Rbx, Field::Rcx, Field::Rdx];

fn any_reply() -> impl Strategy<Value = (Reply, [Option<u64>; 4], Action, u64)> {
    let base = prop_oneof![
        any::<u64>().prop_map(|info2| (Reply::no_action(info2), Action(0), info2)),
        any::<u64>().prop_map(|event| (Reply::exception(EventInjection(event)), Action(1), event)),
        any::<u32>().prop_map(|r| (Reply::error(ErrorReason(r)), Action(2), u64::from(r))),
    ];
    (base, any::<[Option<u64>; 4]>()).prop_map(|((mut reply, action, info2), registers)| {
        let [rax, rbx, rcx, rdx] = registers;
        if let Some(value) = rax {
            reply = reply.with_rax(value);
        }
        if let Some(value) = rbx {
            reply = reply.with_rbx(value);
        }
        if let Some(value) = rcx {
            reply = reply.with_rcx(value);
        }
        if let Some(value) = rdx {
            reply = reply.with_rdx(value);
        }
        (reply, registers, action, info2)
    })
}

proptest! {
    #[test]
    fn writes_what_it_returns_and_nothing_else((reply, registers, action, info2) in any_reply(), fill: u64) {
        let page = Memory::filled(fill);
        let Ok(()) = reply.write(&page);

        let mut valid = ValidBitmap::of(&[Field::SwExitInfo1, Field::SwExitInfo2]);
        let mut expected = vec![(0x398, u64::from(action.0)), (0x3a0, info2)];
        for (field, value) in REGISTERS.into_iter().zip(registers) {
            prop_assert_eq!(reply.get(field), value);
            if let Some(value) = value {
                valid.insert(field);
                expected.push((field.offset(), value));
            }
        }
        let (low, high) = valid.to_words();
        expected.extend([(0x3f0, low), (0x3f8, high)]);

        prop_assert!(page.loads.borrow().is_empty(), "a reply reads nothing");
        let mut stores = page.stores.borrow().clone();
        // The guest finds no field marked that is not there yet.
        prop_assert_eq!(&stores[stores.len() - 2..], [0x3f0, 0x3f8]);
        stores.sort_unstable();
        let mut places: Vec<_> = expected.iter().map(|(at, _)| *at).collect();
        places.sort_unstable();
        prop_assert_eq!(stores, places);
        for (at, value) in expected {
            prop_assert_eq!(page.peek(at), value, "{:#x}", at);
        }

        prop_assert_eq!(reply.valid(), valid);
        prop_assert_eq!(reply.action(), action);
        prop_assert_eq!(reply.info1(), u64::from(action.0));
        prop_assert_eq!(reply.info2(), info2);
        prop_assert_eq!(reply.get(Field::SwExitInfo1), Some(reply.info1()));
        prop_assert_eq!(reply.get(Field::SwExitInfo2), Some(info2));
        prop_assert_eq!(reply.get(Field::SwExitCode), None);
    }

    #[test]
    fn exceptions_decode_as_they_were_made(vector: u8, code: Option<u32>) {
        let event = EventInjection::exception(vector, code);
        prop_assert_eq!(event.vector(), vector);
        prop_assert_eq!(event.error_code(), code);
        prop_assert_eq!(event.is_acceptable(), vector == 6 || vector == 13);
    }

    #[test]
    fn a_guest_raises_no_event_of_another_kind(event: u64) {
        let legal = (event >> 31) & 1 == 1 && (event >> 8) & 7 == 3 && matches!(event & 0xff, 6 | 13);
        prop_assert_eq!(EventInjection(event).is_acceptable(), legal);
    }
}

#[test]
fn exceptions_as_kvm_encodes_them() {
    // SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_EXEPT | vector, the first of which is an int with its sign set.
    assert_eq!(
        EventInjection::GP_WITHOUT_ERROR_CODE.0,
        i64::from((1_i32 << 31) | (3 << 8) | 13) as u64
    );
    assert_eq!(EventInjection::UD.0, (1 << 31) | (3 << 8) | 6);
    assert_eq!(EventInjection::GP.0, (1 << 31) | (1 << 11) | (3 << 8) | 13);
}

#[test]
fn numbers_of_actions_and_reasons() {
    let reasons: Vec<_> = ErrorReason::NAMED.iter().map(|reason| reason.0).collect();
    assert_eq!(reasons, [1, 2, 3, 4, 5, 6]);
    assert_eq!(ErrorReason::INVALID_EVENT.to_string(), "invalid_event");
    let actions: Vec<_> = Action::NAMED.iter().map(|action| action.0).collect();
    assert_eq!(actions, [0, 1, 2]);
}
