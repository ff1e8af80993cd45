// SPDX-License-Identifier: GPL-2.0

//! What came of it: one file of JSON, and the same as text.

use crate::facts::Facts;
use crate::ktap::{Test, Verdict};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// All of it passed.
    Passed,
    /// Something did not.
    Failed,
    /// It does not apply to this host, or was not asked for.
    Skipped,
    /// The user interrupted it.
    Interrupted,
}

/// A phase that was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseReport {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub end: End,
    /// Why, unless it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its tests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Test>,
    /// Lines for machines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<String>,
    /// What the module has counted, if it was in until the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<String>,
    /// Rows of tables, as Markdown has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Version of the kit.
    pub kit: String,
    /// The host.
    pub facts: Facts,
    /// The phases that were reached, in their order.
    pub phases: Vec<PhaseReport>,
    /// Why the host is not as it was, if it is not.
    pub left_behind: Option<String>,
}

impl Report {
    /// Whether all phases that were reached passed or were skipped, and nothing was left behind.
    pub fn is_good(&self) -> bool {
        let is_bad = |phase: &PhaseReport| matches!(phase.end, End::Failed | End::Interrupted);
        !self.phases.iter().any(is_bad) && self.left_behind.is_none()
    }

    /// Whether the user interrupted it.
    pub fn is_interrupted(&self) -> bool {
        self.phases
            .iter()
            .any(|phase| phase.end == End::Interrupted)
    }

    /// Name for its files.
    pub fn name(&self) -> String {
        format!("ghcb-report-{}", self.facts.kernel)
    }
}

impl fmt::Display for PhaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |verdict| {
            self.tests
                .iter()
                .filter(|test| test.verdict == verdict)
                .count()
        };
        let end = match self.end {
            End::Passed => "passed",
            End::Failed => "FAILED",
            End::Skipped => "skipped",
            End::Interrupted => "interrupted",
        };
        write!(f, "{:<12}{end:<12}", self.name)?;
        if !self.tests.is_empty() {
            write!(
                f,
                "{} passed, {} failed, {} skipped",
                count(Verdict::Pass),
                count(Verdict::Fail),
                count(Verdict::Skip)
            )?;
        }
        writeln!(f)?;
        if let Some(why) = &self.why {
            writeln!(f, "            {why}")?;
        }
        for test in self
            .tests
            .iter()
            .filter(|test| test.verdict == Verdict::Fail)
        {
            writeln!(f, "            not ok: {}", test.name)?;
            for note in &test.notes {
                writeln!(f, "                {note}")?;
            }
        }
        let is_sum = |row: &&String| row.starts_with("events: event=total ");
        for line in self
            .figures
            .iter()
            .chain(self.counters.iter().filter(is_sum))
        {
            writeln!(f, "            {line}")?;
        }
        f.write_str(&aligned(&self.tables))
    }
}

/// Tables with their columns beneath each other, an empty line before each: the rule below its head shows where one begins.
fn aligned(rows: &[String]) -> String {
    let is_rule = |row: &str| row.starts_with("|--");
    let mut text = String::new();
    let mut rest = rows;
    while !rest.is_empty() {
        // The next head is the row above the next rule.
        let next = rest.iter().skip(2).position(|row| is_rule(row));
        let (table, after) = rest.split_at(next.map_or(rest.len(), |rule| rule + 1));
        rest = after;
        let cells: Vec<Vec<&str>> = table
            .iter()
            .filter(|row| !is_rule(row))
            .map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        let width = |column: usize| {
            let of_column = cells.iter().filter_map(|row| row.get(column));
            of_column.map(|cell| cell.len()).max().unwrap_or(0)
        };
        text.push('\n');
        for row in &cells {
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                // Names stand left, numbers right.
                let _ = match column {
                    0 => write!(text, "{cell:<width$}"),
                    _ => write!(text, "  {cell:>width$}"),
                };
            }
            text.push('\n');
        }
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &self.facts;
        writeln!(f, "ghcb_rs kit {}", self.kit)?;
        writeln!(f, "processor   {} ({})", facts.processor, facts.signature)?;
        writeln!(f, "kernel      {}", facts.kernel)?;
        writeln!(
            f,
            "encryption  {}, C-bit {}, {} ASIDs, SEV alone from {}, SVM {}",
            facts.encryption, facts.c_bit, facts.asids, facts.first_sev_asid, facts.svm_features
        )?;
        writeln!(f, "kvm_amd     {}", facts.kvm_amd.join(" "))?;
        for phase in &self.phases {
            write!(f, "{phase}")?;
        }
        match &self.left_behind {
            None => writeln!(f, "The host is as it was."),
            Some(why) => writeln!(f, "THE HOST IS NOT AS IT WAS: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_apart_and_aligned() {
        let rows = [
            "| ticks | C |",
            "|---|---:|",
            "| cpuid | 12345 |",
            "| msr_read | 5 |",
            "| nanoseconds | C |",
            "|---|---:|",
            "| cpuid | 9 |",
        ];
        let rows = Vec::from_iter(rows.iter().map(|&row| row.to_owned()));
        let want = "
ticks         C
cpuid     12345
msr_read      5

nanoseconds  C
cpuid        9
";
        assert_eq!(aligned(&rows), want);
        assert_eq!(aligned(&[]), "");
    }
}
