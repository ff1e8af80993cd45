// SPDX-License-Identifier: GPL-2.0
//! Life cycle: insert, patch, unpatch and remove the module, with and without guests, and with VMMs killed at each stage.

use anyhow::{ensure, Context, Result};
use clap::Parser;
use mailbox::Role;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode as Status;
use std::time::{Duration, Instant};
use vmm::exchange::steps::StepVm;
use vmm::judge::check::Check;
use vmm::kernel::balance::Balance;
use vmm::kernel::handler::{self, Handler};
use vmm::kernel::host::{self, KernelLog};
use vmm::kernel::kvm_amd;
use vmm::launch::crew::wait_for;
use vmm::launch::kind::Kind;
use vmm::launch::vm::{Config, Vm};
use vmm::lifecycle::load::{self, Load};
use vmm::lifecycle::victim::{Stage, Victim};
use vmm::report::ktap::{self, Options, Report};
use vmm::report::times::Times;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Times that the module goes in and out
    #[arg(long, default_value_t = 6)]
    count: u64,
    /// Seconds after which no further round of cycles begins
    #[arg(long, default_value_t = 600)]
    seconds_max: u64,
    /// Take kvm_amd out and put it in again, too
    #[arg(long)]
    reload: bool,
    /// Be the VMM that is to be killed
    #[arg(long, hide = true)]
    victim: Option<Stage>,
}

/// Most cycles of a round: half of them with guests, half without.
const ROUND: u64 = 50;
/// Cycles after which VMMs are killed once more.
const KILLS: u64 = 200;
/// Guests that run at the same time.
const GUESTS: usize = 2;
/// Turns of a guest that has been stopped for a while.
const TURNS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(10);

/// What the whole run did.
#[derive(Default)]
struct Tally {
    cycles: u64,
    guests: u64,
    reloads: u64,
    kills: u64,
    events: u64,
    /// With guests, and without.
    patch: [Times; 2],
    unpatch: [Times; 2],
}

fn main() -> Status {
    let arguments = Arguments::parse();
    if let Some(stage) = arguments.victim {
        arguments.options.guest.choose();
        return stage.stay();
    }
    ktap::run(&arguments.options, |report| {
        let Some(module) = handler::module() else {
            report.skip("life cycle", "GHCB_MODULE names no module");
            return Ok(());
        };
        let mut log = KernelLog::open()?;
        // The first VM makes KVM allocate what it keeps.
        drop(StepVm::new()?);
        let before = Balance::now()?;
        let mut run = Run {
            module,
            reload: arguments.reload,
            tally: Tally::default(),
        };
        let begin = Instant::now();
        let limit = Duration::from_secs(arguments.seconds_max);
        let mut left = arguments.count;
        while left > 0 && begin.elapsed() < limit {
            let round = left.min(ROUND);
            left -= round;
            run.cycles(report, round);
            if left % KILLS == 0 || begin.elapsed() >= limit {
                run.kills(report);
            }
        }
        parked(report);
        refusals(report, &run.module);
        let imbalance = before.problems()?;
        report.problems("pins are balanced, and memory is back", &imbalance);
        let warnings = host::faults(&log.lines()?).len();
        run.tally.print(report, warnings, imbalance.is_empty());
        Ok(())
    })
}

impl Tally {
    fn print(&self, report: &Report, warnings: usize, balanced: bool) {
        for (what, [loaded, idle]) in [("to patch", &self.patch), ("to unpatch", &self.unpatch)] {
            for (name, times) in [("with guests", loaded), ("without guests", idle)] {
                println!(
                    "# microseconds {what} {name}, {} times: min/median/p99/max {times}",
                    times.count()
                );
            }
        }
        println!(
            "# {} events raised meanwhile, {} VMMs killed, kvm_amd reloaded {} times",
            self.events, self.kills, self.reloads
        );
        let [patch, _] = &self.patch;
        let pass = report.failures() == 0 && warnings == 0 && self.cycles > 0;
        println!(
            "lifecycle: guest={} cycles={} guests={} patch_us={patch} warnings={warnings} pins={} result={}",
            Kind::chosen(),
            self.cycles,
            self.guests,
            if balanced { "balanced" } else { "unbalanced" },
            if pass { "pass" } else { "fail" }
        );
    }
}

struct Run {
    module: PathBuf,
    reload: bool,
    tally: Tally,
}

