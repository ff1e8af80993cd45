// SPDX-License-Identifier: GPL-2.0

//! INS, OUTS and MMIO: data that lie in the shared buffer, or in a scratch area elsewhere.

use ghcb_rs::{
    ghcb_abi::{
        exit_code::ExitCode,
        ioio::IoSize,
        page::{BufferRange, Field::SwScratch},
        reply::{ErrorReason, EventInjection},
        scratch::ScratchArea,
        version::Version,
    },
    vmgexit::{
        host::{End, Fulfilment},
        kind::Kind,
        request::mmio::MmioAccess,
        request::port_io::{Direction, StringTransfer},
        AfterExit,
    },
};

use crate::{
    replies::{
        assert_deferred, assert_reply, assert_sent, done, exception, filled, refused, Expected,
    },
    support::{Call, Host, GPA},
};

/// Where a guest has memory besides its page, and how much.
const MEMORY: u64 = 0x40_0000;
const MEMORY_SIZE: usize = 0x1_1000;
const MMIO: u64 = 0xfee0_0300;
const PORT: u64 = 0x511;

/// "Scratch area not valid".
fn invalid_area() -> Expected {
    refused(ErrorReason::INVALID_SCRATCH_AREA)
}

/// One of the four kinds of request, which differ in nothing but their names.
#[derive(Clone, Copy, Debug)]
enum Transfer {
    Ins(IoSize),
    Outs(IoSize),
    Read,
    Write,
}

use Transfer::*;

const ALL: [Transfer; 8] = [
    Ins(IoSize::Byte),
    Ins(IoSize::Word),
    Ins(IoSize::Dword),
    Outs(IoSize::Byte),
    Outs(IoSize::Word),
    Outs(IoSize::Dword),
    Read,
    Write,
];

impl Transfer {
    fn direction(self) -> Direction {
        match self {
            Ins(_) | Read => Direction::In,
            Outs(_) | Write => Direction::Out,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Ins(_) | Outs(_) => Kind::StringIo,
            Read => Kind::MmioRead,
            Write => Kind::MmioWrite,
        }
    }

    /// Bytes of an element.
    fn unit(self) -> usize {
        match self {
            Ins(size) | Outs(size) => size.bytes(),
            Read | Write => 1,
        }
    }

    /// The request for so many elements at `scratch`.
    fn host(self, version: Version, scratch: u64, count: u64) -> Host {
        let ioio = |size: IoSize, direction| {
            (PORT << 16) | ((size.bytes() as u64) << 4) | (1 << 2) | direction
        };
        let (code, info1) = match self {
            Ins(size) => (ExitCode::IOIO, ioio(size, 1)),
            Outs(size) => (ExitCode::IOIO, ioio(size, 0)),
            Read => (ExitCode::MMIO_READ, MMIO),
            Write => (ExitCode::MMIO_WRITE, MMIO),
        };
        let mut host = Host::new().request(code, info1, count, &[(SwScratch, scratch)]);
        host.version = version;
        if (MEMORY..).contains(&scratch) {
            host.memory = Some((MEMORY, vec![0x3c; MEMORY_SIZE]));
        }
        for offset in (0x800..0xff0).step_by(8) {
            host.page
                .put(offset, 0x0101_0101_0101_0101 * (offset as u64 / 8 % 251));
        }
        host
    }

    /// What KVM is asked.
    fn call(self, area: ScratchArea, count: usize, data: Vec<u8>) -> Call {
        let direction = self.direction();
        match self {
            Ins(size) | Outs(size) => {
                let (port, count) = (PORT as u16, count as u32);
                Call::StringIo(
                    StringTransfer {
                        port,
                        size,
                        count,
                        direction,
                        area,
                    },
                    data,
                )
            }
            Read | Write => {
                let (gpa, len) = (MMIO, count as u32);
                Call::Mmio(
                    MmioAccess {
                        gpa,
                        len,
                        direction,
                        area,
                    },
                    data,
                )
            }
        }
    }

