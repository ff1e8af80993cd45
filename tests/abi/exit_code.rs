// SPDX-License-Identifier: GPL-2.0

//! The rules of each event, against a second statement of them as tables.

use std::collections::BTreeSet;

use ghcb_rs::ghcb_abi::{
    bitmap::ValidBitmap,
    event::{Family, Source},
    exit_code::ExitCode,
    page::Field::{self, *},
    snapshot::Snapshot,
};
use proptest::{prelude::*, sample::select};

use crate::pages::Memory;

/// Exit code, SW_EXITINFO1, RAX; what must be there besides the exit code and the infos; what returns.
type Rule = (u64, u64, u64, &'static [Field], &'static [Field]);

const RULES: &[Rule] = &[
    (0x27, 0, 0, &[], &[Rax]),
    (0x37, 0, 0, &[Rax], &[]),
    (0x6e, 0, 0, &[], &[Rax, Rdx]),
    (0x6f, 0, 0, &[Rcx], &[Rax, Rdx]),
    (0x72, 0, 0, &[Rax, Rcx], &[Rax, Rbx, Rcx, Rdx]),
    (0x72, 0, 0xc, &[Rax, Rcx], &[Rax, Rbx, Rcx, Rdx]),
    (0x72, 0, 0xd, &[Rax, Rcx, Xcr0], &[Rax, Rbx, Rcx, Rdx]),
    // KVM compares all of RAX.
    (0x72, 0, 0x1_0000_000d, &[Rax, Rcx], &[Rax, Rbx, Rcx, Rdx]),
    (0x76, 0, 0, &[], &[]),
    (0x7b, 0x0060_0010, 0, &[Rax], &[]),
    (0x7b, 0x0060_0011, 0, &[], &[Rax]),
    (0x7b, 0x0060_0014, 0, &[SwScratch], &[]),
    (0x7b, 0x0060_0015, 0, &[SwScratch], &[]),
    (0x7b, 0x0060_001d, 0, &[SwScratch], &[]),
    (0x7c, 0, 0, &[Rcx], &[Rax, Rdx]),
    (0x7c, 1, 0, &[Rax, Rcx, Rdx], &[]),
    // Any other number than zero is a write for KVM.
    (0x7c, 1 << 63, 0, &[Rax, Rcx, Rdx], &[]),
    (0x81, 0, 0, &[Rax, Cpl], &[Rax]),
    (0x87, 0, 0, &[], &[Rax, Rcx, Rdx]),
    (0x89, 0, 0, &[], &[]),
    (0x8a, 0, 0, &[Rax, Rcx, Rdx], &[]),
    (0x8b, 0, 0, &[Rax, Rcx], &[]),
    (0x8000_0001, 0, 0, &[SwScratch], &[]),
    (0x8000_0002, 0, 0, &[SwScratch], &[]),
    (0x8000_0003, 0, 0, &[], &[]),
    (0x8000_0004, 0, 0, &[], &[]),
    (0x8000_0005, 0, 0, &[], &[]),
    (0x8000_0005, 1, 0, &[], &[]),
    (0x8000_0010, 0, 0, &[SwScratch], &[]),
    (0x8000_0011, 0, 0, &[], &[]),
    (0x8000_0012, 0, 0, &[], &[Rbx]),
    (0x8000_0013, 0, 0, &[Rax], &[]),
    (0x8000_0013, 1, 0, &[Rax], &[]),
    (0x8000_0013, 2, 0, &[], &[]),
    (0x8000_0013, 0x7_0000_0002, 0, &[], &[]),
    // A VMPL in bits 19:16 makes it another operation for KVM.
    (0x8000_0013, 0x1_0002, 0, &[Rax], &[]),
    (0x8000_0014, 0, 0, &[], &[]),
    (0x8000_0015, 0, 0, &[], &[]),
    (0x8000_0016, 0, 0, &[], &[]),
    (0x8000_0017, 0, 0, &[Rax], &[Rax]),
    (0x8000_0018, 0, 0, &[], &[]),
    (0x8000_001a, 0, 0, &[Rax, Rbx], &[]),
    (0x8000_001a, 1, 0, &[Rax], &[Rbx]),
    (0x8000_0020, 0, 0, &[], &[Rbx, Rdx]),
    (0x8000_0021, 0, 0, &[], &[Rcx]),
    (0x8000_fffd, 0, 0, &[], &[]),
    (0x8000_fffe, 0, 0, &[], &[]),
    (0x8000_ffff, 0, 0, &[], &[]),
    (0x403, 0, 0, &[], &[]),
    (0x1234_5678_9abc_def0, 0, 0, &[], &[]),
];

