// SPDX-License-Identifier: GPL-2.0

//! A snapshot in OpenMetrics.

use crate::snapshot::{Bucket, Count, Counters, Event, Snapshot};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The text. Sums over all guests have all events, also those that did not happen; each guest has those that did.
pub fn text(snapshot: &Snapshot) -> String {
    let mut text = Text::default();
    let mode = snapshot.mode.as_deref().unwrap_or("unknown");
    text.family("ghcb_rs", "info", "The module, and who answers.");
    text.sample("ghcb_rs_info", &[("mode", mode)], 1);
    text.family(
        "ghcb_rs_vms",
        "gauge",
        "Guests that have exited to the module.",
    );
    text.sample("ghcb_rs_vms", &[], snapshot.vms.len() as u64);

    text.family(
        "ghcb_rs_exits",
        "counter",
        "VMGEXITs of all guests, by event and by who answered.",
    );
    exits(
        &mut text,
        "ghcb_rs_exits_total",
        &[],
        &snapshot.counters.events,
    );
    text.family(
        "ghcb_rs_error_replies",
        "counter",
        "Error replies to all guests, by event.",
    );
    errors(
        &mut text,
        "ghcb_rs_error_replies_total",
        &[],
        &snapshot.counters.events,
    );
    text.family(
        "ghcb_rs_error_reasons",
        "counter",
        "Error replies to all guests, by reason.",
    );
    counts(
        &mut text,
        "ghcb_rs_error_reasons_total",
        "reason",
        &snapshot.counters.reasons,
    );
    text.family(
        "ghcb_rs_verdicts",
        "counter",
        "Observed answers, by how they compare with those of C.",
    );
    counts(
        &mut text,
        "ghcb_rs_verdicts_total",
        "verdict",
        &snapshot.counters.verdicts,
    );
    text.family(
        "ghcb_rs_handler_seconds",
        "histogram",
        "Time in the handler, by event.",
    );
    histograms(&mut text, &snapshot.counters.latency);

    text.family(
        "ghcb_rs_vm_exits",
        "counter",
        "VMGEXITs of a guest, by event and by who answered.",
    );
    per_vm(snapshot, |labels, counters| {
        exits(
            &mut text,
            "ghcb_rs_vm_exits_total",
            labels,
            &happened(counters),
        );
    });
    text.family(
        "ghcb_rs_vm_error_replies",
        "counter",
        "Error replies to a guest, by event.",
    );
    per_vm(snapshot, |labels, counters| {
        errors(
            &mut text,
            "ghcb_rs_vm_error_replies_total",
            labels,
            &happened(counters),
        );
    });
    text.0.push_str("# EOF\n");
    text.0
}

/// Calls `f` for each guest with its labels.
fn per_vm(snapshot: &Snapshot, mut f: impl FnMut(&[(&str, &str)], &Counters)) {
    for vm in &snapshot.vms {
        let name = vm.name.as_deref().unwrap_or_default();
        f(&[("vm", &vm.id), ("name", name)], &vm.counters);
    }
}

fn happened(counters: &Counters) -> Vec<Event> {
    let events = counters.events.iter();
    events.filter(|event| event.exits() > 0).cloned().collect()
}

fn exits(text: &mut Text, name: &str, labels: &[(&str, &str)], events: &[Event]) {
    for event in events {
        for (by, count) in [("rust", event.rust), ("c", event.c)] {
            let own = [("event", event.event.as_str()), ("by", by)];
            text.sample(name, &[labels, own.as_slice()].concat(), count);
        }
    }
}

fn errors(text: &mut Text, name: &str, labels: &[(&str, &str)], events: &[Event]) {
    for event in events {
        let own = [("event", event.event.as_str())];
        text.sample(name, &[labels, own.as_slice()].concat(), event.errors);
    }
}

fn counts(text: &mut Text, name: &str, label: &str, counts: &[Count]) {
    for count in counts {
        text.sample(name, &[(label, &count.name)], count.count);
    }
}

/// Cumulative, as OpenMetrics has histograms. The module keeps no sum of times, so there is none here.
fn histograms(text: &mut Text, buckets: &[Bucket]) {
    let mut events = BTreeMap::<&str, BTreeMap<u64, u64>>::new();
    for bucket in buckets {
        *(events.entry(&bucket.event).or_default())
            .entry(bucket.from_ns)
            .or_default() += bucket.count;
    }
    for (event, buckets) in events {
        let mut sum = 0;
        for (from, count) in buckets {
            sum += count;
            let upper = (2 * from) as f64 / 1e9;
            let labels = [("event", event), ("le", &upper.to_string())];
            text.sample("ghcb_rs_handler_seconds_bucket", &labels, sum);
        }
        let labels = [("event", event), ("le", "+Inf")];
        text.sample("ghcb_rs_handler_seconds_bucket", &labels, sum);
    }
}

/// OpenMetrics' text. Writing to a string does not fail.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}\n# HELP {name} {help}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        let _ = match labels.is_empty() {
            true => writeln!(self.0, "{name} {value}"),
            false => writeln!(self.0, "{name}{{{}}} {value}", labels.join(",")),
        };
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
