// SPDX-License-Identifier: GPL-2.0
//! Hostile guests: seeded VMGEXITs of every kind, while another vCPU changes the pages; then a look at the host.

use anyhow::{bail, Context, Result};
use clap::Parser;
use ghcb_rs::ghcb_abi::exit_code::ExitCode as Event;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::reply::ErrorReason;
use mailbox::device::PORT;
use mailbox::{map, Mailbox, Role, PAGE};
use std::fs::File;
use std::mem::offset_of;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use vm_memory::GuestMemoryMmap;
use vmm::backing::huge_page;
use vmm::exchange::exit::Exit;
use vmm::exchange::request::Request;
use vmm::exchange::steps::{take_table, Attempt, StepVm};
use vmm::hostile::Hostile;
use vmm::judge::in_guest;
use vmm::judge::permit;
use vmm::kernel::balance::Balance;
use vmm::kernel::handler::{self, Handler};
use vmm::kernel::host::{self, KernelLog};
use vmm::launch::crew::{pin, Hand};
use vmm::launch::kind::Kind;
use vmm::launch::memory::punch;
use vmm::launch::vm::{set_word, word, Config, Vcpu};
use vmm::report::ktap::{self, Options, Report};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// VMGEXITs to raise
    #[arg(long, default_value_t = 6000)]
    count: u64,
    /// Seconds after which to stop even so
    #[arg(long, default_value_t = 120)]
    seconds_max: u64,
    /// First number of the generator: the same one raises the same VMGEXITs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// VMGEXITs of one table, and tables of one VM.
const TABLE: u64 = 256;
const TABLES: u64 = 8;
/// VMs of which one asks to have its own page tables overwritten.
const DESTROYED: u64 = 4;
/// Lines that the kernel may log in a second: KVM's own limits allow a burst of ten for each message.
const LINES: f32 = 60.0;
/// Private pages that the second vCPU writes to, and how long the VMM waits between two holes in them.
const PRIVATE_PAGES: u64 = 8;
const PAUSE: Duration = Duration::from_millis(2);
/// VMGEXITs between two lines on how far it is.
const PROGRESS: u64 = 50_000;

#[derive(Default)]
struct Tally {
    vmgexits: u64,
    machines: u64,
    /// VMs whose GHCBs were in huge pages.
    huge: u64,
    /// VMs that had themselves destroyed, and did not go on.
    destroyed: u64,
    terminations: u64,
    /// Times that the other vCPU changed all of its words.
    changes: u64,
    /// Holes that were punched into private memory.
    holes: u64,
    lines: usize,
    /// Those that tell of a fault of the host.
    warnings: Vec<String>,
    problems: Vec<String>,
}