fn request(code: u64, info1: u64, rax: u64, valid: ValidBitmap) -> Snapshot {
    let page = Memory::filled(0);
    page.put(0x390, code);
    page.put(0x398, info1);
    page.put(0x1f8, rax);
    valid.store(&page);
    let Ok(snapshot) = Snapshot::take(&page);
    snapshot
}

fn required(extra: &[Field]) -> ValidBitmap {
    ValidBitmap::of(extra).union(ValidBitmap::of(&[SwExitCode, SwExitInfo1, SwExitInfo2]))
}

#[test]
fn required_fields_suffice_and_each_is_needed() {
    for (code, info1, rax, extra, _) in RULES {
        let enough = required(extra);
        assert!(
            request(*code, *info1, *rax, enough).missing().is_empty(),
            "{code:#x} {info1:#x}"
        );
        for field in enough.fields() {
            let all_but = ValidBitmap::from_bits(u128::MAX).without(field);
            let missing = request(*code, *info1, *rax, all_but).missing();
            // Without RAX nobody knows that this is function 0xD.
            assert_eq!(missing, ValidBitmap::of(&[field]), "{code:#x} {info1:#x}");
        }
    }
}

#[test]
fn returned_registers() {
    for (code, info1, _, _, returned) in RULES {
        let found = ExitCode(*code).returned(*info1);
        assert_eq!(found, ValidBitmap::of(returned), "{code:#x} {info1:#x}");
    }
}

/// What an event can use and need not be given.
fn optional(code: u64, info1: u64) -> &'static [Field] {
    match code {
        0x6f => &[Cpl],
        0x72 => &[Xcr0, Xss],
        0x7b if info1 & 0b101 == 1 => &[Rax],
        0x81 => &[Rbx, Rcx, Rdx, Rsi],
        0x8000_0012 => &[Rax, Rbx],
        0x8000_0013 => &[Rax],
        0x8000_0004 | 0x8000_0020 => &[Rax, Rbx, Rcx, Rdx],
        _ => &[],
    }
}

#[test]
fn operands_are_what_is_required_and_what_is_optional() {
    for (code, info1, _, extra, _) in RULES {
        let optional = ValidBitmap::of(optional(*code, *info1));
        let expected = ValidBitmap::of(extra).union(optional);
        let code = ExitCode(*code);
        assert_eq!(code.operands(*info1), expected, "{code} {info1:#x}");
        assert!(Snapshot::OPERANDS.is_superset_of(expected), "{code}");
    }
}

#[test]
fn events() {
    let tabled: BTreeSet<u64> = RULES.iter().map(|rule| rule.0).collect();
    let named = ExitCode::NAMED.iter().map(|code| code.0);
    for code in named.chain(0..0x1000).chain(0x8000_0000..0x8001_0000) {
        let event = tabled.contains(&code) && code != 0x403;
        assert_eq!(ExitCode(code).is_event(), event, "{code:#x}");
        let snp = event && (0x8000_0010..0x8000_0100).contains(&code);
        assert_eq!(ExitCode(code).is_snp_event(), snp, "{code:#x}");
    }
}