impl Run {
    /// Half of the cycles without guests, half with.
    fn cycles(&mut self, report: &mut Report, count: u64) {
        let (idle, loaded) = (count / 2, count.div_ceil(2));
        println!("# cycles: {idle} without guests, {loaded} under guests");
        report.test("cycles without guests", || {
            self.idle(idle)?;
            Ok(Vec::new())
        });
        report.test(&format!("cycles under {GUESTS} guests"), || {
            self.loaded(loaded)
        });
    }

    fn idle(&mut self, count: u64) -> Result<()> {
        handler::remove()?;
        for _ in 0..count {
            self.cycle(None)?;
        }
        if self.reload {
            // Without the module, and beneath it.
            self.reload_kvm()?;
            handler::insert(&self.module)?;
            self.reload_kvm()?;
            let enabled = wait_for(PATIENCE, || handler::current() == Handler::Rust);
            ensure!(enabled, "the module does not take over again");
            self.answers(Handler::Rust)?;
            handler::remove()?;
            self.answers(Handler::C)?;
        }
        Ok(())
    }

    fn loaded(&mut self, count: u64) -> Result<Vec<String>> {
        handler::remove()?;
        self.tally.guests += GUESTS as u64;
        let (events, problems) = load::under(GUESTS, |load| {
            for _ in 0..count {
                self.cycle(Some(load))?;
            }
            kvm_amd::is_in_use().context("beneath C")?;
            handler::insert(&self.module)?;
            kvm_amd::is_in_use().context("beneath the module")?;
            load.progress()?;
            Ok(load.events())
        })?;
        self.tally.events += events;
        ensure!(events > 0, "no event meanwhile");
        Ok(problems)
    }

    /// In, patched, unpatched, out.
    fn cycle(&mut self, load: Option<&Load>) -> Result<()> {
        let index = usize::from(load.is_none());
        ensure!(!handler::loaded(), "the module is there already");
        let begin = Instant::now();
        handler::insert(&self.module)?;
        self.tally.patch[index].push(begin.elapsed());
        ensure!(handler::current() == Handler::Rust, "not patched");
        if let Some(load) = load {
            let before = handler::answered().context("no table of events")?;
            load.progress()?;
            let after = handler::answered().context("no table of events")?;
            ensure!(after > before, "Rust answers nothing: {before} and {after}");
        }
        let begin = Instant::now();
        handler::disable()?;
        self.tally.unpatch[index].push(begin.elapsed());
        ensure!(handler::current() == Handler::C, "not unpatched");
        handler::remove()?;
        ensure!(!handler::loaded(), "the module is there still");
        if let Some(load) = load {
            load.progress()?;
        }
        self.tally.cycles += 1;
        Ok(())
    }

    fn reload_kvm(&mut self) -> Result<()> {
        kvm_amd::reload()?;
        self.tally.reloads += 1;
        Ok(())
    }

    /// A guest that runs now is answered by `handler`.
    fn answers(&mut self, handler: Handler) -> Result<()> {
        let before = handler::answered();
        let mut check = Check::new();
        load::turn(&mut StepVm::new()?, &mut check)?;
        self.tally.guests += 1;
        let problems = check.done();
        ensure!(problems.is_empty(), "{problems:?}");
        let after = handler::answered();
        ensure!(
            (before < after) == (handler == Handler::Rust),
            "answered in Rust: {before:?}, then {after:?}"
        );
        Ok(())
    }

    /// VMMs whose vCPU is at each stage of an exit are killed, before, between and after changes of the handler.
    fn kills(&mut self, report: &mut Report) {
        for stage in Stage::all(Kind::chosen()) {
            report.test(&format!("a VMM killed: {stage:?}"), || {
                handler::switch(Handler::Rust)?;
                self.kill(Victim::start(stage)?)?;
                handler::remove()
                    .with_context(|| format!("after a VMM was killed at {stage:?}"))?;
                self.answers(Handler::C)?;
                self.kill(Victim::start(stage)?)?;
                handler::insert(&self.module)?;
                self.answers(Handler::Rust)?;
                Ok(Vec::new())
            });
            // The module would wait for one that is asleep.
            if stage == Stage::Asleep {
                continue;
            }
            let name = format!("a VMM killed after the handler changed under it: {stage:?}");
            report.test(&name, || {
                for to in [Handler::C, Handler::Rust] {
                    handler::switch(other(to))?;
                    let victim = Victim::start(stage)?;
                    handler::switch(to)?;
                    self.kill(victim)?;
                    self.answers(to)?;
                }
                Ok(Vec::new())
            });
        }
        report.test("a VMM stopped while the handler changes", || {
            for to in [Handler::C, Handler::Rust] {
                handler::switch(other(to))?;
                let mut victim = Victim::start(Stage::Exits)?;
                victim.signal(libc::SIGSTOP)?;
                handler::switch(to)?;
                victim.signal(libc::SIGCONT)?;
                for _ in 0..TURNS {
                    victim.wait()?;
                }
                self.kill(victim)?;
            }
            Ok(Vec::new())
        });
    }

