// SPDX-License-Identifier: GPL-2.0
//! The handler changes while userspace has an exit: the one that is there at the end completes it.

use anyhow::{ensure, Context, Result};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
use ghcb_rs::ghcb_abi::reply::EventInjection;
use mailbox::device::PORT;
use mailbox::{device, map};
use std::fmt;
use std::process::ExitCode as Status;
use vmm::exchange::catalog::MTRR_BASE;
use vmm::exchange::exit::Exit;
use vmm::exchange::request::Request;
use vmm::exchange::steps::{Attempt, Outcome, StepVm};
use vmm::exchange::userspace;
use vmm::judge::check::Check;
use vmm::kernel::handler::{self, Handler};
use vmm::report::ktap::{self, Report};

/// What happens to an exit.
struct Way {
    /// Who begins it, and who has it afterwards, the last to the end.
    handlers: &'static [Handler],
    /// Whether KVM takes in what userspace did, and KVM_RUN is interrupted, before the handler changes.
    interrupted: bool,
}

const WAYS: [Way; 4] = [
    Way::over(&[Handler::Rust, Handler::C]),
    Way::over(&[Handler::C, Handler::Rust]),
    Way::over(&[Handler::Rust, Handler::C, Handler::Rust]),
    Way {
        interrupted: true,
        ..Way::over(&[Handler::Rust, Handler::C])
    },
];

