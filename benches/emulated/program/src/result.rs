// SPDX-License-Identifier: GPL-2.0
//! One line of results, as `measure` prints and `report` reads it.

use crate::Handler;
use clap::ValueEnum;
use std::fmt;

/// First word of such a line: the output of a run has others.
const MARK: &str = "round-trip";

/// Ticks of one round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    pub median: u64,
    /// The fifth and the ninety-fifth of a hundred.
    pub low: u64,
    pub high: u64,
}

/// What one measurement gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub handler: Handler,
    pub event: String,
    pub vcpus: u64,
    /// Bytes, where the event moves a varying number.
    pub length: u64,
    pub ticks: Ticks,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handler = self.handler.to_possible_value();
        write!(
            f,
            "{MARK} {} {} {} {} {} {} {}",
            handler.as_ref().map_or("", |name| name.get_name()),
            self.event,
            self.vcpus,
            self.length,
            self.ticks.median,
            self.ticks.low,
            self.ticks.high
        )
    }
}

impl Line {
    /// The result that `text` holds, unless it is a line of something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        if words.next()? != MARK {
            return None;
        }
        let handler = Handler::from_str(words.next()?, false).ok()?;
        let event = words.next()?.into();
        let mut number = || words.next()?.parse().ok();
        Some(Self {
            handler,
            event,
            vcpus: number()?,
            length: number()?,
            ticks: Ticks {
                median: number()?,
                low: number()?,
                high: number()?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_survives_printing() {
        let line = Line {
            handler: Handler::Emulation,
            event: "cpuid".into(),
            vcpus: 4,
            length: 512,
            ticks: Ticks {
                median: 3,
                low: 1,
                high: 9,
            },
        };
        assert_eq!(Line::parse(&line.to_string()), Some(line));
    }

    #[test]
    fn other_lines_are_not_results() {
        for text in [
            "",
            "round-trip",
            "round-trip c cpuid 1 0 5 5",
            "ready c cpuid 1 0 5 5 5",
        ] {
            assert_eq!(Line::parse(text), None, "{text:?}");
        }
    }
}
