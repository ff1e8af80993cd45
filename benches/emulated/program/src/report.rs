// SPDX-License-Identifier: GPL-2.0
//! Figures of a whole run: table, JSON, and whether they are as good as they should be.

use crate::event::{self, Group};
use crate::result::{Clock, Figures, Line, Quantity};
use crate::{Handler, Unit};
use anyhow::{ensure, Context, Result};
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use vmm::launch::kind::Kind;

/// Figures of all runs of one handler.
#[derive(Clone, Debug, Default)]
pub struct Runs(Vec<Figures>);

impl Runs {
    /// The median of the medians.
    pub fn median(&self) -> Option<u64> {
        self.middle(|run| run.median)
    }

    /// The medians of the quartiles.
    fn quartiles(&self) -> Option<(u64, u64)> {
        Some((
            self.middle(|run| run.first_quartile)?,
            self.middle(|run| run.third_quartile)?,
        ))
    }

    fn middle(&self, which: impl Fn(&Figures) -> u64) -> Option<u64> {
        let mut sorted: Vec<_> = self.0.iter().map(which).collect();
        sorted.sort_unstable();
        sorted.get(sorted.len().checked_sub(1)? / 2).copied()
    }

    /// Difference between the dearest and the cheapest run.
    pub fn spread(&self) -> u64 {
        let medians = || self.0.iter().map(|run| run.median);
        medians().max().unwrap_or(0) - medians().min().unwrap_or(0)
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
    /// The cost of a round trip, in the report's unit.
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
    unit: Unit,
    rows: Vec<Row>,
}

impl Report {
    /// Read the output of a run.
    pub fn read(path: &Path, guest: Kind, unit: Unit) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let clocks = text.lines().filter_map(Clock::parse).collect();
        let report = Self::of(guest, unit, clocks, text.lines().filter_map(Line::parse))?;
        ensure!(
            !report.rows.is_empty(),
            "{} holds no results",
            path.display()
        );
        Ok(report)
    }

    fn of(
        guest: Kind,
        unit: Unit,
        clocks: Vec<Clock>,
        lines: impl Iterator<Item = Line>,
    ) -> Result<Self> {
        let quantity = match unit {
            Unit::Instructions | Unit::Ticks | Unit::Nanoseconds => Quantity::Ticks,
            Unit::HostCycles => Quantity::HostCycles,
            Unit::HostInstructions => Quantity::HostInstructions,
        };
        let clock = if unit == Unit::Nanoseconds {
            let clock = clocks.first().context("the guest's clock is not known")?;
            ensure!(
                clocks.iter().all(|other| other == clock),
                "the guest's clock changed"
            );
            Some(*clock)
        } else {
            None
        };
        let mut rows: Vec<Row> = Vec::new();
        for line in lines.filter(|line| line.quantity == quantity) {
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
            runs.0.push(clock.map_or(line.figures, |clock| {
                line.figures.map(|ticks| clock.nanoseconds(ticks))
            }));
        }
        Ok(Self { guest, unit, rows })
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
    fn cells(&self) -> Vec<Vec<String>> {
        let event = match self.unit {
            Unit::Instructions => "event".to_owned(),
            unit => format!("{} ({})", name(unit), self.guest),
        };
        let mut head = vec![event];
        head.extend(
            [
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
            .map(String::from),
        );
        if self.has_quartiles() {
            head.extend(["C quartiles", "Rust quartiles"].map(String::from));
        }
        let mut lines = vec![head];
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
            let mut line = vec![
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
            ];
            if self.has_quartiles() {
                line.extend([Handler::C, Handler::Rust].map(|handler| {
                    let quartiles = row.handlers.get(&handler).and_then(Runs::quartiles);
                    quartiles.map_or_else(
                        || "-".into(),
                        |(first, third)| format!("{first} to {third}"),
                    )
                }));
            }
            lines.push(line);
        }
        lines
    }

    /// Whether a round trip is not always the same, and each was measured by itself.
    fn has_quartiles(&self) -> bool {
        matches!(self.unit, Unit::Ticks | Unit::Nanoseconds)
    }

    /// The table for a terminal.
    pub fn table(&self) -> String {
        let cells = self.cells();
        let width: Vec<_> = (0..cells[0].len())
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
            let _ = writeln!(
                text,
                "\n{title}: {} above the floor, C and Rust",
                name(self.unit)
            );
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
                let medians: Vec<_> = runs.0.iter().map(|run| run.median).collect();
                let _ = write!(text, ", \"{name}\": {medians:?}");
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

    /// Of what the ratios are, unless of instructions.
    fn in_unit(&self) -> String {
        match self.unit {
            Unit::Instructions => String::new(),
            unit => format!(" unit={}", name(unit)),
        }
    }

    /// Print the summary; an error if something was not measured.
    pub fn judge(&self) -> Result<()> {
        let mut line = format!("bench: guest={}{}", self.guest, self.in_unit());
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
                "bench: guest={}{} own served_by={who} worst={}:{own:.3}",
                self.guest,
                self.in_unit(),
                row.event
            );
        }
        Ok(())
    }
}