impl Way {
    const fn over(handlers: &'static [Handler]) -> Self {
        Self {
            handlers,
            interrupted: false,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers: Vec<_> = self.handlers.iter().map(Handler::to_string).collect();
        f.write_str(&handlers.join(" to "))?;
        if self.interrupted {
            f.write_str(", interrupted before")?;
        }
        Ok(())
    }
}

fn main() -> Status {
    ktap::program(|report| {
        let before = report.handler();
        let mut vm = StepVm::new()?;
        userspace::leave_msrs(vm.vm().fd(), MTRR_BASE as u32, 2)?;
        userspace::leave_hypercalls(vm.vm().fd())?;
        for (name, request, received) in events() {
            for way in &WAYS {
                let name = format!("{name}: {way}");
                if handler::module().is_none() {
                    report.skip(&name, "no module to insert");
                } else {
                    test(report, &mut vm, &name, way, &request, &received);
                }
            }
        }
        handler::switch(before).map(drop)
    })
}

/// What the guest is to find, besides a reply without an error.
enum Received {
    /// Nothing: the data went out.
    Nothing,
    /// A value in RAX.
    Rax(u64),
    /// RDX and RAX.
    Value(u64),
    /// Bytes in the shared buffer.
    Buffer(Vec<u8>),
    /// #GP, in place of a reply without an error.
    Fault,
}

/// Events that userspace carries out.
fn events() -> Vec<(String, Request, Received)> {
    let mut events = Vec::new();
    let size = IoSize::Word;
    let request = Request::new(ExitCode::IOIO, IoInfo::new(PORT, size, true).0, 0);
    let value = device::port_value(PORT, size.bytes());
    events.push(("IN".to_owned(), request, Received::Rax(value)));
    for count in [8, 512] {
        let info =
            IoInfo::new(PORT, IoSize::Byte, true).string(true, AddressSize::BITS_64, Segment::ES);
        let request =
            Request::new(ExitCode::IOIO, info.0, count as u64).scratch_inside(SHARED_BUFFER_OFFSET);
        let bytes = (0..count).map(|at| device::port_byte(PORT, at)).collect();
        events.push((
            format!("INS of {count} bytes"),
            request,
            Received::Buffer(bytes),
        ));
    }
    let gpa = map::MMIO + 0x40;
    let request =
        Request::new(ExitCode::MMIO_READ, gpa, 4).scratch_inside(SHARED_BUFFER_OFFSET + 8);
    let bytes = (gpa..gpa + 4).map(device::mmio_byte).collect();
    events.push(("MMIO read".to_owned(), request, Received::Buffer(bytes)));
    let request = Request::new(ExitCode::MMIO_WRITE, map::MMIO, 4)
        .scratch_inside(SHARED_BUFFER_OFFSET)
        .buffer(&[1, 2, 3, 4]);
    events.push(("MMIO write".to_owned(), request, Received::Nothing));
    events.extend(msr_accesses());
    let request = userspace::map_gpa_range(2);
    let value = device::hypercall_value(2);
    events.push(("VMMCALL".to_owned(), request, Received::Rax(value)));
    events
}

/// MSR accesses, which userspace serves or refuses.
fn msr_accesses() -> Vec<(String, Request, Received)> {
    let mut events = Vec::new();
    for index in [MTRR_BASE, MTRR_BASE + 1] {
        let number = index as u32;
        let end = if device::fails_msr(number) {
            "refused"
        } else {
            "served"
        };
        for (access, name) in [(0, "RDMSR"), (1, "WRMSR")] {
            let mut request = Request::new(ExitCode::MSR, access, 0).with(Field::Rcx, index);
            if access == 1 {
                request = request.with(Field::Rax, 0x1234).with(Field::Rdx, 0x5678);
            }
            let received = match access {
                _ if device::fails_msr(number) => Received::Fault,
                0 => Received::Value(device::msr_value(number)),
                _ => Received::Nothing,
            };
            events.push((format!("{name}, {end}"), request, received));
        }
    }
    events
}

fn test(
    report: &mut Report,
    vm: &mut StepVm,
    name: &str,
    way: &Way,
    request: &Request,
    received: &Received,
) {
    report.test(name, || {
        let (first, others) = way.handlers.split_first().context("nobody begins")?;
        handler::switch(*first)?;
        let (mut exits, mut switched) = (0, Ok(()));
        let mut interruption = Exit::Interrupted;
        let outcome = vm.take_with(Attempt::page(request), |vm, _| {
            exits += 1;
            if way.interrupted {
                vm.vcpu(0).set_immediate_exit(true);
                interruption = vm.vcpu(0).run();
                vm.vcpu(0).set_immediate_exit(false);
            }
            for next in others {
                // With a reply pending, the module can neither go nor come.
                let result = match handler::pending() {
                    Ok(pending) if *next == Handler::Rust && !pending.is_empty() => stays(&pending),
                    _ => handler::switch(*next).map(drop),
                };
                switched = std::mem::replace(&mut switched, Ok(())).and(result);
            }
        })?;
        switched?;
        // At the end it goes.
        handler::switch(*others.last().unwrap_or(first))?;
        let mut check = Check::new();
        check
            .same("exits to userspace", exits, 1)
            .same("the interruption", interruption, Exit::Interrupted)
            .went_on(&outcome);
        let reply = outcome.reply();
        let infos = match received {
            Received::Fault => (1, EventInjection::GP_WITHOUT_ERROR_CODE.0),
            _ => (0, 0),
        };
        check.same("exit infos", (reply.info1, reply.info2), infos);
        check_received(&mut check, &outcome, request, received);
        // What comes after is not disturbed.
        let idle = Request::new(ExitCode::INVD, 0, 0);
        let outcome = vm.take(Attempt::page(&idle))?;
        check.about("the next exit");
        check.answered(&idle, &outcome, handler::current(), 0);
        Ok(check.done())
    });
}

/// The module is kept by the one vCPU of this process, and says so.
fn stays(pending: &[(u32, u32)]) -> Result<()> {
    ensure!(
        pending == [(std::process::id(), 0)],
        "waited for: {pending:?}"
    );
    ensure!(handler::try_remove().is_err(), "the module has gone");
    ensure!(handler::current() == Handler::C, "it answers again");
    Ok(())
}

fn check_received(check: &mut Check, outcome: &Outcome, request: &Request, received: &Received) {
    let Some(pages) = &outcome.pages else {
        return check.wrong("no page".into());
    };
    match received {
        Received::Nothing | Received::Fault => {}
        Received::Value(value) => {
            let reply = outcome.reply();
            check
                .same("RAX", reply.rax, value & 0xffff_ffff)
                .same("RDX", reply.rdx, value >> 32);
        }
        Received::Rax(value) => {
            let size = IoInfo(request.info1()).size().map_or(8, IoSize::bytes);
            let rax = pages.after.bytes(Field::Rax.offset(), size);
            check
                .that("RAX is valid", outcome.reply().valid.contains(Field::Rax))
                .same("RAX", rax, value.to_le_bytes()[..size].to_vec());
        }
        Received::Buffer(bytes) => {
            let start = request.field(Field::SwScratch).unwrap_or(0) as usize % 4096;
            let got = pages.after.bytes(start, bytes.len());
            check.same("buffer", got, bytes.clone());
        }
    }
}
