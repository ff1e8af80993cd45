// SPDX-License-Identifier: GPL-2.0

//! How one report differs from another, which is that of the emulated host as a rule, and what each difference means.

use crate::cli::Compare;
use crate::facts::Facts;
use crate::ktap::Verdict;
use crate::report::{End, Report};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

/// What a difference means, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// The module does not do on this host what it does on the other, and C does.
    Module,
    /// The emulated host does what a processor does not do.
    Emulator,
    /// A test asks for what C's handler does not give here, either.
    Test,
    /// The host has what the other does not have, or lacks what it has.
    Hardware,
    /// The run did not come that far.
    NotRun,
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Module => "the module is wrong",
            Self::Emulator => "the emulator is wrong",
            Self::Test => "the test is wrong",
            Self::Hardware => "the hardware is another",
            Self::NotRun => "not run",
        })
    }
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// What it means.
    pub meaning: Meaning,
    /// What it is about.
    pub what: String,
    /// In the report.
    pub here: String,
    /// In the reference.
    pub there: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {}, reference: {}",
            self.meaning, self.what, self.here, self.there
        )
    }
}

/// `ghcb-kit compare`.
///
/// # Errors
///
/// If a report cannot be read.
pub fn run(arguments: &Compare) -> Result<ExitCode> {
    let [here, there] = [&arguments.report, &arguments.reference].map(|path| read(path));
    let differences = differences(&here?, &there?);
    for difference in &differences {
        println!("{difference}");
    }
    let count = |meaning| {
        differences
            .iter()
            .filter(|difference| difference.meaning == meaning)
            .count()
    };
    println!(
        "compare: differences={} module={} emulator={} test={} hardware={} not_run={}",
        differences.len(),
        count(Meaning::Module),
        count(Meaning::Emulator),
        count(Meaning::Test),
        count(Meaning::Hardware),
        count(Meaning::NotRun)
    );
    Ok(if differences.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read(path: &Path) -> Result<Report> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    serde_json::from_reader(file).with_context(|| path.display().to_string())
}

/// All differences, the worst first.
pub fn differences(here: &Report, there: &Report) -> Vec<Difference> {
    let mut differences = of_facts(&here.facts, &there.facts);
    differences.extend(of_tests(here, there));
    differences.sort();
    differences
}

fn of_facts(here: &Facts, there: &Facts) -> Vec<Difference> {
    let rows = |facts: &Facts| {
        let mut rows = vec![
            (
                "encryption (CPUID 0x8000001F, EAX)".to_owned(),
                facts.encryption.clone(),
            ),
            ("C-bit".to_owned(), facts.c_bit.to_string()),
            (
                "address bits that encryption costs".to_owned(),
                facts.reduced_address_bits.to_string(),
            ),
            ("ASIDs".to_owned(), facts.asids.to_string()),
            (
                "first ASID for SEV alone".to_owned(),
                facts.first_sev_asid.to_string(),
            ),
            (
                "SVM features (CPUID 0x8000000A, EDX)".to_owned(),
                facts.svm_features.clone(),
            ),
        ];
        rows.extend(facts.kvm_amd.iter().filter_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            Some((format!("kvm_amd.{name}"), value.to_owned()))
        }));
        BTreeMap::from_iter(rows)
    };
    let (here, there) = (rows(here), rows(there));
    let value = |rows: &BTreeMap<String, String>, name| {
        rows.get(name).cloned().unwrap_or_else(|| "none".into())
    };
    let names: std::collections::BTreeSet<_> = here.keys().chain(there.keys()).collect();
    names
        .into_iter()
        .filter(|name| here.get(*name) != there.get(*name))
        .map(|name| Difference {
            meaning: Meaning::Hardware,
            what: name.clone(),
            here: value(&here, name),
            there: value(&there, name),
        })
        .collect()
}

/// Phase, and name of a test.
type Key<'a> = (&'a str, &'a str);

/// How each test ended; one that was made several times, the worst time.
fn verdicts(report: &Report) -> BTreeMap<Key<'_>, Verdict> {
    let mut verdicts = BTreeMap::new();
    for phase in &report.phases {
        for test in &phase.tests {
            let worst = verdicts
                .entry((phase.name.as_str(), test.name.as_str()))
                .or_insert(test.verdict);
            if rank(test.verdict) > rank(*worst) {
                *worst = test.verdict;
            }
        }
    }
    verdicts
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Skip => 1,
        Verdict::Fail => 2,
    }
}

fn of_tests(here: &Report, there: &Report) -> Vec<Difference> {
    let reached = |phase: &str| {
        let is_whole = |end| matches!(end, End::Passed | End::Skipped);
        here.phases
            .iter()
            .any(|report| report.name == phase && is_whole(report.end))
    };
    let (mine, theirs) = (verdicts(here), verdicts(there));
    let text = |verdict: Option<&Verdict>| match verdict {
        Some(Verdict::Pass) => "passed",
        Some(Verdict::Fail) => "failed",
        Some(Verdict::Skip) => "skipped",
        None => "no such test",
    };
    let keys: std::collections::BTreeSet<_> = mine.keys().chain(theirs.keys()).copied().collect();
    keys.into_iter()
        .filter(|key| mine.get(key) != theirs.get(key))
        .map(|key| {
            let (phase, name) = key;
            let meaning = match (mine.get(&key), theirs.get(&key)) {
                (None, _) if !reached(phase) => Meaning::NotRun,
                (Some(Verdict::Fail), _) => failure(key, &mine),
                (_, Some(Verdict::Fail)) => Meaning::Emulator,
                _ => Meaning::Hardware,
            };
            Difference {
                meaning,
                what: format!("{phase}: {name}"),
                here: text(mine.get(&key)).to_owned(),
                there: text(theirs.get(&key)).to_owned(),
            }
        })
        .collect()
}

