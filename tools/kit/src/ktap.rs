// SPDX-License-Identifier: GPL-2.0

//! What test programs say: lines of KTAP, lines for machines, and tables.

use serde::{Deserialize, Serialize};

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It passed.
    Pass,
    /// It failed.
    Fail,
    /// It could not be made on this host.
    Skip,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// Its name, by which reports are compared: the same for any seed and any count.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it failed or was skipped, as far as the program says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Most lines that are kept of what a test says before its end.
const NOTES: usize = 8;

/// Reads the lines of one program.
#[derive(Debug, Default)]
pub struct Reader {
    /// Lines of the test that has not ended yet.
    notes: Vec<String>,
    planned: Option<usize>,
    /// The tests so far.
    pub tests: Vec<Test>,
    /// Lines for machines: a word, a colon, and pairs of a name and a value.
    pub figures: Vec<String>,
    /// Rows of tables, as Markdown has them.
    pub tables: Vec<String>,
}

impl Reader {
    /// Takes the next line.
    pub fn line(&mut self, line: &str) {
        if let Some(plan) = line.strip_prefix("1..") {
            let count = plan.split_whitespace().next().unwrap_or_default();
            self.planned = count.parse().ok();
        } else if let Some(rest) = line.strip_prefix("ok ") {
            self.end(rest, Verdict::Pass);
        } else if let Some(rest) = line.strip_prefix("not ok ") {
            self.end(rest, Verdict::Fail);
        } else if is_figures(line) {
            self.figures.push(line.to_owned());
        } else if line.starts_with('|') {
            self.tables.push(line.to_owned());
        } else if let Some(note) = line.strip_prefix("# ") {
            if self.notes.len() < NOTES {
                self.notes.push(note.to_owned());
            }
        }
    }

    fn end(&mut self, rest: &str, verdict: Verdict) {
        let name = rest.split_once(' ').map_or(rest, |(_, name)| name);
        let mut notes = std::mem::take(&mut self.notes);
        let (name, verdict) = match name.split_once(" # SKIP") {
            Some((name, why)) => {
                notes = vec![why.trim().to_owned()];
                (name, Verdict::Skip)
            }
            None => (name, verdict),
        };
        if verdict == Verdict::Pass {
            notes.clear();
        }
        self.tests.push(Test {
            name: name.to_owned(),
            verdict,
            notes,
        });
    }

    /// Tests that were announced and did not end.
    pub fn missing(&self) -> usize {
        self.planned.unwrap_or(0).saturating_sub(self.tests.len())
    }
}

/// Whether a line is for machines, as `soak: guest=sev-es vmgexits=6000 result=pass`.
fn is_figures(line: &str) -> bool {
    let Some((word, pairs)) = line.split_once(": ") else {
        return false;
    };
    let is_pair = |pair: &str| {
        pair.split_once('=')
            .is_some_and(|(name, _)| !name.is_empty())
    };
    word.bytes().all(|byte| byte.is_ascii_lowercase()) && pairs.split(' ').all(is_pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Reader {
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.line(line));
        reader
    }

    #[test]
    fn each_verdict() {
        let reader =
            read("TAP version 13\n1..4\nok 1 a: b\n# why\nnot ok 2 c\nok 3 d # SKIP no SNP\n");
        let verdicts: Vec<_> = reader.tests.iter().map(|test| test.verdict).collect();
        assert_eq!(verdicts, [Verdict::Pass, Verdict::Fail, Verdict::Skip]);
        assert_eq!(reader.tests[1].notes, ["why"]);
        assert_eq!(reader.tests[2].notes, ["no SNP"]);
        assert_eq!(reader.tests[2].name, "d");
        assert_eq!(reader.missing(), 1);
    }

    #[test]
    fn lines_for_machines() {
        let reader = read("soak: guest=sev-es result=pass\nmutant none: good\nother: a b=c\n");
        assert_eq!(reader.figures, ["soak: guest=sev-es result=pass"]);
    }

    #[test]
    fn rows_of_tables() {
        let reader = read("| ticks | C |\n|---|---:|\n| cpuid | 5 |\nok 1 figures\n# | no row\n");
        assert_eq!(
            reader.tables,
            ["| ticks | C |", "|---|---:|", "| cpuid | 5 |"]
        );
        assert_eq!(reader.tests.len(), 1);
    }

    #[test]
    fn notes_are_bounded() {
        let flood = "# again\n".repeat(1000) + "not ok 1 a\n";
        assert_eq!(read(&flood).tests[0].notes.len(), NOTES);
    }
}
