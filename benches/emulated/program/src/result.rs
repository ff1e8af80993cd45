// SPDX-License-Identifier: GPL-2.0
//! Lines of results, as `measure` prints and `report` reads them.

use crate::Handler;
use clap::ValueEnum;
use std::fmt;

/// First word of a line about round trips: the output of a run has others.
const MARK: &str = "round-trip";
/// First word of the line about the guest's clock.
const CLOCK: &str = "tsc-khz";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Quantity {
    /// The guest's time stamp counter; instructions, where the host counts these.
    Ticks,
    /// Cycles of the CPU outside of the guest, which the host's performance counters have counted.
    HostCycles,
    /// Instructions outside of the guest, counted by the same.
    HostInstructions,
}

/// How what was measured is distributed, each time the whole round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The fifth of a hundred, and so on.
    pub low: u64,
    pub first_quartile: u64,
    pub median: u64,
    pub third_quartile: u64,
    pub high: u64,
}

impl Figures {
    /// Those of samples; `None` if there are none.
    pub fn of(mut samples: Vec<u64>) -> Option<Self> {
        samples.sort_unstable();
        let last = samples.len().checked_sub(1)?;
        let at = |part: usize| samples[last * part / 100];
        Some(Self {
            low: at(5),
            first_quartile: at(25),
            median: at(50),
            third_quartile: at(75),
            high: at(95),
        })
    }

    /// Those of a mean, of which nothing else is known.
    pub fn mean(total: u64, count: u64) -> Option<Self> {
        Self::of(vec![total.checked_div(count)?])
    }

    /// The same in another unit.
    pub fn map(self, unit: impl Fn(u64) -> u64) -> Self {
        Self {
            low: unit(self.low),
            first_quartile: unit(self.first_quartile),
            median: unit(self.median),
            third_quartile: unit(self.third_quartile),
            high: unit(self.high),
        }
    }
}

/// What one measurement gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub quantity: Quantity,
    pub handler: Handler,
    pub event: String,
    pub vcpus: u64,
    /// Bytes, where the event moves a varying number.
    pub length: u64,
    pub figures: Figures,
}

fn word(value: impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (quantity, handler) = (word(self.quantity), word(self.handler));
        let Self {
            event,
            vcpus,
            length,
            ..
        } = self;
        let Figures {
            low,
            first_quartile,
            median,
            third_quartile,
            high,
        } = self.figures;
        write!(
            f,
            "{MARK} {quantity} {handler} {event} {vcpus} {length} \
             {low} {first_quartile} {median} {third_quartile} {high}"
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
        let quantity = Quantity::from_str(words.next()?, false).ok()?;
        let handler = Handler::from_str(words.next()?, false).ok()?;
        let event = words.next()?.into();
        let mut number = || words.next()?.parse().ok();
        Some(Self {
            quantity,
            handler,
            event,
            vcpus: number()?,
            length: number()?,
            figures: Figures {
                low: number()?,
                first_quartile: number()?,
                median: number()?,
                third_quartile: number()?,
                high: number()?,
            },
        })
    }
}

/// How fast the guest's time stamp counter is, in kHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock(pub u32);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CLOCK} {}", self.0)
    }
}

impl Clock {
    /// The one that `text` holds, unless it is a line of something else, or of a counter that stands.
    pub fn parse(text: &str) -> Option<Self> {
        let khz = text.strip_prefix(CLOCK)?.trim().parse().ok()?;
        (khz > 0).then_some(Self(khz))
    }

    /// Ticks in nanoseconds, rounded.
    pub fn nanoseconds(self, ticks: u64) -> u64 {
        let khz = u128::from(self.0);
        let rounded = (u128::from(ticks) * 1_000_000 + khz / 2) / khz;
        u64::try_from(rounded).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_survives_printing() {
        for quantity in Quantity::value_variants() {
            let line = Line {
                quantity: *quantity,
                handler: Handler::Emulation,
                event: "cpuid".into(),
                vcpus: 4,
                length: 512,
                figures: Figures {
                    low: 1,
                    first_quartile: 2,
                    median: 3,
                    third_quartile: 5,
                    high: 9,
                },
            };
            assert_eq!(Line::parse(&line.to_string()), Some(line));
        }
    }

    #[test]
    fn other_lines_are_not_results() {
        for text in [
            "",
            "round-trip",
            "round-trip ticks c cpuid 1 0 5 5 5 5",
            "round-trip metres c cpuid 1 0 5 5 5 5 5",
            "ready ticks c cpuid 1 0 5 5 5 5 5",
        ] {
            assert_eq!(Line::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn figures_do_not_depend_on_the_order_of_samples() {
        let want = Figures {
            low: 5,
            first_quartile: 25,
            median: 50,
            third_quartile: 75,
            high: 95,
        };
        assert_eq!(Figures::of((0..=100).collect()), Some(want));
        assert_eq!(Figures::of((0..=100).rev().collect()), Some(want));
        assert_eq!(Figures::of(vec![7]), Some(want.map(|_| 7)));
        assert_eq!(Figures::of(Vec::new()), None);
    }

    #[test]
    fn a_few_late_samples_change_no_quartile() {
        let mut samples = vec![1000; 97];
        samples.extend([50_000, 60_000, 70_000]);
        assert_eq!(
            Figures::of(samples),
            Figures::of(vec![1000; 100]),
            "an interrupt now and then"
        );
    }

    #[test]
    fn ticks_are_nanoseconds_by_the_clock() {
        assert_eq!(Clock::parse("tsc-khz 2450000"), Some(Clock(2_450_000)));
        for text in ["tsc-khz 0", "tsc-khz", "tsc-khz fast", "khz 5"] {
            assert_eq!(Clock::parse(text), None, "{text:?}");
        }
        assert_eq!(Clock(2_450_000).nanoseconds(2450), 1000);
        assert_eq!(Clock(1_000_000).nanoseconds(1234), 1234);
        assert_eq!(Clock(3_000_000).nanoseconds(2), 1);
        assert_eq!(Clock(1).nanoseconds(u64::MAX), u64::MAX);
        assert_eq!(
            Clock::parse(&Clock(7).to_string()),
            Some(Clock(7)),
            "a line survives printing"
        );
    }

    #[test]
    fn a_mean_of_nothing_is_none() {
        assert_eq!(Figures::mean(10, 0), None);
        assert_eq!(Figures::mean(10, 4), Figures::of(vec![2]));
    }
}