    /// Longest transfer in the shared buffer, in elements.
    fn most(self, version: Version) -> usize {
        match self {
            Read | Write if version == Version::V2 => 8,
            _ => 0x7f0 / self.unit(),
        }
    }
}

fn shared(offset: usize, len: usize) -> ScratchArea {
    ScratchArea::Shared(BufferRange::new(offset, len).unwrap())
}

/// What the device says, so many bytes of it.
fn device(len: usize) -> Vec<u8> {
    (0xd0..=0xd7).cycle().take(len).collect()
}

#[test]
fn exactly_the_bytes_asked_for() {
    for transfer in ALL {
        for version in [Version::V1, Version::V2] {
            let most = transfer.most(version);
            for count in [1, 2, 3, 4, 7, 8, most - 1, most] {
                let bytes = count * transfer.unit();
                for offset in [0x800, 0x801, 0x803, 0xff0 - bytes] {
                    if offset + bytes > 0xff0 {
                        continue;
                    }
                    let host = transfer.host(version, GPA + offset as u64, count as u64);
                    let area = shared(offset, bytes);
                    let fetch = Call::Fetch(area);
                    if transfer.direction().is_in() {
                        let asked = [
                            fetch,
                            transfer.call(area, count, vec![0; bytes]),
                            Call::PutBack(area, device(bytes)),
                        ];
                        let expected = filled(offset, &device(bytes));
                        assert_reply(host, transfer.kind(), &expected, &asked);
                    } else {
                        let data = host.page.bytes()[offset..offset + bytes].to_vec();
                        let asked = [fetch, transfer.call(area, count, data)];
                        assert_reply(host, transfer.kind(), &done(0, &[]), &asked);
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_is_a_legal_number_of_bytes() {
    for transfer in ALL {
        for version in [Version::V1, Version::V2] {
            // Even where no scratch area may lie.
            for scratch in [0, GPA, GPA + 0x800, MEMORY, u64::MAX] {
                let host = transfer.host(version, scratch, 0);
                assert_reply(host, transfer.kind(), &done(0, &[]), &[]);
            }
        }
    }
}

#[test]
fn a_shared_buffer_has_borders() {
    for transfer in ALL {
        for version in [Version::V1, Version::V2] {
            for count in [1, 8] {
                let bytes = count * transfer.unit() as u64;
                for offset in 0x7f8..=0xff1 {
                    let mut host = transfer.host(version, GPA + offset, count);
                    let inside = (0x800..=0xff0 - bytes).contains(&offset);
                    if inside {
                        assert_eq!(host.vmgexit(), AfterExit::RESUME);
                        assert_eq!(host.page.peek(0x398), 0, "{offset:#x}");
                        assert_eq!(
                            host.asked().len(),
                            if transfer.direction().is_in() { 5 } else { 4 }
                        );
                    } else {
                        assert_reply(host, transfer.kind(), &invalid_area(), &[]);
                    }
                }
            }
        }
    }
}

#[test]
fn lengths_beyond_all_bounds() {
    for transfer in ALL {
        let unit = transfer.unit() as u64;
        for version in [Version::V1, Version::V2] {
            for count in [
                0x7f0 / unit + 1,
                0x800,
                0x1_0000 / unit + 1,
                i32::MAX as u64,
                i32::MAX as u64 + 1,
                u32::MAX.into(),
                1 << 32,
                (1 << 32) + 1,
                u64::MAX / unit,
                (u64::MAX / unit).saturating_add(1),
                u64::MAX,
            ] {
                for scratch in [GPA + 0x800, MEMORY, u64::MAX] {
                    let external_of_v1 = version == Version::V1 && scratch == MEMORY;
                    // A multiplication that wraps must not make it short.
                    let bytes = u128::from(count) * u128::from(unit);
                    if external_of_v1 && bytes <= 0x1_0000 {
                        continue;
                    }
                    let host = transfer.host(version, scratch, count);
                    let reason = match transfer {
                        Read | Write if version == Version::V2 => ErrorReason::INVALID_INPUT,
                        _ => ErrorReason::INVALID_SCRATCH_AREA,
                    };
                    assert_reply(host, transfer.kind(), &refused(reason), &[]);
                }
            }
        }
    }
}

#[test]
fn mmio_of_version_2_is_eight_bytes_long() {
    for transfer in [Read, Write] {
        for len in 1..=9 {
            let mut host = transfer.host(Version::V2, GPA + 0x800, len);
            assert_eq!(host.vmgexit(), AfterExit::RESUME);
            let reply = (host.page.peek(0x398), host.page.peek(0x3a0));
            assert_eq!(reply, if len <= 8 { (0, 0) } else { (2, 5) }, "{len}");
        }
        // Version 1 may fill the buffer.
        for (len, action) in [(9, 0), (2031, 0), (2032, 0), (2033, 2)] {
            let mut host = transfer.host(Version::V1, GPA + 0x800, len);
            assert_eq!(host.vmgexit(), AfterExit::RESUME);
            assert_eq!(host.page.peek(0x398), action, "{len}");
        }
    }
}

#[test]
fn version_1_may_have_its_scratch_area_elsewhere() {
    for transfer in ALL {
        let limit = 0x1_0000 / transfer.unit();
        for count in [1, 8, 0x1000, limit] {
            let bytes = count * transfer.unit();
            for gpa in [MEMORY, MEMORY + 5, MEMORY + (MEMORY_SIZE - bytes) as u64] {
                let mut host = transfer.host(Version::V1, gpa, count as u64);
                let start = (gpa - MEMORY) as usize;
                let mut memory = host.memory.clone().unwrap().1;
                let area = ScratchArea::External {
                    gpa,
                    len: bytes as u64,
                };
                let data = memory[start..start + bytes].to_vec();
                let mut asked = vec![Call::Fetch(area), transfer.call(area, count, data)];
                if transfer.direction().is_in() {
                    asked.push(Call::PutBack(area, device(bytes)));
                    memory[start..start + bytes].copy_from_slice(&device(bytes));
                }
                host = assert_reply(host, transfer.kind(), &done(0, &[]), &asked);
                assert!(host.memory.unwrap().1 == memory, "other memory changed");
            }
        }
        let too_many = transfer.host(Version::V1, MEMORY, limit as u64 + 1);
        assert_reply(too_many, transfer.kind(), &invalid_area(), &[]);
    }
}

#[test]
fn version_2_may_not() {
    for transfer in ALL {
        for gpa in [MEMORY, GPA - 1, GPA + 0x1000, 0xfff, u64::MAX - 0x1000] {
            let host = transfer.host(Version::V2, gpa, 1);
            assert_reply(host, transfer.kind(), &invalid_area(), &[]);
        }
    }
}

#[test]
fn places_that_are_none() {
    for transfer in ALL {
        for version in [Version::V1, Version::V2] {
            let last = u64::MAX - transfer.unit() as u64 + 1;
            for scratch in [0, u64::MAX, last] {
                let host = transfer.host(version, scratch, 1);
                assert_reply(host, transfer.kind(), &invalid_area(), &[]);
            }
        }
    }
}

#[test]
fn an_area_that_is_not_memory() {
    for transfer in ALL {
        let gpa = MEMORY + MEMORY_SIZE as u64 - 1;
        let len = 8 * transfer.unit() as u64;
        let host = transfer.host(Version::V1, gpa, 8);
        let asked = [Call::Fetch(ScratchArea::External { gpa, len })];
        assert_reply(host, transfer.kind(), &invalid_area(), &asked);
    }
}

#[test]
fn no_memory_for_the_copy() {
    for transfer in ALL {
        let mut host = transfer.host(Version::V2, GPA + 0x800, 8);
        host.can_allocate = false;
        let asked = [Call::Fetch(shared(0x800, 8 * transfer.unit()))];
        assert_reply(host, transfer.kind(), &invalid_area(), &asked);
    }
}

#[test]
fn what_kvm_does_not_do_leaves_the_buffer_alone() {
    for transfer in ALL {
        let area = shared(0x800, 8 * transfer.unit());
        for (answer, expected) in [
            (Fulfilment::Error, refused(ErrorReason::INVALID_INPUT)),
            (
                Fulfilment::Exception(EventInjection::UD),
                exception(EventInjection::UD),
            ),
        ] {
            let mut host = transfer.host(Version::V2, GPA + 0x800, 8);
            host.answer = answer;
            let data = match transfer.direction() {
                Direction::In => vec![0; 8 * transfer.unit()],
                Direction::Out => host.page.bytes()[0x800..0x800 + 8 * transfer.unit()].to_vec(),
            };
            let asked = [Call::Fetch(area), transfer.call(area, 8, data)];
            assert_reply(host, transfer.kind(), &expected, &asked);
        }
    }
}

#[test]
fn userspace_receives_for_the_guest() {
    for transfer in ALL {
        if !transfer.direction().is_in() {
            continue;
        }
        let bytes = 4 * transfer.unit();
        for (version, scratch, end) in [
            (Version::V2, GPA + 0x80c, End::Completed),
            (Version::V2, GPA + 0x80c, End::Resumed),
            (Version::V1, MEMORY + 0x123, End::Completed),
            (Version::V1, MEMORY + 0x123, End::Resumed),
        ] {
            let mut host = transfer.host(version, scratch, 4);
            host.answer = Fulfilment::Userspace;
            assert_deferred(&mut host, transfer.kind());
            let before = host.page.bytes();
            let mut memory = host.memory.clone();

            // C: `complete_sev_es_emulated_ins()` and its like work on the copy.
            let copy = host.copy().unwrap();
            assert_eq!(copy.len(), bytes);
            copy.fill(0x99);
            host.end(end);
            host.run();

            // What is in the vCPU that the guest has moved to is not the guest's.
            let expected = if version == Version::V2 && end == End::Completed {
                filled(0x80c, &vec![0x99; bytes])
            } else {
                done(0, &[])
            };
            expected.assert_in(&before, &host.page.bytes());
            if let (Version::V1, Some((_, memory))) = (version, &mut memory) {
                memory[0x123..0x123 + bytes].fill(0x99);
            }
            assert!(host.memory == memory);
            assert!(!host.holds_anything());
        }
    }
}

#[test]
fn userspace_sends_what_kvm_took_at_once() {
    for transfer in ALL {
        if transfer.direction().is_in() {
            continue;
        }
        let at_once = match transfer {
            Write => 8,
            _ => 4096,
        };
        for (version, scratch) in [(Version::V2, GPA + 0x80c), (Version::V1, MEMORY + 0x123)] {
            let mut host = transfer.host(version, scratch, 4);
            host.answer = Fulfilment::Userspace;
            assert_sent(&mut host, transfer.kind());
            let (before, memory) = (host.page.bytes(), host.memory.clone());
            host.complete();
            assert_eq!(before, host.page.bytes());
            assert!(host.memory == memory);
        }

        // As much as that, too.
        let elements = (at_once / transfer.unit()) as u64;
        let mut host = transfer.host(Version::V1, MEMORY + 0x123, elements);
        host.answer = Fulfilment::Userspace;
        assert_sent(&mut host, transfer.kind());

        // More than that goes out piece by piece, and the copy stays until it has.
        let elements = (at_once / transfer.unit() + 1) as u64;
        let mut host = transfer.host(Version::V1, MEMORY + 0x123, elements);
        host.answer = Fulfilment::Userspace;
        assert_deferred(&mut host, transfer.kind());
        let (before, memory) = (host.page.bytes(), host.memory.clone());
        assert!(host.copy().is_some_and(|copy| copy.len() > at_once));
        host.complete();
        done(0, &[]).assert_in(&before, &host.page.bytes());
        assert!(host.memory == memory);
        assert!(!host.holds_anything());
    }
}
