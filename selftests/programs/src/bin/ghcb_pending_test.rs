// SPDX-License-Identifier: GPL-2.0
//! An exit is with userspace, its reply pending, and something happens before the guest runs: what the guest finds
//! is what it finds with C, nobody else waits, and in the end the module can go.

use anyhow::{bail, ensure, Context, Result};
use clap::Parser;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
use kvm_bindings::kvm_mp_state;
use kvm_ioctls::Kvm;
use mailbox::{device, map};
use std::os::fd::AsRawFd;
use std::os::unix::thread::JoinHandleExt;
use std::process::{Command, ExitCode as Status};
use std::thread;
use std::time::Duration;
use vmm::backing::memory::{self, Memory};
use vmm::backing::uffd::Faults;
use vmm::backing::{page, SLOT};
use vmm::exchange::catalog::MTRR_BASE;
use vmm::exchange::exit::Exit;
use vmm::exchange::page::GuestPage;
use vmm::exchange::request::{Reply, Request};
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::exchange::userspace;
use vmm::judge::check::Check;
use vmm::kernel::handler::{self, Handler};
use vmm::launch::crew::wait_for;
use vmm::launch::successor::Successor;
use vmm::launch::vm::{Config, Vm};
use vmm::report::ktap::{self, Options, Report};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Be somebody else who creates a VM
    #[arg(long, hide = true)]
    create_vm: bool,
}

const PATIENCE: Duration = Duration::from_secs(20);
/// A port that userspace serves.
const PORT: u16 = 0x510;
/// `KVM_MP_STATE_UNINITIALIZED`: KVM_RUN waits for INIT and SIPI.
const UNINITIALIZED: u32 = 1;
/// `KVM_RUN`
const KVM_RUN: libc::c_ulong = 0xae80;

fn main() -> Status {
    let arguments = Arguments::parse();
    if arguments.create_vm {
        return match Kvm::new().and_then(|kvm| kvm.create_vm()) {
            Ok(_) => Status::SUCCESS,
            Err(_) => Status::FAILURE,
        };
    }
    ktap::run(&arguments.options, |report| {
        if report.module("pending").is_none() {
            return Ok(());
        }
        report.test("a vCPU blocked in KVM_RUN: nobody waits", blocked);
        report.test("a page that the VMM withholds: nobody waits", withheld);
        moves(report);
        pairs(report);
        Ok(())
    })
}

fn read_port() -> Request {
    Request::new(ExitCode::IOIO, IoInfo::new(PORT, IoSize::Word, true).0, 0)
}

fn string(count: usize) -> Request {
    let info =
        IoInfo::new(PORT, IoSize::Byte, true).string(true, AddressSize::BITS_64, Segment::ES);
    Request::new(ExitCode::IOIO, info.0, count as u64)
}

fn read_mmio(len: u64) -> Request {
    Request::new(ExitCode::MMIO_READ, map::MMIO + 0x40, len)
}

/// Switching off ends, and somebody else creates a VM, with the reply of this process's vCPU pending.
fn nobody_waits(check: &mut Check) -> Result<()> {
    handler::disable()?;
    let status = Command::new("/proc/self/exe").arg("--create-vm").status()?;
    check
        .that("somebody else creates a VM", status.success())
        .that("the module stays", handler::try_remove().is_err())
        .same(
            "who is waited for",
            handler::pending()?,
            vec![(std::process::id(), 0)],
        );
    Ok(())
}

/// The module goes, and comes again.
fn goes_and_comes(check: &mut Check) -> Result<()> {
    handler::remove().context("the module does not go")?;
    check.that("the module is gone", !handler::loaded());
    handler::switch(Handler::Rust).map(drop)
}

extern "C" fn nothing(_: i32) {}

/// Whether a thread of this process sleeps in the kernel.
fn is_asleep(thread: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat"));
    stat.is_ok_and(|stat| stat.contains(") S "))
}

