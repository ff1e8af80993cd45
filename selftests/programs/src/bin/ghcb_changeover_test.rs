// SPDX-License-Identifier: GPL-2.0
//! The handler changes while userspace has an exit: the one that is there at the end completes it.

use anyhow::Context;
use clap::Parser;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
use mailbox::{device, map};
use std::process::ExitCode as Status;
use vmm::check::Check;
use vmm::handler::{self, Handler};
use vmm::ktap::{self, Options, Report};
use vmm::request::Request;
use vmm::steps::{Attempt, Outcome, StepVm};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// A port that userspace serves.
const PORT: u16 = 0x510;

/// Ways for an exit: who begins it, and who has it afterwards, the last to the end.
const WAYS: [&[Handler]; 3] = [
    &[Handler::Rust, Handler::C],
    &[Handler::C, Handler::Rust],
    &[Handler::Rust, Handler::C, Handler::Rust],
];

fn main() -> Status {
    let arguments = Arguments::parse();
    ktap::run(&arguments.options, |report| {
        let before = report.handler();
        let mut vm = StepVm::new()?;
        for (name, request, received) in events() {
            for way in WAYS {
                let way_name: Vec<_> = way.iter().map(Handler::to_string).collect();
                let name = format!("{name}: {}", way_name.join(" to "));
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
    /// Bytes in the shared buffer.
    Buffer(Vec<u8>),
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
    events
}

fn test(
    report: &mut Report,
    vm: &mut StepVm,
    name: &str,
    way: &[Handler],
    request: &Request,
    received: &Received,
) {
    report.test(name, || {
        let (first, others) = way.split_first().context("nobody begins")?;
        handler::switch(*first)?;
        let (mut exits, mut switched) = (0, Ok(()));
        let outcome = vm.take_with(Attempt::page(request), |_, _| {
            exits += 1;
            for next in others {
                if let Err(error) = handler::switch(*next) {
                    switched = Err(error);
                }
            }
        })?;
        switched?;
        let mut check = Check::new();
        check.same("exits to userspace", exits, 1).went_on(&outcome);
        let reply = outcome.reply();
        check.same("exit infos", (reply.info1, reply.info2), (0, 0));
        check_received(&mut check, &outcome, request, received);
        // What comes after is not disturbed.
        let idle = Request::new(ExitCode::INVD, 0, 0);
        let outcome = vm.take(Attempt::page(&idle))?;
        check.about("the next exit");
        check.answered(&idle, &outcome, handler::current(), 0);
        Ok(check.done())
    });
}

fn check_received(check: &mut Check, outcome: &Outcome, request: &Request, received: &Received) {
    let Some(pages) = &outcome.pages else {
        return check.wrong("no page".into());
    };
    match received {
        Received::Nothing => {}
        Received::Rax(value) => {
            let size = IoInfo(request.info1()).size().map_or(0, IoSize::bytes);
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
