// SPDX-License-Identifier: GPL-2.0

//! Instructions that KVM emulates on registers, and the time stamp counter.

use ghcb_rs::{
    ghcb_abi::{
        exit_code::ExitCode,
        page::Field::{self, *},
        reply::{ErrorReason, EventInjection},
        version::Version,
    },
    vmgexit::{
        host::{End, Fulfilment},
        kind::Kind,
        request::context::Context,
        request::instruction::{Emulation, Instruction},
        request::registers::Registers,
        AfterExit,
    },
};

use crate::{
    replies::{assert_deferred, assert_reply, done, exception, refused},
    support::{Call, Host},
};

/// An event of the family: its code, SW_EXITINFO1, what it takes and what it returns.
struct Event {
    code: u64,
    info1: u64,
    instruction: Instruction,
    kind: Kind,
    takes: &'static [Field],
    may_take: &'static [Field],
    returns: &'static [Field],
}

const EVENTS: [Event; 10] = [
    Event {
        code: 0x72,
        info1: 0,
        instruction: Instruction::of(ExitCode::CPUID, 0),
        kind: Kind::Cpuid,
        takes: &[Rax, Rcx],
        may_take: &[],
        returns: &[Rax, Rbx, Rcx, Rdx],
    },
    Event {
        code: 0x7c,
        info1: 0,
        instruction: Instruction::of(ExitCode::MSR, 0),
        kind: Kind::ReadMsr,
        takes: &[Rcx],
        may_take: &[],
        returns: &[Rax, Rdx],
    },
    Event {
        code: 0x7c,
        info1: 1,
        instruction: Instruction::of(ExitCode::MSR, 1),
        kind: Kind::WriteMsr,
        takes: &[Rax, Rcx, Rdx],
        may_take: &[],
        returns: &[],
    },
    // As in C, every other number is a write too.
    Event {
        code: 0x7c,
        info1: u64::MAX,
        instruction: Instruction::of(ExitCode::MSR, 1),
        kind: Kind::WriteMsr,
        takes: &[Rax, Rcx, Rdx],
        may_take: &[],
        returns: &[],
    },
    Event {
        code: 0x6f,
        info1: 0,
        instruction: Instruction::of(ExitCode::RDPMC, 0),
        kind: Kind::Rdpmc,
        takes: &[Rcx],
        may_take: &[],
        returns: &[Rax, Rdx],
    },
    Event {
        code: 0x76,
        info1: 0,
        instruction: Instruction::of(ExitCode::INVD, 0),
        kind: Kind::Invd,
        takes: &[],
        may_take: &[],
        returns: &[],
    },
    Event {
        code: 0x89,
        info1: 0,
        instruction: Instruction::of(ExitCode::WBINVD, 0),
        kind: Kind::Wbinvd,
        takes: &[],
        may_take: &[],
        returns: &[],
    },
    Event {
        code: 0x8a,
        info1: 0,
        instruction: Instruction::of(ExitCode::MONITOR, 0),
        kind: Kind::Monitor,
        takes: &[Rax, Rcx, Rdx],
        may_take: &[],
        returns: &[],
    },
    Event {
        code: 0x8b,
        info1: 0,
        instruction: Instruction::of(ExitCode::MWAIT, 0),
        kind: Kind::Mwait,
        takes: &[Rax, Rcx],
        may_take: &[],
        returns: &[],
    },
    Event {
        code: 0x81,
        info1: 0,
        instruction: Instruction::of(ExitCode::VMMCALL, 0),
        kind: Kind::Vmmcall,
        takes: &[Rax, Cpl],
        may_take: &[Rbx, Rcx, Rdx, Rsi],
        returns: &[Rax],
    },
];

/// A distinct value for each field; CPL has two bits.
fn value(field: Field) -> u64 {
    match field {
        Cpl => 3,
        _ => 0x1111_0000_0000_0000 | field.offset() as u64,
    }
}

fn fields(list: &[Field]) -> Vec<(Field, u64)> {
    list.iter().map(|field| (*field, value(*field))).collect()
}