fn blocked() -> Result<Vec<String>> {
    // SAFETY: The handler does nothing.
    unsafe { libc::signal(libc::SIGUSR1, nothing as extern "C" fn(i32) as usize) };
    handler::switch(Handler::Rust)?;
    let config = Config {
        irqchip: true,
        ..Config::default()
    };
    let mut vm = StepVm::with(config, &[])?;
    vm.begin(&Attempt::page(&read_port()))?;
    let mut check = Check::new();
    let state = kvm_mp_state {
        mp_state: UNINITIALIZED,
    };
    vm.vm().vcpu(0).fd().set_mp_state(state)?;
    let fd = vm.vm().vcpu(0).fd().as_raw_fd();
    let (tell, told) = std::sync::mpsc::channel();
    let runner = thread::spawn(move || {
        // SAFETY: Plain system calls.
        unsafe {
            let _ = tell.send(libc::gettid());
            libc::ioctl(fd, KVM_RUN, 0)
        }
    });
    let thread = told.recv()?;
    let asleep = wait_for(PATIENCE, || is_asleep(thread));
    check.that("the vCPU is blocked", asleep);
    let result = nobody_waits(&mut check);
    check.that("the vCPU is blocked still", !runner.is_finished());
    // SAFETY: The thread has not been joined.
    unsafe { libc::pthread_kill(runner.as_pthread_t(), libc::SIGUSR1) };
    let _ = runner.join();
    result?;
    vm.vm().vcpu(0).set_runnable()?;
    StepVm::finish(vm.vm().vcpu(0))?;
    let reply = Reply::of(&GuestPage::new(vm.vm().memory(), StepVm::page_of(0)).copy());
    check
        .same("reply", (reply.info1, reply.info2), (0, 0))
        .same("RAX", reply.rax & 0xffff, device::port_value(PORT, 2));
    goes_and_comes(&mut check)?;
    Ok(check.done())
}

fn withheld() -> Result<Vec<String>> {
    handler::switch(Handler::Rust)?;
    let mut vm = StepVm::new()?;
    let memory = page()?;
    let image = read_port().image();
    memory.set_page(&image);
    memory.attach(vm.vm().fd(), SLOT, map::MOVING, 0)?;
    vm.begin(&Attempt::msr(map::MOVING))?;
    memory.advise(libc::MADV_DONTNEED)?;
    let faults = Faults::missing(&memory)?;
    let mut check = Check::new();
    thread::scope(|scope| {
        let vcpu = vm.vm().vcpu(0);
        let runner = scope.spawn(|| StepVm::finish(vcpu));
        let result = faults.wait(PATIENCE).and_then(|()| {
            handler::disable()?;
            let status = Command::new("/proc/self/exe").arg("--create-vm").status()?;
            check
                .that("somebody else creates a VM", status.success())
                .that("the module stays", handler::try_remove().is_err())
                .that("the vCPU waits still", !runner.is_finished());
            Ok(())
        });
        let filled = faults.fill(&image);
        let Ok(finished) = runner.join() else {
            bail!("a thread panicked");
        };
        result.and(filled)?;
        finished.map(drop)
    })?;
    let reply = Reply::of(&memory.page());
    check
        .same("reply", (reply.info1, reply.info2), (0, 0))
        .same("RAX", reply.rax & 0xffff, device::port_value(PORT, 2));
    goes_and_comes(&mut check)?;
    Ok(check.done())
}

/// What the guest is to find when KVM has taken in what userspace did.
enum Found {
    /// RAX, and how many bytes of it.
    Rax(u64, usize),
    /// RDX and RAX.
    Msr(u64),
    /// Bytes at the beginning of its scratch area.
    Bytes(Vec<u8>),
}

/// An exit that waits.
struct Kind {
    name: &'static str,
    request: Request,
    found: Found,
    /// Exits until all is there.
    exits: usize,
}

fn mmio_bytes(len: u64) -> Found {
    let start = map::MMIO + 0x40;
    Found::Bytes((start..start + len).map(device::mmio_byte).collect())
}

