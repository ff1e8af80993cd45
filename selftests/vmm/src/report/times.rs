// SPDX-License-Identifier: GPL-2.0
//! How long something took, many times.

use std::fmt;
use std::time::Duration;

/// Durations, in any order.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Add one.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that `percent` of all do not exceed; zero if there is none.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut times = self.0.clone();
        times.sort();
        let rank = (times.len() * percent).div_ceil(100);
        times
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }
}

/// Minimum, median, 99th percentile and maximum, in microseconds.
impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [min, median, p99, max] =
            [0, 50, 99, 100].map(|percent| self.percentile(percent).as_micros());
        write!(f, "{min}/{median}/{p99}/{max}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_does_not_depend_on_the_order() {
        let mut times = Times::default();
        assert_eq!(times.to_string(), "0/0/0/0");
        for number in (1..=200).rev() {
            times.push(Duration::from_micros(number));
        }
        assert_eq!(times.count(), 200);
        assert_eq!(times.to_string(), "1/100/198/200");
    }
}