fn host(event: &Event, given: &[Field]) -> Host {
    Host::new().request(ExitCode(event.code), event.info1, 0, &fields(given))
}

impl Event {
    /// What KVM is asked when these fields are given: of them it gets those that the event uses or returns,
    /// and zero for the others.
    fn emulation(&self, given: &[Field]) -> Emulation {
        let used = |field: Field| {
            let uses = [self.takes, self.may_take, self.returns]
                .concat()
                .contains(&field);
            (uses && given.contains(&field)).then(|| value(field))
        };
        let register = |field| used(field).unwrap_or(0);
        Emulation {
            instruction: self.instruction,
            registers: Registers {
                rax: register(Rax),
                rbx: register(Rbx),
                rcx: register(Rcx),
                rdx: register(Rdx),
                rsi: register(Rsi),
            },
        }
    }

    /// What the guest finds in the registers that the event returns.
    fn returned(&self, after: &Registers) -> Vec<(Field, u64)> {
        let of = |field: &Field| match field {
            Rax => after.rax,
            Rbx => after.rbx,
            Rcx => after.rcx,
            _ => after.rdx,
        };
        self.returns
            .iter()
            .map(|field| (*field, of(field)))
            .collect()
    }
}

/// What the guest finds there when it was not carried out: what it gave.
fn unchanged(event: &Event, given: &[Field]) -> Vec<(Field, u64)> {
    let of = |field: &Field| {
        if given.contains(field) {
            value(*field)
        } else {
            0
        }
    };
    (event.returns.iter())
        .map(|field| (*field, of(field)))
        .collect()
}

const EVERYTHING: [Field; 8] = [Rax, Rbx, Rcx, Rdx, Rsi, Cpl, Xcr0, Xss];

#[test]
fn each_takes_its_operands_and_returns_its_results() {
    for event in &EVENTS {
        for version in [Version::V1, Version::V2] {
            let all: Vec<_> = event.takes.iter().chain(event.may_take).copied().collect();
            for given in [event.takes, &all, &EVERYTHING] {
                let mut host = host(event, given);
                host.version = version;
                let expected = done(0, &event.returned(&host.after));
                let asked = [Call::Emulate(event.emulation(given))];
                assert_reply(host, event.kind, &expected, &asked);
            }
        }
    }
}

#[test]
fn each_request_tells_the_context() {
    let codes = EVENTS.iter().map(|event| event.code);
    for code in codes.chain([0x6e, 0x7b, 0x8000_0003, 0x8000_0010, 0x403]) {
        for given in [&[][..], &[Cpl], &[Xcr0], &[Xss], &[Cpl, Xcr0, Xss]] {
            let mut host = Host::new().request(ExitCode(code), 0, 0, &fields(given));
            host.vmgexit();
            let of = |field| given.contains(&field).then(|| value(field));
            let context = Context {
                cpl: of(Cpl).unwrap_or(0) as u8,
                xcr0: of(Xcr0),
                xss: of(Xss),
            };
            assert_eq!(host.contexts, [context], "{code:#x}");
        }
    }
}

#[test]
fn kvm_finds_the_intercept_in_the_vmcb() {
    for event in &EVENTS {
        assert_eq!(event.instruction.exit_code(), ExitCode(event.code));
        let is_write = event.instruction == Instruction::of(ExitCode::MSR, 1);
        assert_eq!(event.instruction.info1(), u64::from(is_write));
    }
}

#[test]
fn an_operand_that_is_missing_is_missed() {
    for event in &EVENTS {
        for left_out in event.takes {
            let given: Vec<_> = EVERYTHING
                .into_iter()
                .filter(|field| field != left_out)
                .collect();
            let expected = refused(ErrorReason::MISSING_INPUT).with(&unchanged(event, &given));
            assert_reply(host(event, &given), event.kind, &expected, &[]);
        }
    }
}

