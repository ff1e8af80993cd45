// SPDX-License-Identifier: GPL-2.0
//! MMIO through the page, and where its scratch area may lie.

use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::page::{
    Field, PAGE_SIZE, SHARED_BUFFER_END, SHARED_BUFFER_OFFSET, SHARED_BUFFER_SIZE,
};
use ghcb_rs::ghcb_abi::reply::ErrorReason;
use mailbox::{device, map};
use std::process::ExitCode as Status;
use vmm::exchange::exit::Exit;
use vmm::exchange::request::{Request, POISON};
use vmm::exchange::scratch;
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::judge::check::Check;
use vmm::kernel::handler::Handler;
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Report};

fn main() -> Status {
    ktap::program(|report| {
        for config in Config::kinds() {
            let mut vm = StepVm::with(config, &[])?;
            addresses(report, &mut vm);
            lengths(report, &mut vm);
            offsets(report, &mut vm);
            outside(report, &mut vm);
        }
        Ok(())
    })
}

fn kind(vm: &mut StepVm) -> &'static str {
    vm.vm().config().label()
}

fn version(vm: &mut StepVm) -> u16 {
    vm.vm().config().ghcb_version
}

fn read(gpa: u64, len: u64) -> Request {
    Request::new(ExitCode::MMIO_READ, gpa, len).scratch_inside(SHARED_BUFFER_OFFSET)
}

fn exit(gpa: u64, len: u32, written: &[u8]) -> Exit {
    let mut data = [0; 8];
    data[..written.len()].copy_from_slice(written);
    Exit::Mmio {
        gpa,
        len,
        write: !written.is_empty(),
        data,
    }
}

fn brought(gpa: u64, len: u64) -> Vec<u8> {
    (0..len).map(|at| device::mmio_byte(gpa + at)).collect()
}

fn addresses(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    let name = format!("{}: MMIO", kind(vm));
    report.test(
        &format!("{name}: address and length of kvm_run, exactly the bytes asked for"),
        || {
            let mut check = Check::new();
            // Memory too: whether an address is MMIO is the guest's word.
            for base in [
                map::MMIO,
                map::MMIO + 0xffd,
                map::NOWHERE,
                map::PRIVATE_SPARE,
                0,
            ] {
                for len in 1..=8u64 {
                    let request = read(base, len);
                    let outcome = vm.take(Attempt::page(&request))?;
                    check.about(format!("read of {len} at {base:#x}"));
                    check.answered(&request, &outcome, handler, 0);
                    check.same(
                        "exits",
                        outcome.exits.clone(),
                        vec![exit(base, len as u32, &[])],
                    );
                    if let Some(pages) = &outcome.pages {
                        let mut want = brought(base, len);
                        want.resize(16, POISON as u8);
                        let got = pages.after.bytes(SHARED_BUFFER_OFFSET, 16);
                        check.same("buffer", got, want);
                    }
                    let sent: Vec<u8> = (1..=len as u8).map(|at| at * 17).collect();
                    let request = Request::new(ExitCode::MMIO_WRITE, base, len)
                        .scratch_inside(SHARED_BUFFER_OFFSET)
                        .buffer(&sent);
                    let outcome = vm.take(Attempt::page(&request))?;
                    check.about(format!("write of {len} at {base:#x}"));
                    check.answered(&request, &outcome, handler, 0);
                    check.same("exits", outcome.exits, vec![exit(base, len as u32, &sent)]);
                }
            }
            Ok(check.done())
        },
    );
}