    fn kill(&mut self, victim: Victim) -> Result<()> {
        victim.kill()?;
        self.tally.kills += 1;
        self.tally.guests += 1;
        Ok(())
    }
}

fn other(handler: Handler) -> Handler {
    match handler {
        Handler::C => Handler::Rust,
        Handler::Rust => Handler::C,
    }
}

fn parked(report: &mut Report) {
    report.test("patch and unpatch while exits are with userspace", || {
        for to in [Handler::C, Handler::Rust] {
            let mut vm = Vm::launch(Config::default(), &[Role::Instructions])?;
            // The first exits are those of OUT and IN.
            for _ in 0..4 {
                vm.vcpu(0).run();
                for next in [to, other(to), to] {
                    // A pending reply keeps the module, so it cannot come again.
                    if next == Handler::C || handler::pending().map_or(true, |rows| rows.is_empty())
                    {
                        handler::switch(next)?;
                    }
                }
            }
            for _ in 0..64 {
                if vm.vcpu(0).run().is_termination() {
                    break;
                }
            }
            let mail = vm.mail(0);
            let made = mail.get(std::mem::offset_of!(mailbox::Mailbox, check_count));
            ensure!(made > 20, "the guest made only {made} checks");
        }
        Ok(Vec::new())
    });
}

fn refusals(report: &mut Report, module: &Path) {
    report.test(
        "the module can't be removed while its patch is enabled",
        || {
            handler::switch(Handler::Rust)?;
            ensure!(handler::try_remove().is_err(), "it was removed");
            ensure!(handler::current() == Handler::Rust, "it no longer answers");
            Ok(Vec::new())
        },
    );
    report.test("the module can't be inserted twice", || {
        ensure!(handler::insert(module).is_err(), "it was inserted");
        ensure!(handler::current() == Handler::Rust, "it no longer answers");
        Ok(Vec::new())
    });
    report.test("a module for another kernel is refused", || {
        handler::remove()?;
        let mut image = fs::read(module).context("read the module")?;
        estrange(&mut image)?;
        let path = std::env::temp_dir().join(format!("ghcb_rs-{}.ko", std::process::id()));
        fs::write(&path, &image).with_context(|| path.display().to_string())?;
        let inserted = handler::insert(&path);
        fs::remove_file(&path).context("remove the copy")?;
        ensure!(inserted.is_err(), "it was inserted");
        ensure!(!handler::loaded(), "it is there");
        handler::insert(module)?;
        Ok(Vec::new())
    });
}

/// Make of the module one for another kernel, by the kernel's version and by its build ID: one whose symbols have versions does
/// not look at its own.
fn estrange(image: &mut [u8]) -> Result<()> {
    let version = value(image, b"\0vermagic=")?;
    image[version] ^= 1;
    let digits = value(image, b"\0vmlinux_build_id=")?;
    let digits = image
        .get(digits..)
        .and_then(|rest| rest.first_chunk::<16>());
    let digits = std::str::from_utf8(digits.context("no build ID")?)?;
    // As the module compares it: a word at a time.
    let id = u64::from_str_radix(digits, 16)?.to_be_bytes();
    let places: Vec<_> = (0..image.len())
        .filter(|at| image[*at..].starts_with(&id))
        .collect();
    ensure!(!places.is_empty(), "the module does not have its build ID");
    for at in places {
        image[at] ^= 1;
    }
    Ok(())
}

/// Where in the module a value of its information begins.
fn value(image: &[u8], name: &[u8]) -> Result<usize> {
    let at = image.windows(name.len()).position(|window| window == name);
    let name = String::from_utf8_lossy(name);
    Ok(at.with_context(|| format!("the module has no {name}"))? + name.len())
}
