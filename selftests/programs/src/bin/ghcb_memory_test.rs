// SPDX-License-Identifier: GPL-2.0
//! What lies behind the GHCB changes between the guest's last access and the handler's first, or while userspace has
//! the exit.

use anyhow::Result;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
use ghcb_rs::ghcb_abi::reply::ErrorReason;
use mailbox::device::PORT;
use mailbox::{device, map};
use std::cell::Cell;
use std::process::ExitCode as Status;
use vmm::backing::huge_page;
use vmm::backing::memory::Memory;
use vmm::backing::{self, After, Change, Need, Place, CHANGES, PAGE, SLOT};
use vmm::exchange::exit::Exit;
use vmm::exchange::page_image::PageImage;
use vmm::exchange::request::Request;
use vmm::exchange::steps::{Attempt, Outcome, Pages, StepVm};
use vmm::judge::check::Check;
use vmm::judge::difference::Difference;
use vmm::kernel::balance::Balance;
use vmm::kernel::handler::Handler;
use vmm::kernel::settings::{self, Setting, Swap};
use vmm::report::ktap::{self, Report};

fn main() -> Status {
    ktap::program(|report| {
        let before = Balance::now()?;
        {
            let swap = Swap::have();
            let pages = Setting::set("/proc/sys/vm/nr_hugepages", "4");
            for change in &CHANGES {
                let missing = match change.need {
                    Need::Nothing => None,
                    Need::Swap => swap.as_ref().err().map(|error| format!("{error:#}")),
                    Need::HugePages => pages.as_ref().err().map(|error| format!("{error:#}")),
                    Need::TransparentHugePages if huge_page::known() => None,
                    Need::TransparentHugePages => Some(huge_page::NONE.into()),
                    Need::TwoNodes if settings::has_two_nodes() => None,
                    Need::TwoNodes => Some("the host has one node".into()),
                };
                match missing {
                    None => test(report, change),
                    Some(why) => report.skip(change.name, &why),
                }
            }
        }
        let imbalance = before.problems()?;
        report.problems("pins are balanced, and memory is back", &imbalance);
        Ok(())
    })
}

/// Make `change` in front of a VMGEXIT that the kernel ends, of one whose data go out, and during one that
/// userspace ends.
fn test(report: &mut Report, change: &Change) {
    let (handler, name) = (report.handler(), change.name);
    report.test(&format!("{name}: before the handler looks"), || {
        let function = u64::from(device::CPUID_OWN + 1);
        let request = Request::new(ExitCode::CPUID, 0, 0)
            .with(Field::Rax, function)
            .with(Field::Rcx, 0);
        let (outcome, mut problems) = before(&request, change)?;
        let mut check = Check::new();
        judge(&mut check, handler, change.after, &request, &outcome);
        if change.after == After::Contents {
            let want = device::cpuid(device::CPUID_OWN + 1, 3);
            check.same("RDX", outcome.reply().rdx, u64::from(want));
        }
        problems.extend(check.done());
        Ok(problems)
    });
    report.test(
        &format!("{name}: before the handler looks, data go out"),
        || {
            let data: Vec<u8> = (0..300).map(|at| at as u8 ^ 0x3c).collect();
            let info = IoInfo::new(PORT, IoSize::Byte, false);
            let info = info.string(true, AddressSize::BITS_64, Segment::DS);
            let request = Request::new(ExitCode::IOIO, info.0, data.len() as u64)
                .scratch_outside(map::MOVING + SHARED_BUFFER_OFFSET as u64)
                .buffer(&data);
            let (mut outcome, mut problems) = before(&request, change)?;
            let exits = std::mem::take(&mut outcome.exits);
            let sent = matches!(exits.as_slice(), [Exit::Io { data: sent, .. }] if *sent == data);
            let mut check = Check::new();
            judge(&mut check, handler, change.after, &request, &outcome);
            check.same(
                "the data reach userspace",
                sent,
                change.after == After::Contents,
            );
            problems.extend(check.done());
            Ok(problems)
        },
    );
    report.test(&format!("{name}: while userspace has the exit"), || {
        during(handler, change)
    });
}

