// SPDX-License-Identifier: GPL-2.0
//! Figures of a whole run: table, JSON, and whether they are as good as they should be.

use crate::event::{self, Group};
use crate::result::Line;
use crate::Handler;
use anyhow::{ensure, Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use vmm::launch::kind::Kind;

/// Medians of all runs of one handler.
#[derive(Clone, Debug, Default)]
pub struct Runs(Vec<u64>);

impl Runs {
    /// The median of the medians.
    pub fn median(&self) -> Option<u64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len().checked_sub(1)? / 2).copied()
    }

    /// Difference between the dearest and the cheapest run.
    pub fn spread(&self) -> u64 {
        let (low, high) = (self.0.iter().min(), self.0.iter().max());
        high.unwrap_or(&0) - low.unwrap_or(&0)
    }
}

/// Figures of one event.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub event: String,
    pub vcpus: u64,
    pub length: u64,
    handlers: BTreeMap<Handler, Runs>,
}

impl Row {
    /// Instructions of a round trip.
    pub fn total(&self, handler: Handler) -> Option<u64> {
        self.handlers.get(&handler)?.median()
    }

    /// Of these, what lies above the floor.
    pub fn above(&self, handler: Handler) -> Option<u64> {
        Some(
            self.total(handler)?
                .saturating_sub(self.total(Handler::Floor)?),
        )
    }

    /// Rust over C, both above the floor.
    pub fn ratio(&self) -> Option<f64> {
        match (self.above(Handler::Rust)?, self.above(Handler::C)?) {
            (_, 0) => None,
            (rust, c) => Some(rust as f64 / c as f64),
        }
    }

    fn group(&self) -> Group {
        Group::of(&self.event)
    }

    /// Largest spread over the runs of any handler.
    fn spread(&self) -> u64 {
        self.handlers.values().map(Runs::spread).max().unwrap_or(0)
    }
}

/// All figures.
pub struct Report {
    guest: Kind,
    rows: Vec<Row>,
}