impl Tally {
    /// Take in what the kernel has logged.
    fn read(&mut self, log: &mut KernelLog) -> Result<()> {
        let lines = log.lines()?;
        self.lines += lines.len();
        self.warnings
            .extend(host::faults(&lines).into_iter().cloned());
        Ok(())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed;
    ktap::run(&arguments.options, |report| {
        println!("# seed: {seed}");
        pin(0);
        // The first VM makes KVM allocate what it keeps.
        drop(StepVm::new()?);
        let before = Balance::now()?;
        let mut log = KernelLog::open()?;
        let mut tally = Tally::default();
        let begin = Instant::now();
        let limit = Duration::from_secs(arguments.seconds_max);
        let mut hostile = Hostile::new(seed);
        while tally.vmgexits < arguments.count && begin.elapsed() < limit {
            let so_far = tally.vmgexits;
            machine(report.handler(), &mut hostile, arguments.count, &mut tally)
                .with_context(|| format!("VM {} of seed {seed}", tally.machines))?;
            tally.read(&mut log)?;
            if so_far / PROGRESS != tally.vmgexits / PROGRESS {
                let seconds = begin.elapsed().as_secs();
                println!("# {} VMGEXITs in {seconds} seconds", tally.vmgexits);
            }
        }
        let seconds = begin.elapsed().as_secs_f32();
        conclude(report, seed, seconds, &before, tally, &mut log)
    })
}

/// One VM: some tables under fire of a second vCPU, and perhaps an end that it asks for.
fn machine(handler: Handler, hostile: &mut Hostile, count: u64, tally: &mut Tally) -> Result<()> {
    let versions = Kind::chosen().versions();
    let ghcb_version = if versions.contains(&1) && hostile.random().once_in(3) {
        1
    } else {
        2
    };
    let config = Config {
        ghcb_version,
        ..Config::default()
    };
    let others: &[Role] = match config.kind {
        Kind::SevEs => &[Role::Flip],
        // The third is for AP creation.
        Kind::SevSnp => &[Role::Flip, Role::Hold],
    };
    let mut vm = StepVm::with(config, others)?;
    tally.machines += 1;
    if config.kind.is_snp() {
        vm.vm().serve_page_states()?;
        let mail = vm.vm().mail(1);
        mail.set(offset_of!(Mailbox, argument), PRIVATE_PAGES);
    }
    let private = vm.vm().private_memory()?;
    let (vcpus, memory) = vm.vm().split();
    let [boss, other, ..] = vcpus else {
        bail!("not two vCPUs");
    };
    if huge_page::known() {
        if tally.machines % 2 == 0 {
            huge_page::collapse(memory)?;
            tally.huge += u64::from(huge_page::huge(memory)? > 0);
        } else {
            huge_page::split(memory)?;
        }
    }
    let mail = |offset: usize| map::MAILBOXES + PAGE + offset as u64;
    let result = thread::scope(|scope| {
        let hand = Hand::start(scope, other)?;
        let stop = Arc::new(AtomicBool::new(false));
        let puncher = private.map(|private| {
            let stop = stop.clone();
            scope.spawn(move || punch_holes(&private, &stop))
        });
        let result = tables(handler, hostile, boss, memory, count, tally);
        stop.store(true, Ordering::Release);
        if let Some(puncher) = puncher {
            let holes = puncher.join().unwrap_or_else(|_| bail!("the thread ended"));
            tally.holes += holes.context("punch holes")?;
        }
        set_word(memory, mail(offset_of!(Mailbox, stop)), 1);
        hand.stop();
        result
    });
    tally.changes += word(memory, mail(offset_of!(Mailbox, progress)));
    if result? && hostile.random().once_in(DESTROYED) {
        destroy(ghcb_version, boss, memory, tally)?;
    }
    Ok(())
}

/// Take private pages away under the guest until told to stop; how often.
fn punch_holes(private: &File, stop: &AtomicBool) -> Result<u64> {
    let mut holes = 0;
    while !stop.load(Ordering::Acquire) {
        let page = holes % PRIVATE_PAGES;
        punch(private, map::CONVERTED + page * PAGE, 2 * PAGE)?;
        holes += 1;
        thread::sleep(PAUSE);
    }
    Ok(holes)
}

/// Some tables; true if the guest lives.
fn tables(
    handler: Handler,
    hostile: &mut Hostile,
    boss: &mut Vcpu,
    memory: &GuestMemoryMmap,
    count: u64,
    tally: &mut Tally,
) -> Result<bool> {
    for _ in 0..TABLES {
        let left = count.saturating_sub(tally.vmgexits).min(TABLE);
        if left == 0 {
            break;
        }
        let table = hostile.table(left as usize);
        table.aim(memory, 1, handler::is_observed());
        let (outcomes, dead) = take_table(boss, memory, &table.attempts)?;
        tally.vmgexits += outcomes.len() as u64;
        for (index, (attempt, outcome)) in table.attempts.iter().zip(&outcomes).enumerate() {
            tally.terminations += u64::from(outcome.exits.iter().any(Exit::is_termination));
            if let Some(problem) = permit::problem(handler, attempt, outcome) {
                tally.problems.push(format!(
                    "VM {}, step {index}: {problem}: {attempt}",
                    tally.machines
                ));
            }
        }
        if let Some(why) = dead {
            tally.problems.push(format!("the guest died: {why}"));
            return Ok(false);
        }
    }
    Ok(true)
}

/// The guest asks for data over its own page tables: it gets them in version 1, and an error in version 2.
fn destroy(
    ghcb_version: u16,
    boss: &mut Vcpu,
    memory: &GuestMemoryMmap,
    tally: &mut Tally,
) -> Result<()> {
    const COUNT: u64 = 1024;
    let info =
        IoInfo::new(PORT, IoSize::Dword, true).string(true, AddressSize::BITS_64, Segment::ES);
    let own_end = Request::new(Event::IOIO, info.0, COUNT)
        .version(ghcb_version)
        .scratch_outside(map::TABLES);
    let table = [Attempt::page(&own_end), Attempt::page(&idle())];
    let (outcomes, dead) = take_table(boss, memory, &table)?;
    tally.vmgexits += outcomes.len() as u64;
    let Some(first) = outcomes.first() else {
        bail!("no outcome");
    };
    if ghcb_version > 1 {
        let refused = (2, u64::from(ErrorReason::INVALID_SCRATCH_AREA.0));
        let reply = first.reply();
        if (reply.info1, reply.info2) != refused || dead.is_some() || outcomes.len() != table.len()
        {
            tally.problems.push(format!(
                "scratch area over page tables in version {ghcb_version}: {dead:?}, {outcomes:x?}"
            ));
        }
        return Ok(());
    }
    // Translations that the CPU still has may carry the guest on.
    tally.destroyed += u64::from(dead.is_some());
    let received = matches!(first.exits.first(), Some(Exit::Io { out: false, .. }));
    if !received {
        tally
            .problems
            .push(format!("INS over page tables brought {:x?}", first.exits));
    }
    Ok(())
}

fn idle() -> Request {
    Request::new(Event::INVD, 0, 0)
}

fn conclude(
    report: &mut Report,
    seed: u64,
    seconds: f32,
    before: &Balance,
    mut tally: Tally,
    log: &mut KernelLog,
) -> Result<()> {
    let earlier = report.failures();
    let problems: Vec<String> = tally.problems.iter().take(8).cloned().collect();
    report.problems(
        "each VMGEXIT brings what it may, and each guest lives until it asks for its end",
        &problems,
    );
    if report.handler() == Handler::Rust {
        let allowed = 100.0 + LINES * seconds;
        let flood = (tally.lines as f32 > allowed)
            .then(|| format!("{} lines in {seconds:.0} seconds", tally.lines));
        report.problems("no flood of messages", &Vec::from_iter(flood));
    } else {
        // KVM's C function logs some requests without a limit.
        report.skip("no flood of messages", "C has no limit for terminations");
    }
    let imbalance = before.problems()?;
    report.problems("pins are balanced, and memory is back", &imbalance);
    report.test("the host serves another VM", another);
    // The words that change, and GHCBs in huge pages, must have been there for the rest to mean anything.
    let mut idle = Vec::new();
    if tally.changes == 0 {
        idle.push("no page was changed under the handler".to_owned());
    }
    if huge_page::known() && tally.machines > 1 && tally.huge == 0 {
        idle.push("no GHCB was in a huge page".to_owned());
    }
    if Kind::chosen().is_snp() && tally.holes == 0 {
        idle.push("no private page was taken away".to_owned());
    }
    report.problems(
        "pages change under the handler, and are of each size",
        &idle,
    );
    // What the checks above have brought about counts too.
    tally.read(log)?;
    report.problems(
        "no warning or fault in the kernel's log meanwhile",
        &tally.warnings,
    );
    println!(
        "# {} VMs ({} with huge pages, {} destroyed on request), {} terminations, {} changes of pages, {} holes",
        tally.machines, tally.huge, tally.destroyed, tally.terminations, tally.changes, tally.holes
    );
    println!(
        "# {} lines in the kernel's log, {:.0} VMGEXITs a second",
        tally.lines,
        tally.vmgexits as f32 / seconds
    );
    println!(
        "soak: guest={} vmgexits={} seed={seed} warnings={} pins={} result={}",
        Kind::chosen(),
        tally.vmgexits,
        tally.warnings.len(),
        if imbalance.is_empty() {
            "balanced"
        } else {
            "unbalanced"
        },
        if report.failures() == earlier {
            "pass"
        } else {
            "fail"
        }
    );
    Ok(())
}

/// A guest that judges its answers, after all that.
fn another() -> Result<Vec<String>> {
    let run = in_guest::run(Role::Events, Config::default())?;
    let mut failed: Vec<String> = run
        .checks
        .iter()
        .filter(|check| !check.pass)
        .map(|check| check.name.clone())
        .collect();
    if run.checks.is_empty() {
        failed.push("the guest made no check".into());
    }
    Ok(failed)
}
