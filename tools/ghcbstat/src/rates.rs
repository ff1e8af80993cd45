// SPDX-License-Identifier: GPL-2.0

//! What happened between two moments.

use crate::snapshot::{Bucket, Counters, Event, Snapshot, Vm};
use std::collections::BTreeMap;

/// A line about a guest or an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// The guest's directory, or the event.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// Exits answered in Rust, each second.
    pub rust: f64,
    /// Exits answered by C, each second.
    pub c: f64,
    /// Error replies, each second.
    pub errors: f64,
    /// Exits in all.
    pub total_exits: u64,
    /// Error replies in all.
    pub total_errors: u64,
    /// Times in the handler of half of the exits and of 99 in 100, at most: in nanoseconds.
    pub times: Option<(u64, u64)>,
    /// Of a guest: its most frequent event.
    pub busiest: Option<String>,
}

/// Two snapshots.
#[derive(Clone, Copy, Debug)]
pub struct Interval<'a> {
    /// The earlier one; if there is none, nothing is known of rates.
    pub before: Option<&'a Snapshot>,
    /// The later one.
    pub now: &'a Snapshot,
}

impl Interval<'_> {
    /// Its length in seconds.
    pub fn seconds(&self) -> Option<f64> {
        let nanoseconds = self
            .now
            .monotonic_ns
            .checked_sub(self.before?.monotonic_ns)?;
        (nanoseconds > 0).then_some(nanoseconds as f64 / 1e9)
    }

    /// A line for each guest, the busiest first.
    pub fn by_vm(&self) -> Vec<Line> {
        let lines = self.now.vms.iter().map(|vm| {
            let before = self.vm_before(&vm.id).map(|vm| &vm.counters);
            let changes = self.changes(before, &vm.counters);
            let busiest = changes.iter().max_by_key(|event| event.exits());
            Line {
                id: vm.id.clone(),
                title: vm.name.clone().unwrap_or_default(),
                busiest: busiest
                    .filter(|event| event.exits() > 0)
                    .map(|event| event.event.clone()),
                ..self.line(&changes, before, &vm.counters, None)
            }
        });
        sorted(lines.collect())
    }

    /// A line for each event that has happened, of one guest or of all, the most frequent first.
    pub fn by_event(&self, vm: Option<&str>) -> Vec<Line> {
        let (before, now) = match vm {
            None => (
                self.before.map(|before| &before.counters),
                &self.now.counters,
            ),
            Some(id) => match self.now.vms.iter().find(|vm| vm.id == id) {
                None => return Vec::new(),
                Some(vm) => (self.vm_before(id).map(|vm| &vm.counters), &vm.counters),
            },
        };
        let changes = self.changes(before, now);
        let lines = now
            .events
            .iter()
            .zip(&changes)
            .filter(|(event, _)| event.exits() > 0)
            .map(|(event, change)| {
                let changes = std::slice::from_ref(change);
                let line = self.line(changes, before, now, Some(&event.event));
                Line {
                    id: event.event.clone(),
                    title: event.event.clone(),
                    total_exits: event.exits(),
                    total_errors: event.errors,
                    ..line
                }
            });
        sorted(lines.collect())
    }

    /// All guests together, those that are gone among them.
    pub fn all(&self) -> Line {
        let before = self.before.map(|before| &before.counters);
        let changes = self.changes(before, &self.now.counters);
        self.line(&changes, before, &self.now.counters, None)
    }

    fn vm_before(&self, id: &str) -> Option<&Vm> {
        self.before?.vms.iter().find(|vm| vm.id == id)
    }

    /// What each event of `now` has grown by. A counter that has become smaller belongs to a module that was loaded anew.
    fn changes(&self, before: Option<&Counters>, now: &Counters) -> Vec<Event> {
        let before: BTreeMap<_, _> = before
            .iter()
            .flat_map(|before| &before.events)
            .map(|event| (event.event.as_str(), event))
            .collect();
        now.events
            .iter()
            .map(|event| {
                let old = before.get(event.event.as_str()).copied();
                let old = old.cloned().unwrap_or_default();
                Event {
                    event: event.event.clone(),
                    rust: event.rust.saturating_sub(old.rust),
                    c: event.c.saturating_sub(old.c),
                    errors: event.errors.saturating_sub(old.errors),
                }
            })
            .collect()
    }

    /// The numbers of a line, over `changes` of events; times of one event or of all.
    fn line(
        &self,
        changes: &[Event],
        before: Option<&Counters>,
        now: &Counters,
        event: Option<&str>,
    ) -> Line {
        let seconds = self.seconds();
        let rate = |field: fn(&Event) -> u64| {
            let sum: u64 = changes.iter().map(field).sum();
            seconds.map_or(0.0, |seconds| sum as f64 / seconds)
        };
        let (total_exits, total_errors) = now.totals();
        let before = before.map(|before| before.latency.as_slice());
        Line {
            rust: rate(|event| event.rust),
            c: rate(|event| event.c),
            errors: rate(|event| event.errors),
            total_exits,
            total_errors,
            times: times(before.unwrap_or_default(), &now.latency, event),
            ..Line::default()
        }
    }
}

/// The busiest first; among equals, by name.
fn sorted(mut lines: Vec<Line>) -> Vec<Line> {
    lines.sort_by(|a, b| {
        (b.rust + b.c)
            .total_cmp(&(a.rust + a.c))
            .then(b.total_exits.cmp(&a.total_exits))
            .then_with(|| a.id.cmp(&b.id))
    });
    lines
}

/// Upper bounds of the times of half of the exits, and of 99 in 100, that came between two histograms.
fn times(before: &[Bucket], now: &[Bucket], event: Option<&str>) -> Option<(u64, u64)> {
    let is_wanted = |bucket: &&Bucket| event.is_none_or(|event| bucket.event == event);
    let mut histogram = BTreeMap::<u64, u64>::new();
    for bucket in now.iter().filter(is_wanted) {
        *histogram.entry(bucket.from_ns).or_default() += bucket.count;
    }
    for bucket in before.iter().filter(is_wanted) {
        if let Some(count) = histogram.get_mut(&bucket.from_ns) {
            *count = count.saturating_sub(bucket.count);
        }
    }
    let total: u64 = histogram.values().sum();
    let below = |part: u64| {
        let wanted = (total * part).div_ceil(100);
        let mut sum = 0;
        for (&from, &count) in &histogram {
            sum += count;
            if sum >= wanted {
                return Some(2 * from);
            }
        }
        None
    };
    if total == 0 {
        return None;
    }
    Some((below(50)?, below(99)?))
}
