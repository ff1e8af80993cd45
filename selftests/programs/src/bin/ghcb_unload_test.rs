// SPDX-License-Identifier: GPL-2.0
//! Remove the module while a vCPU sleeps inside the handler, is in AP reset hold, or has an exit with userspace.

use anyhow::{bail, ensure, Context, Result};
use clap::Parser;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::Field;
use mailbox::device::PORT;
use mailbox::{device, hold, map, Mailbox, Role};
use std::mem::offset_of;
use std::path::Path;
use std::process::ExitCode as Status;
use std::thread;
use std::time::Duration;
use vmm::backing::memory::Memory;
use vmm::backing::uffd::Faults;
use vmm::backing::{page, SLOT};
use vmm::exchange::exit::Exit;
use vmm::exchange::page_image::PageImage;
use vmm::exchange::request::{PageFields, Request};
use vmm::exchange::steps::{Attempt, Outcome, StepVm};
use vmm::judge::check::Check;
use vmm::kernel::balance::Balance;
use vmm::kernel::handler;
use vmm::kernel::host::KernelLog;
use vmm::kernel::module as kernel;
use vmm::kernel::settings::Setting;
use vmm::launch::crew::{wait_for, Hand};
use vmm::launch::vm::{Config, Mail};
use vmm::lifecycle::victim::{Stage, Victim};
use vmm::report::ktap::{self, Options, Report};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Be the VMM that is to be killed
    #[arg(long, hide = true)]
    victim: Option<Stage>,
}

const PATIENCE: Duration = Duration::from_secs(10);
/// How long a vCPU sleeps inside the handler while the module is to go.
const SLEEP: Duration = Duration::from_secs(1);
/// Seconds after which the kernel complains of a task that hangs, in the test that waits for it to do so.
const HUNG: u64 = 2;
/// The page that a request's data lie in.
const DATA: u64 = map::MOVING;

fn main() -> Status {
    let arguments = Arguments::parse();
    if let Some(stage) = arguments.victim {
        return stage.stay();
    }
    ktap::run(&arguments.options, |report| {
        let Some(module) = report.module("unload") else {
            return Ok(());
        };
        let before = Balance::now()?;
        asleep(report, &module);
        killed(report, &module);
        waiting(report, &module);
        let imbalance = before.problems()?;
        report.problems("pins are balanced, and memory is back", &imbalance);
        Ok(())
    })
}

fn idle() -> Request {
    Request::new(ExitCode::INVD, 0, 0)
}

fn cpuid() -> Request {
    let function = u64::from(device::CPUID_OWN + 1);
    Request::new(ExitCode::CPUID, 0, 0)
        .with(Field::Rax, function)
        .with(Field::Rcx, 0)
}

/// What is wrong with the reply to [`cpuid`].
fn judge(check: &mut Check, reply: &PageFields) {
    let want = u64::from(device::cpuid(device::CPUID_OWN + 1, 3));
    check
        .same("reply", (reply.info1, reply.info2), (0, 0))
        .same("RDX", reply.rdx, want);
}

/// Data that go out, of a request in protocol version 1, whose scratch area may lie anywhere.
fn sent() -> Vec<u8> {
    (0..200).map(|at| at as u8 ^ 0x5c).collect()
}

fn string() -> Request {
    let info = IoInfo::new(PORT, IoSize::Byte, false);
    let info = info.string(true, AddressSize::BITS_64, Segment::DS);
    Request::new(ExitCode::IOIO, info.0, sent().len() as u64)
        .scratch_outside(DATA)
        .version(1)
}

/// How the handler comes to sleep over the page.
#[derive(Clone, Copy)]
enum Access {
    /// It is not there when the request is read.
    Read,
    /// It may not be written to when the reply comes.
    Write,
}

/// Take the module out while a vCPU sleeps over its page for as long as `sleep`.
fn over_page(access: Access, module: &Path, sleep: Duration) -> Result<Check> {
    let memory = page()?;
    let image = cpuid().image();
    let faults = match access {
        Access::Read => Faults::missing(&memory)?,
        Access::Write => {
            memory.set_page(&image);
            Faults::written(&memory)?
        }
    };
    let (_, mut check) = unload(
        StepVm::new()?,
        &memory,
        Attempt::msr(map::MOVING),
        module,
        sleep,
        &faults,
        |faults| match access {
            Access::Read => faults.fill(&image),
            Access::Write => faults.release(),
        },
    )?;
    judge(&mut check, &PageFields::of(&memory.page()));
    Ok(check)
}

