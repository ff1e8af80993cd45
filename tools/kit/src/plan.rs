// SPDX-License-Identifier: GPL-2.0

//! The phases, in their order: what cannot harm comes first, and each is tried with C's handler before it is with ours.

use crate::facts::Facts;
use crate::folder::Folder;
use anyhow::Result;
use std::path::PathBuf;
use std::time::Duration;

/// Who answers VMGEXITs meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// kvm_amd's own; the module is out.
    C,
    /// kvm_amd's own, judged by the module.
    Observed,
    /// The module.
    Rust,
    /// One after the other: the programs of the phase change it.
    Both,
}

/// A phase.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// Its name, for `--only` and in reports.
    pub name: &'static str,
    /// What it does, for people.
    pub says: &'static str,
    /// Who answers.
    pub handler: Handler,
    steps: fn(&Plan<'_>) -> Result<Vec<Step>>,
}

impl Phase {
    /// Its steps on this host; none if it does not apply.
    ///
    /// # Errors
    ///
    /// If the kit is not whole.
    pub fn steps(&self, plan: &Plan<'_>) -> Result<Vec<Step>> {
        (self.steps)(plan)
    }
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What names of its tests begin with.
    pub label: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Longest that it may take.
    pub limit: Duration,
}

/// What the steps depend on.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The kit.
    pub kit: &'a Folder,
    /// The host.
    pub facts: &'a Facts,
    /// Numbers of the long phases, in hundredths.
    pub scale: u64,
}

/// All of them.
pub const PHASES: [Phase; 9] = [
    Phase {
        name: "behaviours",
        says: "what the processor and its firmware do, through a stock KVM",
        handler: Handler::C,
        steps: behaviours,
    },
    Phase {
        name: "tests-c",
        says: "the test programs with C's handler: small guests of our own",
        handler: Handler::C,
        steps: tests_c,
    },
    Phase {
        name: "observe",
        says: "C answers, and Rust says what it would have answered",
        handler: Handler::Observed,
        steps: observe,
    },
    Phase {
        name: "guest",
        says: "Linux as a guest of each kind, answered by the module",
        handler: Handler::Rust,
        steps: guests,
    },
    Phase {
        name: "tests-rust",
        says: "the test programs with the module",
        handler: Handler::Rust,
        steps: tests_rust,
    },
    Phase {
        name: "compare",
        says: "the same hostile requests to C and to the module",
        handler: Handler::Both,
        steps: compare,
    },
    Phase {
        name: "lifecycle",
        says: "the module in and out, with and without guests",
        handler: Handler::Both,
        steps: lifecycle,
    },
    Phase {
        name: "soak",
        says: "hostile guests",
        handler: Handler::Rust,
        steps: soak,
    },
    Phase {
        name: "benchmark",
        says: "what a VMGEXIT costs by C and by the module: ticks of the clock, time, and cycles",
        handler: Handler::Both,
        steps: benchmark,
    },
];

/// Programs that are phases of their own.
const OWN_PHASE: [&str; 4] = [
    "ghcb_compare_test",
    "ghcb_lifecycle_test",
    "ghcb_observe_test",
    "ghcb_soak_test",
];

/// Most round trips that the measured guest makes at a time.
const MOST_ROUND_TRIPS: u64 = 4096;

const SHORT: Duration = Duration::from_secs(300);
const LONG: Duration = Duration::from_secs(3 * 3600);

impl Plan<'_> {
    /// Kinds of guests that the host runs, as `--guest` names them.
    pub fn kinds(&self) -> Vec<&'static str> {
        let es = self.facts.has_sev_es().then_some("sev-es");
        let snp = self.facts.has_snp().then_some("sev-snp");
        es.into_iter().chain(snp).collect()
    }

    fn scaled(&self, count: u64) -> u64 {
        (count * self.scale / 100).max(1)
    }

    fn step(&self, label: &str, program: &str, arguments: &[&str], limit: Duration) -> Step {
        Step {
            label: label.to_owned(),
            program: self.kit.file(program),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            limit,
        }
    }

    /// One test program, for each kind of guests.
    fn long(&self, program: &str, arguments: &[&str]) -> Vec<Step> {
        let step = |kind: &'static str| {
            let arguments = [&["--guest", kind], arguments].concat();
            let label = format!("{kind}: {program}");
            self.step(&label, &format!("selftests/{program}"), &arguments, LONG)
        };
        self.kinds().into_iter().map(step).collect()
    }

    /// All short test programs, for each kind of guests. Those about SEV-SNP have guests of that kind alone.
    fn tests(&self, handler: &str) -> Result<Vec<Step>> {
        let of_snp = std::fs::read_to_string(self.kit.file("snp-programs")).unwrap_or_default();
        let mut steps = Vec::new();
        for kind in self.kinds() {
            for program in self.kit.programs()? {
                let is_of_snp = of_snp.lines().any(|name| name == program);
                if OWN_PHASE.contains(&&*program) || (is_of_snp && kind != "sev-snp") {
                    continue;
                }
                let label = format!("{kind}: {program}");
                let arguments = ["--guest", kind, "--handler", handler];
                steps.push(self.step(&label, &format!("selftests/{program}"), &arguments, SHORT));
            }
        }
        Ok(steps)
    }
}

fn behaviours(plan: &Plan<'_>) -> Result<Vec<Step>> {
    Ok(vec![plan.step("", "behaviours/behaviours", &[], LONG)])
}

