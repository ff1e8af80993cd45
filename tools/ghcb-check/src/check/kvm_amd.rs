// SPDX-License-Identifier: GPL-2.0

//! kvm_amd and its parameters.

use super::{sentences, Subject};
use crate::report::Check;

/// Loads it as it should be.
const RELOAD: &str = "modprobe -r kvm_amd && modprobe kvm_amd sev=1 sev_es=1";

pub(super) fn checks(subject: &Subject<'_>) -> Vec<Check> {
    if !subject.has_module("kvm_amd") {
        let check = match built_in(subject) {
            true => is_built_in(),
            false => Check::note(
                "kvm_amd",
                format!(
                    "it is not loaded: ghcb_rs will say \"{}\", and take over when it comes",
                    sentences::WAITING
                ),
                "modprobe kvm_amd sev=1 sev_es=1",
            ),
        };
        return vec![check];
    }
    if built_in(subject) {
        return vec![is_built_in()];
    }
    let mut checks = vec![Check::good("kvm_amd", "it is loaded")];
    checks.push(sev_es(subject));
    checks.push(sev_snp(subject));
    checks
}

fn is_built_in() -> Check {
    Check::bad(
        "kvm_amd",
        "it is built into the kernel, and no module",
        "use a kernel with CONFIG_KVM_AMD=m",
    )
}

fn built_in(subject: &Subject<'_>) -> bool {
    let path = format!("/lib/modules/{}/modules.builtin", subject.release);
    subject
        .host
        .text(&path)
        .is_ok_and(|list| list.lines().any(|line| line.ends_with("/kvm-amd.ko")))
}

/// Whether it takes guests with SEV-ES; if not, the first of the reasons that C has in `sev_hardware_setup()`.
fn sev_es(subject: &Subject<'_>) -> Check {
    let name = "kvm_amd-sev_es";
    let is = |module, parameter, values: [&str; 2]| {
        subject
            .parameter(module, parameter)
            .is_some_and(|value| values.contains(&value.as_str()))
    };
    let on = ["Y", "1"];
    let off = ["N", "0"];
    if is("kvm_amd", "sev", on) && is("kvm_amd", "sev_es", on) {
        return Check::good(name, "its parameters sev and sev_es are on");
    }
    if is("kvm_amd", "npt", off) {
        return Check::bad(
            name,
            "its parameter npt is off, without which it does no SEV",
            "modprobe -r kvm_amd && modprobe kvm_amd npt=1 sev=1 sev_es=1",
        );
    }
    if is("kvm", "mmio_caching", off) {
        return Check::bad(
            name,
            "the parameter mmio_caching of kvm is off, without which kvm_amd does no SEV-ES",
            "modprobe -r kvm_amd kvm && modprobe kvm mmio_caching=1 && modprobe kvm_amd sev=1 sev_es=1",
        );
    }
    if is("kvm_amd", "sev", off) {
        return Check::bad(
            name,
            "its parameter sev is off: ghcb_rs would have nothing to do",
            RELOAD,
        );
    }
    if is("kvm_amd", "sev_es", off) {
        return Check::bad(
            name,
            "its parameter sev_es is off: ghcb_rs would have nothing to do",
            RELOAD,
        );
    }
    Check::unknown(name, "it does not show its parameters", super::AS_ROOT)
}

fn sev_snp(subject: &Subject<'_>) -> Check {
    let name = "kvm_amd-sev_snp";
    match subject.parameter("kvm_amd", "sev_snp").as_deref() {
        Some("Y" | "1") => Check::good(name, "its parameter sev_snp is on"),
        _ => Check::note(
            name,
            "it takes no guests with SEV-SNP; those with SEV-ES are what ghcb_rs answers",
            "for SEV-SNP: a processor that has it, SNP and the IOMMU switched on in the firmware's settings, and kvm_amd loaded with sev_snp=1",
        ),
    }
}