fn kinds() -> Vec<Kind> {
    let port_bytes =
        |count| Found::Bytes((0..count).map(|at| device::port_byte(PORT, at)).collect());
    let inside = SHARED_BUFFER_OFFSET + 8;
    let msr = Request::new(ExitCode::MSR, 0, 0).with(Field::Rcx, MTRR_BASE);
    let kind = |name, request, found| Kind {
        name,
        request,
        found,
        exits: 1,
    };
    vec![
        kind(
            "IN",
            read_port(),
            Found::Rax(device::port_value(PORT, 2), 2),
        ),
        kind(
            "INS of 8 bytes",
            string(8).scratch_inside(inside),
            port_bytes(8),
        ),
        kind(
            "INS of 512 bytes",
            string(512).scratch_inside(inside),
            port_bytes(512),
        ),
        kind(
            "INS elsewhere",
            string(512).scratch_outside(map::SCRATCH),
            port_bytes(512),
        ),
        kind(
            "MMIO read",
            read_mmio(4).scratch_inside(inside),
            mmio_bytes(4),
        ),
        kind(
            "MMIO read elsewhere",
            read_mmio(8).scratch_outside(map::SCRATCH),
            mmio_bytes(8),
        ),
        kind(
            "RDMSR",
            msr,
            Found::Msr(device::msr_value(MTRR_BASE as u32)),
        ),
        Kind {
            name: "MMIO read in two parts",
            request: read_mmio(16).scratch_inside(inside),
            found: mmio_bytes(16),
            exits: 2,
        },
    ]
}

/// When exits are given back to C.
#[derive(Clone, Copy, PartialEq)]
enum Off {
    Never,
    First,
    BeforeMove,
    AfterMove,
}

/// Every order of completing, moving and giving back.
fn moves(report: &mut Report) {
    for kind in kinds() {
        for completed in 0..=kind.exits {
            let how = match completed {
                0 => "moved, then run",
                n if n == kind.exits => "completed, moved, then run",
                _ => "completed in part, moved, then run",
            };
            for (handler, off, when) in [
                (Handler::C, Off::Never, "c"),
                (Handler::Rust, Off::Never, "rust"),
                (Handler::Rust, Off::First, "rust, off first"),
                (Handler::Rust, Off::BeforeMove, "rust, off before the move"),
                (Handler::Rust, Off::AfterMove, "rust, off after the move"),
            ] {
                let name = format!("{}: {how}: {when}", kind.name);
                report.test(&name, || {
                    handler::switch(handler)?;
                    let problems = moved(&kind, completed, off)?;
                    // A reply that is pending no more does not keep the module.
                    handler::switch(Handler::C)?;
                    handler::remove()?;
                    Ok(problems)
                });
            }
        }
    }
}

/// The guest moves after `completed` of its exits; what is wrong with what it finds.
fn moved(kind: &Kind, completed: usize, off: Off) -> Result<Vec<String>> {
    let config = Config {
        old: true,
        ..Config::default()
    };
    let mut vm = StepVm::with(config, &[])?;
    userspace::leave_msrs(vm.vm().fd(), MTRR_BASE as u32, 2)?;
    let before = Vec::from_iter((0..1024).map(|at| at as u8 ^ 0x5a));
    let outside = GuestPage::new(vm.vm().memory(), map::SCRATCH).copy();
    let request = if kind.request.is_scratch_inside() {
        kind.request.clone().buffer(&before)
    } else {
        kind.request.clone()
    };
    vm.begin(&Attempt::page(&request))?;
    let switch_off = |at: Off| {
        if off == at {
            handler::disable()
        } else {
            Ok(())
        }
    };
    switch_off(Off::First)?;
    for n in 0..completed {
        let last = n + 1 == kind.exits;
        interrupt(vm.vm(), last)?;
    }
    switch_off(Off::BeforeMove)?;
    let mut successor = Successor::of(vm.vm())?;
    switch_off(Off::AfterMove)?;
    let exits = StepVm::finish(successor.vcpu())?;
    let mut check = Check::new();
    check.that("no more exits", exits.is_empty());
    let image = GuestPage::new(vm.vm().memory(), StepVm::page_of(0)).copy();
    let reply = Reply::of(&image);
    check.same("reply", (reply.info1, reply.info2), (0, 0));
    let is_complete = completed == kind.exits;
    match &kind.found {
        Found::Rax(value, size) if is_complete => {
            let mask = (1 << (8 * size)) - 1;
            check
                .that("RAX is valid", reply.valid.contains(Field::Rax))
                .same("RAX", reply.rax & mask, value & mask);
        }
        Found::Msr(value) if is_complete => {
            check
                .same("RAX", reply.rax, value & 0xffff_ffff)
                .same("RDX", reply.rdx, value >> 32);
        }
        Found::Bytes(bytes) => {
            let at = request.field(Field::SwScratch).unwrap_or(0) as usize % 4096;
            let (got, old) = if request.is_scratch_inside() {
                let old = before[at - SHARED_BUFFER_OFFSET..].to_vec();
                (image.bytes(at, bytes.len()), old)
            } else {
                let page = GuestPage::new(vm.vm().memory(), map::SCRATCH).copy();
                (page.bytes(at, bytes.len()), outside.bytes(at, bytes.len()))
            };
            // What has been taken in is there, and the rest is as it was.
            let taken = bytes.len() * completed / kind.exits;
            let want = [&bytes[..taken], &old[taken..bytes.len()]].concat();
            check.same("data", got, want);
        }
        _ => {}
    }
    Ok(check.done())
}