/// The three places where the handler touches the guest's memory.
fn asleep(report: &mut Report, module: &Path) {
    for (name, access) in [
        ("reads the page", Access::Read),
        ("writes the reply", Access::Write),
    ] {
        report.test(&format!("a vCPU asleep where the handler {name}"), || {
            Ok(over_page(access, module, SLEEP)?.done())
        });
    }
    let name = "a vCPU asleep where the handler reads data elsewhere";
    if report.has_version_1(name) {
        report.test(name, || elsewhere(module));
    }
    report.test("a vCPU asleep for long: nobody counts as hung", || {
        let _hung = Setting::set("/proc/sys/kernel/hung_task_timeout_secs", &HUNG.to_string())?;
        let mut log = KernelLog::open()?;
        let mut check = over_page(Access::Read, module, Duration::from_secs(HUNG * 3))?;
        for line in log.lines()? {
            if line.contains("blocked for more than") {
                check.wrong(line);
            }
        }
        Ok(check.done())
    });
}

/// Take the module out while `attempt` sleeps inside the handler, and let it go on after that; then the module comes
/// in again.
fn unload(
    mut vm: StepVm,
    memory: &Memory,
    attempt: Attempt,
    module: &Path,
    sleep: Duration,
    faults: &Faults,
    wake: impl FnOnce(&Faults) -> Result<()>,
) -> Result<(Outcome, Check)> {
    memory.attach(vm.vm().fd(), SLOT, map::MOVING, 0)?;
    let mut check = Check::new();
    let outcome = thread::scope(|scope| {
        let guest = scope.spawn(|| vm.take(attempt));
        let asleep = faults.wait(PATIENCE);
        // Disabling the patch does not wait for the vCPU.
        let disabled = handler::disable();
        check.that("the module says that it is in use", is_refused());
        let remover = scope.spawn(handler::remove);
        if asleep.is_ok() {
            let gone = wait_for(sleep, || remover.is_finished());
            check.that(
                "the module stays while somebody sleeps inside",
                !gone && handler::loaded(),
            );
        }
        let woken = wake(faults);
        let back = guest.join();
        let gone = wait_for(PATIENCE, || remover.is_finished());
        check.that(
            "the module goes when nobody is left",
            gone && !handler::loaded(),
        );
        let removed = remover.join();
        asleep.and(disabled).and(woken)?;
        match (back, removed) {
            (Ok(back), Ok(removed)) => removed.and(back),
            _ => bail!("a thread panicked"),
        }
    })?;
    check.that("the guest goes on", outcome.went_on);
    let next = vm.take(Attempt::page(&idle()))?;
    check.about("the next request, to C").quiet(&next);
    handler::insert(module)?;
    let next = vm.take(Attempt::page(&idle()))?;
    check.about("the next request, to Rust").quiet(&next);
    check.about("");
    Ok((outcome, check))
}

/// Whether the kernel refuses to take the module out because something needs it.
fn is_refused() -> bool {
    let error = kernel::remove(handler::NAME).err();
    error.and_then(|error| error.raw_os_error()) == Some(libc::EWOULDBLOCK)
}

/// The handler sleeps where the scratch area is, which is of version 1.
fn elsewhere(module: &Path) -> Result<Vec<String>> {
    let memory = page()?;
    let faults = Faults::missing(&memory)?;
    let config = Config {
        ghcb_version: 1,
        ..Config::default()
    };
    let vm = StepVm::with(config, &[])?;
    let mut data = PageImage::default();
    for (at, byte) in sent().into_iter().enumerate() {
        data.set_byte(at, byte);
    }
    let (outcome, mut check) = unload(
        vm,
        &memory,
        Attempt::page(&string()),
        module,
        SLEEP,
        &faults,
        |faults| faults.fill(&data),
    )?;
    let reply = outcome.reply();
    let data = match outcome.exits.as_slice() {
        [Exit::Io { data, .. }] => data.clone(),
        _ => Vec::new(),
    };
    check.same("data that reach userspace", data, sent()).same(
        "reply",
        (reply.info1, reply.info2),
        (0, 0),
    );
    Ok(check.done())
}

fn killed(report: &mut Report, module: &Path) {
    for (wait, name) in [
        (
            false,
            "a VMM killed while its vCPU is asleep: the module can go",
        ),
        (true, "a VMM killed whose vCPU keeps the module"),
    ] {
        report.test(name, || {
            let victim = Victim::start(Stage::Asleep)?;
            let mut check = Check::new();
            thread::scope(|scope| {
                let remover = wait.then(|| scope.spawn(handler::remove));
                if let Some(remover) = &remover {
                    let gone = wait_for(SLEEP, || remover.is_finished());
                    check.that("the module stays", !gone);
                }
                victim.kill()?;
                match remover {
                    None => handler::remove(),
                    Some(remover) => match remover.join() {
                        Ok(removed) => removed,
                        Err(_) => bail!("a thread panicked"),
                    },
                }
            })?;
            check.that("the module is gone", !handler::loaded());
            handler::insert(module)?;
            let next = StepVm::new()?.take(Attempt::page(&idle()))?;
            check.about("another VM").quiet(&next);
            Ok(check.done())
        });
    }
}

