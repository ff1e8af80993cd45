// SPDX-License-Identifier: GPL-2.0

//! Operands and results which fit into one number.

use ghcb_rs::ghcb_abi::{
    ap::{ApCreation, ApOperation, JumpTableOperation, ResetHold},
    apic_ids,
    doorbell::{self, DoorbellOperation},
    exit_code::ExitCode,
    features::Features,
    guest_request::{GuestRequestStatus, MessageType, VmmError},
    page::Field,
    psc::{PageOperation, PscEntry, PscHeader, PscStatus},
    secure_avic::SecureAvicOperation,
    terminate::{GeneralReason, LinuxReason, ReasonSet, Termination},
    tio::{TioAction, TioOperation},
    version::{Usage, Version},
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn whole_numbers_survive(word: u64) {
        prop_assert_eq!(ApCreation::decode(word).encode(), word);
        prop_assert_eq!(PscHeader::decode(word).encode(), word);
        prop_assert_eq!(GuestRequestStatus::from_info2(word).to_info2(), word);
        prop_assert_eq!(TioOperation::decode(word).encode(), word);
        // Bits 63:12 are reserved.
        prop_assert_eq!(Termination::from_info1(word).to_info1(), word & 0xfff);
        prop_assert_eq!(ResetHold(word).is_sipi(), word != 0);
    }

    #[test]
    fn ap_creation(
        op in prop_oneof![0u16..4, any::<u16>()],
        vmpl in prop_oneof![Just(0u8), 0u8..16],
        reserved in prop_oneof![Just(0u16), 0u16..0x1000],
        apic_id: u32,
    ) {
        let request = ApCreation { operation: ApOperation(op), vmpl, reserved, apic_id };
        prop_assert_eq!(ApCreation::decode(request.encode()), request);
        let wide = ApCreation { vmpl: vmpl | 0xf0, reserved: reserved | 0xf000, ..request };
        prop_assert_eq!(wide.encode(), request.encode(), "bits without room do not spill");
        // One reading: what needs no RAX is what is decoded as a vCPU that stops.
        let info1 = request.encode();
        prop_assert_eq!(request.is_destroy(), info1 as u32 == 2);
        let needs_rax = ExitCode::AP_CREATION.required(info1).fields.contains(Field::Rax);
        prop_assert_eq!(needs_rax, !request.is_destroy());
    }

    #[test]
    fn psc_entry(gfn in 0u64..1 << 40, op in 0u8..16, huge: bool, done in 0u16..0x1000, junk: u16) {
        let entry = PscEntry::new(gfn, PageOperation(op), huge);
        let after = entry.with_cur_page(junk).with_cur_page(done);
        prop_assert_eq!(entry.cur_page(), 0);
        prop_assert_eq!(after.cur_page(), done);
        for entry in [entry, after] {
            prop_assert_eq!(entry.gfn(), gfn);
            prop_assert_eq!(entry.operation(), PageOperation(op));
            prop_assert_eq!(entry.is_huge(), huge);
            prop_assert_eq!(entry.pages(), if huge { 512 } else { 1 });
            prop_assert_eq!(entry.reserved(), 0);
        }
        prop_assert_eq!(PscEntry::new(gfn | (1 << 40), PageOperation(op | 0x10), huge), entry);
        prop_assert_eq!(PscEntry(entry.0 | (0x55 << 57)).reserved(), 0x55);
        prop_assert_eq!(PscEntry::address(entry.gfn()), gfn * 4096);
        prop_assert_eq!(after.is_aligned(), !huge || gfn % 512 == 0);
        prop_assert!(PscEntry::new(gfn / 512 * 512, PageOperation(op), huge).is_aligned());
        // As the fields of struct psc_entry lie.
        let bits = u64::from(done) | (gfn << 12) | (u64::from(op) << 52) | (u64::from(huge) << 56);
        prop_assert_eq!(after.0, bits);
    }

    #[test]
    fn termination(set in 0u8..16, code: u8, wide: u8) {
        let reason = Termination { set: ReasonSet(set), code };
        prop_assert_eq!(Termination::from_info1(reason.to_info1()), reason);
        let spilled = Termination { set: ReasonSet(set | (wide << 4)), code };
        prop_assert_eq!(spilled.to_info1(), reason.to_info1());
    }

    #[test]
    fn versions(a in 0u16..5, b in 0u16..5, c in 0u16..5, d in 0u16..5) {
        let (ours, theirs) = ((a.min(b), a.max(b)), (c.min(d), c.max(d)));
        let best = (0..5).rev().find(|v| {
            (ours.0..=ours.1).contains(v) && (theirs.0..=theirs.1).contains(v)
        });
        let version = |(min, max)| (Version(min), Version(max));
        prop_assert_eq!(Version::negotiate(version(ours), version(theirs)), best.map(Version));
    }

    #[test]
    fn features(a: u64, b: u64) {
        let both = Features(a).union(Features(b));
        prop_assert_eq!(both.0, a | b);
        prop_assert!(both.contains(Features(a)) && both.contains(Features(b)));
        prop_assert_eq!(Features(a).contains(Features(b)), b & !a == 0);
    }

    #[test]
    fn apic_id_pages(count: u32) {
        let bytes = (u64::from(count) + 1) * 4;
        prop_assert_eq!(apic_ids::pages_for(count), bytes.div_ceil(4096));
    }
}