#[test]
fn sources() {
    for code in ExitCode::NAMED {
        let expected = match code.0 {
            0x8000_0014 | 0x8000_0015 | 0x8000_0018 => Some(Source::Svsm),
            0x8000_0016 => Some(Source::Number),
            0x8000_0017 | 0x8000_0020 | 0x8000_0021 => Some(Source::Patches),
            0x8000_001a => Some(Source::LinuxGuest),
            _ if code.is_event() => Some(Source::Kvm),
            _ => None,
        };
        assert_eq!(code.source(), expected, "{code}");
    }
}

#[test]
fn families() {
    let family = |code: u64| ExitCode(code).family();
    for code in [0x6f, 0x72, 0x76, 0x7c, 0x81, 0x89, 0x8a, 0x8b] {
        assert_eq!(family(code), Some(Family::Instruction), "{code:#x}");
    }
    for code in [
        0x27,
        0x37,
        0x8000_0003,
        0x8000_fffd,
        0x8000_fffe,
        0x8000_ffff,
    ] {
        assert_eq!(family(code), Some(Family::System), "{code:#x}");
    }
    assert_eq!(
        (family(0x6e), family(0x87)),
        (Some(Family::TimeStamp), Some(Family::TimeStamp))
    );
    assert_eq!(
        (family(0x8000_0001), family(0x8000_0002)),
        (Some(Family::Mmio), Some(Family::Mmio))
    );
    assert_eq!(
        (family(0x8000_0004), family(0x8000_0005)),
        (Some(Family::Ap), Some(Family::Ap))
    );
    assert_eq!((family(0x7b), family(0x403)), (Some(Family::PortIo), None));
}

#[test]
fn events_are_in_order() {
    assert!(ExitCode::EVENTS.is_sorted_by(|a, b| a < b));
    assert_eq!(ExitCode::EVENTS.len(), 33);
    assert!(ExitCode::EVENTS.iter().all(|code| code.is_event()));
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = ExitCode::NAMED
        .iter()
        .map(|code| code.name().unwrap())
        .collect();
    let codes: BTreeSet<_> = ExitCode::NAMED.iter().map(|code| code.0).collect();
    assert_eq!(names.len(), ExitCode::NAMED.len());
    assert_eq!(codes.len(), ExitCode::NAMED.len());
    assert_eq!(ExitCode(0x9999).name(), None);
    assert_eq!(
        format!("{:?} {}", ExitCode(0x9999), ExitCode(0x7b)),
        "0x9999 ioio"
    );
}

#[test]
fn exceptions() {
    for vector in 0..=u8::MAX {
        let code = (vector < 32).then_some(ExitCode(0x40 + u64::from(vector)));
        assert_eq!(ExitCode::exception(vector), code);
    }
}

proptest! {
    #[test]
    fn any_bitmap_is_judged_by_the_table(
        rule in select(RULES.to_vec()), bits: u128, sparse: u128, noise in any::<bool>(),
    ) {
        let (code, info1, rax, extra, _) = rule;
        let bits = if noise { bits & sparse } else { bits | sparse };
        let valid = ValidBitmap::from_bits(bits);
        // RAX is not looked at unless it is marked valid.
        let extra: Vec<_> = extra.iter().copied()
            .filter(|field| *field != Xcr0 || valid.contains(Rax)).collect();
        let missing = request(code, info1, rax, valid).missing();
        prop_assert_eq!(missing, valid.missing(required(&extra)));
    }

    #[test]
    fn every_code_has_rules(code: u64, info1: u64) {
        let code = ExitCode(code);
        let required = code.required(info1);
        prop_assert!(required.fields.is_exit());
        prop_assert_eq!(required.source, code.source());
        // Of what is no event nothing is known, and nothing more is asked for.
        prop_assert!(code.is_event() || required.fields == ValidBitmap::EXIT);
        prop_assert!(Snapshot::OPERANDS.is_superset_of(code.operands(info1)));
        let registers = ValidBitmap::of(&[Rax, Rbx, Rcx, Rdx]);
        prop_assert!(registers.is_superset_of(code.returned(info1)));
    }
}
