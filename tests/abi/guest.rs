// SPDX-License-Identifier: GPL-2.0

//! Registers out and in: all sizes, all registers, and hosts that answer what they should not.

use ghcb_rs::ghcb_abi::{
    bitmap::ValidBitmap,
    exit_code::ExitCode,
    exit_info::ExitInfo,
    guest::{self, CallError, OperandSize, Register, Registers, Sync},
    page::{Field, Qword},
    reply::{ErrorReason, EventInjection, Reply},
    snapshot::Snapshot,
    version::{Usage, Version},
};
use proptest::{prelude::*, sample::select};

use crate::pages::Memory;

const EXIT: ExitInfo = ExitInfo {
    code: ExitCode::CPUID,
    info1: 0x1111,
    info2: 0x2222,
};

fn any_size() -> impl Strategy<Value = OperandSize> {
    select(OperandSize::ALL.to_vec())
}

fn any_register() -> impl Strategy<Value = Register> {
    select(Register::ALL.to_vec())
}

fn any_registers() -> impl Strategy<Value = Registers> {
    (any::<[u64; 13]>(), any::<[u64; 8]>(), any::<u8>()).prop_map(|(v, r8_r15, cpl)| Registers {
        rax: v[0],
        rbx: v[1],
        rcx: v[2],
        rdx: v[3],
        rsi: v[4],
        rdi: v[5],
        rbp: v[6],
        rsp: v[7],
        r8_r15,
        rip: v[8],
        dr7: v[9],
        xcr0: v[10],
        xss: v[11],
        scratch: v[12],
        cpl,
    })
}

fn bits(size: OperandSize) -> u32 {
    8 * size as u32
}

/// The low bits of a number, by shifts.
fn low(value: u64, bits: u32) -> u64 {
    value << (64 - bits) >> (64 - bits)
}

/// What x86 leaves in a register of which the low bits were written.
fn written(old: u64, new: u64, size: OperandSize) -> u64 {
    match size {
        OperandSize::Qword | OperandSize::Dword => low(new, bits(size)),
        _ => (old >> bits(size) << bits(size)) | low(new, bits(size)),
    }
}

fn value_of(registers: &Registers, register: Register) -> u64 {
    match register {
        Register::A => registers.rax,
        Register::B => registers.rbx,
        Register::C => registers.rcx,
        Register::D => registers.rdx,
    }
}

/// A host that returns these registers.
fn answer(values: [u64; 4]) -> Reply {
    let [a, b, c, d] = values;
    Reply::no_action(0x77)
        .with_rax(a)
        .with_rbx(b)
        .with_rcx(c)
        .with_rdx(d)
}