fn judge(check: &mut Check, handler: Handler, after: After, request: &Request, outcome: &Outcome) {
    match after {
        After::Contents => check.answered(request, outcome, handler, 0),
        After::Zeros => check.refused(outcome, handler, ErrorReason::MISSING_INPUT),
    }
}

/// The VM, its page and the memory that may come instead.
fn machine(memory: fn() -> Result<Memory>, image: &PageImage) -> Result<(StepVm, Memory, Memory)> {
    let mut vm = StepVm::new()?;
    let (memory, other) = (memory()?, backing::page()?);
    memory.set_page(image);
    memory.attach(vm.vm().fd(), SLOT, map::MOVING, 0)?;
    Ok((vm, memory, other))
}

/// The page changes, and the handler is the first to touch it after that.
fn before(request: &Request, change: &Change) -> Result<(Outcome, Vec<String>)> {
    let image = request.image();
    let (mut vm, memory, other) = machine(change.memory, &image)?;
    let moved = Cell::new(false);
    let later = (change.make)(&Place {
        vm: vm.vm().fd(),
        memory: &memory,
        other: &other,
        moved: &moved,
        parked: false,
    })?;
    let mut outcome = vm.take(Attempt::msr(map::MOVING))?;
    let now = if moved.get() { &other } else { &memory }.page();
    let mut check = Check::new();
    // A slot without a log has none to give.
    if let Ok(log) = vm.vm().fd().get_dirty_log(SLOT, PAGE) {
        check.same("the log of written pages", log, vec![1]);
    }
    // The old page, where there still is one.
    let old = if moved.get() {
        Some(memory.page())
    } else {
        memory.page_of_file(0).ok().filter(|first| *first != now)
    };
    if let Some(old) = old {
        let changed = image.differences(&old);
        check.same("words of the old page that changed", changed, Vec::new());
    }
    outcome.pages = Some(Pages {
        before: match change.after {
            After::Contents => image,
            After::Zeros => PageImage::default(),
        },
        after: now,
    });
    let mut problems = check.done();
    problems.extend(later()?);
    Ok((outcome, problems))
}

/// The page changes while userspace has an exit that began with the old one.
fn during(handler: Handler, change: &Change) -> Result<Vec<String>> {
    let request = Request::new(ExitCode::IOIO, IoInfo::new(PORT, IoSize::Dword, true).0, 0);
    let image = request.image();
    let (mut vm, memory, other) = machine(change.memory, &image)?;
    let moved = Cell::new(false);
    let mut later = None;
    let mut outcome = vm.take_with(Attempt::msr(map::MOVING), |vm, _| {
        later = Some((change.make)(&Place {
            vm: vm.fd(),
            memory: &memory,
            other: &other,
            moved: &moved,
            parked: true,
        }));
    })?;
    let now = if moved.get() { &other } else { &memory }.page();
    let mut check = Check::new();
    check
        .went_on(&outcome)
        .same("exits", outcome.exits.len(), 1);
    outcome.exits.clear();
    let is_in_old_page = Difference::ReplyInThePresentPage.choose(handler, true, false);
    if is_in_old_page && change.after == After::Zeros {
        // The reply goes to the page with which the exit began, pinned until then.
        let written = PageImage::default().differences(&now);
        check.same(
            "words of the new page that were written",
            written,
            Vec::new(),
        );
    } else {
        // Rust does not pin the page: the reply is written to what is mapped when the vCPU runs again.
        outcome.pages = Some(Pages {
            before: match change.after {
                After::Contents => image,
                After::Zeros => PageImage::default(),
            },
            after: now,
        });
        check.answered(&request, &outcome, handler, 0);
        let want = device::port_value(PORT, 4);
        check.same("RAX", outcome.reply().rax, want);
    }
    let mut problems = check.done();
    match later {
        Some(later) => problems.extend(later?()?),
        None => problems.push("no exit to userspace".into()),
    }
    Ok(problems)
}