fn lengths(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    let (kind, version) = (kind(vm), version(vm));
    report.test(
        &format!("{kind}: MMIO of length 0: nothing happens"),
        || {
            let mut check = Check::new();
            for code in [ExitCode::MMIO_READ, ExitCode::MMIO_WRITE] {
                for offset in [0, SHARED_BUFFER_OFFSET, PAGE_SIZE - 1] {
                    let request = Request::new(code, map::MMIO, 0).scratch_inside(offset);
                    let outcome = vm.take(Attempt::page(&request))?;
                    let reply = outcome.reply();
                    check
                        .quiet(&outcome)
                        .same("reply", (reply.info1, reply.info2), (0, 0));
                }
            }
            Ok(check.done())
        },
    );
    report.test(&format!("{kind}: MMIO of more than 8 bytes"), || {
        let mut check = Check::new();
        for len in [9, 16, SHARED_BUFFER_SIZE as u64] {
            let request = read(map::MMIO, len);
            let outcome = vm.take(Attempt::page(&request))?;
            check.about(format!("length {len:#x}"));
            if version >= 2 {
                check.refused(&outcome, handler, ErrorReason::INVALID_INPUT);
            } else {
                check.answered(&request, &outcome, handler, 0);
                let exits: Vec<Exit> = (0..len)
                    .step_by(8)
                    .map(|at| exit(map::MMIO + at, (len - at).min(8) as u32, &[]))
                    .collect();
                check.that(
                    "kvm_run held each eight bytes in turn",
                    outcome.exits == exits,
                );
                if let Some(pages) = &outcome.pages {
                    let got = pages.after.bytes(SHARED_BUFFER_OFFSET, len as usize);
                    check.that("the data", got == brought(map::MMIO, len));
                }
            }
        }
        Ok(check.done())
    });
    report.test(&format!("{kind}: MMIO of more than the buffer"), || {
        let mut check = Check::new();
        let reason = if version >= 2 {
            ErrorReason::INVALID_INPUT
        } else {
            ErrorReason::INVALID_SCRATCH_AREA
        };
        for len in [SHARED_BUFFER_SIZE as u64 + 1, 1 << 32, 1 << 63, u64::MAX] {
            for code in [ExitCode::MMIO_READ, ExitCode::MMIO_WRITE] {
                let request =
                    Request::new(code, map::MMIO, len).scratch_inside(SHARED_BUFFER_OFFSET);
                let outcome = vm.take(Attempt::page(&request))?;
                check.about(format!("{code:?} of length {len:#x}"));
                check.refused(&outcome, handler, reason);
            }
        }
        Ok(check.done())
    });
}

/// A scratch area within the page must lie in the shared buffer, whole.
fn offsets(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    let name = format!("{}: scratch area", kind(vm));
    report.test(
        &format!("{name} at each offset from 0x7f8 to 0xff1 (CVE-2026-63939)"),
        || {
            let mut check = Check::new();
            for len in [1, 8usize] {
                let near = |edge: usize| edge - 9..edge + 10;
                let sparse = (0x7f8..=0xff1).step_by(37);
                let offsets: Vec<usize> = (0..8)
                    .chain(near(SHARED_BUFFER_OFFSET))
                    .chain(sparse)
                    .chain(near(SHARED_BUFFER_END))
                    .chain(PAGE_SIZE - 9..PAGE_SIZE)
                    .collect();
                let requests: Vec<Request> = offsets
                    .iter()
                    .map(|offset| {
                        Request::new(ExitCode::MMIO_READ, map::MMIO, len as u64)
                            .scratch_inside(*offset)
                    })
                    .collect();
                let attempts: Vec<Attempt> = requests.iter().map(Attempt::page).collect();
                let outcomes = vm.take_all(&attempts)?;
                check.same("number of answers", outcomes.len(), offsets.len());
                for ((offset, request), outcome) in offsets.iter().zip(&requests).zip(&outcomes) {
                    check.about(format!("{len} bytes at {offset:#x}"));
                    if *offset >= SHARED_BUFFER_OFFSET && offset + len <= SHARED_BUFFER_END {
                        check.answered(request, outcome, handler, 0);
                        if let Some(pages) = &outcome.pages {
                            let got = pages.after.bytes(*offset, len);
                            check.same("data", got, brought(map::MMIO, len as u64));
                        }
                    } else {
                        check.refused(outcome, handler, ErrorReason::INVALID_SCRATCH_AREA);
                    }
                }
            }
            Ok(check.done())
        },
    );
}

fn outside(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    let (kind, version) = (kind(vm), version(vm));
    let at = |gpa: u64| Request::new(ExitCode::MMIO_READ, map::MMIO, 8).with(Field::SwScratch, gpa);
    report.test(&format!("{kind}: scratch area outside the GHCB"), || {
        scratch::fill(vm.vm().memory(), &[])?;
        let request = at(scratch::AREA);
        let outcome = vm.take(Attempt::page(&request))?;
        let mut check = Check::new();
        let data = if version >= 2 {
            check.refused(&outcome, handler, ErrorReason::INVALID_SCRATCH_AREA);
            Vec::new()
        } else {
            check.answered(&request, &outcome, handler, 0);
            brought(map::MMIO, 8)
        };
        let mut problems = check.done();
        problems.extend(scratch::problems(vm.vm().memory(), &data)?);
        Ok(problems)
    });
    for (gpa, name) in [
        (0, "at zero"),
        (u64::MAX, "over the end of the address space"),
        (map::MMIO, "without memory"),
    ] {
        report.test(&format!("{kind}: scratch area {name}: refused"), || {
            let outcome = vm.take(Attempt::page(&at(gpa)))?;
            let mut check = Check::new();
            if handler == Handler::C && version == 1 && gpa == map::MMIO {
                // Difference scratch-unreadable.
                check.same("exits", outcome.exits, vec![Exit::Errno(libc::EFAULT)]);
            } else {
                check.refused(&outcome, handler, ErrorReason::INVALID_SCRATCH_AREA);
            }
            Ok(check.done())
        });
    }
}
