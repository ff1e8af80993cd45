// SPDX-License-Identifier: GPL-2.0

//! Each line that can be bad, on a host that lacks just that; and the exit status.

mod saved;

use saved::{Saved, ALL_KINDS, KVM, KVM_AMD, OTHER, RELEASE, VMLINUX};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Output;

/// Runs the program on a host.
fn check(host: &Saved, options: &[&str]) -> Output {
    assert_cmd::Command::cargo_bin("ghcb-check")
        .expect("the program")
        .arg("--root")
        .arg(host.path())
        .args(options)
        .output()
        .expect("an end of the program")
}

/// What is not good: name, state, what was found and what to do.
fn complaints(host: &Saved) -> (i32, Vec<[String; 4]>) {
    let output = check(host, &["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let complaints = report["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .map(|check| {
            ["name", "state", "found", "advice"]
                .map(|key| check[key].as_str().unwrap_or_default().to_owned())
        })
        .filter(|[_, state, ..]| state != "good")
        .collect();
    (output.status.code().expect("an exit status"), complaints)
}

/// A host that lacks one thing: what, how, and what must be said, in which words.
struct Lack {
    name: &'static str,
    state: &'static str,
    found: &'static str,
    advice: &'static str,
    damage: fn(&Saved),
}

/// The only thing that is said about the host.
const LACKS: &[Lack] = &[
    Lack {
        name: "processor",
        state: "bad",
        found: "this processor has no SEV-ES, or its firmware hides it",
        advice: "use a processor with SEV-ES",
        damage: |host| host.cpuid(1 << 1, 100),
    },
    Lack {
        name: "processor",
        state: "bad",
        found: "this processor has no SMAP",
        advice: "do not hide SMAP",
        damage: |host| {
            host.write(
                "cpuid",
                "   0x8000001f 0x00: eax=0x0000001a ebx=0x00000000 ecx=0x00000000 edx=0x00000064\n",
            );
        },
    },
    Lack {
        name: "processor",
        state: "bad",
        found: "this processor has no decode assists",
        advice: "do not hide decode assists",
        damage: |host| host.replace("cpuid", "edx=0x119b9cff", "edx=0x119b9c7f"),
    },
    Lack {
        name: "processor",
        state: "unknown",
        found: "what CPUID says was not saved",
        advice: "cpuid -1 -r",
        damage: |host| host.remove("cpuid"),
    },
    Lack {
        name: "firmware-settings",
        state: "bad",
        found: "memory encryption is off, or SMM is not locked",
        advice: "switch on SMEE",
        damage: |host| host.flags("svm"),
    },
    Lack {
        name: "firmware-settings",
        state: "unknown",
        found: "/proc/cpuinfo has no line with flags",
        advice: "mount /proc",
        damage: |host| host.remove("proc/cpuinfo"),
    },
    Lack {
        name: "asids",
        state: "bad",
        found: "no address space IDs to SEV-ES",
        advice: "SEV-ES ASID space limit",
        damage: |host| host.cpuid(ALL_KINDS, 1),
    },
    Lack {
        name: "secure-processor",
        state: "bad",
        found: "ccp has found no secure processor that does SEV",
        advice: "dmesg | grep ccp",
        damage: |host| host.remove("dev/sev"),
    },
    Lack {
        name: "secure-processor",
        state: "bad",
        found: "ccp, the secure processor's driver, is not loaded",
        advice: "modprobe ccp",
        damage: |host| {
            host.remove("dev/sev");
            host.remove("sys/module/ccp");
        },
    },
    Lack {
        name: "sev-firmware",
        state: "note",
        found: "SEV API 0.24, build 15: too old for guests with SEV-SNP, which need 1.51",
        advice: "update the host's firmware",
        damage: |host| host.write("sev-status", "api 0.24 build 15"),
    },
    Lack {
        name: "sev-firmware",
        state: "bad",
        found: "does not say its firmware's version",
        advice: "dmesg | grep ccp",
        damage: |host| host.write("sev-status", "nothing"),
    },
    Lack {
        name: "kvm_amd",
        state: "note",
        found: "it is not loaded: ghcb_rs will say \"waiting for kvm_amd\"",
        advice: "modprobe kvm_amd sev=1 sev_es=1",
        damage: |host| {
            host.remove("sys/module/kvm_amd");
            let module = format!("lib/modules/{RELEASE}/kernel/arch/x86/kvm/kvm-amd.ko");
            host.write_bytes(&module, &saved::elf("license=GPL\0", KVM_AMD));
        },
    },
    Lack {
        name: "kvm_amd",
        state: "bad",
        found: "built into the kernel",
        advice: "CONFIG_KVM_AMD=m",
        damage: |host| {
            host.write(
                &format!("lib/modules/{RELEASE}/modules.builtin"),
                "kernel/arch/x86/kvm/kvm-amd.ko\n",
            );
        },
    },
    Lack {
        name: "kvm_amd-sev_es",
        state: "bad",
        found: "its parameter sev is off",
        advice: "modprobe kvm_amd sev=1 sev_es=1",
        damage: |host| host.parameter("kvm_amd", "sev", "N"),
    },
    Lack {
        name: "kvm_amd-sev_es",
        state: "bad",
        found: "its parameter sev_es is off",
        advice: "modprobe kvm_amd sev=1 sev_es=1",
        damage: |host| host.parameter("kvm_amd", "sev_es", "N"),
    },
    Lack {
        name: "kvm_amd-sev_es",
        state: "bad",
        found: "its parameter npt is off",
        advice: "npt=1",
        damage: |host| {
            host.parameter("kvm_amd", "sev", "N");
            host.parameter("kvm_amd", "npt", "N");
        },
    },
    Lack {
        name: "kvm_amd-sev_es",
        state: "bad",
        found: "mmio_caching of kvm is off",
        advice: "mmio_caching=1",
        damage: |host| {
            host.parameter("kvm_amd", "sev_es", "N");
            host.parameter("kvm", "mmio_caching", "N");
        },
    },
    Lack {
        name: "kvm_amd-sev_es",
        state: "unknown",
        found: "does not show its parameters",
        advice: "as root",
        damage: |host| host.remove("sys/module/kvm_amd/parameters/sev_es"),
    },
    Lack {
        name: "kvm_amd-sev_snp",
        state: "note",
        found: "it takes no guests with SEV-SNP",
        advice: "sev_snp=1",
        damage: |host| host.parameter("kvm_amd", "sev_snp", "N"),
    },
    Lack {
        name: "kernel-options",
        state: "unknown",
        found: "neither in /proc/config.gz nor in /boot/config-7.3.4+deb13-amd64",
        advice: "install the package",
        damage: |host| host.remove(&format!("boot/config-{RELEASE}")),
    },
    Lack {
        name: "kernel-options",
        state: "bad",
        found: "the kernel has no CONFIG_RUST=y: ",
        advice: "use a kernel with this option",
        damage: |host| host.option("CONFIG_RUST=y", "# CONFIG_RUST is not set"),
    },
    Lack {
        name: "kernel-options",
        state: "bad",
        found: "the kernel has no CONFIG_LIVEPATCH=y: ",
        advice: "use a kernel with this option",
        damage: |host| host.option("CONFIG_LIVEPATCH=y", ""),
    },
    Lack {
        name: "kernel-options",
        state: "bad",
        found: "the kernel has no CONFIG_DYNAMIC_FTRACE_WITH_JMP=y: ",
        advice: "use a kernel with this option",
        damage: |host| host.option("CONFIG_DYNAMIC_FTRACE_WITH_JMP=y", ""),
    },
    Lack {
        name: "kernel-options",
        state: "bad",
        found: "the kernel has no CONFIG_KALLSYMS_ALL=y: ",
        advice: "use a kernel with this option",
        damage: |host| host.option("CONFIG_KALLSYMS_ALL=y", ""),
    },
    Lack {
        name: "kernel-options",
        state: "bad",
        found: "the kernel has no CONFIG_VMCORE_INFO=y: ",
        advice: "use a kernel with this option",
        damage: |host| host.option("CONFIG_VMCORE_INFO=y", ""),
    },
    Lack {
        name: "kernel-options",
        state: "bad",
        found: "the kernel has no CONFIG_KVM_AMD=m: ",
        advice: "use a kernel with this option",
        damage: |host| host.option("CONFIG_KVM_AMD=m", "CONFIG_KVM_AMD=y"),
    },
    Lack {
        name: "kernel-options",
        state: "bad",
        found: "the kernel has no CONFIG_KVM_AMD_SEV=y: ",
        advice: "use a kernel with this option",
        damage: |host| host.option("CONFIG_KVM_AMD_SEV=y", ""),
    },
    Lack {
        name: "kernel-options",
        state: "bad",
        found: "the kernel has no CONFIG_X86_KERNEL_IBT=y: ",
        advice: "use a kernel with this option",
        damage: |host| host.option("CONFIG_X86_KERNEL_IBT=y", ""),
    },
    Lack {
        name: "module",
        state: "unknown",
        found: "there is no ghcb_rs.ko below /lib/modules/7.3.4+deb13-amd64",
        advice: "install ghcb-rs-dkms",
        damage: |host| host.remove(&format!("lib/modules/{RELEASE}/updates")),
    },
    Lack {
        name: "module",
        state: "bad",
        found: "is for the kernel 7.2.6+deb13-amd64, and 7.3.4+deb13-amd64 runs",
        advice: "rebuild ghcb_rs for it",
        damage: |host| host.module("7.2.6+deb13-amd64", [KVM_AMD, KVM, VMLINUX]),
    },
    Lack {
        name: "vmlinux-build-id",
        state: "bad",
        found: "this vmlinux is not the one that the module was built for",
        advice: "rebuild ghcb_rs for it",
        damage: |host| host.write_bytes("sys/kernel/notes", &saved::note(OTHER)),
    },
    Lack {
        name: "vmlinux-build-id",
        state: "unknown",
        found: "the build ID of this vmlinux cannot be read",
        advice: "as root",
        damage: |host| host.remove("sys/kernel/notes"),
    },
    Lack {
        name: "kvm_amd-build-id",
        state: "bad",
        found: "this kvm_amd is not the one that the module was built for",
        advice: "rebuild ghcb_rs for it",
        damage: |host| host.module(RELEASE, [OTHER, KVM, VMLINUX]),
    },
    Lack {
        name: "kvm_amd-build-id",
        state: "bad",
        found: "does not say which kvm_amd it was made for",
        advice: "rebuild ghcb_rs for it",
        damage: |host| host.module(RELEASE, ["", KVM, VMLINUX]),
    },
    Lack {
        name: "kvm-build-id",
        state: "bad",
        found: "this kvm is not the one that the module was built for",
        advice: "rebuild ghcb_rs for it",
        damage: |host| {
            host.write_bytes("sys/module/kvm/notes/.note.gnu.build-id", &saved::note(OTHER));
        },
    },
    Lack {
        name: "kvm-build-id",
        state: "unknown",
        found: "the build ID of this kvm cannot be read",
        advice: "install the kernel's modules",
        damage: |host| host.remove("sys/module/kvm/notes"),
    },
    Lack {
        name: "signature",
        state: "bad",
        found: "there is no Secure Boot, and module.sig_enforce is on",
        advice: "mokutil --import /var/lib/dkms/mok.pub",
        damage: |host| host.parameter("module", "sig_enforce", "Y"),
    },
    Lack {
        name: "signature",
        state: "bad",
        found: "Secure Boot is on, and lockdown is integrity: the kernel takes signed modules alone",
        advice: "mokutil --import /var/lib/dkms/mok.pub",
        damage: locked_down,
    },
    Lack {
        name: "signature",
        state: "bad",
        found: "has no key of \"DKMS module signing key\", who has signed the module",
        advice: "mokutil --import /var/lib/dkms/mok.pub",
        damage: |host| {
            locked_down(host);
            host.sign();
            host.write("proc/keys", &key("Debian Secure Boot CA"));
        },
    },
    Lack {
        name: "signature",
        state: "unknown",
        found: "whether it has a key of \"DKMS module signing key\" cannot be read",
        advice: "as root",
        damage: |host| {
            locked_down(host);
            host.sign();
        },
    },
    Lack {
        name: "ftrace",
        state: "bad",
        found: "ftrace is switched off (kernel.ftrace_enabled=0): no function of kvm_amd can be replaced",
        advice: "sysctl kernel.ftrace_enabled=1",
        damage: |host| host.write("proc/sys/kernel/ftrace_enabled", "0\n"),
    },
    Lack {
        name: "ftrace",
        state: "unknown",
        found: "its files would tell, which are not there",
        advice: "mount -t tracefs",
        damage: |host| host.remove("sys/kernel/tracing/available_filter_functions"),
    },
    Lack {
        name: "tracers",
        state: "unknown",
        found: "ftrace's files are not there",
        advice: "mount -t tracefs",
        damage: |host| host.remove("sys/kernel/tracing/enabled_functions"),
    },
    Lack {
        name: "livepatches",
        state: "bad",
        found: "a function of kvm_amd cannot be replaced: sev_free_vcpu() is livepatched by second_patch already",
        advice: "echo 0 > /sys/kernel/livepatch/second_patch/enabled",
        damage: |host| {
            host.write("sys/kernel/livepatch/second_patch/kvm_amd/sev_free_vcpu,1/x", "");
            // Its own line says so, and no other.
            host.write(
                "sys/kernel/tracing/enabled_functions",
                "sev_free_vcpu [kvm_amd] (1) R I     M \ttramp: 0xffffffffc0001000 (klp_ftrace_handler+0x0/0x1d0)\n",
            );
        },
    },
    Lack {
        name: "livepatches",
        state: "bad",
        found: "complete_sev_es_emulated_ins() is livepatched by second_patch already",
        advice: "rmmod second_patch",
        damage: |host| {
            host.write(
                "sys/kernel/livepatch/second_patch/kvm/complete_sev_es_emulated_ins,1/x",
                "",
            );
        },
    },
    Lack {
        name: "livepatches",
        state: "note",
        found: "fix_the_net patches other functions",
        advice: "takes the place of all others",
        damage: |host| {
            host.write("sys/kernel/livepatch/fix_the_net/vmlinux/tcp_sendmsg,1/x", "");
        },
    },
    Lack {
        name: "tracers",
        state: "bad",
        found: "a BPF program or something else has redirected sev_handle_vmgexit() already",
        advice: "bpftool prog",
        damage: |host| {
            host.write(
                "sys/kernel/tracing/enabled_functions",
                "kvm_vcpu_ioctl [kvm] (1) R   D  \n\
                 sev_handle_vmgexit [kvm_amd] (1)     D   M \ttramp: ftrace_regs_caller+0x0/0x65\n\
                 \tdirect-->bpf_trampoline_6442553459+0x0/0x10\n",
            );
        },
    },
];

/// Secure Boot, with what Debian's kernel makes of it.
fn locked_down(host: &Saved) {
    host.write_bytes(
        "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
        &[6, 0, 0, 0, 1],
    );
    host.write(
        "sys/kernel/security/lockdown",
        "none [integrity] confidentiality\n",
    );
}

/// A certificate's line in /proc/keys.
fn key(name: &str) -> String {
    format!(
        "1f4a7a7a I------     1 perm 1f030000     0     0 asymmetri {name}: 6ccece7e4c6c0d1f: X509.rsa 4c6c0d1f []\n"
    )
}

#[test]
fn nothing_is_said_about_a_host_that_is_ready() {
    assert_eq!(complaints(&Saved::ready()), (0, Vec::new()));
}

#[test]
fn each_lack_is_said_and_nothing_else() {
    for lack in LACKS {
        let host = Saved::ready();
        (lack.damage)(&host);
        let (status, complaints) = complaints(&host);
        let what = format!("{}: {}: {complaints:?}", lack.name, lack.found);
        let [[name, state, found, advice]] = complaints.as_slice() else {
            panic!("not one complaint: {what}");
        };
        assert_eq!(
            (name.as_str(), state.as_str()),
            (lack.name, lack.state),
            "{what}"
        );
        assert!(found.contains(lack.found), "{what}");
        assert!(advice.contains(lack.advice), "{what}");
        let expected = match lack.state {
            "bad" => 1,
            "unknown" => 3,
            _ => 0,
        };
        assert_eq!(status, expected, "{what}");
    }
}

/// Of each line, there is a host on which it is not good, and a row in the documentation.
#[test]
fn each_line_is_tried() {
    let output = check(&Saved::ready(), &["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let shown: BTreeSet<_> = report["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .filter_map(|check| check["name"].as_str())
        .collect();
    let tried: BTreeSet<_> = LACKS.iter().map(|lack| lack.name).collect();
    assert_eq!(shown, tried);
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operate.md");
    let page = std::fs::read_to_string(page).expect("docs/operate.md");
    for name in shown {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn the_bad_outweighs_the_unknown() {
    let host = Saved::ready();
    host.remove("sys/kernel/notes");
    host.parameter("kvm_amd", "sev_es", "N");
    assert_eq!(complaints(&host).0, 1);
}

#[test]
fn a_signed_module_is_good_where_the_kernel_has_its_key() {
    let host = Saved::ready();
    locked_down(&host);
    host.sign();
    host.write("proc/keys", &key("DKMS module signing key"));
    assert_eq!(complaints(&host), (0, Vec::new()));
}

#[test]
fn a_module_may_be_named() {
    let host = Saved::ready();
    let other = host.path().join("elsewhere.ko");
    std::fs::rename(host.module_path(), &other).expect("a module");
    assert_eq!(check(&host, &[]).status.code(), Some(3));
    assert_eq!(
        check(&host, &["--module", &other.display().to_string()])
            .status
            .code(),
        Some(0)
    );
}

#[test]
fn packed_files_are_read() {
    use std::io::Write as _;
    let host = Saved::ready();
    let config = std::fs::read(host.path().join(format!("boot/config-{RELEASE}"))).expect("text");
    host.remove("boot");
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(&config).expect("memory");
    host.write_bytes("proc/config.gz", &packer.finish().expect("memory"));
    let module = std::fs::read(host.module_path()).expect("a module");
    let mut packed = Vec::new();
    lzma_rs::xz_compress(&mut module.as_slice(), &mut packed).expect("memory");
    std::fs::remove_file(host.module_path()).expect("a module");
    host.write_bytes(
        &format!("lib/modules/{RELEASE}/updates/dkms/ghcb_rs.ko.xz"),
        &packed,
    );
    assert_eq!(complaints(&host), (0, Vec::new()));
}

#[test]
fn what_is_redirected_is_its_own_when_it_is_loaded() {
    let host = Saved::ready();
    host.write("sys/module/ghcb_rs/initstate", "live\n");
    host.write(
        "sys/kernel/livepatch/ghcb_rs/kvm_amd/sev_hardware_unsetup,1/x",
        "",
    );
    host.write(
        "sys/kernel/tracing/enabled_functions",
        "sev_handle_vmgexit [kvm_amd] (1)     D   M \n",
    );
    assert_eq!(complaints(&host), (0, Vec::new()));
}

#[test]
fn tracers_that_only_watch_are_no_obstacle() {
    let host = Saved::ready();
    host.write(
        "sys/kernel/tracing/enabled_functions",
        "sev_handle_vmgexit [kvm_amd] (2) R       M \ttramp: 0xffffffffc0001000 (I_D)->x\n",
    );
    assert_eq!(complaints(&host), (0, Vec::new()));
}

#[test]
fn text_has_a_line_for_machines() {
    let host = Saved::ready();
    host.parameter("kvm_amd", "sev_es", "N");
    let output = check(&host, &["--quiet"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(
        text,
        "BAD  kvm_amd-sev_es     its parameter sev_es is off: ghcb_rs would have nothing to do\n                        \
         -> modprobe -r kvm_amd && modprobe kvm_amd sev=1 sev_es=1\n"
    );
    let output = check(&host, &[]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(
        text.lines().last(),
        Some("ghcb-check: checks=17 good=16 note=0 bad=1 unknown=0 result=bad")
    );
}

#[test]
fn what_is_no_module_is_a_wrong_command_line() {
    let host = Saved::ready();
    let file = host.path().join("cpuid").display().to_string();
    let output = check(&host, &["--module", &file]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("it is no kernel module"), "{said}");
}
