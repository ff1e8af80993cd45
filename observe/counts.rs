// SPDX-License-Identifier: GPL-2.0

//! What is counted of a vCPU, and the tables of it.

use crate::vmgexit::{kind::Kind, refusal::Refusal, verdict::Verdict};
use core::{
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use kernel::fmt;

/// A counter that one task changes at a time, and that others read.
#[repr(transparent)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds one; the caller is the only one who changes this counter.
    #[inline]
    fn increment(&self) {
        // One instruction, and no locked one.
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Adds to a counter that others may change, too.
    pub(super) fn add(&self, value: u64) {
        self.0.fetch_add(value, Relaxed);
    }

    /// What has been counted.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters of a vCPU, or of several together. All zeros is a valid value.
pub(super) struct Counts {
    /// Exits that were answered here, by kind.
    exits: [Counter; Kind::COUNT],
    /// Exits that C has answered, by kind.
    by_c: [Counter; Kind::COUNT],
    /// Error replies of either, by kind.
    errors: [Counter; Kind::COUNT],
    /// The same, by reason.
    refusals: [Counter; Refusal::COUNT],
    /// How C's answers compare with those foreseen.
    verdicts: [Counter; Verdict::COUNT],
}

impl Counts {
    /// Nothing counted.
    pub(super) const fn new() -> Self {
        Self {
            exits: [const { Counter::new() }; Kind::COUNT],
            by_c: [const { Counter::new() }; Kind::COUNT],
            errors: [const { Counter::new() }; Kind::COUNT],
            refusals: [const { Counter::new() }; Refusal::COUNT],
            verdicts: [const { Counter::new() }; Verdict::COUNT],
        }
    }

    /// Counts an exit of the vCPU that this task runs.
    #[inline]
    pub(super) fn count_exit(&self, kind: Kind) {
        if let Some(counter) = self.exits.get(kind as usize) {
            counter.increment();
        }
    }

    /// Counts an error reply of the vCPU that this task runs.
    pub(super) fn count_error(&self, kind: Kind, refusal: Refusal) {
        let counters = self.error(kind).into_iter().chain(self.refusal(refusal));
        counters.for_each(Counter::increment);
    }

    /// Counts an exit where several tasks count.
    pub(super) fn share_exit(&self, kind: Kind) {
        if let Some(counter) = self.exit(kind) {
            counter.add(1);
        }
    }

    /// Counts an error reply where several tasks count.
    pub(super) fn share_error(&self, kind: Kind, refusal: Refusal) {
        let counters = self.error(kind).into_iter().chain(self.refusal(refusal));
        counters.for_each(|counter| counter.add(1));
    }

    /// Counts an exit that C has answered, of the vCPU that this task runs.
    pub(super) fn count_verdict(&self, kind: Kind, verdict: Verdict) {
        let counters = self
            .exit_by_c(kind)
            .into_iter()
            .chain(self.verdict(verdict));
        counters.for_each(Counter::increment);
    }

    /// Counts an exit that C has answered, where several tasks count.
    pub(super) fn share_verdict(&self, kind: Kind, verdict: Verdict) {
        let counters = self
            .exit_by_c(kind)
            .into_iter()
            .chain(self.verdict(verdict));
        counters.for_each(|counter| counter.add(1));
    }

    /// Adds all that `other` has counted.
    pub(super) fn add(&self, other: &Self) {
        for (mine, its) in self.all().zip(other.all()) {
            mine.add(its.get());
        }
    }

    /// All counters.
    fn all(&self) -> impl Iterator<Item = &Counter> {
        let exits = self.exits.iter().chain(&self.by_c);
        let errors = self.errors.iter().chain(&self.refusals);
        exits.chain(errors).chain(&self.verdicts)
    }

    /// Exits of a kind that C has answered.
    fn exit_by_c(&self, kind: Kind) -> Option<&Counter> {
        self.by_c.get(kind as usize)
    }

    /// Exits with this verdict.
    fn verdict(&self, verdict: Verdict) -> Option<&Counter> {
        self.verdicts.get(verdict as usize)
    }

    /// Exits of a kind that were answered here.
    fn exit(&self, kind: Kind) -> Option<&Counter> {
        self.exits.get(kind as usize)
    }

    /// Error replies to exits of a kind.
    fn error(&self, kind: Kind) -> Option<&Counter> {
        self.errors.get(kind as usize)
    }

    /// Error replies for a reason.
    fn refusal(&self, refusal: Refusal) -> Option<&Counter> {
        self.refusals.get(refusal as usize)
    }
}

/// The columns of a table of events.
#[derive(Clone, Copy, Default)]
struct Row {
    rust: u64,
    c: u64,
    errors: u64,
}

impl Row {
    /// The row of a kind, as one set of counters has it.
    fn of(counts: &Counts, kind: Kind) -> Self {
        let of = |counter: Option<&Counter>| counter.map_or(0, Counter::get);
        Self {
            rust: of(counts.exit(kind)),
            c: of(counts.exit_by_c(kind)),
            errors: of(counts.error(kind)),
        }
    }

    /// Both together.
    fn plus(self, other: Self) -> Self {
        Self {
            rust: self.rust.wrapping_add(other.rust),
            c: self.c.wrapping_add(other.c),
            errors: self.errors.wrapping_add(other.errors),
        }
    }

    /// Whether nothing has been counted.
    fn is_empty(&self) -> bool {
        self.rust | self.c | self.errors == 0
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}", self.rust, self.c, self.errors)
    }
}

/// Writes the table of events of all that `each` hands out: a row for each kind, and their total.
pub(super) fn write_events(
    f: &mut fmt::Formatter<'_>,
    each: impl Fn(&mut dyn FnMut(&Counts)),
) -> fmt::Result {
    writeln!(f, "event\trust\tc\terrors")?;
    let mut total = Row::default();
    for &kind in Kind::ALL {
        let mut row = Row::default();
        each(&mut |counts| row = row.plus(Row::of(counts, kind)));
        writeln!(f, "{}\t{row}", kind.name())?;
        total = total.plus(row);
    }
    writeln!(f, "total\t{total}")
}

/// Writes a table of two columns of all that `each` hands out: a row for each name, and the sum of what `counter` says.
fn write_sums<T: Copy>(
    f: &mut fmt::Formatter<'_>,
    rows: &[T],
    name: impl Fn(T) -> &'static str,
    counter: impl Fn(&Counts, T) -> Option<&Counter>,
    each: impl Fn(&mut dyn FnMut(&Counts)),
) -> fmt::Result {
    for &row in rows {
        let mut sum = 0_u64;
        each(&mut |counts| {
            sum = sum.wrapping_add(counter(counts, row).map_or(0, Counter::get));
        });
        writeln!(f, "{}\t{sum}", name(row))?;
    }
    Ok(())
}

/// Writes the table of reasons of all that `each` hands out.
pub(super) fn write_reasons(
    f: &mut fmt::Formatter<'_>,
    each: impl Fn(&mut dyn FnMut(&Counts)),
) -> fmt::Result {
    writeln!(f, "reason\tcount")?;
    write_sums(f, Refusal::ALL, Refusal::name, Counts::refusal, each)
}

/// Writes the table of verdicts of all that `each` hands out.
pub(super) fn write_verdicts(
    f: &mut fmt::Formatter<'_>,
    each: impl Fn(&mut dyn FnMut(&Counts)),
) -> fmt::Result {
    writeln!(f, "verdict\tcount")?;
    write_sums(f, Verdict::ALL, Verdict::name, Counts::verdict, each)
}

/// Writes the rows of a vCPU that are not empty: its number, and the columns of a table of events.
pub(super) fn write_vcpu(f: &mut fmt::Formatter<'_>, vcpu: u32, counts: &Counts) -> fmt::Result {
    for &kind in Kind::ALL {
        let row = Row::of(counts, kind);
        if !row.is_empty() {
            writeln!(f, "{vcpu}\t{}\t{row}", kind.name())?;
        }
    }
    Ok(())
}