/// vCPUs that wait outside the handler: a pending reply keeps the module, a hold does not.
fn waiting(report: &mut Report, module: &Path) {
    report.test("a vCPU with an exit in userspace", || {
        let mut vm = StepVm::new()?;
        let request = Request::new(ExitCode::IOIO, IoInfo::new(PORT, IoSize::Dword, true).0, 0);
        let memory = page()?;
        memory.set_page(&request.image());
        memory.attach(vm.vm().fd(), SLOT, map::MOVING, 0)?;
        let mut check = Check::new();
        let mut disabled = None;
        let outcome = vm.take_with(Attempt::msr(map::MOVING), |_, _| {
            disabled = Some(handler::disable());
            check
                .that("the module says that it is in use", is_refused())
                .same(
                    "who is waited for",
                    handler::pending().ok(),
                    Some(vec![(std::process::id(), 0)]),
                );
        })?;
        disabled.context("no exit")??;
        handler::remove()?;
        let reply = PageFields::of(&memory.page());
        check
            .went_on(&outcome)
            .that("the module is gone", !handler::loaded())
            .same("reply", (reply.info1, reply.info2), (0, 0))
            .same("RAX", reply.rax, device::port_value(PORT, 4));
        handler::insert(module)?;
        Ok(check.done())
    });
    for (way, name) in [
        (hold::PAGE, "a vCPU in an AP reset hold"),
        (hold::MSR, "a vCPU in an AP reset hold by MSR"),
    ] {
        report.test(name, || held(way, module));
    }
}

/// The APIC's commands for another vCPU, see `ghcb_ap_test`.
const APIC_ICR: u64 = 0xfee0_0300;
const INIT: u32 = 0x4500;
const SIPI: u32 = 0x4608;

/// Wake the second vCPU, as an operating system does.
fn wake(boss: &mut vmm::launch::vm::Vcpu, memory: &vm_memory::GuestMemoryMmap) -> Result<()> {
    let write = |gpa: u64, value: u32| {
        let request = Request::new(ExitCode::MMIO_WRITE, gpa, 4)
            .scratch_inside(ghcb_rs::ghcb_abi::page::SHARED_BUFFER_OFFSET)
            .buffer(&value.to_le_bytes());
        Attempt::page(&request)
    };
    for command in [INIT, SIPI] {
        let table = [write(APIC_ICR + 0x10, 1 << 24), write(APIC_ICR, command)];
        let (_, dead) = vmm::exchange::steps::take_table(boss, memory, &table)?;
        ensure!(dead.is_none(), "the sender died: {dead:?}");
    }
    Ok(())
}

fn held(way: u64, module: &Path) -> Result<Vec<String>> {
    let config = Config {
        irqchip: true,
        ..Config::default()
    };
    let mut vm = StepVm::with(config, &[Role::Hold])?;
    let (vcpus, memory) = vm.vm().split();
    let [boss, other] = vcpus else {
        bail!("not two vCPUs");
    };
    let mail = Mail::new(memory, 1);
    mail.set(offset_of!(Mailbox, argument), way);
    let count = |offset: usize| mail.get(offset);
    let mut check = Check::new();
    thread::scope(|scope| {
        let hand = Hand::start(scope, other)?;
        let result = (|| {
            wake(boss, memory)?;
            let started = wait_for(PATIENCE, || count(offset_of!(Mailbox, progress)) > 0);
            check.that("the vCPU starts", started);
            thread::sleep(SLEEP / 10);
            handler::remove()?;
            check.that("the module is gone", !handler::loaded());
            wake(boss, memory)?;
            let woken = wait_for(PATIENCE, || count(offset_of!(Mailbox, sipis)) > 0);
            check.that("C tells of the SIPI", woken);
            thread::sleep(SLEEP / 10);
            handler::insert(module)?;
            wake(boss, memory)?;
            let woken = wait_for(PATIENCE, || count(offset_of!(Mailbox, sipis)) > 1);
            check.that("Rust tells of the next", woken);
            check.same(
                "holds that ended otherwise",
                count(offset_of!(Mailbox, spurious)),
                0,
            );
            anyhow::Ok(())
        })();
        hand.stop();
        result
    })?;
    Ok(check.done())
}