#[test]
fn numbers() {
    let all = [
        (JumpTableOperation::SET.0, 0),
        (JumpTableOperation::GET.0, 1),
        (DoorbellOperation::GET_PREFERRED.0, 0),
        (DoorbellOperation::SET.0, 1),
        (DoorbellOperation::QUERY.0, 2),
        (DoorbellOperation::CLEAR.0, 3),
        (SecureAvicOperation::REGISTER_GPA.0, 0),
        (SecureAvicOperation::UNREGISTER_GPA.0, 1),
        (PscStatus::SUCCESS.0, 0),
        (PscStatus::INVALID_HEADER.0, 0x1_0000_0001),
        (PscStatus::INVALID_ENTRY.0, 0x1_0000_0002),
        (PscStatus::GENERIC.0, 0x100_0000_0000),
        (VmmError::GENERIC.0.into(), 0xffff_ffff),
        (TioAction::BIND.0.into(), 0),
        (TioAction::UNBIND.0.into(), 1),
        (TioAction::RUN.0.into(), 2),
        (TioAction::STOP.0.into(), 3),
        (PageOperation::PRIVATE.0.into(), 1),
        (PageOperation::SHARED.0.into(), 2),
        (PageOperation::PSMASH.0.into(), 3),
        (PageOperation::UNSMASH.0.into(), 4),
        (doorbell::NO_PREFERENCE, 0xffff_ffff_ffff_ffff),
        (GuestRequestStatus::FAILED.to_info2(), 0xffff_ffff_0000_0000),
        (Features::NONE.0, 0),
        (Features::SNP.0, 0x01),
        (Features::SNP_AP_CREATION.0, 0x02),
        (Features::SNP_RESTRICTED_INJECTION.0, 0x04),
        (Features::SNP_RESTRICTED_INJECTION_TIMER.0, 0x08),
        (Features::APIC_ID_LIST.0, 0x10),
        (Features::SNP_MULTI_VMPL.0, 0x20),
        (LinuxReason::SAVIC_FAIL.0.into(), 12),
        (GeneralReason::SNP_UNSUPPORTED.0.into(), 2),
        (Usage::HYPERV_CALL.0.into(), 1),
    ];
    for (ours, expected) in all {
        assert_eq!(ours, expected);
    }
    assert_eq!(LinuxReason::NAMED.len(), 13);
    assert!(!Version::V1.confines_scratch());
    assert!(Version::V2.confines_scratch());
    assert!(Version(3).confines_scratch());
    assert!(ResetHold::SIPI.is_sipi() && !ResetHold::NO_SIPI.is_sipi());
}

#[test]
fn message_type() {
    let mut message = [0xff; 96];
    message[0x34] = 5;
    assert_eq!(MessageType::of(&message), MessageType::REPORT_REQUEST);
    assert_eq!(
        MessageType::of(&message[..0x35]),
        MessageType::REPORT_REQUEST
    );
    assert_eq!(MessageType::of(&message[..0x34]), MessageType(0));
    assert_eq!(MessageType::of(&[]), MessageType(0));
}
