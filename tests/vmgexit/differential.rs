// SPDX-License-Identifier: GPL-2.0

//! The handling path beside a model of KVM's C handler: over arbitrary exits of a page that holds still,
//! the two differ in what is meant to differ, and in nothing else.

mod c_model;
mod deliberate;

use std::collections::{BTreeMap, BTreeSet};

use ghcb_rs::{
    ghcb_abi::exit_code::ExitCode,
    vmgexit::{
        instruction::Instruction,
        port_io::Direction,
        vcpu::{Fulfilment, HoldType},
    },
};
use proptest::test_runner::{Config, TestRunner};

use crate::{
    properties::any_case,
    support::{case::Case, page::Sequence, Call, Host, GPA},
};
use c_model::{Asked, Result};
use deliberate::{Exchange, DIFFERENCES};

/// An exit whose circumstances the C handler can meet too.
fn fair(mut case: Case) -> Case {
    (case.writer, case.gone, case.can_map) = (None, None, true);
    let is_page = case.msr & 0xfff == 0;
    let emulates = is_page && [0x6f, 0x72, 0x76, 0x7c, 0x81, 0x89, 0x8a, 0x8b].contains(&case.code);
    let is_write = case.code == 0x7c && case.info[0] != 0;
    case.answer = match case.answer {
        // KVM reports #GP for an MSR; it refuses the write of one with an error number.
        Fulfilment::Exception(_) if emulates && case.code == 0x7c => Fulfilment::Exception(
            ghcb_rs::ghcb_abi::reply::EventInjection(0xffff_ffff_8000_030d),
        ),
        Fulfilment::Exception(event) if emulates => Fulfilment::Exception(event),
        Fulfilment::Error if emulates && is_write => Fulfilment::Error,
        Fulfilment::Userspace if is_page => Fulfilment::Userspace,
        _ => Fulfilment::Done,
    };
    case
}

/// What was asked, in the words of the model.
fn asked(call: &Call, asked: &mut Vec<Asked>) {
    let data = |direction: &Direction, data: &[u8]| (!direction.is_in()).then(|| data.to_vec());
    let last = match call {
        Call::Emulate(emulation) => {
            let code = emulation.instruction.exit_code().0;
            let is_write = emulation.instruction == Instruction::of(ExitCode::MSR, 1);
            Asked::Emulate(code, is_write, emulation.registers)
        }
        Call::PortIo(access) => {
            let (size, is_in) = (access.size.bytes() as u64, access.direction.is_in());
            Asked::Port(access.port, size, is_in, access.rax)
        }
        Call::StringIo(transfer, bytes) => {
            let (size, count) = (transfer.size.bytes() as u64, transfer.count.into());
            Asked::StringIo(transfer.port, size, count, data(&transfer.direction, bytes))
        }
        Call::Mmio(access, bytes) => Asked::Mmio(
            access.gpa,
            access.len.into(),
            data(&access.direction, bytes),
        ),
        Call::SetDr7(value) => Asked::SetDr7(*value),
        Call::NmiComplete => Asked::NmiComplete,
        Call::SetJumpTable(gpa) => Asked::SetJumpTable(*gpa),
        Call::Hold(HoldType::Page) => Asked::HoldByPage,
        Call::Hold(HoldType::Msr) => Asked::HoldByMsr,
        Call::Terminate => Asked::Terminate,
        _ => return,
    };
    asked.push(last);
}

/// What userspace makes of a parked exit: what KVM would have made of it.
fn serve(host: &mut Host) {
    let device = host.device;
    let is_in = host
        .sev_es
        .words
        .decode()
        .is_some_and(|record| record.exit.receives());
    let access = host.log.iter().rev().find_map(|call| match call {
        Call::PortIo(access) => Some(*access),
        _ => None,
    });
    match (host.copy(), access) {
        (Some(copy), _) if is_in => {
            for (byte, said) in copy.iter_mut().zip(device.to_le_bytes().iter().cycle()) {
                *byte = *said;
            }
        }
        (None, Some(access)) if access.direction.is_in() => {
            let mask = access.size.mask();
            let kept = if mask == 0xffff_ffff {
                0
            } else {
                access.rax & !mask
            };
            host.registers.rax = kept | device & mask;
        }
        (None, None) => host.registers = host.after,
        _ => {}
    }
}

