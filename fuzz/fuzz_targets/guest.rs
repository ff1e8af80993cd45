// SPDX-License-Identifier: GPL-2.0

//! The guest's side under a hostile host: each place is read once, a refusal changes no register, and
//! a success changes those that were expected and no other.

#![no_main]

use ghcb_rs::ghcb_abi::{
    guest::{self, CallError, OperandSize, Register, Registers, Sync},
    page::Qword,
};
use ghcb_rs_fuzz::{take, Changing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut input = input;
    let choice = take(&mut input);
    let before = Registers {
        rax: take(&mut input),
        rbx: take(&mut input),
        rcx: take(&mut input),
        rdx: take(&mut input),
        ..Registers::default()
    };
    let mut expected = Sync::NONE;
    for (n, register) in Register::ALL.into_iter().enumerate() {
        let bits = choice >> (4 * n);
        if bits & 8 != 0 {
            expected = expected.sized(register, OperandSize::ALL[bits as usize & 3]);
        }
    }

    let page = Changing::new(input);
    let mut after = before;
    let answer = guest::copy_in(&page, &mut after, &expected);
    page.assert_one_look();
    assert_eq!(page.stores().len(), Qword::COUNT);
    assert!(page.stores().iter().all(|(_, value)| *value == 0));

    match answer {
        Ok(_) => {
            for register in Register::ALL {
                let new = page.loaded(register.field().qword());
                assert_eq!(new.is_some(), expected.fields().contains(register.field()));
                let mut old = before;
                let old = *old.register_mut(register);
                let value = new.map_or(old, |new| expected.size(register).merge(old, new));
                assert_eq!(*after.register_mut(register), value);
            }
        }
        Err(CallError::Exception(event)) => {
            assert!(event.is_acceptable());
            assert_eq!(after, before);
        }
        Err(CallError::Missing(missing)) => {
            assert!(expected.fields().is_superset_of(missing) && !missing.is_empty());
            assert_eq!(after, before);
        }
        Err(_) => assert_eq!(after, before),
    }
});
