// SPDX-License-Identifier: GPL-2.0

//! Operands and results which fit into one number: decoded, and made again.

#![no_main]

use ghcb_rs::ghcb_abi::{
    ap::ApCreation,
    exit_code::ExitCode,
    guest_request::GuestRequestStatus,
    ioio::{IoInfo, IoSize},
    psc::{PscEntry, PscHeader},
    reply::EventInjection,
    terminate::Termination,
    tio::TioOperation,
};
use ghcb_rs_fuzz::take;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut input = input;
    let (word, other) = (take(&mut input), take(&mut input));

    assert_eq!(ApCreation::decode(word).encode(), word);
    assert_eq!(PscHeader::decode(word).encode(), word);
    assert_eq!(GuestRequestStatus::from_info2(word).to_info2(), word);
    assert_eq!(TioOperation::decode(word).encode(), word);
    assert_eq!(Termination::from_info1(word).to_info1(), word & 0xfff);

    let entry = PscEntry(word);
    let fresh = PscEntry::new(entry.gfn(), entry.operation(), entry.is_huge());
    let high = u64::from(entry.reserved()) << 57;
    assert_eq!(fresh.with_cur_page(entry.cur_page()).0 | high, word);
    assert_eq!(entry.with_cur_page(other as u16).gfn(), entry.gfn());

    let io = IoInfo(word);
    if let Some(size) = io.size() {
        let mut again = IoInfo::new(io.port(), size, io.is_in());
        if let (true, Some(address)) = (io.is_string(), io.address_size()) {
            again = again.string(io.is_rep(), address, io.segment());
            assert_eq!(again.0, word & 0xffff_1ffd);
        }
        assert_eq!(
            (again.port(), again.size(), again.is_in()),
            (io.port(), Some(size), io.is_in())
        );
        assert!(IoSize::ALL.contains(&size));
    }

    let event = EventInjection(word);
    if event.is_acceptable() {
        let again = EventInjection::exception(event.vector(), event.error_code());
        assert_eq!(
            (again.vector(), again.error_code()),
            (event.vector(), event.error_code())
        );
    }

    let code = ExitCode(word);
    assert!(code.required(other).fields.is_exit());
    assert!(!code.is_snp_event() || code.is_event());
    assert!(code.is_event() || code.returned(other).is_empty());
    assert!(code.is_event() || code.operands(other).is_empty());
});