impl Report {
    /// Read the output of a run.
    pub fn read(path: &Path, guest: Kind) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let report = Self::of(guest, text.lines().filter_map(Line::parse));
        ensure!(
            !report.rows.is_empty(),
            "{} holds no results",
            path.display()
        );
        Ok(report)
    }

    fn of(guest: Kind, lines: impl Iterator<Item = Line>) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        for line in lines {
            let same = |row: &Row| {
                (&row.event, row.vcpus, row.length) == (&line.event, line.vcpus, line.length)
            };
            let index = rows.iter().position(same).unwrap_or_else(|| {
                rows.push(Row {
                    event: line.event.clone(),
                    vcpus: line.vcpus,
                    length: line.length,
                    ..Row::default()
                });
                rows.len() - 1
            });
            let runs = rows[index].handlers.entry(line.handler).or_default();
            runs.0.push(line.ticks.median);
        }
        Self { guest, rows }
    }

    /// The events, each once: one vCPU, one length.
    pub fn events(&self) -> impl Iterator<Item = &Row> {
        let known = event::all(self.guest);
        self.rows.iter().filter(move |row| {
            let same = |event: &event::Event| event.name == row.event && event.length == row.length;
            row.vcpus == 1 && known.iter().any(same)
        })
    }

    /// One event with each number of vCPUs.
    pub fn by_vcpus(&self, event: &str) -> Vec<&Row> {
        self.sorted(|row| row.event == event, |row| row.vcpus)
    }

    /// OUTS by length.
    pub fn by_length(&self) -> Vec<&Row> {
        self.sorted(
            |row| row.event == event::OUTS && row.vcpus == 1,
            |row| row.length,
        )
    }

    fn sorted(&self, which: impl Fn(&Row) -> bool, key: impl Fn(&Row) -> u64) -> Vec<&Row> {
        let mut rows: Vec<_> = self.rows.iter().filter(|row| which(row)).collect();
        rows.sort_by_key(|row| key(row));
        rows
    }

    /// Worst ratio of a group.
    fn worst(&self, group: Option<Group>) -> Option<(&Row, f64)> {
        self.events()
            .filter(|row| group.is_none_or(|group| row.group() == group))
            .filter_map(|row| Some((row, row.ratio()?)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// What KVM's emulation of the event costs: what lies above an event that emulates nothing.
    pub fn emulation(&self, row: &Row) -> Option<u64> {
        let nothing = self.events().find(|row| row.event == event::NOTHING)?;
        let whole = row.total(Handler::Emulation)?;
        Some(whole.saturating_sub(nothing.total(Handler::Emulation)?))
    }

    /// Rust over C, both above the floor and above KVM's emulation: what a handler can save.
    fn own_ratio(&self, row: &Row) -> Option<f64> {
        let emulation = self.emulation(row)?;
        let own = |handler| Some(row.above(handler)?.saturating_sub(emulation));
        match (own(Handler::Rust)?, own(Handler::C)?) {
            (_, 0) => None,
            (rust, c) => Some(rust as f64 / c as f64),
        }
    }

    /// Worst of these, and its event.
    fn worst_own(&self, target: f64) -> Option<(&Row, f64)> {
        self.events()
            .filter(|row| event::own_target(&row.event) == target)
            .filter_map(|row| Some((row, self.own_ratio(row)?)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Cells of the table, the head first.
    fn cells(&self) -> Vec<[String; 13]> {
        let mut lines = vec![[
            "event",
            "floor",
            "C",
            "Rust",
            "C above",
            "Rust above",
            "observed above",
            "emulation",
            "ratio",
            "target",
            "own ratio",
            "own target",
            "spread",
        ]
        .map(String::from)];
        let number = |value: Option<u64>| value.map_or_else(|| "-".into(), |v| v.to_string());
        for row in self.events() {
            let group = row.group();
            let ratio =
                |value: Option<f64>| value.map_or_else(|| "-".into(), |r| format!("{r:.3}"));
            let against = |value: Option<f64>, target: f64| {
                let late = value.is_some_and(|value| value > target);
                format!("{target:.2}{}", if late { " missed" } else { "" })
            };
            let own_target = event::own_target(&row.event);
            lines.push([
                row.event.clone(),
                number(row.total(Handler::Floor)),
                number(row.total(Handler::C)),
                number(row.total(Handler::Rust)),
                number(row.above(Handler::C)),
                number(row.above(Handler::Rust)),
                number(row.above(Handler::Observed)),
                number(self.emulation(row)),
                ratio(row.ratio()),
                against(row.ratio(), group.target()),
                ratio(self.own_ratio(row)),
                against(self.own_ratio(row), own_target),
                row.spread().to_string(),
            ]);
        }
        lines
    }

    /// The table for a terminal.
    pub fn table(&self) -> String {
        let cells = self.cells();
        let width: Vec<_> = (0..13)
            .map(|column| {
                cells
                    .iter()
                    .map(|line| line[column].len())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for line in &cells {
            for (column, cell) in line.iter().enumerate() {
                let _ = match column {
                    0 => write!(text, "{cell:<w$}", w = width[column]),
                    _ => write!(text, "  {cell:>w$}", w = width[column]),
                };
            }
            text.push('\n');
        }
        for (title, key, rows) in self.series() {
            let _ = writeln!(text, "\n{title}: instructions above the floor, C and Rust");
            for row in rows {
                let _ = writeln!(
                    text,
                    "  {:>5}  {:>6}  {:>6}",
                    key(row),
                    row.above(Handler::C).unwrap_or(0),
                    row.above(Handler::Rust).unwrap_or(0)
                );
            }
        }
        text
    }

    /// The table for a README.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (index, line) in self.cells().iter().enumerate() {
            let _ = writeln!(text, "| {} |", line.join(" | "));
            if index == 0 {
                let _ = writeln!(text, "|---|{}", "---:|".repeat(line.len() - 1));
            }
        }
        text
    }

    /// What is measured over a range: title, the variable, the rows.
    #[allow(clippy::type_complexity)]
    pub fn series(&self) -> Vec<(String, fn(&Row) -> u64, Vec<&Row>)> {
        let mut all: Vec<(String, fn(&Row) -> u64, _)> = event::common()
            .into_iter()
            .map(|event| {
                (
                    format!("{} by number of vCPUs", event.name),
                    (|row: &Row| row.vcpus) as fn(&Row) -> u64,
                    self.by_vcpus(event.name),
                )
            })
            .collect();
        all.push((
            format!("{} by length", event::OUTS),
            |row| row.length,
            self.by_length(),
        ));
        all.retain(|(_, _, rows)| rows.len() > 1);
        all
    }

    /// All figures as JSON.
    pub fn json(&self) -> String {
        let mut text = String::from("[\n");
        for (index, row) in self.rows.iter().enumerate() {
            let _ = write!(
                text,
                "  {{\"event\": \"{}\", \"vcpus\": {}, \"length\": {}",
                row.event, row.vcpus, row.length
            );
            for (handler, runs) in &row.handlers {
                let name = format!("{handler:?}").to_lowercase();
                let _ = write!(text, ", \"{name}\": {:?}", runs.0);
            }
            if let Some(ratio) = row.ratio() {
                let _ = write!(text, ", \"ratio\": {ratio:.4}");
            }
            text.push('}');
            text.push_str(if index + 1 < self.rows.len() {
                ",\n"
            } else {
                "\n"
            });
        }
        text.push_str("]\n");
        text
    }

    /// Print the summary; an error if something was not measured.
    pub fn judge(&self) -> Result<()> {
        let mut line = format!("bench: guest={}", self.guest);
        for (name, group) in [
            ("cpuid", Group::Cpuid),
            ("msr", Group::Msr),
            ("ioio", Group::KernelPort),
            ("mmio", Group::Mmio),
            ("string", Group::String),
        ] {
            let (_, ratio) = self
                .worst(Some(group))
                .with_context(|| format!("no ratio for {name}: a handler was not measured"))?;
            let _ = write!(line, " {name}={ratio:.3}");
        }
        let (row, ratio) = self.worst(None).context("nothing was measured")?;
        println!("{line} worst={}:{ratio:.3}", row.event);
        let mut served = vec![("kvm", event::OWN_KVM), ("userspace", event::OWN_USERSPACE)];
        if self.guest.is_snp() {
            served.push(("userspace_by_list", event::OWN_PAGE_STATE_CHANGE));
        }
        for (who, target) in served {
            let (row, own) = self
                .worst_own(target)
                .with_context(|| format!("no own cost of what {who} serves"))?;
            println!(
                "bench: guest={} own served_by={who} worst={}:{own:.3}",
                self.guest, row.event
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Ticks;

    fn line(handler: Handler, median: u64) -> Line {
        Line {
            handler,
            event: "cpuid".into(),
            vcpus: 1,
            length: 0,
            ticks: Ticks {
                median,
                low: median,
                high: median,
            },
        }
    }

    #[test]
    fn the_ratio_is_that_of_what_lies_above_the_floor() {
        let lines = [
            line(Handler::Floor, 1000),
            line(Handler::C, 2000),
            line(Handler::Rust, 1250),
            line(Handler::Rust, 1900),
            line(Handler::Rust, 1240),
        ];
        let report = Report::of(Kind::SevEs, lines.into_iter());
        let row = report.events().next().unwrap();
        assert_eq!(row.above(Handler::C), Some(1000));
        assert_eq!(row.above(Handler::Rust), Some(250));
        assert_eq!(row.ratio(), Some(0.25));
        assert_eq!(row.spread(), 660);
    }

    #[test]
    fn the_own_ratio_is_that_of_what_lies_above_the_emulation() {
        let nothing = Line {
            event: event::NOTHING.into(),
            ..line(Handler::Emulation, 1050)
        };
        let lines = [
            line(Handler::Floor, 1000),
            line(Handler::C, 2000),
            line(Handler::Rust, 1250),
            line(Handler::Emulation, 1250),
            nothing,
        ];
        let report = Report::of(Kind::SevEs, lines.into_iter());
        let row = report.events().find(|row| row.event == "cpuid").unwrap();
        assert_eq!(report.emulation(row), Some(200));
        assert_eq!(report.own_ratio(row), Some(50.0 / 800.0));
        assert!(report.cells()[1].contains(&"0.20".into()));
    }

    #[test]
    fn a_missing_handler_is_an_error() {
        let report = Report::of(
            Kind::SevEs,
            [line(Handler::Floor, 1), line(Handler::Rust, 2)].into_iter(),
        );
        assert!(report.judge().is_err());
    }
}
