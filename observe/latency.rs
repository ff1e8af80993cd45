// SPDX-License-Identifier: GPL-2.0

//! How long exits take: a histogram for each event, in powers of two of nanoseconds.

use super::counts::Counter;
use crate::vmgexit::kind::Kind;
use kernel::{fmt, prelude::*};

/// Numbers of times, the last of which is for all that are longer.
const BUCKETS: usize = 32;

/// Histograms. All zeros is a valid value.
pub(super) struct Latency([[Counter; BUCKETS]; Kind::COUNT]);

// SAFETY: Integers, which are laid out as those that are not atomic.
unsafe impl Zeroable for Latency {}

impl Latency {
    /// Nothing counted.
    pub(super) const fn new() -> Self {
        Self([const { [const { Counter::new() }; BUCKETS] }; Kind::COUNT])
    }

    /// Counts an exit that took so many nanoseconds.
    pub(super) fn count(&self, kind: Kind, time: u64) {
        let log2 = (u64::BITS - 1).wrapping_sub((time | 1).leading_zeros()) as usize;
        let row = self.0.get(kind as usize);
        if let Some(counter) = row.and_then(|row| row.get(log2.min(BUCKETS - 1))) {
            counter.add(1);
        }
    }

    /// Adds all that `other` has counted.
    pub(super) fn add(&self, other: &Self) {
        for (mine, its) in self.0.iter().flatten().zip(other.0.iter().flatten()) {
            mine.add(its.get());
        }
    }

    /// Exits of a kind in a bucket.
    fn get(&self, kind: Kind, bucket: usize) -> u64 {
        let row = self.0.get(kind as usize);
        row.and_then(|row| row.get(bucket)).map_or(0, Counter::get)
    }
}

/// Writes the table of all that `each` hands out: the rows that are not zero.
pub(super) fn write(
    f: &mut fmt::Formatter<'_>,
    each: impl Fn(&mut dyn FnMut(&Latency)),
) -> fmt::Result {
    writeln!(f, "event\tfrom_ns\tcount")?;
    for &kind in Kind::ALL {
        for bucket in 0..BUCKETS {
            let mut sum = 0_u64;
            each(&mut |latency| sum = sum.wrapping_add(latency.get(kind, bucket)));
            if sum != 0 {
                writeln!(
                    f,
                    "{}\t{}\t{sum}",
                    kind.name(),
                    1_u64.wrapping_shl(bucket as u32)
                )?;
            }
        }
    }
    Ok(())
}
