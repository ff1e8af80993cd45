// SPDX-License-Identifier: GPL-2.0
//! Port I/O: what `kvm_run` holds, and exactly which bytes move.

use anyhow::Result;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET, SHARED_BUFFER_SIZE};
use ghcb_rs::ghcb_abi::reply::ErrorReason;
use ghcb_rs::ghcb_abi::scratch::ScratchArea;
use mailbox::device::PORT;
use mailbox::{device, map};
use std::process::ExitCode as Status;
use vmm::exchange::exit::Exit;
use vmm::exchange::request::{Request, POISON};
use vmm::exchange::scratch;
use vmm::exchange::steps::{Attempt, Outcome, StepVm};
use vmm::judge::check::Check;
use vmm::kernel::handler::Handler;
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Report};

/// Bytes that KVM hands to userspace at once.
const CHUNK: usize = 4096;

fn main() -> Status {
    ktap::program(|report| {
        let mut vm = StepVm::new()?;
        ports(report, &mut vm);
        sizes(report, &mut vm);
        counts(report, &mut vm);
        too_large(report, &mut vm);
        if !report.has_version_1("scratch areas outside the GHCB") {
            return Ok(());
        }
        let config = Config {
            ghcb_version: 1,
            ..Config::default()
        };
        let mut vm = StepVm::with(config, &[])?;
        outside(report, &mut vm);
        unreadable(report, &mut vm);
        Ok(())
    })
}

fn string(size: IoSize, is_in: bool, count: u64) -> Request {
    let segment = if is_in { Segment::ES } else { Segment::DS };
    let info = IoInfo::new(PORT, size, is_in).string(true, AddressSize::BITS_64, segment);
    Request::new(ExitCode::IOIO, info.0, count)
}

fn ports(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    report.test("OUT: port, size and data of kvm_run", || {
        let mut check = Check::new();
        for port in [0, 1, 0x7e, 0x80, 0xcf8, 0xffff] {
            for size in IoSize::ALL {
                let rax = 0x8877_6655_4433_2211u64;
                let request = Request::new(ExitCode::IOIO, IoInfo::new(port, size, false).0, 0)
                    .with(Field::Rax, rax);
                let outcome = vm.take(Attempt::page(&request))?;
                check.about(format!("port {port:#x} {size:?}"));
                check.answered(&request, &outcome, handler, 0);
                let data = rax.to_le_bytes()[..size.bytes()].to_vec();
                check.same(
                    "exits",
                    outcome.exits,
                    vec![exit(port, size, 1, Some(data))],
                );
            }
        }
        Ok(check.done())
    });
    report.test("IN: merged into RAX by size", || {
        let mut check = Check::new();
        for port in [0, 1, 0x7e, 0x80, 0xcf8, 0xffff] {
            for size in IoSize::ALL {
                let rax = 0x8877_6655_4433_2211u64;
                let request = Request::new(ExitCode::IOIO, IoInfo::new(port, size, true).0, 0)
                    .with(Field::Rax, rax);
                let outcome = vm.take(Attempt::page(&request))?;
                check.about(format!("port {port:#x} {size:?}"));
                check.answered(&request, &outcome, handler, 0);
                let brought = device::port_value(port, size.bytes());
                let got = outcome.reply().rax & size.mask();
                check.same("RAX", got, brought);
                check.same("exits", outcome.exits, vec![exit(port, size, 1, None)]);
            }
        }
        Ok(check.done())
    });
}

fn exit(port: u16, size: IoSize, count: usize, data: Option<Vec<u8>>) -> Exit {
    Exit::Io {
        port,
        size: size.bytes() as u8,
        count: count as u32,
        out: data.is_some(),
        data: data.unwrap_or_default(),
    }
}

fn sizes(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    report.test("no size bits: nothing happens (CVE-2026-63940)", || {
        let mut check = Check::new();
        for info in [0, 1, 4, 5, 0xc, 0xd] {
            let request = Request::new(ExitCode::IOIO, info | (u64::from(PORT) << 16), 16)
                .with(Field::Rax, 0)
                .scratch_inside(SHARED_BUFFER_OFFSET);
            let outcome = vm.take(Attempt::page(&request))?;
            let reply = outcome.reply();
            check.about(format!("info1 {info:#x}"));
            check
                .quiet(&outcome)
                .same("reply", (reply.info1, reply.info2), (0, 0));
        }
        Ok(check.done())
    });
    report.test("several size bits: refused, except by C", || {
        let mut check = Check::new();
        for bits in [3, 5, 6, 7u64] {
            for direction in [0, 1] {
                let info = (u64::from(PORT) << 16) | (bits << IoInfo::SIZE_SHIFT) | direction;
                let request = Request::new(ExitCode::IOIO, info, 0).with(Field::Rax, 0);
                let outcome = vm.take(Attempt::page(&request))?;
                check.about(format!("size bits {bits}"));
                match handler {
                    // Difference ioio-size.
                    Handler::C => {
                        let sizes: Vec<u8> = outcome
                            .exits
                            .iter()
                            .filter_map(|exit| match exit {
                                Exit::Io { size, .. } => Some(*size),
                                _ => None,
                            })
                            .collect();
                        check
                            .went_on(&outcome)
                            .same("sizes of exits", sizes, vec![bits as u8]);
                    }
                    Handler::Rust => check.refused(&outcome, handler, ErrorReason::INVALID_INPUT),
                }
            }
        }
        Ok(check.done())
    });
}