/// KVM_RUN takes in what userspace did, and ends before the guest runs.
fn interrupt(vm: &mut Vm, is_last: bool) -> Result<()> {
    let vcpu = vm.vcpu(0);
    vcpu.set_immediate_exit(is_last);
    let exit = vcpu.run();
    vcpu.set_immediate_exit(false);
    ensure!(
        is_last == (exit == Exit::Interrupted),
        "instead of an interruption: {exit:?}"
    );
    Ok(())
}

/// What may happen besides.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Interrupted,
    SlotGone,
    SlotBack,
    Off,
    Destroyed,
}

/// Each pair of events, and then the guest runs.
fn pairs(report: &mut Report) {
    use Event::{Destroyed, Interrupted, Off, SlotBack, SlotGone};
    const EVENTS: [Event; 5] = [Interrupted, SlotGone, SlotBack, Off, Destroyed];
    for first in EVENTS {
        report.test(&format!("{first:?}, then each"), || {
            let mut problems = Vec::new();
            for second in EVENTS {
                handler::switch(Handler::Rust)?;
                let found = pair(&[first, second])
                    .with_context(|| format!("{first:?}, then {second:?}"))?;
                problems.extend(found);
                // Nobody is waited for.
                handler::remove()?;
            }
            Ok(problems)
        });
    }
}

fn pair(events: &[Event]) -> Result<Vec<String>> {
    let mut vm = StepVm::new()?;
    let memory = page()?;
    memory.set_page(&read_port().image());
    memory.attach(vm.vm().fd(), SLOT, map::MOVING, 0)?;
    vm.begin(&Attempt::msr(map::MOVING))?;
    let mut check = Check::new();
    check.about(format!("{events:?}"));
    let (mut has_slot, mut completed) = (true, false);
    for event in events {
        match event {
            Event::Interrupted if !completed => {
                interrupt(vm.vm(), true)?;
                completed = true;
            }
            Event::SlotGone if has_slot => {
                memory::detach(vm.vm().fd(), SLOT)?;
                has_slot = false;
            }
            Event::SlotBack if !has_slot => {
                memory.attach(vm.vm().fd(), SLOT, map::MOVING, 0)?;
                has_slot = true;
            }
            Event::Off if handler::current() == Handler::Rust => {
                handler::disable()?;
                let mine = vec![(std::process::id(), 0)];
                check.same("who is waited for", handler::pending()?, mine);
            }
            Event::Destroyed => {
                drop(vm);
                return Ok(check.done());
            }
            _ => {}
        }
    }
    StepVm::finish(vm.vm().vcpu(0))?;
    judge(&mut check, &memory, has_slot);
    Ok(check.done())
}

/// The reply is there if the page is.
fn judge(check: &mut Check, memory: &Memory, has_slot: bool) {
    let reply = Reply::of(&memory.page());
    if has_slot {
        check
            .same("reply", (reply.info1, reply.info2), (0, 0))
            .same("RAX", reply.rax & 0xffff, device::port_value(PORT, 2));
    } else {
        let request = Reply::of(&read_port().image());
        check.same("no reply", reply.info1, request.info1);
    }
}
