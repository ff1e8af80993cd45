// SPDX-License-Identifier: GPL-2.0
//! How the VMM has mapped the page: read-only, not at all, by frame number, as `memfd_secret()`; at the VMGEXIT, or while
//! userspace has the exit.

use anyhow::{ensure, Result};
use ghcb_rs::ghcb_abi::bitmap::ValidBitmap;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
use mailbox::device::PORT;
use mailbox::{device, map};
use std::process::ExitCode as Status;
use vmm::backing::memory::{Memory, READ_ONLY};
use vmm::backing::{two_pages, SLOT};
use vmm::exchange::exit::Exit;
use vmm::exchange::page_image::PageImage;
use vmm::exchange::request::{PageFields, Request};
use vmm::exchange::steps::{Attempt, Pages, StepVm};
use vmm::judge::check::Check;
use vmm::judge::difference::Difference;
use vmm::kernel::handler::Handler;
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Report};

const UNSAFE_MAPPINGS: &str = "/sys/module/kvm/parameters/allow_unsafe_mappings";

fn main() -> Status {
    ktap::program(|report| {
        let allowed = std::fs::read_to_string(UNSAFE_MAPPINGS)?;
        ensure!(allowed.trim() == "N", "kvm.allow_unsafe_mappings is on");
        for mapping in &MAPPINGS {
            at_the_vmgexit(report, mapping);
        }
        for change in &CHANGES {
            meanwhile(report, change);
        }
        Ok(())
    })
}

/// A mapping at the VMGEXIT.
struct Mapping {
    name: &'static str,
    memory: fn() -> Result<Memory>,
    /// Makes it what it is named, once the request is in it.
    make: fn(&Memory) -> Result<()>,
    /// Flags of the slot. KVM has slots that are read-only for VMs of the kind before `KVM_SEV_INIT2` alone.
    flags: u32,
    /// Whether a reply comes.
    is_answered: fn(Handler) -> bool,
    /// What is in it then.
    look: fn(&Memory) -> Result<PageImage>,
}

/// A page of a file, which can be seen whatever becomes of the mapping.
const fn inaccessible(name: &'static str, make: fn(&Memory) -> Result<()>) -> Mapping {
    Mapping {
        name,
        memory: two_pages,
        make,
        flags: 0,
        is_answered: never,
        look: |memory| memory.page_of_file(0),
    }
}

/// Memory that KVM does not pin: difference any-user-memory.
const fn unpinnable(name: &'static str, memory: fn() -> Result<Memory>) -> Mapping {
    Mapping {
        name,
        memory,
        make: |_| Ok(()),
        flags: 0,
        is_answered: |handler| Difference::AnyUserMemory.choose(handler, false, true),
        look: |memory| Ok(memory.page()),
    }
}

fn never(_: Handler) -> bool {
    false
}

static MAPPINGS: [Mapping; 6] = [
    inaccessible("read-only", |memory| memory.protect(libc::PROT_READ)),
    inaccessible("without access", |memory| memory.protect(libc::PROT_NONE)),
    inaccessible("not mapped", Memory::unmap),
    Mapping {
        flags: READ_ONLY,
        ..inaccessible("in a slot that is read-only", |_| Ok(()))
    },
    unpinnable("memfd_secret()", Memory::secret),
    unpinnable("mapped by frame number", Memory::by_frame_number),
];

/// A request, what it brings to userspace, and RAX.
struct Asked {
    name: &'static str,
    request: Request,
    exits: Vec<Exit>,
    rax: Option<u64>,
}

fn asked() -> Vec<Asked> {
    let function = device::CPUID_OWN + 1;
    let port = |is_in| Request::new(ExitCode::IOIO, IoInfo::new(PORT, IoSize::Word, is_in).0, 0);
    let exit = |count: u32, size, data: Option<Vec<u8>>| Exit::Io {
        port: PORT,
        size,
        count,
        out: data.is_some(),
        data: data.unwrap_or_default(),
    };
    let info = IoInfo::new(PORT, IoSize::Byte, false);
    let info = info.string(true, AddressSize::BITS_64, Segment::DS);
    let sent: Vec<u8> = (0..300).map(|at| at as u8 ^ 0x3c).collect();
    vec![
        Asked {
            name: "CPUID",
            request: Request::new(ExitCode::CPUID, 0, 0)
                .with(Field::Rax, function.into())
                .with(Field::Rcx, 0),
            exits: Vec::new(),
            rax: Some(device::cpuid(function, 0).into()),
        },
        Asked {
            name: "IN",
            request: port(true),
            exits: vec![exit(1, 2, None)],
            rax: Some(device::port_value(PORT, 2)),
        },
        Asked {
            name: "OUT",
            request: port(false).with(Field::Rax, 0x1234),
            exits: vec![exit(1, 2, Some(vec![0x34, 0x12]))],
            rax: None,
        },
        Asked {
            name: "OUTS",
            request: Request::new(ExitCode::IOIO, info.0, sent.len() as u64)
                .scratch_outside(map::MOVING + SHARED_BUFFER_OFFSET as u64)
                .buffer(&sent),
            exits: vec![exit(sent.len() as u32, 1, Some(sent))],
            rax: None,
        },
    ]
}