fn counts(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    for size in IoSize::ALL {
        let fits = SHARED_BUFFER_SIZE / size.bytes();
        for count in [1, 2, 255, fits - 1, fits] {
            report.test(
                &format!("OUTS {size:?}: {count} elements in the page"),
                || {
                    let data: Vec<u8> = (0..count * size.bytes())
                        .map(|at| at as u8 ^ 0x7c)
                        .collect();
                    let request = string(size, false, count as u64)
                        .scratch_inside(SHARED_BUFFER_OFFSET)
                        .buffer(&data);
                    let outcome = vm.take(Attempt::page(&request))?;
                    let mut check = Check::new();
                    check.answered(&request, &outcome, handler, 0);
                    check.same(
                        "exits",
                        outcome.exits,
                        vec![exit(PORT, size, count, Some(data))],
                    );
                    Ok(check.done())
                },
            );
            report.test(
                &format!("INS {size:?}: {count} elements in the page"),
                || {
                    // The last bytes of the buffer, so that one too many would hit what follows.
                    let offset = SHARED_BUFFER_OFFSET + SHARED_BUFFER_SIZE - count * size.bytes();
                    let request = string(size, true, count as u64).scratch_inside(offset);
                    let outcome = vm.take(Attempt::page(&request))?;
                    let mut check = Check::new();
                    check.answered(&request, &outcome, handler, 0);
                    check.same(
                        "exits",
                        outcome.exits.clone(),
                        vec![exit(PORT, size, count, None)],
                    );
                    check_buffer(&mut check, &outcome, offset, count * size.bytes());
                    Ok(check.done())
                },
            );
        }
        report.test(
            &format!("OUTS, INS {size:?}: one too many for the page"),
            || {
                let mut check = Check::new();
                for is_in in [false, true] {
                    let request =
                        string(size, is_in, fits as u64 + 1).scratch_inside(SHARED_BUFFER_OFFSET);
                    let outcome = vm.take(Attempt::page(&request))?;
                    check.refused(&outcome, handler, ErrorReason::INVALID_SCRATCH_AREA);
                }
                Ok(check.done())
            },
        );
    }
    report.test(
        "count 0: nothing happens, wherever the scratch area",
        || {
            let mut check = Check::new();
            for scratch in [0, 1, map::MMIO, u64::MAX] {
                for is_in in [false, true] {
                    let request = string(IoSize::Dword, is_in, 0).with(Field::SwScratch, scratch);
                    let outcome = vm.take(Attempt::page(&request))?;
                    check.about(format!("scratch area {scratch:#x}"));
                    let reply = outcome.reply();
                    check
                        .quiet(&outcome)
                        .same("reply", (reply.info1, reply.info2), (0, 0));
                }
            }
            Ok(check.done())
        },
    );
}

/// The buffer from `offset` on must hold what INS brought, and poison everywhere else.
fn check_buffer(check: &mut Check, outcome: &Outcome, offset: usize, length: usize) {
    let Some(pages) = &outcome.pages else {
        return check.wrong("no page".into());
    };
    let got = pages.after.bytes(SHARED_BUFFER_OFFSET, SHARED_BUFFER_SIZE);
    let wrong = (SHARED_BUFFER_OFFSET..).zip(&got).find(|(at, byte)| {
        let want = if (offset..offset + length).contains(at) {
            device::port_byte(PORT, at - offset)
        } else {
            POISON as u8
        };
        **byte != want
    });
    check.same("first wrong byte of the buffer", wrong, None);
}

