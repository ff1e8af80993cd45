// SPDX-License-Identifier: GPL-2.0

//! What is written for Prometheus, as another parser reads it.

mod host;

use host::Host;
use openmetrics_parser::openmetrics::parse_openmetrics;

#[test]
fn another_parser_reads_it() {
    let text = Host::new().output(&["--prometheus"]);
    let exposition = parse_openmetrics(&text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let mut names: Vec<_> = exposition.families.keys().cloned().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "ghcb_rs",
            "ghcb_rs_error_reasons",
            "ghcb_rs_error_replies",
            "ghcb_rs_exits",
            "ghcb_rs_handler_seconds",
            "ghcb_rs_verdicts",
            "ghcb_rs_vm_error_replies",
            "ghcb_rs_vm_exits",
            "ghcb_rs_vms",
        ]
    );
}

#[test]
fn numbers_are_those_of_the_files() {
    let text = Host::new().output(&["--prometheus"]);
    for line in [
        "ghcb_rs_info{mode=\"answer\"} 1",
        "ghcb_rs_vms 2",
        "ghcb_rs_exits_total{event=\"cpuid\",by=\"rust\"} 1300",
        "ghcb_rs_exits_total{event=\"msr\",by=\"c\"} 0",
        "ghcb_rs_error_replies_total{event=\"cpuid\"} 1",
        "ghcb_rs_error_reasons_total{reason=\"msr_failed\"} 1",
        "ghcb_rs_verdicts_total{verdict=\"unexplained\"} 0",
        "ghcb_rs_handler_seconds_bucket{event=\"cpuid\",le=\"0.000002048\"} 900",
        "ghcb_rs_handler_seconds_bucket{event=\"cpuid\",le=\"0.000004096\"} 1200",
        "ghcb_rs_handler_seconds_bucket{event=\"cpuid\",le=\"+Inf\"} 1204",
        "ghcb_rs_vm_exits_total{vm=\"4711-12\",name=\"web, 1\",event=\"cpuid\",by=\"rust\"} 1000",
        "ghcb_rs_vm_error_replies_total{vm=\"812-9\",name=\"db\",event=\"ioio\"} 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    // A guest has no line about what it has not done.
    assert!(!text.contains("name=\"web, 1\",event=\"ioio\""), "{text}");
}

#[test]
fn names_are_quoted() {
    let host = Host::new();
    host.write("proc/4711/cmdline", "qemu\0-name\0a\"b\\c\nd\0");
    let text = host.output(&["--prometheus"]);
    assert!(text.contains(r#"name="a\"b\\c\nd""#), "{text}");
    parse_openmetrics(&text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
}
