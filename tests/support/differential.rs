// SPDX-License-Identifier: GPL-2.0

//! The handling path beside a model of KVM's C handler: over any exit of a page that holds still, the two differ in what is
//! meant to differ, and in nothing else.

mod c_model;
pub mod deliberate;
pub mod judged;
pub mod psc;
mod snp;

use std::collections::BTreeMap;

use ghcb_rs::{
    ghcb_abi::exit_code::ExitCode,
    vmgexit::{
        host::{Fulfilment, HoldType},
        request::instruction::Instruction,
        request::port_io::Direction,
    },
};

use super::{case::Case, Call, Host};
use c_model::{Asked, Result};
use deliberate::{Exchange, DIFFERENCES};

/// An exit whose circumstances the C handler can meet too.
pub fn fair(mut case: Case) -> Case {
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
        Call::Register(_)
        | Call::Range(_)
        | Call::PageByMsr(_)
        | Call::Firmware(_)
        | Call::Certificates(..)
        | Call::Vmsa(..) => Asked::Snp(call.clone()),
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
    if host.sev_es.is_pending() && !(0x8000_0010..=0x8000_0012).contains(&case.code) {
        serve(&mut host);
    }
    let is_asked = host.sev_es.is_pending() && case.code == 0x8000_0012;
    let later = if is_asked {
        let answer = host.snp.certificate_answer;
        host.certificates_done(answer).to_kvm()
    } else {
        0
    };
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
        later,
        asked: calls,
        msr: host.msr,
        page: answered.then(|| (0..512).map(|word| host.page.peek(word * 8)).collect()),
        memory: host.memory.unwrap().1,
    }
}

/// Compares, and counts which differences were met.
pub fn compare(case: &Case, met: &mut BTreeMap<&'static str, u32>) {
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