fn too_large(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    report.test(
        "string counts that no buffer has: scratch area not valid",
        || {
            let mut check = Check::new();
            for count in [
                0x1000_0000,
                0x4000_0000,
                0x8000_0000,
                1 << 32,
                1 << 62,
                u64::MAX,
            ] {
                for size in IoSize::ALL {
                    let request = string(size, true, count).scratch_inside(SHARED_BUFFER_OFFSET);
                    let outcome = vm.take(Attempt::page(&request))?;
                    check.about(format!("count {count:#x} {size:?}"));
                    let beyond = i32::try_from(count)
                        .ok()
                        .and_then(|count| count.checked_mul(size.bytes() as i32))
                        .is_none();
                    if handler == Handler::C && beyond {
                        // Difference string-too-long.
                        check.same("exits", outcome.exits, vec![Exit::Errno(libc::EINVAL)]);
                    } else {
                        check.refused(&outcome, handler, ErrorReason::INVALID_SCRATCH_AREA);
                    }
                }
            }
            Ok(check.done())
        },
    );
    report.test(
        "version 2: a scratch area outside the GHCB is refused (CVE-2026-53360)",
        || {
            let mut check = Check::new();
            for is_in in [false, true] {
                let request = string(IoSize::Byte, is_in, 16).with(Field::SwScratch, scratch::AREA);
                let outcome = vm.take(Attempt::page(&request))?;
                check.refused(&outcome, handler, ErrorReason::INVALID_SCRATCH_AREA);
            }
            Ok(check.done())
        },
    );
}

fn chunks(size: IoSize, bytes: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let step = CHUNK / size.bytes() * size.bytes();
    (0..bytes)
        .step_by(step)
        .map(move |begin| begin..(begin + step).min(bytes))
}

/// A version 1 guest may put the data anywhere.
fn outside(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    let limit = ScratchArea::EXTERNAL_LIMIT as usize;
    for size in IoSize::ALL {
        for bytes in [4, 4096, 4100, 10000, limit] {
            let name = format!("{size:?}: {bytes} bytes outside the page (CVE-2021-4093)");
            let count = bytes / size.bytes();
            report.test(&format!("OUTS {name}"), || {
                let data: Vec<u8> = (0..bytes).map(|at| (at ^ (at >> 8)) as u8).collect();
                let request =
                    string(size, false, count as u64).with(Field::SwScratch, scratch::AREA);
                scratch::fill(vm.vm().memory(), &data)?;
                let outcome = vm.take(Attempt::page(&request))?;
                let mut check = Check::new();
                check.answered(&request, &outcome, handler, 0);
                let exits: Vec<Exit> = chunks(size, bytes)
                    .map(|part| {
                        let count = part.len() / size.bytes();
                        exit(PORT, size, count, Some(data[part].to_vec()))
                    })
                    .collect();
                check.that("kvm_run held the data in order", outcome.exits == exits);
                let mut problems = check.done();
                problems.extend(scratch::problems(vm.vm().memory(), &data)?);
                Ok(problems)
            });
            report.test(&format!("INS {name}"), || {
                let request =
                    string(size, true, count as u64).with(Field::SwScratch, scratch::AREA);
                scratch::fill(vm.vm().memory(), &[])?;
                let outcome = vm.take(Attempt::page(&request))?;
                let mut check = Check::new();
                check.answered(&request, &outcome, handler, 0);
                let want: Vec<u8> = chunks(size, bytes)
                    .flat_map(|part| (0..part.len()).map(|at| device::port_byte(PORT, at)))
                    .collect();
                let mut problems = check.done();
                problems.extend(scratch::problems(vm.vm().memory(), &want)?);
                Ok(problems)
            });
        }
    }
    report.test("one byte over the limit outside the page: refused", || {
        let request =
            string(IoSize::Byte, true, limit as u64 + 1).with(Field::SwScratch, scratch::AREA);
        let outcome = vm.take(Attempt::page(&request))?;
        let mut check = Check::new();
        check.refused(&outcome, handler, ErrorReason::INVALID_SCRATCH_AREA);
        Ok(check.done())
    });
}

fn unreadable(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    for (gpa, name) in [
        (map::MMIO, "where no memory is"),
        (map::SHARED + map::SHARED_SIZE - 8, "over the end of memory"),
        (u64::MAX - 7, "over the end of the address space"),
        (0, "at zero"),
    ] {
        report.test(&format!("version 1: scratch area {name}: refused"), || {
            let mut check = Check::new();
            for is_in in [false, true] {
                let request = string(IoSize::Dword, is_in, 16).with(Field::SwScratch, gpa);
                let outcome = vm.take(Attempt::page(&request))?;
                let readable = gpa == 0 || gpa.checked_add(64).is_none();
                if handler == Handler::C && !readable {
                    // Difference scratch-unreadable.
                    check.same("exits", outcome.exits, vec![Exit::Errno(libc::EFAULT)]);
                } else {
                    check.refused(&outcome, handler, ErrorReason::INVALID_SCRATCH_AREA);
                }
            }
            Ok(check.done())
        });
    }
    report.test("the guest runs on after all that", || alive(vm, handler));
}

fn alive(vm: &mut StepVm, handler: Handler) -> Result<Vec<String>> {
    let request = Request::new(ExitCode::INVD, 0, 0);
    let outcome = vm.take(Attempt::page(&request))?;
    let mut check = Check::new();
    check.answered(&request, &outcome, handler, 0);
    Ok(check.done())
}