/// What a test that failed here, and not there, is about.
fn failure((phase, name): Key<'_>, mine: &BTreeMap<Key<'_>, Verdict>) -> Meaning {
    match phase {
        "behaviours" => Meaning::Emulator,
        "tests-c" => Meaning::Test,
        _ if mine.get(&("tests-c", name)) == Some(&Verdict::Fail) => Meaning::Test,
        _ => Meaning::Module,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ktap::Test;
    use crate::report::PhaseReport;

    fn report(tests: &[(&str, &str, Verdict)]) -> Report {
        let mut phases: Vec<PhaseReport> = Vec::new();
        for &(phase, name, verdict) in tests {
            if phases.last().is_none_or(|last| last.name != phase) {
                phases.push(PhaseReport {
                    name: phase.to_owned(),
                    end: End::Passed,
                    why: None,
                    tests: Vec::new(),
                    figures: Vec::new(),
                    counters: Vec::new(),
                    tables: Vec::new(),
                });
            }
            let Some(last) = phases.last_mut() else {
                continue;
            };
            if verdict == Verdict::Fail {
                last.end = End::Failed;
            }
            last.tests.push(Test {
                name: name.to_owned(),
                verdict,
                notes: Vec::new(),
            });
        }
        Report {
            kit: "0.1.0".to_owned(),
            facts: Facts::default(),
            phases,
            left_behind: None,
        }
    }

    fn meanings(here: &[(&str, &str, Verdict)], there: &[(&str, &str, Verdict)]) -> Vec<Meaning> {
        let differences = differences(&report(here), &report(there));
        differences
            .into_iter()
            .map(|difference| difference.meaning)
            .collect()
    }

    #[test]
    fn the_same_report_does_not_differ() {
        let tests = [
            ("behaviours", "a", Verdict::Pass),
            ("tests-rust", "b", Verdict::Fail),
        ];
        assert_eq!(meanings(&tests, &tests), []);
    }

    #[test]
    fn each_meaning() {
        use Verdict::{Fail, Pass, Skip};
        for (here, there, want) in [
            (
                ("behaviours", "a", Fail),
                ("behaviours", "a", Pass),
                Meaning::Emulator,
            ),
            (
                ("behaviours", "a", Pass),
                ("behaviours", "a", Fail),
                Meaning::Emulator,
            ),
            (
                ("tests-c", "a", Fail),
                ("tests-c", "a", Pass),
                Meaning::Test,
            ),
            (
                ("tests-rust", "a", Fail),
                ("tests-rust", "a", Pass),
                Meaning::Module,
            ),
            (("soak", "a", Fail), ("soak", "a", Pass), Meaning::Module),
            (
                ("tests-c", "a", Skip),
                ("tests-c", "a", Pass),
                Meaning::Hardware,
            ),
        ] {
            assert_eq!(meanings(&[here], &[there]), [want], "{here:?}");
        }
    }

    #[test]
    fn what_c_fails_as_well_is_the_test() {
        use Verdict::{Fail, Pass};
        let here = [("tests-c", "a", Fail), ("tests-rust", "a", Fail)];
        let there = [("tests-c", "a", Pass), ("tests-rust", "a", Pass)];
        assert_eq!(meanings(&here, &there), [Meaning::Test, Meaning::Test]);
    }

    #[test]
    fn of_the_same_test_the_worst_end_counts() {
        use Verdict::{Fail, Pass, Skip};
        let tests =
            |ends: &[Verdict]| Vec::from_iter(ends.iter().map(|&end| ("lifecycle", "a", end)));
        for ends in [[Fail, Pass], [Pass, Fail], [Fail, Skip], [Skip, Fail]] {
            assert_eq!(
                meanings(&tests(&ends), &tests(&[Pass])),
                [Meaning::Module],
                "{ends:?}"
            );
        }
        assert_eq!(meanings(&tests(&[Pass, Pass]), &tests(&[Pass])), []);
    }

    #[test]
    fn a_phase_that_was_not_reached() {
        let there = [
            ("behaviours", "a", Verdict::Pass),
            ("soak", "b", Verdict::Pass),
        ];
        assert_eq!(meanings(&there[..1], &there), [Meaning::NotRun]);
    }

    #[test]
    fn hardware_by_its_facts() {
        let there = report(&[]);
        let mut here = there.clone();
        here.facts.c_bit = 47;
        here.facts.kvm_amd = vec!["sev_snp=Y".to_owned()];
        let differences = differences(&here, &there);
        let what: Vec<_> = differences
            .iter()
            .map(|difference| difference.what.as_str())
            .collect();
        assert_eq!(what, ["C-bit", "kvm_amd.sev_snp"]);
        assert!(differences
            .iter()
            .all(|difference| difference.meaning == Meaning::Hardware));
    }
}
