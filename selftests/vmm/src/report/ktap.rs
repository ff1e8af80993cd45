// SPDX-License-Identifier: GPL-2.0
//! KTAP output and exit codes as kselftest has them.

use crate::judge::check::Check;
use crate::kernel::counters::{self, Table};
use crate::kernel::handler::{self, Choice, Handler};
use crate::kernel::host::{self, KernelLog};
use crate::launch::kind::Kind;
use anyhow::{Context, Error, Result};
use clap::Parser as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const PASS: u8 = 0;
const FAIL: u8 = 1;
const SKIP: u8 = 4;

/// One outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Fail,
    Skip,
}

/// Collects results, and prints each when it comes.
pub struct Report {
    handler: Handler,
    only: Vec<String>,
    stop: bool,
    counts: [u32; 3],
}

impl Report {
    /// Who answers the VMGEXITs of this run.
    pub fn handler(&self) -> Handler {
        self.handler
    }

    /// How many tests have failed so far.
    pub fn failures(&self) -> u32 {
        let [_, failed, _] = self.counts;
        failed
    }

    /// Whether the user asked for `name`, and no failure has made it idle.
    pub fn wanted(&self, name: &str) -> bool {
        let over = self.stop && self.failures() > 0;
        !over && (self.only.is_empty() || self.only.iter().any(|only| name.contains(only)))
    }

    /// Report `name` as passed if `problems` is empty.
    pub fn problems(&mut self, name: &str, problems: &[String]) {
        for problem in problems {
            println!("# {problem}");
        }
        let verdict = if problems.is_empty() {
            Verdict::Pass
        } else {
            Verdict::Fail
        };
        self.line(verdict, name, "");
    }

    /// Report what `test` says under `name`.
    pub fn test(&mut self, name: &str, test: impl FnOnce() -> Result<Vec<String>>) {
        if self.wanted(name) {
            match test() {
                Ok(problems) => self.problems(name, &problems),
                Err(error) => self.problems(name, &[format!("{error:#}")]),
            }
        }
    }

    /// The same for a test that only guests of `kind` can make.
    pub fn test_of(&mut self, kind: Kind, name: &str, test: impl FnOnce() -> Result<Vec<String>>) {
        if Kind::chosen() == kind {
            self.test(name, test);
        } else {
            self.skip(name, &format!("for {kind} guests"));
        }
    }

    /// Whether this program's guests speak version 1 of the protocol; if not, `name` is skipped.
    pub fn has_version_1(&mut self, name: &str) -> bool {
        let kind = Kind::chosen();
        let has = kind.versions().contains(&1);
        if !has {
            self.skip(name, &format!("{kind} guests do not speak version 1"));
        }
        has
    }

    /// Report a test that can't be made here.
    pub fn skip(&mut self, name: &str, why: &str) {
        if self.wanted(name) {
            self.line(Verdict::Skip, name, why);
        }
    }

    /// The module's file, if the run is about the module; if not, `name` is skipped.
    pub fn module(&mut self, name: &str) -> Option<PathBuf> {
        if self.handler == Handler::C {
            self.skip(name, "the module is not asked for");
            return None;
        }
        let module = handler::module();
        if module.is_none() {
            self.skip(name, "GHCB_MODULE names no module");
        }
        module
    }

    fn line(&mut self, verdict: Verdict, name: &str, why: &str) {
        self.counts[verdict as usize] += 1;
        let number: u32 = self.counts.iter().sum();
        match verdict {
            Verdict::Pass => println!("ok {number} {name}"),
            Verdict::Fail => println!("not ok {number} {name}"),
            Verdict::Skip => println!("ok {number} {name} # SKIP {why}"),
        }
    }

    fn finish(&self) -> ExitCode {
        let [pass, fail, skip] = self.counts;
        println!("1..{}", pass + fail + skip);
        println!("# Totals: pass:{pass} fail:{fail} xfail:0 xpass:0 skip:{skip} error:0");
        match (pass, fail) {
            (_, 1..) => FAIL.into(),
            (0, _) => SKIP.into(),
            _ => PASS.into(),
        }
    }
}

