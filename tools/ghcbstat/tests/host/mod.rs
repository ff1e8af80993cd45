// SPDX-License-Identifier: GPL-2.0

//! A host on which the module is loaded and two guests run, in files below a directory.

use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The host.
pub struct Host(TempDir);

/// The module's files for all guests, and for each.
const ALL: [(&str, &str); 5] = [
    (
        "events",
        "event\trust\tc\terrors\ncpuid\t1300\t0\t1\nioio\t9000\t0\t0\nmsr\t0\t0\t0\nmsr_cpuid\t4\t0\t1\ntotal\t10304\t0\t2\n",
    ),
    ("reasons", "reason\tcount\nmissing_input\t1\nmsr_failed\t1\n"),
    ("verdicts", "verdict\tcount\nsame\t0\nunexplained\t0\n"),
    (
        "latency",
        "event\tfrom_ns\tcount\ncpuid\t1024\t900\ncpuid\t2048\t300\ncpuid\t65536\t4\nioio\t1\t1\n",
    ),
    ("pending", "vmm\tvcpu\n"),
];

const FIRST: [(&str, &str); 5] = [
    (
        "events",
        "event\trust\tc\terrors\ncpuid\t1000\t0\t1\nioio\t0\t0\t0\ntotal\t1000\t0\t1\n",
    ),
    ("reasons", "reason\tcount\nmissing_input\t1\n"),
    ("verdicts", "verdict\tcount\nsame\t0\n"),
    ("latency", "event\tfrom_ns\tcount\n"),
    (
        "vcpus",
        "vcpu\tevent\trust\tc\terrors\n0\tcpuid\t600\t0\t1\n1\tcpuid\t400\t0\t0\n",
    ),
];

const SECOND: [(&str, &str); 5] = [
    ("events", "event\trust\tc\terrors\tnew\ncpuid\t300\t0\t0\t7\nioio\t9000\t0\t0\t7\ntotal\t9300\t0\t0\t14\n"),
    ("reasons", "reason\tcount\nmissing_input\t0\n"),
    ("verdicts", "verdict\tcount\nsame\t0\n"),
    ("latency", "event\tfrom_ns\tcount\nioio\t512\t9000\n"),
    ("vcpus", "vcpu\tevent\trust\tc\terrors\n0\tioio\t9000\t0\t0\n"),
];

impl Host {
    /// The host: guest "web, 1" of QEMU, and guest "db" that libvirt alone has a name for.
    pub fn new() -> Self {
        let host = Self(tempfile::tempdir().expect("a directory"));
        host.write("sys/module/ghcb_rs/parameters/mode", "answer\n");
        host.write("sys/module/ghcb_rs/parameters/timing", "1\n");
        host.write(
            "proc/4711/cmdline",
            "qemu-system-x86_64\0-enable-kvm\0-name\0guest=web,, 1,debug-threads=on\0-smp\x002\0",
        );
        host.write(
            "proc/812/cmdline",
            "cloud-hypervisor\0--api-socket\0/run/x\0",
        );
        host.write("run/libvirt/ch/db.pid", "812\n");
        host.write("run/libvirt/ch/other.pid", "813\n");
        for (files, directory) in [(ALL, "."), (FIRST, "vms/4711-12"), (SECOND, "vms/812-9")] {
            for (name, text) in files {
                host.file(&format!("{directory}/{name}"), text);
            }
        }
        host.file("failures", concat!(
            "number\ttime_ns\tvm\tvcpu\tevent\treason\tmsr\tcode\tinfo1\tinfo2\tvalid\tscratch\trax\trbx\trcx\trdx\trust\tc\n",
            "7\t12345678901\t4711-12\t1\tcpuid\tmissing_input\t0x1000\t0x72\t0x0\t0x0\t0x1c0000000000008000000000000000\t0x0\t0x8000001f\t0x0\t0x0\t0x0\t-\t-\n",
            "8\t12345679901\t812-9\t0\tmsr_cpuid\tmsr_failed\t0x4000000b00000004\t0x0\t0x0\t0x0\t0x0\t0x0\t0x0\t0x0\t0x0\t0x0\t-\t-\n",
        ));
        host
    }

    /// Its root.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes a file anew.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// One of the module's.
    pub fn file(&self, name: &str, text: &str) {
        self.write(&format!("sys/kernel/debug/ghcb_rs/{name}"), text);
    }

    /// The program, told to look at this host.
    pub fn ghcbstat(&self, arguments: &[&str]) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::cargo_bin("ghcbstat").expect("the program");
        command.arg("--root").arg(self.path()).args(arguments);
        command
    }

    /// What it writes.
    pub fn output(&self, arguments: &[&str]) -> String {
        let output = self.ghcbstat(arguments).output().expect("an end");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        String::from_utf8(output.stdout).expect("text")
    }
}
