// SPDX-License-Identifier: GPL-2.0

//! The kernel's options.

use super::Subject;
use crate::{packed, report::Check};
use std::collections::BTreeMap;

/// Options that the module needs of a running kernel, each with its value and with what is wrong without: those of
/// `scripts/kernel-fits`, but for what only building needs.
pub const OPTIONS: [(&str, &str, &str); 8] = [
    ("CONFIG_RUST", "y", "it takes no modules in Rust"),
    (
        "CONFIG_LIVEPATCH",
        "y",
        "no function of kvm_amd can be replaced",
    ),
    (
        "CONFIG_DYNAMIC_FTRACE_WITH_JMP",
        "y",
        "no function of kvm_amd can be replaced by a jump",
    ),
    (
        "CONFIG_X86_KERNEL_IBT",
        "y",
        "its functions do not begin as those that the module replaces",
    ),
    (
        "CONFIG_KVM_AMD",
        "m",
        "kvm_amd is nothing that a livepatch may wait for",
    ),
    ("CONFIG_KVM_AMD_SEV", "y", "it has no VMGEXIT handler"),
    (
        "CONFIG_KALLSYMS_ALL",
        "y",
        "the livepatch core does not find variables of kvm_amd",
    ),
    (
        "CONFIG_VMCORE_INFO",
        "y",
        "the module cannot tell it from another build",
    ),
];

pub(super) fn checks(subject: &Subject<'_>) -> Vec<Check> {
    let name = "kernel-options";
    let Some(config) = configuration(subject) else {
        return vec![Check::unknown(
            name,
            format!(
                "the kernel's configuration is neither in /proc/config.gz nor in /boot/config-{}",
                subject.release
            ),
            "install the package that has it (Debian: linux-base or linux-image of this kernel)",
        )];
    };
    let wrong: Vec<_> = OPTIONS
        .iter()
        .filter(|(option, value, _)| config.get(*option).map_or("n", String::as_str) != *value)
        .map(|(option, value, reason)| {
            Check::bad(
                name,
                format!("the kernel has no {option}={value}: {reason}"),
                "use a kernel with this option; Debian's of backports have them all",
            )
        })
        .collect();
    if wrong.is_empty() {
        vec![Check::good(
            name,
            format!("all {} that matter are as they must be", OPTIONS.len()),
        )]
    } else {
        wrong
    }
}

/// The options that are set.
fn configuration(subject: &Subject<'_>) -> Option<BTreeMap<String, String>> {
    let release = &subject.release;
    let bytes = [
        "/proc/config.gz".to_owned(),
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
    ]
    .iter()
    .find_map(|path| packed::unpacked(subject.host.bytes(path).ok()?).ok())?;
    Some(
        String::from_utf8_lossy(&bytes)
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(option, value)| (option.to_owned(), value.to_owned()))
            .collect(),
    )
}