fn at_the_vmgexit(report: &mut Report, mapping: &Mapping) {
    let handler = report.handler();
    let is_answered = (mapping.is_answered)(handler);
    let end = if is_answered {
        "answered"
    } else {
        "nothing happens"
    };
    for asked in asked() {
        let name = format!("{}: {}: {end}", mapping.name, asked.name);
        let old = mapping.flags != 0;
        if old && !report.has_version_1(&name) {
            continue;
        }
        report.test(&name, || {
            let config = Config {
                old,
                ..Config::default()
            };
            let mut vm = StepVm::with(config, &[])?;
            let memory = (mapping.memory)()?;
            let image = asked.request.image();
            memory.set_page(&image);
            memory.attach(vm.vm().fd(), SLOT, map::MOVING, mapping.flags)?;
            (mapping.make)(&memory)?;
            let mut outcome = vm.take(Attempt::msr(map::MOVING))?;
            let after = (mapping.look)(&memory)?;
            let mut check = Check::new();
            if is_answered {
                check.same("exits", outcome.exits.as_slice(), &asked.exits);
                outcome.pages = Some(Pages {
                    before: image,
                    after,
                });
                check.answered(&asked.request, &outcome, handler, 0);
                if let Some(rax) = asked.rax {
                    let mask = if asked.exits.is_empty() {
                        u64::MAX
                    } else {
                        0xffff
                    };
                    check.same("RAX", outcome.reply().rax & mask, rax);
                }
            } else {
                check.quiet(&outcome).same(
                    "words that changed",
                    image.differences(&after),
                    Vec::new(),
                );
            }
            Ok(check.done())
        });
    }
}

/// A change while userspace has the exit.
struct Change {
    name: &'static str,
    make: fn(&Memory) -> Result<()>,
}

static CHANGES: [Change; 3] = [
    Change {
        name: "becomes read-only",
        make: |memory| memory.protect(libc::PROT_READ),
    },
    Change {
        name: "becomes inaccessible",
        make: |memory| memory.protect(libc::PROT_NONE),
    },
    Change {
        name: "is unmapped",
        make: Memory::unmap,
    },
];

/// The page is one of a file, where it can be seen whatever becomes of the mapping.
fn meanwhile(report: &mut Report, change: &Change) {
    let handler = report.handler();
    for asked in asked() {
        let is_late = asked.name == "IN";
        // Difference reply-in-the-present-page: what the exit is to bring finds no page.
        let is_answered =
            !is_late || Difference::ReplyInThePresentPage.choose(handler, true, false);
        let end = if is_answered { "answered" } else { "no reply" };
        if asked.exits.is_empty() {
            continue;
        }
        let name = format!("{} while userspace has {}: {end}", change.name, asked.name);
        report.test(&name, || {
            let mut vm = StepVm::new()?;
            let memory = two_pages()?;
            let image = asked.request.image();
            memory.set_page(&image);
            memory.attach(vm.vm().fd(), SLOT, map::MOVING, 0)?;
            let mut made = Ok(());
            let mut outcome = vm.take_with(Attempt::msr(map::MOVING), |_, _| {
                made = (change.make)(&memory);
            })?;
            made?;
            let after = memory.page_of_file(0)?;
            let mut check = Check::new();
            check
                .went_on(&outcome)
                .same("exits", outcome.exits.as_slice(), &asked.exits);
            if is_answered {
                outcome.pages = Some(Pages {
                    before: image,
                    after,
                });
                check.answered(&asked.request, &outcome, handler, 0);
                if let Some(rax) = asked.rax {
                    check.same("RAX", outcome.reply().rax & 0xffff, rax);
                }
            } else {
                // The request was taken from the page; nothing came instead.
                let bitmap = [Field::ValidBitmapLow, Field::ValidBitmapHigh].map(Field::offset);
                let mut changed = image.differences(&after);
                changed.retain(|at| !bitmap.contains(at));
                check
                    .same(
                        "fields marked",
                        PageFields::of(&after).valid,
                        ValidBitmap::EMPTY,
                    )
                    .same("other words that changed", changed, Vec::new());
            }
            // The guest goes on with another page.
            let request = Request::new(ExitCode::INVD, 0, 0);
            let outcome = vm.take(Attempt::page(&request))?;
            check.about("another page");
            check.answered(&request, &outcome, handler, 0);
            Ok(check.done())
        });
    }
}
