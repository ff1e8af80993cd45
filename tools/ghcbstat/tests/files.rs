// SPDX-License-Identifier: GPL-2.0

//! What is made of the module's files.

mod host;

use host::Host;
use serde_json::{json, Value};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What the program complains of, and its exit status.
fn complaint(host: &Host, arguments: &[&str]) -> (Option<i32>, String) {
    let output = host.ghcbstat(arguments).output().expect("an end");
    let said = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), said)
}

fn json(host: &Host) -> Value {
    serde_json::from_str(&host.output(&["--json"])).expect("JSON")
}

#[test]
fn json_has_all_there_is() {
    let snapshot = json(&Host::new());
    assert_eq!(snapshot["mode"], "answer");
    assert_eq!(snapshot["timing"], true);
    assert_eq!(
        snapshot["events"][0],
        json!({"event": "cpuid", "rust": 1300, "c": 0, "errors": 1})
    );
    // The sum is no event.
    assert_eq!(snapshot["events"].as_array().map(Vec::len), Some(4));
    assert_eq!(
        snapshot["reasons"][1],
        json!({"name": "msr_failed", "count": 1})
    );
    assert_eq!(
        snapshot["latency"][2],
        json!({"event": "cpuid", "from_ns": 65536, "count": 4})
    );
    let vms = &snapshot["vms"];
    assert_eq!(
        (&vms[0]["id"], &vms[0]["pid"]),
        (&json!("812-9"), &json!(812))
    );
    assert_eq!(
        vms[1]["vcpus"][1],
        json!({"vcpu": 1, "event": "cpuid", "rust": 400, "c": 0, "errors": 0})
    );
}

#[test]
fn guests_are_named_by_qemu_and_libvirt() {
    let snapshot = json(&Host::new());
    assert_eq!(snapshot["vms"][0]["name"], "db");
    assert_eq!(snapshot["vms"][1]["name"], "web, 1");
    let host = Host::new();
    host.write("proc/4711/cmdline", "qemu\0-name\0short\0");
    fs::remove_dir_all(host.path().join("run")).expect("a directory");
    let snapshot = json(&host);
    assert_eq!(snapshot["vms"][0]["name"], Value::Null);
    assert_eq!(snapshot["vms"][1]["name"], "short");
}

#[test]
fn a_guest_that_ends_meanwhile_is_left_out() {
    let host = Host::new();
    fs::remove_file(host.path().join("sys/kernel/debug/ghcb_rs/vms/812-9/vcpus")).expect("a file");
    assert_eq!(json(&host)["vms"].as_array().map(Vec::len), Some(1));
}

#[test]
fn totals_are_sorted() {
    let host = Host::new();
    let lines = |arguments: &[&str]| {
        let text = host.output(arguments);
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        text.lines().map(words).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(&["--once"]),
        [
            vec!["VM", "NAME", "EXITS", "ERRORS", "HALF", "IN", "99%", "IN"],
            vec!["812-9", "db", "9,300", "0", "<1.0", "us", "<1.0", "us"],
            vec!["4711-12", "web,", "1", "1,000", "1", "-", "-"],
        ]
    );
    assert_eq!(
        lines(&["--once", "--by", "event"]),
        [
            vec!["EVENT", "EXITS", "ERRORS", "HALF", "IN", "99%", "IN"],
            vec!["ioio", "9,000", "0", "<2", "ns", "<2", "ns"],
            vec!["cpuid", "1,300", "1", "<2.0", "us", "<4.1", "us"],
            vec!["msr_cpuid", "4", "1", "-", "-"],
        ]
    );
}

#[test]
fn a_file_that_is_none_of_the_modules_is_said() {
    let host = Host::new();
    host.file("events", "event\trust\tc\ncpuid\t1\t2\n");
    let (status, said) = complaint(&host, &["--once"]);
    assert_eq!(status, Some(1));
    assert!(
        said.ends_with("ghcb_rs/events: there is no column errors\n"),
        "{said}"
    );
    host.file("events", "event\trust\tc\terrors\ncpuid\t1\tmany\t0\n");
    let (_, said) = complaint(&host, &["--once"]);
    assert!(said.contains("c: many is no number"), "{said}");
}

