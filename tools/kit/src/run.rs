// SPDX-License-Identifier: GPL-2.0

//! Carries the plan out, and stops at the first sign of trouble.

use crate::anonymous::Names;
use crate::cli::Run as Arguments;
use crate::counters;
use crate::facts::{self, Facts};
use crate::folder::Folder;
use crate::ktap::{Reader, Test, Verdict};
use crate::plan::{Handler, Phase, Plan, Step, PHASES};
use crate::report::{End, PhaseReport, Report};
use crate::stand::{self, Stand};
use anyhow::{bail, Context as _, Result};
use kernel_log::{faults, KernelLog};
use rustix::process::{kill_process_group, Pid, Signal};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// What the programs said, beside the report.
const LOG: &str = "ghcb-kit.log";
/// Exit status of a test program that skipped all it has.
const SKIPPED: i32 = 4;
/// How often it is looked at whether the user has had enough.
const LOOK: Duration = Duration::from_millis(200);
/// Set by Ctrl-C.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// `ghcb-kit run`.
///
/// # Errors
///
/// If it cannot begin; nothing has changed then.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let kit = Folder::open(&arguments.kit)?;
    if !rustix::process::geteuid().is_root() {
        bail!("it takes root to try a module");
    }
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Release)).context("Ctrl-C")?;
    let stand = Stand::now()?;
    let mut tour = Tour::begin(arguments, kit)?;
    if !arguments.yes && !tour.agreed()? {
        println!("Nothing was done.");
        return Ok(ExitCode::SUCCESS);
    }
    tour.phases(arguments)?;
    let left_behind = stand.restore().err();
    let mut report = Report {
        kit: tour.kit.version(),
        facts: tour.facts,
        phases: tour.reports,
        left_behind: left_behind.map(|error| format!("{error:#}")),
    };
    let names = Names::of_this_host(&tour.kit);
    names.take_out(&mut report);
    write(&report, arguments)?;
    names.take_out_of_file(&arguments.out.join(LOG))?;
    Ok(if report.is_interrupted() {
        ExitCode::from(130)
    } else if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn write(report: &Report, arguments: &Arguments) -> Result<()> {
    let base = arguments.out.join(report.name());
    let [json, text] =
        ["json", "txt"].map(|end| PathBuf::from(format!("{}.{end}", base.display())));
    let file = File::create(&json).with_context(|| json.display().to_string())?;
    serde_json::to_writer_pretty(file, report).with_context(|| json.display().to_string())?;
    fs::write(&text, report.to_string()).with_context(|| text.display().to_string())?;
    println!(
        "\n{report}\nThe report: {}, and as text: {}",
        json.display(),
        text.display()
    );
    let tests = || report.phases.iter().flat_map(|phase| &phase.tests);
    println!(
        "kit: phases={} tests={} failed={} restored={} result={}",
        report
            .phases
            .iter()
            .filter(|phase| phase.end == End::Passed)
            .count(),
        tests().count(),
        tests().filter(|test| test.verdict == Verdict::Fail).count(),
        if report.left_behind.is_none() {
            "yes"
        } else {
            "no"
        },
        if report.is_good() { "pass" } else { "fail" }
    );
    Ok(())
}

/// A run of the kit.
struct Tour {
    kit: Folder,
    facts: Facts,
    /// Modules for the kernel that runs.
    modules: PathBuf,
    /// Why the module answers nothing in this run, if so.
    only_observe: Option<String>,
    scale: u64,
    kernel_log: KernelLog,
    log: File,
    reports: Vec<PhaseReport>,
}

impl Tour {
    fn begin(arguments: &Arguments, kit: Folder) -> Result<Self> {
        let facts = Facts::of_this_host(&kit);
        if !facts.has_sev_es() && !facts.has_snp() {
            let why = facts
                .complaint()
                .unwrap_or("kvm_amd is not loaded, or says sev_es=N");
            bail!("this host runs no SEV-ES guests: {why} (bin/ghcb-check says what to do)");
        }
        let modules = kit.modules(&facts.kernel)?;
        let others = facts::other_vms();
        let only_observe = if arguments.observe {
            Some("as you wish".to_owned())
        } else if others > 0 && !arguments.beside_others {
            Some(format!(
                "{others} VMs of others run on this host (--beside-others)"
            ))
        } else {
            None
        };
        let log = arguments.out.join(LOG);
        Ok(Self {
            modules,
            only_observe,
            scale: arguments.scale,
            kernel_log: KernelLog::open()?,
            log: File::create(&log).with_context(|| log.display().to_string())?,
            reports: Vec::new(),
            facts,
            kit,
        })
    }

    /// Says what will be done, and asks.
    fn agreed(&self) -> Result<bool> {
        println!("On {}, kernel {}:", self.facts.processor, self.facts.kernel);
        for phase in PHASES.iter().filter(|phase| self.may(phase)) {
            println!("  {:<12}{}", phase.name, phase.says);
        }
        if let Some(why) = &self.only_observe {
            println!("C answers all VMGEXITs meanwhile: {why}.");
        }
        println!("It stops at the first sign of trouble, and leaves the host as it is now, also after Ctrl-C.");
        print!("Go on? [y/N] ");
        io::stdout().flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    fn may(&self, phase: &Phase) -> bool {
        self.only_observe.is_none() || matches!(phase.handler, Handler::C | Handler::Observed)
    }

    /// All phases, as far as nothing is wrong.
    fn phases(&mut self, arguments: &Arguments) -> Result<()> {
        for phase in &PHASES {
            let wanted =
                arguments.only.is_empty() || arguments.only.iter().any(|name| name == phase.name);
            if !wanted || !self.may(phase) {
                continue;
            }
            println!("\n== {}: {}", phase.name, phase.says);
            let report = self.phase(phase);
            let end = report.end;
            print!("{report}");
            self.reports.push(report);
            if matches!(end, End::Failed | End::Interrupted) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn phase(&mut self, phase: &Phase) -> PhaseReport {
        let mut report = PhaseReport {
            name: phase.name.to_owned(),
            end: End::Passed,
            why: None,
            tests: Vec::new(),
            figures: Vec::new(),
            counters: Vec::new(),
            tables: Vec::new(),
        };
        let fail = |report: &mut PhaseReport, why: String| {
            report.end = End::Failed;
            report.why.get_or_insert(why);
        };
        if let Err(error) = self.steps(phase, &mut report) {
            fail(&mut report, format!("{error:#}"));
        }
        report.counters = counters::now();
        if let Some(row) = counters::unexplained(&report.counters) {
            let why = format!("answers of C's that the module cannot explain: {row}");
            fail(&mut report, why);
        }
        if let Err(error) = stand::take_out() {
            fail(&mut report, format!("{error:#}"));
        }
        match self.kernel_log.lines() {
            Ok(lines) => {
                if let Some(fault) = faults(&lines).first() {
                    fail(&mut report, format!("the kernel reports: {fault}"));
                }
            }
            Err(error) => fail(&mut report, format!("{error:#}")),
        }
        if INTERRUPTED.load(Ordering::Acquire) {
            report.end = End::Interrupted;
            report.why = Some("interrupted".to_owned());
        }
        report
    }

    fn steps(&mut self, phase: &Phase, report: &mut PhaseReport) -> Result<()> {
        let plan = Plan {
            kit: &self.kit,
            facts: &self.facts,
            scale: self.scale,
        };
        let steps = phase.steps(&plan)?;
        if steps.is_empty() {
            report.end = End::Skipped;
            return Ok(());
        }
        match phase.handler {
            Handler::C | Handler::Both => {}
            Handler::Observed => stand::put_in(&self.modules, &["mode=observe"])?,
            Handler::Rust => stand::put_in(&self.modules, &[])?,
        }
        for step in steps {
            self.step(&step, report)?;
            let failed = report
                .tests
                .iter()
                .any(|test| test.verdict == Verdict::Fail);
            if failed {
                bail!("{}: a test failed", name_of(&step));
            }
        }
        Ok(())
    }

    /// Runs one program; what it says goes into the report and the log.
    fn step(&mut self, step: &Step, report: &mut PhaseReport) -> Result<()> {
        writeln!(
            self.log,
            "== {} {}",
            step.program.display(),
            step.arguments.join(" ")
        )?;
        let mut child = Command::new(&step.program)
            .args(&step.arguments)
            .env("GHCB_MODULE", self.modules.join("ghcb_rs.ko"))
            .env("GHCB_KIT_MODULES", &self.modules)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.log.try_clone()?)
            .spawn()
            .with_context(|| step.program.display().to_string())?;
        let lines = lines_of(&mut child)?;
        let mut reader = Reader::default();
        let end = self.follow(step, &mut child, &lines, &mut reader);
        let missing = reader.missing();
        report.figures.append(&mut reader.figures);
        report.tables.append(&mut reader.tables);
        let label = |test: Test| Test {
            name: if step.label.is_empty() {
                test.name
            } else {
                format!("{}: {}", step.label, test.name)
            },
            ..test
        };
        report.tests.extend(reader.tests.into_iter().map(label));
        end?;
        if missing > 0 {
            bail!("{}: {missing} of its tests did not run", name_of(step));
        }
        Ok(())
    }

    fn follow(
        &mut self,
        step: &Step,
        child: &mut Child,
        lines: &Receiver<String>,
        reader: &mut Reader,
    ) -> Result<()> {
        let begin = Instant::now();
        loop {
            match lines.recv_timeout(LOOK) {
                Ok(line) => {
                    writeln!(self.log, "{line}")?;
                    reader.line(&line);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let interrupted = INTERRUPTED.load(Ordering::Acquire);
            if interrupted || begin.elapsed() > step.limit {
                end_group(child);
                if interrupted {
                    bail!("interrupted");
                }
                bail!("{} does not end", name_of(step));
            }
        }
        let status = child.wait().context("wait")?;
        match status.code() {
            Some(0 | SKIPPED) => Ok(()),
            _ => bail!("{} ended with {status}: see ghcb-kit.log", name_of(step)),
        }
    }
}

fn name_of(step: &Step) -> String {
    let name = step.program.file_name().unwrap_or_default();
    format!("{} {}", name.to_string_lossy(), step.arguments.join(" "))
        .trim()
        .to_owned()
}

/// The program's lines as they come, until nobody writes any more.
fn lines_of(child: &mut Child) -> Result<Receiver<String>> {
    let out = child.stdout.take().context("its output")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(out).split(b'\n').map_while(Result::ok);
        for line in lines {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

/// Ends a program and all that it started: first asked to, then made to.
fn end_group(child: &mut Child) {
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return;
    };
    for signal in [Signal::TERM, Signal::KILL] {
        // It may be gone already.
        let _ = kill_process_group(group, signal);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5) {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(LOOK);
        }
    }
}
