// SPDX-License-Identifier: GPL-2.0

//! Who else has redirected the functions that the module replaces.

use super::{is_denied, sentences, Subject};
use crate::{host::Host, report::Check};
use std::io;

/// The functions that the module replaces; which of the second and the third depends on the kernel.
pub const REPLACED: [&str; 11] = [
    "sev_handle_vmgexit",
    "sev_vcpu_needs_initialization",
    "svm_vcpu_pre_run",
    "svm_complete_emulated_msr",
    "sev_free_vcpu",
    "snp_complete_one_psc",
    "snp_complete_req_certs",
    "sev_hardware_unsetup",
    "complete_sev_es_emulated_mmio",
    "complete_sev_es_emulated_ins",
    "complete_sev_es_emulated_outs",
];

/// Where the kernel shows livepatches.
const PATCHES: &str = "/sys/kernel/livepatch";

pub(super) fn checks(subject: &Subject<'_>) -> Vec<Check> {
    vec![livepatches(subject), tracers(subject)]
}

/// Does something with a file of ftrace, wherever that is mounted.
///
/// # Errors
///
/// Those of `f`, in the second place if there is no such file in the first.
pub(super) fn of_ftrace<T>(file: &str, f: impl Fn(&str) -> io::Result<T>) -> io::Result<T> {
    match f(&format!("/sys/kernel/tracing/{file}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            f(&format!("/sys/kernel/debug/tracing/{file}"))
        }
        result => result,
    }
}

/// Livepatches other than the module's own, each with the functions that the module replaces, too.
fn others(host: &Host) -> Vec<(String, Vec<String>)> {
    let names = |path: String| host.names(&path).unwrap_or_default();
    names(PATCHES.to_owned())
        .into_iter()
        .filter(|patch| patch != "ghcb_rs")
        .map(|patch| {
            let functions = ["kvm_amd", "kvm"]
                .iter()
                .flat_map(|object| names(format!("{PATCHES}/{patch}/{object}")))
                // "function,position"
                .map(|entry| entry.split(',').next().unwrap_or(&entry).to_owned())
                .filter(|function| REPLACED.contains(&function.as_str()))
                .collect();
            (patch, functions)
        })
        .collect()
}

fn livepatches(subject: &Subject<'_>) -> Check {
    let name = "livepatches";
    let others = others(subject.host);
    for (patch, functions) in &others {
        if let Some(function) = functions.first() {
            return Check::bad(
                name,
                format!(
                    "{}: {function}() is livepatched by {patch} already",
                    sentences::CANNOT_BE_REPLACED
                ),
                format!("echo 0 > {PATCHES}/{patch}/enabled, and rmmod {patch}"),
            );
        }
    }
    if others.is_empty() {
        return Check::good(name, "there is no other one");
    }
    let patches: Vec<_> = others.into_iter().map(|(patch, _)| patch).collect();
    Check::note(
        name,
        format!("{} patches other functions", patches.join(", ")),
        "a livepatch that comes later and takes the place of all others takes that of ghcb_rs, too",
    )
}

/// BPF programs and others that redirect functions by ftrace. Those that only watch are no obstacle, and livepatches have a
/// line of their own.
fn tracers(subject: &Subject<'_>) -> Check {
    let name = "tracers";
    let list = match of_ftrace("enabled_functions", |path| subject.host.text(path)) {
        Ok(list) => list,
        Err(error) if is_denied(&error) => {
            return Check::unknown(name, "only root may see who traces what", super::AS_ROOT)
        }
        Err(_) => {
            return Check::unknown(
                name,
                "ftrace's files are not there",
                "mount -t tracefs tracefs /sys/kernel/tracing",
            )
        }
    };
    if subject.is_loaded() {
        return Check::good(name, "what is redirected is ghcb_rs's own");
    }
    let patched: Vec<_> = (others(subject.host).into_iter())
        .flat_map(|(_, functions)| functions)
        .collect();
    let mut watched = 0;
    // "function [module] (number) R I D  more", and further lines that begin with a tabulator.
    for line in list.lines().filter(|line| !line.starts_with('\t')) {
        let Some(function) = line.split_whitespace().next() else {
            continue;
        };
        if !REPLACED.contains(&function) || patched.iter().any(|other| other == function) {
            continue;
        }
        let flags = line.split_once(')').map_or("", |(_, flags)| flags);
        let flags = flags.split('\t').next().unwrap_or(flags);
        if flags
            .split_whitespace()
            .any(|flag| matches!(flag, "I" | "D"))
        {
            return Check::bad(
                name,
                format!(
                    "{}: a BPF program or something else has redirected {function}() already",
                    sentences::CANNOT_BE_REPLACED
                ),
                "find it (bpftool prog, /sys/kernel/tracing/enabled_functions), and detach it",
            );
        }
        watched += 1;
    }
    Check::good(
        name,
        match watched {
            0 => "nobody traces the functions that are replaced".to_owned(),
            number => {
                format!("{number} of the functions that are replaced are traced, which goes on")
            }
        },
    )
}