proptest! {
    #[test]
    fn out_then_in(registers in any_registers(), size in any_size(), one in any_register(), host: [u64; 4]) {
        let page = Memory::filled(0xdead_dead_dead_dead);
        let sync = Sync::NONE.sized(one, size);
        guest::copy_out(&page, Version::V2, &registers, &EXIT, &sync);

        // Out: that register masked, and no other.
        prop_assert_eq!(ValidBitmap::load(&page), ValidBitmap::EXIT.with(one.field()));
        for other in Register::ALL {
            let expected = if other == one { low(value_of(&registers, one), bits(size)) } else { 0 };
            prop_assert_eq!(page.peek(other.field().offset()), expected);
        }

        // In: that register merged, and no other.
        let Ok(()) = answer(host).write(&page);
        let mut after = registers;
        prop_assert_eq!(guest::copy_in(&page, &mut after, &sync), Ok(0x77));
        for (other, new) in Register::ALL.into_iter().zip(host) {
            let old = value_of(&registers, other);
            let expected = if other == one { written(old, new, size) } else { old };
            prop_assert_eq!(value_of(&after, other), expected, "{:?} {:?}", other, size);
        }
        prop_assert!(page.bytes().iter().all(|byte| *byte == 0), "cleared after");
    }

    #[test]
    fn all_registers_at_once(registers in any_registers(), sizes in [any_size(), any_size(), any_size(), any_size()], host: [u64; 4]) {
        let page = Memory::filled(0);
        let mut sync = Sync::NONE;
        for (register, size) in Register::ALL.into_iter().zip(sizes) {
            sync = sync.sized(register, size);
            prop_assert_eq!(sync.size(register), size);
        }
        let Ok(()) = answer(host).write(&page);
        let mut after = registers;
        prop_assert_eq!(guest::copy_in(&page, &mut after, &sync), Ok(0x77));
        for ((register, size), new) in Register::ALL.into_iter().zip(sizes).zip(host) {
            let expected = written(value_of(&registers, register), new, size);
            prop_assert_eq!(value_of(&after, register), expected);
        }
        let rest = Registers { rax: registers.rax, rbx: registers.rbx, rcx: registers.rcx, rdx: registers.rdx, ..after };
        prop_assert_eq!(rest, registers);
    }

    #[test]
    fn whole_fields_go_out(registers in any_registers(), fields: u128) {
        let page = Memory::filled(u64::MAX);
        let mut sync = Sync::NONE;
        for field in ValidBitmap::from_bits(fields).fields() {
            sync = sync.whole(field);
        }
        guest::copy_out(&page, Version::V1, &registers, &EXIT, &sync);
        let valid = ValidBitmap::load(&page);
        prop_assert_eq!(valid, sync.fields().union(ValidBitmap::EXIT));
        for field in Field::ALL {
            let expected = match field {
                Field::SwExitCode => EXIT.code.0,
                Field::SwExitInfo1 => EXIT.info1,
                Field::SwExitInfo2 => EXIT.info2,
                Field::ValidBitmapLow => valid.to_words().0,
                Field::ValidBitmapHigh => valid.to_words().1,
                _ if sync.fields().contains(field) => registers.get(field).unwrap(),
                _ => 0,
            };
            prop_assert_eq!(field.load(&page), expected, "{:?}", field);
        }
        // What the host then sees.
        let Ok(snapshot) = Snapshot::take(&page);
        let header = snapshot.header();
        prop_assert_eq!((header.version(), header.usage()), (Version::V1, Usage::DEFAULT));
        // The shared buffer may hold operands.
        prop_assert!(page.bytes()[0x800..0xff0].iter().all(|byte| *byte == 0xff));
    }

    #[test]
    fn a_missing_register_changes_nothing(registers in any_registers(), valid: u128, expected: u128) {
        let page = Memory::filled(0);
        let Ok(()) = Reply::no_action(0).write(&page);
        ValidBitmap::from_bits(valid).store(&page);
        let mut sync = Sync::NONE;
        let mut needed = ValidBitmap::EMPTY;
        for register in Register::ALL {
            if (expected >> register.field().index()) & 1 == 1 {
                sync = sync.sized(register, OperandSize::Qword);
                needed.insert(register.field());
            }
        }
        let missing = ValidBitmap::from_bits(valid).missing(needed);
        let mut after = registers;
        let answer = guest::copy_in(&page, &mut after, &sync);
        if missing.is_empty() {
            prop_assert_eq!(answer, Ok(0));
        } else {
            prop_assert_eq!(answer, Err(CallError::Missing(missing)));
            prop_assert_eq!(after, registers);
        }
        prop_assert!(page.bytes().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn any_answer_is_judged(registers in any_registers(), action in prop_oneof![0u32..4, any::<u32>()], junk: u32, info2: u64) {
        let page = Memory::filled(u64::MAX);
        let info1 = (u64::from(junk) << 32) | u64::from(action);
        page.put(0x398, info1);
        page.put(0x3a0, info2);
        let mut after = registers;
        let found = guest::copy_in(&page, &mut after, &Sync::NONE);
        let expected = match action {
            0 => Ok(info2),
            1 if EventInjection(info2).is_acceptable() => Err(CallError::Exception(EventInjection(info2))),
            2 => Err(CallError::Malformed(ErrorReason(info2 as u32))),
            _ => Err(CallError::Unknown(info1, info2)),
        };
        prop_assert_eq!(found, expected);
        prop_assert_eq!(after, registers);
        // Each place at most once: the host may change it in between.
        let mut loads = page.loads.borrow().clone();
        let count = loads.len();
        loads.sort_unstable();
        loads.dedup();
        prop_assert_eq!(loads.len(), count);
    }
}

#[test]
fn exceptions_reach_the_guest() {
    for (event, acceptable) in [
        (EventInjection::GP, true),
        (EventInjection::GP_WITHOUT_ERROR_CODE, true),
        (EventInjection::UD, true),
        (EventInjection::exception(14, Some(0)), false),
        (EventInjection(0), false),
    ] {
        let page = Memory::filled(0);
        let Ok(()) = Reply::exception(event).write(&page);
        let mut registers = Registers::default();
        let expected = if acceptable {
            CallError::Exception(event)
        } else {
            CallError::Unknown(1, event.0)
        };
        assert_eq!(
            guest::copy_in(&page, &mut registers, &Sync::NONE),
            Err(expected)
        );
    }
}

#[test]
fn an_8_bit_in_changes_al_alone() {
    let page = Memory::filled(0);
    let Ok(()) = Reply::no_action(0)
        .with_rax(0xffff_ffff_ffff_ff42)
        .write(&page);
    let mut registers = Registers {
        rax: 0x1122_3344_5566_7788,
        ..Registers::default()
    };
    let al = Sync::NONE.sized(Register::A, OperandSize::Byte);
    guest::copy_in(&page, &mut registers, &al).unwrap();
    assert_eq!(registers.rax, 0x1122_3344_5566_7742);
}

#[test]
fn a_32_bit_in_clears_the_upper_half() {
    assert_eq!(OperandSize::Dword.merge(u64::MAX, 0x1234_5678), 0x1234_5678);
    assert_eq!(
        OperandSize::Word.merge(u64::MAX, 0x1234),
        0xffff_ffff_ffff_1234
    );
}

#[test]
fn whole_resets_a_size() {
    for register in Register::ALL {
        let byte = Sync::NONE.sized(register, OperandSize::Byte);
        assert_eq!(byte.size(register), OperandSize::Byte);
        let whole = byte.whole(register.field());
        assert_eq!(whole.size(register), OperandSize::Qword);
        assert_eq!(whole.fields(), byte.fields());
    }
    for field in ValidBitmap::EXIT.fields() {
        assert_eq!(Sync::NONE.whole(field), Sync::NONE);
    }
    for field in [Field::ValidBitmapLow, Field::ValidBitmapHigh] {
        assert_eq!(Sync::NONE.whole(field), Sync::NONE);
    }
    for field in [Field::Rax, Field::Rbx, Field::Rcx, Field::Rsi, Field::Xcr0] {
        assert_eq!(Sync::NONE.whole(field).fields(), ValidBitmap::of(&[field]));
    }
}

#[test]
fn clearing() {
    let page = Memory::filled(u64::MAX);
    guest::clear_save_area(&page);
    for qword in Qword::all() {
        let cleared = qword.offset() < 0x408 || qword.offset() == 0xff8;
        assert_eq!(page.peek(qword.offset()) == 0, cleared, "{qword:?}");
    }
    guest::clear(&page);
    assert!(page.bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn the_exit_is_not_a_register() {
    let registers = Registers::default();
    for field in Field::ALL {
        let outside = matches!(
            field,
            Field::SwExitCode
                | Field::SwExitInfo1
                | Field::SwExitInfo2
                | Field::ValidBitmapLow
                | Field::ValidBitmapHigh
        );
        assert_eq!(registers.get(field).is_none(), outside, "{field:?}");
    }
}
