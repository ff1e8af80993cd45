// SPDX-License-Identifier: GPL-2.0

//! IN and OUT, and what the bits of an IOIO event must be.

use ghcb_rs::{
    ghcb_abi::{
        exit_code::ExitCode,
        ioio::IoSize,
        page::Field::{self, Rax, SwScratch},
        reply::{ErrorReason, EventInjection},
    },
    vmgexit::{
        host::{End, Fulfilment},
        kind::Kind,
        request::port_io::{Direction, PortAccess},
    },
};

use crate::{
    replies::{assert_deferred, assert_reply, assert_sent, done, exception, refused},
    support::{Call, Host, GPA},
};

const IN: u64 = 1;
const STRING: u64 = 1 << 2;
const RAX: u64 = 0x1122_3344_5566_7788;

fn ioio(port: u64, size_bits: u64, flags: u64, fields: &[(Field, u64)]) -> Host {
    let info1 = (port << 16) | (size_bits << 4) | flags;
    Host::new().request(ExitCode::IOIO, info1, 0, fields)
}

fn access(port: u16, size: IoSize, direction: Direction, rax: u64) -> Call {
    let access = PortAccess {
        port,
        size,
        direction,
        rax,
    };
    Call::PortIo(access)
}

#[test]
fn out_passes_rax() {
    for (bits, size) in [(1, IoSize::Byte), (2, IoSize::Word), (4, IoSize::Dword)] {
        for port in [0, 0x80, 0xffff] {
            let host = ioio(port, bits, 0, &[(Rax, RAX)]);
            let asked = [access(port as u16, size, Direction::Out, RAX)];
            assert_reply(host, Kind::PortIo, &done(0, &[]), &asked);
        }
    }
}

#[test]
fn in_returns_rax_of_which_it_changes_what_it_reads() {
    for (bits, size, with_rax, without) in [
        (1, IoSize::Byte, 0x1122_3344_5566_77d0, 0xd0),
        (2, IoSize::Word, 0x1122_3344_5566_d1d0, 0xd1d0),
        (4, IoSize::Dword, 0xd3d2_d1d0, 0xd3d2_d1d0),
    ] {
        let host = ioio(0x3f8, bits, IN, &[(Rax, RAX)]);
        let asked = [access(0x3f8, size, Direction::In, RAX)];
        assert_reply(host, Kind::PortIo, &done(0, &[(Rax, with_rax)]), &asked);

        // RAX that is not valid counts as zero.
        let host = ioio(0x3f8, bits, IN, &[]);
        let asked = [access(0x3f8, size, Direction::In, 0)];
        assert_reply(host, Kind::PortIo, &done(0, &[(Rax, without)]), &asked);
    }
}

#[test]
fn required_fields() {
    let missing = refused(ErrorReason::MISSING_INPUT);
    assert_reply(ioio(0x80, 1, 0, &[]), Kind::PortIo, &missing, &[]);
    // A string needs a scratch area, in both directions, and whatever its size.
    for size in 0..8 {
        for direction in [0, IN] {
            let host = ioio(0x80, size, STRING | direction, &[(Rax, 0)]);
            assert_reply(host, Kind::StringIo, &missing, &[]);
        }
    }
}

#[test]
fn without_a_size_there_is_nothing_to_do() {
    for flags in [0, IN, STRING, STRING | IN] {
        let fields = [(Rax, RAX), (SwScratch, GPA + 0x800)];
        let host = ioio(0x80, 0, flags, &fields);
        let rax = [(Rax, RAX)];
        let returned = if flags == IN { &rax[..] } else { &[] };
        let kind = if flags & STRING == 0 {
            Kind::PortIo
        } else {
            Kind::StringIo
        };
        assert_reply(host, kind, &done(0, returned), &[]);
    }
}

#[test]
fn several_sizes_are_none() {
    for size in [3, 5, 6, 7] {
        for flags in [0, IN, STRING, STRING | IN] {
            let fields = [(Rax, RAX), (SwScratch, GPA + 0x800)];
            let host = ioio(0x80, size, flags, &fields);
            let rax = [(Rax, RAX)];
            assert_reply(
                host,
                if flags & STRING == 0 {
                    Kind::PortIo
                } else {
                    Kind::StringIo
                },
                &refused(ErrorReason::INVALID_INPUT).with(if flags == IN { &rax } else { &[] }),
                &[],
            );
        }
    }
}

#[test]
fn bits_without_a_meaning_are_ignored() {
    for extra in [1 << 1, 1 << 3, 7 << 7, 7 << 10, 7 << 13, 0xffff_ffff << 32] {
        let host = ioio(0x80, 2, extra, &[(Rax, RAX)]);
        let asked = [access(0x80, IoSize::Word, Direction::Out, RAX)];
        assert_reply(host, Kind::PortIo, &done(0, &[]), &asked);
    }
}

#[test]
fn userspace_reads_a_port() {
    // Nothing of what KVM has taken in is in the vCPU but registers, which userspace may carry to another.
    for end in [End::Completed, End::Resumed] {
        let mut host = ioio(0x3f8, 1, IN, &[(Rax, RAX)]);
        host.answer = Fulfilment::Userspace;
        assert_deferred(&mut host, Kind::PortIo);
        let before = host.page.bytes();
        // C: `complete_fast_pio_in()`.
        host.registers.rax = RAX & !0xff | 0x42;
        host.end(end);
        host.run();
        done(0, &[(Rax, RAX & !0xff | 0x42)]).assert_in(&before, &host.page.bytes());
        assert!(host.log.contains(&Call::TraceExit(0x7b, 0, 0)));
        assert!(!host.holds_anything());
    }
}

#[test]
fn userspace_writes_a_port() {
    let mut host = ioio(0x3f8, 1, 0, &[(Rax, RAX)]);
    host.answer = Fulfilment::Userspace;
    assert_sent(&mut host, Kind::PortIo);
    let before = host.page.bytes();
    host.complete();
    assert_eq!(before, host.page.bytes());
}

#[test]
fn an_access_that_kvm_does_not_do() {
    let mut host = ioio(0x3f8, 1, 0, &[(Rax, RAX)]);
    host.answer = Fulfilment::Error;
    let asked = [access(0x3f8, IoSize::Byte, Direction::Out, RAX)];
    assert_reply(
        host,
        Kind::PortIo,
        &refused(ErrorReason::INVALID_INPUT),
        &asked,
    );

    let mut host = ioio(0x3f8, 1, IN, &[]);
    host.answer = Fulfilment::Exception(EventInjection::GP);
    let asked = [access(0x3f8, IoSize::Byte, Direction::In, 0)];
    let expected = exception(EventInjection::GP).with(&[(Rax, 0)]);
    assert_reply(host, Kind::PortIo, &expected, &asked);
}
