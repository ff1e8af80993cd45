// SPDX-License-Identifier: GPL-2.0

//! A guest and a host that hold to the rules of each event understand each other.

use ghcb_rs::ghcb_abi::{
    exit_code::ExitCode,
    exit_info::ExitInfo,
    guest::{self, OperandSize, Register, Registers, Sync},
    page::Field,
    reply::Reply,
    snapshot::Snapshot,
    version::Version,
};
use proptest::{prelude::*, sample::select};

use crate::pages::Memory;

fn any_event() -> impl Strategy<Value = ExitCode> {
    let events = ExitCode::NAMED.iter().copied();
    select(events.filter(|code| code.is_event()).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn request_and_answer(
        code in any_event(),
        info1 in 0u64..0x100,
        info2: u64,
        [rax, rbx, rcx, rdx]: [u64; 4],
        scratch: u64,
        cpl in 0u8..4,
        result: u64,
        returned: [u64; 4],
    ) {
        let before = Registers { rax, rbx, rcx, rdx, scratch, cpl, xcr0: 7, ..Registers::default() };
        let page = Memory::filled(0);

        // The guest supplies what is required, and XCR0 in any case.
        let mut request = Sync::NONE.whole(Field::Xcr0);
        for field in code.required(info1).fields.fields() {
            request = request.whole(field);
        }
        guest::copy_out(&page, Version::V2, &before, &ExitInfo { code, info1, info2 }, &request);

        // The host finds all of it.
        let Ok(snapshot) = Snapshot::take(&page);
        prop_assert!(snapshot.missing().is_empty(), "{:?} {:?}", code, snapshot.missing());
        prop_assert_eq!((snapshot.exit_code(), snapshot.info1(), snapshot.info2()), (code, info1, info2));
        for field in request.fields().intersection(code.operands(info1)).fields() {
            prop_assert_eq!(snapshot.get(field), before.get(field));
        }

        // The host returns what the event returns.
        let mut reply = Reply::no_action(result);
        let mut expected = Sync::NONE;
        for (register, value) in Register::ALL.into_iter().zip(returned) {
            if code.returned(info1).contains(register.field()) {
                expected = expected.sized(register, OperandSize::Qword);
                reply = match register {
                    Register::A => reply.with_rax(value),
                    Register::B => reply.with_rbx(value),
                    Register::C => reply.with_rcx(value),
                    Register::D => reply.with_rdx(value),
                };
            }
        }
        let Ok(()) = reply.write(&page);

        // The guest finds that, and nothing of what it sent.
        let mut after = before;
        prop_assert_eq!(guest::copy_in(&page, &mut after, &expected), Ok(result));
        for (register, value) in Register::ALL.into_iter().zip(returned) {
            let kept = before.get(register.field());
            let expected = if expected.fields().contains(register.field()) { Some(value) } else { kept };
            prop_assert_eq!(after.get(register.field()), expected);
        }
    }
}
