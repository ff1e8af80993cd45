// SPDX-License-Identifier: GPL-2.0
//! What the host offers, and what its kernel says meanwhile.

use crate::launch::kind::Kind;
pub use kernel_log::KernelLog;
use std::fs;
use std::path::Path;

/// Set where whoever runs the programs judges what the kernel logs: a debugging kernel reports what C's handler does, too.
const JUDGED: &str = "GHCB_LOG_IS_JUDGED";

/// Whether others judge the kernel's log.
pub fn log_is_judged() -> bool {
    std::env::var_os(JUDGED).is_some()
}

/// Those of `lines` that tell of a fault of the host, unless others judge them.
pub fn faults(lines: &[String]) -> Vec<&String> {
    if log_is_judged() {
        Vec::new()
    } else {
        kernel_log::faults(lines)
    }
}

/// Why guests of `kind` can't run here, if they can't.
pub fn missing(kind: Kind) -> Option<String> {
    if !Path::new("/dev/kvm").exists() {
        return Some("no /dev/kvm".into());
    }
    if !Path::new("/dev/sev").exists() {
        return Some("no /dev/sev: no AMD secure processor, or ccp is not loaded".into());
    }
    let (parameter, name) = match kind {
        Kind::SevEs => ("sev_es", "SEV-ES"),
        Kind::SevSnp => ("sev_snp", "SEV-SNP"),
    };
    match fs::read_to_string(format!("/sys/module/kvm_amd/parameters/{parameter}")) {
        Err(_) => Some("kvm_amd is not loaded".into()),
        Ok(value) if value.trim() != "Y" => Some(format!("kvm_amd runs without {name}")),
        Ok(_) => None,
    }
}
