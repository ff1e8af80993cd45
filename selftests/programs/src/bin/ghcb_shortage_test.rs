// SPDX-License-Identifier: GPL-2.0
//! The host has no memory for a copy of a request's data: the guest is told, or KVM_RUN ends, and the VM goes on.

use ghcb_rs::ghcb_abi::exit_code::ExitCode as Event;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
use ghcb_rs::ghcb_abi::reply::ErrorReason;
use mailbox::{device::PORT, map};
use std::process::ExitCode;
use vmm::exchange::exit::Exit;
use vmm::exchange::request::Request;
use vmm::exchange::scratch;
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::judge::check::Check;
use vmm::kernel::handler::{self, Handler};
use vmm::kernel::shortage::{self, Shortage};
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Report};

/// Bytes of a request's data: no size that anybody else asks for, more than a vCPU has room for, and whole double words.
const BYTES: u64 = 10_004;

/// The same in the page, of an access in pieces.
const SHARED_BYTES: u64 = 1_748;

fn main() -> ExitCode {
    ktap::program(|report| {
        let Some(file) = handler::module().map(|module| shortage::file(&module)) else {
            report.skip(
                "no memory",
                "neither GHCB_MODULE nor GHCB_NO_MEMORY names a file",
            );
            return Ok(());
        };
        if !file.exists() {
            report.skip("no memory", "GHCB_NO_MEMORY names no module");
            return Ok(());
        }
        if !report.has_version_1("scratch areas outside the GHCB") {
            return Ok(());
        }
        let config = Config {
            ghcb_version: 1,
            ..Config::default()
        };
        let mut vm = StepVm::with(config, &[])?;
        let shortage = Shortage::of(BYTES, &file)?;
        for size in IoSize::ALL {
            for is_in in [false, true] {
                string(report, &mut vm, &shortage, size, is_in);
            }
        }
        drop(shortage);
        let shortage = Shortage::of(SHARED_BYTES, &file)?;
        write(report, &mut vm, &shortage);
        Ok(())
    })
}

fn string(report: &mut Report, vm: &mut StepVm, shortage: &Shortage, size: IoSize, is_in: bool) {
    let handler = report.handler();
    let word = if is_in { "INS" } else { "OUTS" };
    report.test(
        &format!("{word} {size:?}: no memory for {BYTES} bytes"),
        || {
            let segment = if is_in { Segment::ES } else { Segment::DS };
            let info = IoInfo::new(PORT, size, is_in).string(true, AddressSize::BITS_64, segment);
            let request = Request::new(Event::IOIO, info.0, BYTES / size.bytes() as u64)
                .version(1)
                .with(Field::SwScratch, scratch::AREA);
            scratch::fill(vm.vm().memory(), &[])?;
            let (outcome, failed) = shortage.during(|| vm.take(Attempt::page(&request)))?;
            let mut check = Check::new();
            check.same("allocations that failed", failed, 1);
            match handler {
                // Difference no-memory.
                Handler::C => {
                    let end = vec![Exit::Errno(libc::ENOMEM)];
                    check.same("exits", outcome.exits, end);
                }
                Handler::Rust => {
                    check.refused(&outcome, handler, ErrorReason::INVALID_SCRATCH_AREA);
                }
            }
            let mut problems = check.done();
            problems.extend(scratch::problems(vm.vm().memory(), &[])?);
            // With memory, the same request is answered.
            let again = vm.take(Attempt::page(&request))?;
            let mut check = Check::new();
            check
                .about("with memory")
                .answered(&request, &again, handler, 0);
            problems.extend(check.done());
            anyhow::Ok(problems)
        },
    );
}

fn write(report: &mut Report, vm: &mut StepVm, shortage: &Shortage) {
    let handler = report.handler();
    report.test(
        &format!("MMIO write of {SHARED_BYTES} bytes: no memory for them"),
        || {
            let request = Request::new(Event::MMIO_WRITE, map::MMIO, SHARED_BYTES)
                .version(1)
                .scratch_inside(SHARED_BUFFER_OFFSET);
            let (outcome, failed) = shortage.during(|| vm.take(Attempt::page(&request)))?;
            let mut check = Check::new();
            match handler {
                // The page is mapped until userspace has all of them.
                Handler::C => {
                    check.same("allocations that failed", failed, 0);
                    check.answered(&request, &outcome, handler, 0);
                }
                Handler::Rust => {
                    check.same("allocations that failed", failed, 1);
                    check.refused(&outcome, handler, ErrorReason::INVALID_SCRATCH_AREA);
                }
            }
            let again = vm.take(Attempt::page(&request))?;
            check
                .about("with memory")
                .answered(&request, &again, handler, 0);
            anyhow::Ok(check.done())
        },
    );
}