#[test]
fn cpuid_of_the_xsave_area_needs_xcr0() {
    let cpuid = |rax, given: &[(Field, u64)]| {
        let fields = [&[(Rax, rax), (Rcx, 1)], given].concat();
        Host::new().request(ExitCode::CPUID, 0, 0, &fields)
    };
    let unchanged = [(Rax, 0xd), (Rbx, 0), (Rcx, 1), (Rdx, 0)];
    let without = refused(ErrorReason::MISSING_INPUT).with(&unchanged);
    assert_reply(cpuid(0xd, &[]), Kind::Cpuid, &without, &[]);
    assert_reply(cpuid(0xd, &[(Xss, 0)]), Kind::Cpuid, &without, &[]);
    assert_eq!(cpuid(0xd, &[(Xcr0, 7)]).vmgexit(), AfterExit::RESUME);
    // The whole of RAX is compared.
    for rax in [0xc, 0xe, 0x1_0000_000d] {
        let mut host = cpuid(rax, &[]);
        assert_eq!(host.vmgexit(), AfterExit::RESUME);
        assert!(matches!(host.asked()[1], Call::Emulate(_)), "{rax:#x}");
    }
}

#[test]
fn an_exception_is_the_reply() {
    for event in &EVENTS {
        for injection in [EventInjection::UD, EventInjection::GP] {
            for given in [event.takes, &EVERYTHING] {
                let mut host = host(event, given);
                host.answer = Fulfilment::Exception(injection);
                let asked = [Call::Emulate(event.emulation(given))];
                let expected = exception(injection).with(&unchanged(event, given));
                assert_reply(host, event.kind, &expected, &asked);
            }
        }
    }
}

#[test]
fn what_kvm_refuses_is_invalid_or_faults() {
    for event in &EVENTS {
        let mut host = host(event, &EVERYTHING);
        host.answer = Fulfilment::Error;
        let asked = [Call::Emulate(event.emulation(&EVERYTHING))];
        let expected = match event.code {
            0x7c => exception(EventInjection(0xffff_ffff_8000_030d)),
            _ => refused(ErrorReason::INVALID_INPUT),
        };
        let expected = expected.with(&unchanged(event, &EVERYTHING));
        assert_reply(host, event.kind, &expected, &asked);
    }
}

#[test]
fn userspace_may_do_it() {
    for event in &EVENTS {
        let mut host = host(event, &EVERYTHING);
        host.answer = Fulfilment::Userspace;
        assert_deferred(&mut host, event.kind);
        let before = host.page.bytes();
        host.registers = host.after;
        host.complete();
        done(0, &event.returned(&host.after)).assert_in(&before, &host.page.bytes());
        assert!(!host.holds_anything());
    }
}

#[test]
fn userspace_may_refuse_an_msr() {
    for event in EVENTS.iter().filter(|event| event.code == 0x7c) {
        let fault = exception(EventInjection::GP_WITHOUT_ERROR_CODE);
        let mut host = host(event, &EVERYTHING);
        host.answer = Fulfilment::Userspace;
        assert_deferred(&mut host, event.kind);
        let before = host.page.bytes();
        host.end(End::Failed);
        let fault = fault.with(&unchanged(event, &EVERYTHING));
        fault.assert_in(&before, &host.page.bytes());
        host.run();
        fault.assert_in(&before, &host.page.bytes());
        assert!(!host.holds_anything());
    }
}

#[test]
fn rdtsc_and_rdtscp_return_the_guests_time() {
    let stamp = [(Rax, 0x89ab_cdef), (Rdx, 0x0123_4567)];
    let host = || Host::new().request(ExitCode::RDTSC, 0, 0, &[]);
    assert_reply(host(), Kind::Rdtsc, &done(0, &stamp), &[]);
    let host = || Host::new().request(ExitCode::RDTSCP, 0, 0, &[]);
    let with_aux = [stamp[0], stamp[1], (Rcx, 0x77)];
    assert_reply(host(), Kind::Rdtscp, &done(0, &with_aux), &[]);
}