/// A unit, as the command line calls it.
fn name(unit: Unit) -> String {
    let value = unit.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(handler: Handler, median: u64) -> Line {
        Line {
            handler,
            event: "cpuid".into(),
            vcpus: 1,
            length: 0,
            quantity: Quantity::Ticks,
            figures: Figures::of(vec![median]).unwrap(),
        }
    }

    fn counted<const N: usize>(lines: [Line; N]) -> Report {
        Report::of(
            Kind::SevEs,
            Unit::Instructions,
            Vec::new(),
            lines.into_iter(),
        )
        .unwrap()
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
        let report = counted(lines);
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
        let report = counted(lines);
        let row = report.events().find(|row| row.event == "cpuid").unwrap();
        assert_eq!(report.emulation(row), Some(200));
        assert_eq!(report.own_ratio(row), Some(50.0 / 800.0));
        assert!(report.cells()[1].contains(&"0.20".into()));
    }

    #[test]
    fn a_missing_handler_is_an_error() {
        let report = counted([line(Handler::Floor, 1), line(Handler::Rust, 2)]);
        assert!(report.judge().is_err());
    }

    /// A run with these three as its quartiles.
    fn run(handler: Handler, quartiles: [u64; 3]) -> Line {
        let mut line = line(handler, quartiles[1]);
        [
            line.figures.first_quartile,
            line.figures.median,
            line.figures.third_quartile,
        ] = quartiles;
        line
    }

    fn timed(unit: Unit, clocks: &[u32]) -> Result<Report> {
        let lines = [
            run(Handler::Floor, [990, 1000, 1010]),
            run(Handler::C, [1900, 2000, 2400]),
            run(Handler::C, [1980, 2040, 2100]),
            // Somebody else ran here.
            run(Handler::C, [9000, 9900, 9990]),
            run(Handler::Rust, [1500, 1520, 1560]),
            Line {
                quantity: Quantity::HostCycles,
                ..line(Handler::C, 5)
            },
        ];
        let clocks = clocks.iter().map(|&khz| Clock(khz)).collect();
        Report::of(Kind::SevEs, unit, clocks, lines.into_iter())
    }

    #[test]
    fn time_is_shown_with_its_quartiles() {
        let report = timed(Unit::Nanoseconds, &[2_000_000, 2_000_000]).unwrap();
        let [head, row] = &report.cells()[..] else {
            panic!("not one event");
        };
        let cell = |name: &str| &row[head.iter().position(|cell| cell == name).unwrap()];
        assert_eq!(head[0], "nanoseconds (sev-es)");
        assert_eq!(cell("C"), "1020");
        assert_eq!(cell("C quartiles"), "990 to 1200");
        assert_eq!(cell("Rust quartiles"), "750 to 780");
        assert_eq!(cell("C above"), "520");
        assert_eq!(cell("ratio"), "0.500");
        assert_eq!(cell("spread"), "3950");
    }

    #[test]
    fn ticks_are_not_those_of_another_quantity() {
        let of_c = |unit| {
            let report = timed(unit, &[]).unwrap();
            report.rows[0].total(Handler::C)
        };
        assert_eq!(of_c(Unit::Ticks), Some(2040));
        assert_eq!(of_c(Unit::HostCycles), Some(5));
        let counted = counted([line(Handler::C, 1)]);
        assert!(!counted.cells()[0].contains(&"C quartiles".to_owned()));
    }

    #[test]
    fn time_without_one_clock_is_none() {
        assert!(timed(Unit::Nanoseconds, &[]).is_err());
        assert!(timed(Unit::Nanoseconds, &[2_000_000, 2_400_000]).is_err());
    }
}