/// What the handling path makes of an exit, in the words of the model.
fn ours(case: &Case) -> Result {
    let mut host = case.host();
    let code = host.vmgexit().to_kvm();
    let answered = host
        .log
        .iter()
        .any(|call| matches!(call, Call::TraceExit(..) | Call::Park(..) | Call::Defer(..)));
    if host.sev_es.is_pending() {
        serve(&mut host);
    }
    host.complete();
    let mut calls = Vec::new();
    for context in &host.contexts {
        calls.push(Asked::SetCpl(context.cpl));
        calls.extend(context.xcr0.map(Asked::SetXcr0));
        calls.extend(context.xss.map(Asked::SetXss));
    }
    host.log.iter().for_each(|call| asked(call, &mut calls));
    Result {
        code,
        asked: calls,
        msr: host.msr,
        page: answered.then(|| (0..512).map(|word| host.page.peek(word * 8)).collect()),
        memory: host.memory.unwrap().1,
    }
}

/// Compares, and counts which differences were met.
fn compare(case: &Case, met: &mut BTreeMap<&'static str, u32>) {
    let (mut expected, accepted) = c_model::handle(case);
    let exit = Exchange { case, accepted };
    for difference in &DIFFERENCES {
        let before = expected.clone();
        (difference.apply)(&exit, &mut expected);
        if expected != before {
            *met.entry(difference.name).or_default() += 1;
        }
    }
    let mut actual = ours(case);
    c_model::keep_what_is_read(&mut actual.asked);
    c_model::keep_what_is_read(&mut expected.asked);
    let (mut short_actual, mut short_expected) = (actual.clone(), expected.clone());
    // Two pages are too much to read.
    if let (Some(is), Some(should)) = (short_actual.page.take(), short_expected.page.take()) {
        let words: Vec<_> = (0..512).filter(|word| is[*word] != should[*word]).collect();
        assert!(
            words.is_empty(),
            "{case:#x?}: words {words:?}: {:x?} and {:x?}",
            words.iter().map(|word| is[*word]).collect::<Vec<_>>(),
            words.iter().map(|word| should[*word]).collect::<Vec<_>>()
        );
    }
    assert!(actual.memory == expected.memory, "{case:#x?}");
    (short_actual.memory, short_expected.memory) = (Vec::new(), Vec::new());
    assert_eq!(short_actual, short_expected, "{case:#x?}");
    assert_eq!(actual.page.is_some(), expected.page.is_some(), "{case:#x?}");
}

#[test]
fn only_what_is_meant_to_differ_differs() {
    let mut met = BTreeMap::new();
    let mut sequence = Sequence(0x2545_f491_4f6c_dd1d);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..200).map(|_| (sequence.next() >> 32) as u8).collect();
        compare(&fair(Case::from_bytes(&bytes)), &mut met);
    }
    // A difference that is never met is none.
    for difference in &DIFFERENCES {
        assert!(
            met.contains_key(difference.name),
            "{}: {met:?}",
            difference.name
        );
    }
}

#[test]
fn also_for_exits_that_shrink() {
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(2_000)
    };
    let result = TestRunner::new(config).run(&any_case(), |case| {
        compare(&fair(case), &mut BTreeMap::new());
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_value_of_the_msr() {
    let mut case = fair(Case::from_bytes(&[]));
    let mut sequence = Sequence(1);
    for kind in 0..0x1000 {
        for _ in 0..4 {
            case.msr = sequence.next() & !0xfff | kind;
            if case.msr & !0xfff != GPA {
                compare(&case, &mut BTreeMap::new());
            }
        }
    }
}

#[test]
fn the_readme_names_them_all_and_no_others() {
    let (_, table) = include_str!("../../README.md")
        .split_once("## How the answers differ")
        .unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let documented: BTreeSet<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let mut known: BTreeSet<_> = DIFFERENCES.iter().map(|one| one.name).collect();
    known.extend(crate::snp::c_model::DIFFERENCES);
    // The model has no page that changes under an exit, no kinds of memory, no exit before this one, no device
    // without data, no vCPU but this one, and no list after one about which userspace gave no answer.
    known.extend([
        "ap-that-waits",
        "psc-unanswered",
        "unread-data",
        "reply-in-the-present-page",
        "any-user-memory",
        "msr-cpuid-cpl",
    ]);
    assert_eq!(documented, known);
}