fn tests_c(plan: &Plan<'_>) -> Result<Vec<Step>> {
    plan.tests("c")
}

fn tests_rust(plan: &Plan<'_>) -> Result<Vec<Step>> {
    plan.tests("rust")
}

fn observe(plan: &Plan<'_>) -> Result<Vec<Step>> {
    let count = plan.scaled(20_000).to_string();
    let mut steps = Vec::new();
    for program in ["ghcb_event_test", "ghcb_page_test"] {
        steps.extend(plan.long(program, &["--handler", "observe"]));
    }
    let hostile = ["--handler", "observe", "--count", &count];
    steps.extend(plan.long("ghcb_soak_test", &hostile));
    Ok(steps)
}

fn guests(plan: &Plan<'_>) -> Result<Vec<Step>> {
    let step = |kind: &'static str| plan.step(kind, "guest/boot", &[kind], LONG);
    Ok(plan.kinds().into_iter().map(step).collect())
}

fn compare(plan: &Plan<'_>) -> Result<Vec<Step>> {
    let count = plan.scaled(20_000).to_string();
    Ok(plan.long("ghcb_compare_test", &["--count", &count, "--seed", "1"]))
}

fn lifecycle(plan: &Plan<'_>) -> Result<Vec<Step>> {
    let count = plan.scaled(50).to_string();
    let arguments = ["--handler", "rust", "--count", &count];
    Ok(plan.long("ghcb_lifecycle_test", &arguments))
}

fn soak(plan: &Plan<'_>) -> Result<Vec<Step>> {
    let count = plan.scaled(200_000).to_string();
    let arguments = [
        "--handler",
        "rust",
        "--count",
        &count,
        "--seconds-max",
        "3600",
    ];
    Ok(plan.long("ghcb_soak_test", &arguments))
}

fn benchmark(plan: &Plan<'_>) -> Result<Vec<Step>> {
    let (rounds, count) = (plan.scaled(10), plan.scaled(1000).min(MOST_ROUND_TRIPS));
    let (rounds, count) = (rounds.to_string(), count.to_string());
    let step = |kind: &'static str| plan.step(kind, "bench/run", &[kind, &rounds, &count], LONG);
    Ok(plan.kinds().into_iter().map(step).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn kit() -> tempfile::TempDir {
        let kit = tempfile::tempdir().expect("a folder");
        fs::write(kit.path().join("version"), "0.1.0\n").expect("a file");
        fs::create_dir(kit.path().join("selftests")).expect("a folder");
        let list = "ghcb_rs:ghcb_page_test\nghcb_rs:ghcb_psc_test\nghcb_rs:ghcb_soak_test\n";
        fs::write(kit.path().join("selftests/kselftest-list.txt"), list).expect("a file");
        fs::write(kit.path().join("snp-programs"), "ghcb_psc_test\n").expect("a file");
        kit
    }

    fn labels(parameters: &[&str], steps: fn(&Plan<'_>) -> Result<Vec<Step>>) -> Vec<String> {
        let steps = at_scale(100, parameters, steps);
        steps.into_iter().map(|step| step.label).collect()
    }

    fn at_scale(
        scale: u64,
        parameters: &[&str],
        steps: fn(&Plan<'_>) -> Result<Vec<Step>>,
    ) -> Vec<Step> {
        let folder = kit();
        let facts = Facts {
            kvm_amd: parameters.iter().map(|&text| text.to_owned()).collect(),
            ..Facts::default()
        };
        let kit = Folder::open(folder.path()).expect("a kit");
        let plan = Plan {
            kit: &kit,
            facts: &facts,
            scale,
        };
        steps(&plan).expect("a whole kit")
    }

    #[test]
    fn the_benchmark_measures_each_kind_as_long_as_it_is_to() {
        let both = ["sev_es=Y", "sev_snp=Y"];
        for (scale, want) in [
            (100, ["10", "1000"]),
            (5, ["1", "50"]),
            (10_000, ["1000", "4096"]),
        ] {
            let steps = at_scale(scale, &both, benchmark);
            let arguments: Vec<_> = steps.iter().map(|step| &step.arguments[..]).collect();
            let [rounds, count] = want;
            assert_eq!(
                arguments,
                [["sev-es", rounds, count], ["sev-snp", rounds, count]]
            );
        }
        assert_eq!(at_scale(100, &both[..1], benchmark).len(), 1);
    }

    #[test]
    fn programs_of_snp_run_with_snp_guests_alone() {
        let both = ["sev_es=Y", "sev_snp=Y"];
        let want = [
            "sev-es: ghcb_page_test",
            "sev-snp: ghcb_page_test",
            "sev-snp: ghcb_psc_test",
        ];
        assert_eq!(labels(&both, tests_rust), want);
        assert_eq!(labels(&both[..1], tests_rust), want[..1]);
    }

    #[test]
    fn long_phases_have_a_step_for_each_kind() {
        assert_eq!(
            labels(&["sev_es=Y", "sev_snp=Y"], soak),
            ["sev-es: ghcb_soak_test", "sev-snp: ghcb_soak_test"]
        );
        assert!(labels(&["sev_es=N"], soak).is_empty());
        assert!(labels(&[], benchmark).is_empty());
    }

    #[test]
    fn c_comes_before_rust() {
        let index = |name| PHASES.iter().position(|phase| phase.name == name);
        assert!(index("tests-c") < index("observe"));
        assert!(index("observe") < index("guest"));
        assert!(index("guest") < index("tests-rust"));
    }
}
