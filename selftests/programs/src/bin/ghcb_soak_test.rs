// SPDX-License-Identifier: GPL-2.0
//! Hostile guests: seeded VMGEXITs of every kind, while another vCPU changes the pages; then a look at the host.

use anyhow::Result;
use clap::Parser;
use mailbox::{map, Flip, Mailbox, Role, PAGE};
use std::mem::offset_of;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use vmm::checks;
use vmm::crew::{pin, Hand};
use vmm::exit::Exit;
use vmm::handler::Handler;
use vmm::host::{self, Balance, KernelLog};
use vmm::hostile::{Hostile, Random};
use vmm::ktap::{self, Options, Report};
use vmm::steps::{take_table, Attempt, Outcome, StepVm};
use vmm::vm::{set_word, Config};

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
/// Lines that the kernel may log in a second: KVM's own limits allow a burst of ten for each message.
const LINES: f32 = 60.0;

#[derive(Default)]
struct Tally {
    vmgexits: u64,
    machines: u64,
    ended: u64,
    lines: usize,
    problems: Vec<String>,
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
        let mut warnings = Vec::new();
        while tally.vmgexits < arguments.count && begin.elapsed() < limit {
            machine(&mut hostile, arguments.count, &mut tally)?;
            let lines = log.lines()?;
            tally.lines += lines.len();
            warnings.extend(host::faults(&lines).into_iter().cloned());
        }
        let seconds = begin.elapsed().as_secs_f32();
        conclude(report, seed, seconds, &before, &tally, &warnings)
    })
}

/// One VM: some tables, perhaps under fire of a second vCPU.
fn machine(hostile: &mut Hostile, count: u64, tally: &mut Tally) -> Result<()> {
    let config = Config {
        ghcb_version: if hostile.random().once_in(3) { 1 } else { 2 },
        ..Config::default()
    };
    let mut vm = StepVm::with(config, &[Role::Flip])?;
    tally.machines += 1;
    let (vcpus, memory) = vm.vm().split();
    let [boss, other] = vcpus else {
        anyhow::bail!("not two vCPUs");
    };
    fire(memory, hostile.random());
    thread::scope(|scope| {
        let hand = Hand::start(scope, other)?;
        let mut tables = || -> Result<()> {
            for _ in 0..TABLES {
                let left = count.saturating_sub(tally.vmgexits).min(TABLE);
                if left == 0 {
                    break;
                }
                let table: Vec<Attempt> = (0..left).map(|_| hostile.attempt()).collect();
                let (outcomes, dead) = take_table(boss, memory, &table)?;
                tally.vmgexits += outcomes.len() as u64;
                for (attempt, outcome) in table.iter().zip(&outcomes) {
                    if let Some(problem) = judge(outcome) {
                        tally.problems.push(format!("{problem}: {attempt:x?}"));
                    }
                }
                if let Some(why) = dead {
                    tally.ended += 1;
                    tally.problems.push(format!("the guest died: {why}"));
                    break;
                }
            }
            Ok(())
        };
        let result = tables();
        let stop = map::MAILBOXES + PAGE + offset_of!(Mailbox, stop) as u64;
        set_word(memory, stop, 1);
        hand.stop();
        result
    })
}

/// Have the second vCPU change words of pages that come into use.
fn fire(memory: &vm_memory::GuestMemoryMmap, random: &mut Random) {
    const OFFSETS: [u64; 8] = [0x390, 0x398, 0x3a0, 0x3a8, 0x3f0, 0x3f8, 0x1f8, 0x800];
    let base = map::MAILBOXES + PAGE + offset_of!(Mailbox, flips) as u64;
    for index in 0..8 {
        let at = base + index * size_of::<Flip>() as u64;
        // MSR numbers (RCX) stay out of it: see `hostile`.
        let address = map::page(random.below(TABLE)) + random.choose(&OFFSETS);
        set_word(memory, at + offset_of!(Flip, address) as u64, address);
        set_word(memory, at + offset_of!(Flip, width) as u64, 8);
        let value = match random.below(3) {
            0 => u64::MAX,
            1 => random.below(0x100),
            _ => random.word(),
        };
        set_word(memory, at + offset_of!(Flip, even) as u64, value);
        set_word(memory, at + offset_of!(Flip, odd) as u64, random.word());
    }
}

/// What no VMGEXIT may bring.
fn judge(outcome: &Outcome) -> Option<String> {
    if !outcome.went_on {
        return Some("the guest does not go on".into());
    }
    if let Some((vector, _)) = outcome
        .exception
        .filter(|(vector, _)| ![6, 13].contains(vector))
    {
        return Some(format!("exception {vector}"));
    }
    let legal = |exit: &Exit| match exit {
        Exit::Io { .. } | Exit::Mmio { .. } | Exit::ApResetHold => true,
        Exit::Errno(errno) => [libc::EINVAL, libc::EFAULT].contains(errno),
        Exit::InternalError { suberror } => *suberror == 4,
        exit => exit.is_termination(),
    };
    outcome
        .exits
        .iter()
        .find(|exit| !legal(exit))
        .map(|exit| format!("{exit:?}"))
}

fn conclude(
    report: &mut Report,
    seed: u64,
    seconds: f32,
    before: &Balance,
    tally: &Tally,
    warnings: &[String],
) -> Result<()> {
    let problems: Vec<String> = tally.problems.iter().take(8).cloned().collect();
    report.problems(
        "each VMGEXIT brings what it may, and each guest lives",
        &problems,
    );
    report.problems(
        "no warning or fault in the kernel's log meanwhile",
        warnings,
    );
    let allowed = 100.0 + LINES * seconds;
    if report.handler() == Handler::Rust {
        let flood = (tally.lines as f32 > allowed)
            .then(|| format!("{} lines in {seconds:.0} seconds", tally.lines));
        report.problems("no flood of messages", &Vec::from_iter(flood));
    } else {
        // KVM's C function logs some requests without a limit.
        report.skip("no flood of messages", "C has no limit for terminations");
    }
    let imbalance = before.problems(&Balance::now()?);
    report.problems("pins are balanced, and memory is back", &imbalance);
    let run = checks::run(Role::Events, Config::default())?;
    let failed: Vec<String> = run
        .checks
        .iter()
        .filter(|check| !check.pass)
        .map(|check| check.name.clone())
        .collect();
    report.problems("the host serves another VM", &failed);
    let pass =
        problems.is_empty() && warnings.is_empty() && imbalance.is_empty() && failed.is_empty();
    println!(
        "# {} VMs, {} lines in the kernel's log, {:.0} VMGEXITs a second",
        tally.machines,
        tally.lines,
        tally.vmgexits as f32 / seconds
    );
    println!(
        "soak: vmgexits={} seed={seed} warnings={} pins={} result={}",
        tally.vmgexits,
        warnings.len(),
        if imbalance.is_empty() {
            "balanced"
        } else {
            "unbalanced"
        },
        if pass { "pass" } else { "fail" }
    );
    Ok(())
}
