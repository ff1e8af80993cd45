// SPDX-License-Identifier: GPL-2.0

//! Numbers and totals as plain text.

use crate::{cli::By, rates::Interval, snapshot::Snapshot};
use std::fmt::Write as _;

/// A number each second, short.
pub fn rate(rate: f64) -> String {
    match rate {
        0.0 => "-".to_owned(),
        _ if rate < 10.0 => format!("{rate:.1}"),
        _ => number(rate.round() as u64),
    }
}

/// A number with its thousands apart.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time, of which only an upper bound is known.
pub fn time(nanoseconds: u64) -> String {
    let (value, unit) = match nanoseconds {
        0..1_000 => return format!("<{nanoseconds} ns"),
        1_000..1_000_000 => (nanoseconds as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (nanoseconds as f64 / 1e6, "ms"),
        _ => (nanoseconds as f64 / 1e9, "s"),
    };
    format!("<{value:.1} {unit}")
}

/// The totals of a snapshot, as a table.
pub fn totals(snapshot: &Snapshot, by: By) -> String {
    let interval = Interval {
        before: None,
        now: snapshot,
    };
    let (lines, head) = match by {
        By::Vm => (interval.by_vm(), ["VM", "NAME"]),
        By::Event => (interval.by_event(None), ["EVENT", ""]),
    };
    let mut text = format!(
        "{:<22}{:<20}{:>14}{:>11}{:>12}{:>12}\n",
        head[0], head[1], "EXITS", "ERRORS", "HALF IN", "99% IN"
    );
    for line in lines {
        let title = if by == By::Vm {
            line.title.as_str()
        } else {
            ""
        };
        let (half, most) = line.times.unzip();
        let short = |part: Option<u64>| part.map_or("-".to_owned(), time);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<22}{:<20}{:>14}{:>11}{:>12}{:>12}",
            line.id,
            title,
            number(line.total_exits),
            number(line.total_errors),
            short(half),
            short(most)
        );
    }
    text
}
