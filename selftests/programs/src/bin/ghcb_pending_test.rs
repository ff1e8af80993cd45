// SPDX-License-Identifier: GPL-2.0
//! An exit is with userspace, its reply pending, and something happens before the guest runs: what the guest finds
//! is what it finds with C, nobody else waits, and in the end the module can go.

use anyhow::{bail, Context, Result};
use clap::Parser;
use kvm_bindings::kvm_mp_state;
use kvm_ioctls::Kvm;
use mailbox::map;
use std::os::fd::AsRawFd;
use std::os::unix::thread::JoinHandleExt;
use std::process::{Command, ExitCode as Status};
use std::thread;
use std::time::Duration;
use vmm::backing::memory::{self, Memory};
use vmm::backing::uffd::Faults;
use vmm::backing::{page, SLOT};
use vmm::exchange::page_image::PageInMemory;
use vmm::exchange::pending::{interrupt, mine, port_word, read_port};
use vmm::exchange::request::PageFields;
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::judge::check::Check;
use vmm::kernel::handler::{self, Handler};
use vmm::launch::crew::wait_for;
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Options, Report};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Be another process that creates a VM
    #[arg(long, hide = true)]
    create_vm: bool,
}

const PATIENCE: Duration = Duration::from_secs(20);
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
        pairs(report);
        Ok(())
    })
}

/// Disabling the patch returns, and another process creates a VM, while the reply of this process's vCPU is pending.
fn nobody_waits(check: &mut Check) -> Result<()> {
    handler::disable()?;
    let status = Command::new("/proc/self/exe").arg("--create-vm").status()?;
    check
        .that("somebody else creates a VM", status.success())
        .that("the module stays", handler::try_remove().is_err())
        .same("who is waited for", handler::pending()?, mine(1));
    Ok(())
}

/// Remove the module and insert it again.
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
    let reply = PageFields::of(&PageInMemory::new(vm.vm().memory(), StepVm::page_of(0)).copy());
    check
        .same("reply", (reply.info1, reply.info2), (0, 0))
        .same("RAX", reply.rax & 0xffff, port_word());
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
    let reply = PageFields::of(&memory.page());
    check
        .same("reply", (reply.info1, reply.info2), (0, 0))
        .same("RAX", reply.rax & 0xffff, port_word());
    goes_and_comes(&mut check)?;
    Ok(check.done())
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

const EVENTS: [Event; 5] = [
    Event::Interrupted,
    Event::SlotGone,
    Event::SlotBack,
    Event::Off,
    Event::Destroyed,
];

/// A guest with a pending reply to which they happen.
struct Victim {
    name: String,
    /// None once it is destroyed.
    vm: Option<StepVm>,
    memory: Memory,
    has_slot: bool,
    is_completed: bool,
}

impl Victim {
    fn begin(name: String) -> Result<Self> {
        let mut vm = StepVm::new()?;
        let memory = page()?;
        memory.set_page(&read_port().image());
        memory.attach(vm.vm().fd(), SLOT, map::MOVING, 0)?;
        vm.begin(&Attempt::msr(map::MOVING))?;
        Ok(Self {
            name,
            vm: Some(vm),
            memory,
            has_slot: true,
            is_completed: false,
        })
    }

    /// What happens once may come again, and changes nothing then.
    fn meets(&mut self, event: Event) -> Result<()> {
        let Some(vm) = &mut self.vm else {
            return Ok(());
        };
        match event {
            Event::Interrupted if !self.is_completed => {
                interrupt(vm.vm(), true)?;
                self.is_completed = true;
            }
            Event::SlotGone if self.has_slot => {
                memory::detach(vm.vm().fd(), SLOT)?;
                self.has_slot = false;
            }
            Event::SlotBack if !self.has_slot => {
                self.memory.attach(vm.vm().fd(), SLOT, map::MOVING, 0)?;
                self.has_slot = true;
            }
            Event::Destroyed => self.vm = None,
            _ => {}
        }
        Ok(())
    }

    /// It runs, if it can: the reply is there if the page is.
    fn end(&mut self, check: &mut Check) -> Result<()> {
        let Some(vm) = &mut self.vm else {
            return Ok(());
        };
        StepVm::finish(vm.vm().vcpu(0)).with_context(|| self.name.clone())?;
        check.about(self.name.clone());
        let reply = PageFields::of(&self.memory.page());
        if self.has_slot {
            check
                .same("reply", (reply.info1, reply.info2), (0, 0))
                .same("RAX", reply.rax & 0xffff, port_word());
        } else {
            let request = PageFields::of(&read_port().image());
            check.same("no reply", reply.info1, request.info1);
        }
        Ok(())
    }
}

/// Each pair of events, and then the guest runs.
fn pairs(report: &mut Report) {
    let others = || EVENTS.into_iter().filter(|event| *event != Event::Off);
    for first in others() {
        report.test(&format!("{first:?}, then each"), || {
            handler::switch(Handler::Rust)?;
            let mut check = Check::new();
            for second in others() {
                let mut victim = Victim::begin(format!("{first:?}, then {second:?}"))?;
                victim.meets(first)?;
                victim.meets(second)?;
                victim.end(&mut check)?;
            }
            Ok(check.done())
        });
    }
    report.test("each, then switched off; switched off, then each", || {
        handler::switch(Handler::Rust)?;
        let mut check = Check::new();
        let mut before = Vec::new();
        for first in others() {
            let mut victim = Victim::begin(format!("{first:?}, then off"))?;
            victim.meets(first)?;
            before.push(victim);
        }
        let mut after = Vec::new();
        for second in EVENTS {
            after.push((second, Victim::begin(format!("off, then {second:?}"))?));
        }
        handler::disable()?;
        let alive = before.iter().filter(|victim| victim.vm.is_some()).count();
        check.same(
            "who is waited for",
            handler::pending()?,
            mine(alive + after.len()),
        );
        for (second, victim) in &mut after {
            victim.meets(*second)?;
        }
        for victim in before
            .iter_mut()
            .chain(after.iter_mut().map(|(_, victim)| victim))
        {
            victim.end(&mut check)?;
        }
        // Nothing waits for the vCPU.
        handler::remove()?;
        Ok(check.done())
    });
}