/// Options of each program.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Who answers VMGEXITs
    #[arg(long, value_enum, default_value_t = Choice::Current)]
    pub handler: Choice,
    /// How the guests are protected
    #[arg(long, value_enum, default_value_t)]
    pub guest: Kind,
    /// Run only tests whose name contains this; may be given several times
    #[arg(long)]
    pub only: Vec<String>,
    /// Begin no further test after the first failure
    #[arg(long)]
    pub stop: bool,
}

/// A program that has no other options.
#[derive(clap::Parser)]
struct Plain {
    #[command(flatten)]
    options: Options,
}

/// Run the tests of a program whose only options are those of each program.
pub fn program(tests: impl FnOnce(&mut Report) -> Result<()>) -> ExitCode {
    run(&Plain::parse().options, tests)
}

/// The same with SEV-SNP guests, whatever kind was asked for.
pub fn snp_program(tests: impl FnOnce(&mut Report) -> Result<()>) -> ExitCode {
    let options = Options {
        guest: Kind::SevSnp,
        ..Plain::parse().options
    };
    run(&options, tests)
}

/// Run `tests` where guests of that kind can run, with the handler that was asked for.
///
/// A fault that the host's kernel logs meanwhile is a failure of its own.
pub fn run(options: &Options, tests: impl FnOnce(&mut Report) -> Result<()>) -> ExitCode {
    println!("TAP version 13");
    let skip = |why: &str| {
        println!("1..0 # SKIP {why}");
        ExitCode::from(SKIP)
    };
    options.guest.choose();
    if let Some(why) = host::missing(options.guest) {
        return skip(&why);
    }
    let before = handler::current();
    let handler = match handler::select(options.handler) {
        Ok(Some(handler)) => handler,
        Ok(None) => return skip("ghcb_rs is not loaded, and GHCB_MODULE names no file of it"),
        Err(error) => return bail_out(&error),
    };
    println!("# handler: {handler}, guests: {}", options.guest);
    let judged = (options.handler == Choice::Observe).then(unexplained);
    let begin = Instant::now();
    let mut report = Report {
        handler,
        only: options.only.clone(),
        stop: options.stop,
        counts: [0; 3],
    };
    let result = KernelLog::open().and_then(|mut log| {
        tests(&mut report)?;
        if let Some(before) = judged {
            report.test("observe: no answer of C's is unexplained", || {
                let mut check = Check::new();
                let (before, after) = (before?, unexplained()?);
                if after != before {
                    show_unexplained()?;
                }
                check.same("unexplained", after, before);
                Ok(check.done())
            });
        }
        let name = "host: no warning or fault in the kernel's log";
        if host::log_is_judged() {
            report.skip(name, "judged by who runs this");
        } else {
            let lines = log.lines()?;
            let faults: Vec<_> = host::faults(&lines).into_iter().cloned().collect();
            report.problems(name, &faults);
        }
        Ok(())
    });
    if options.handler == Choice::Observe || before != handler::current() {
        if let Err(error) = handler::restore(before) {
            println!("# back to {before}: {error:#}");
        }
    }
    println!("# seconds: {:.1}", begin.elapsed().as_secs_f32());
    match result {
        Ok(()) => report.finish(),
        Err(error) => bail_out(&error),
    }
}

/// Answers of C's that nobody expected, since the module came.
fn unexplained() -> Result<u64> {
    let verdicts = Table::read(Path::new(counters::FOLDER).join("verdicts"))?.numbers("count")?;
    verdicts.get("unexplained").copied().context("no such row")
}

/// Prints those that the module still has.
fn show_unexplained() -> Result<()> {
    let failures = fs::read_to_string(Path::new(counters::FOLDER).join("failures"))?;
    let (head, lines) = failures.split_once('\n').context("no head")?;
    println!("# {head}");
    for line in lines
        .lines()
        .filter(|line| line.contains("\tunexplained\t"))
    {
        println!("# {line}");
    }
    Ok(())
}

fn bail_out(error: &Error) -> ExitCode {
    println!("Bail out! {error:#}");
    FAIL.into()
}