#[test]
fn a_module_that_is_not_there_is_said() {
    let host = Host::new();
    fs::remove_dir_all(host.path().join("sys/kernel")).expect("a directory");
    let (status, said) = complaint(&host, &["--once"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("mount -t debugfs"), "{said}");
    fs::remove_dir_all(host.path().join("sys/module")).expect("a directory");
    let (_, said) = complaint(&host, &["failures"]);
    assert!(said.contains("ghcb_rs is not loaded"), "{said}");
}

/// The number of nobody, who owns nothing.
const NOBODY: u32 = 65534;

/// Runs the program as nobody where the tests run as root; else as who runs the tests.
fn as_nobody(host: &Host) -> (Option<i32>, String) {
    let program = host.path().join("ghcbstat");
    fs::copy(assert_cmd::cargo::cargo_bin("ghcbstat"), &program).expect("a copy");
    let mut command = Command::new(program);
    command.arg("--root").arg(host.path()).arg("--once");
    if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0) {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().expect("an end");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("text"))
}

#[test]
fn who_may_read_needs_no_other_right() {
    let host = Host::new();
    let mode = |path: &str, mode| {
        fs::set_permissions(host.path().join(path), fs::Permissions::from_mode(mode))
            .expect("a mode");
    };
    mode(".", 0o755);
    let (status, said) = as_nobody(&host);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("812-9"), "{said}");
    mode("sys/kernel/debug/ghcb_rs/events", 0);
    let (status, said) = as_nobody(&host);
    assert_eq!(status, Some(1));
    assert!(
        said.contains("ghcb_rs/events may not be read: be root, or"),
        "{said}"
    );
}

#[test]
fn failures_are_told_in_sentences() {
    let host = Host::new();
    assert_eq!(
        host.output(&["failures"]),
        "[   12.345678] web, 1 vcpu1: CPUID 0x8000001f index 0x0: refused: RCX is not marked valid\n\
         [   12.345679] db vcpu0: by the MSR: CPUID 0x4000000b, EAX: refused: the answer is \"failed\"\n"
    );
    let failures: Value =
        serde_json::from_str(&host.output(&["failures", "--json"])).expect("JSON");
    assert_eq!(failures[0]["number"], 7);
    assert_eq!(failures[0]["rax"], 0x8000_001f_u32);
}

#[test]
fn a_file_is_written_whole() {
    let host = Host::new();
    let file = host.path().join("ghcb.prom");
    let name = file.display().to_string();
    assert_eq!(host.output(&["--prometheus", "--output", &name]), "");
    let text = fs::read_to_string(&file).expect("a file");
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(!host.path().join("ghcb.prom.new").exists());
    fs::remove_file(host.path().join("sys/kernel/debug/ghcb_rs/events")).expect("a file");
    let (status, _) = complaint(&host, &["--prometheus", "--output", &name]);
    assert_eq!(status, Some(1));
    assert_eq!(fs::read_to_string(&file).expect("a file"), text);
}

#[test]
fn what_was_recorded_is_shown_again() {
    let host = Host::new();
    let file = host.path().join("day").display().to_string();
    host.output(&["--record", &file, "--count", "2", "--interval", "0.1"]);
    let lines = fs::read_to_string(&file).expect("a file");
    assert_eq!(lines.lines().count(), 2);
    let now: Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
    let again: Value =
        serde_json::from_str(&host.output(&["--replay", &file, "--json"])).expect("JSON");
    assert_eq!(again, now);
    host.write("day", "{}\n");
    let (status, said) = complaint(&host, &["--replay", &file, "--once"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("day: ") && said.contains("line 1"), "{said}");
    // So is what was written once.
    let file = host.path().join("now.json").display().to_string();
    host.output(&["--json", "--output", &file]);
    let shown = host.output(&["--replay", &file, "--once"]);
    assert_eq!(shown, host.output(&["--once"]));
}

/// On a terminal, which script(1) makes.
#[test]
fn a_terminal_is_left_as_it_was() {
    let host = Host::new();
    let program = assert_cmd::cargo::cargo_bin("ghcbstat");
    let line = format!(
        "stty rows 24 cols 120; {} --root {} --count 2 --interval 0.1",
        program.display(),
        host.path().display()
    );
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .output()
        .expect("script");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let (enter, leave) = ("\x1b[?1049h", "\x1b[?1049l");
    assert!(
        text.contains("812-9") && text.contains("MOSTLY"),
        "{text:?}"
    );
    assert!(
        text.contains(enter) && text.rfind(leave) > text.rfind(enter),
        "{text:?}"
    );
}

#[test]
fn without_a_terminal_there_is_no_table() {
    let (status, said) = complaint(&Host::new(), &[]);
    assert_eq!(status, Some(1));
    assert!(said.contains("standard output is no terminal"), "{said}");
}
