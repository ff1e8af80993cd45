// SPDX-License-Identifier: GPL-2.0

//! The processor, and what its firmware's settings allow.

use super::{sentences, Subject};
use crate::report::Check;

/// CPUID function of the encryption features.
const ENCRYPTED_MEMORY: u32 = 0x8000_001f;

/// EAX of it: SEV, SEV-ES, SEV-SNP.
const SEV: u32 = 1 << 1;
const SEV_ES: u32 = 1 << 3;
const SEV_SNP: u32 = 1 << 4;

/// CPUID function 7, EBX: SMAP.
const SMAP: u32 = 1 << 20;

/// CPUID function of SVM's features, EDX of it: decode assists.
const SVM_FEATURES: u32 = 0x8000_000a;
const DECODE_ASSISTS: u32 = 1 << 7;

pub(super) fn checks(subject: &Subject<'_>) -> Vec<Check> {
    let host = subject.host;
    let (Some(memory), Some(features), Some(svm)) = (
        host.cpuid(ENCRYPTED_MEMORY),
        host.cpuid(7),
        host.cpuid(SVM_FEATURES),
    ) else {
        return vec![Check::unknown(
            "processor",
            "what CPUID says was not saved",
            "save what `cpuid -1 -r` prints as the file cpuid",
        )];
    };
    if memory.eax & SEV_ES == 0 {
        return vec![Check::bad(
            "processor",
            sentences::NO_SEV_ES,
            "use a processor with SEV-ES (EPYC 7002 or later); on one, switch on SEV in the firmware's settings",
        )];
    }
    if features.ebx & SMAP == 0 {
        return vec![Check::bad(
            "processor",
            sentences::NO_SMAP,
            "do not hide SMAP from this host",
        )];
    }
    // C: `sev_hardware_setup()`.
    if svm.edx & DECODE_ASSISTS == 0 {
        return vec![Check::bad(
            "processor",
            "this processor has no decode assists, without which kvm_amd does no SEV",
            "do not hide decode assists from this host",
        )];
    }
    let info = host.text("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        info.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim())
    };
    let kinds: Vec<_> = [(SEV, "SEV"), (SEV_ES, "SEV-ES"), (SEV_SNP, "SEV-SNP")]
        .into_iter()
        .filter(|&(bit, _)| memory.eax & bit != 0)
        .map(|(_, name)| name)
        .collect();
    let model = field("model name").unwrap_or("a processor");
    let mut checks = vec![Check::good(
        "processor",
        format!("{model} has {}", kinds.join(", ")),
    )];
    match field("flags") {
        Some(flags) => checks.push(firmware(flags)),
        None => checks.push(Check::unknown(
            "firmware-settings",
            "/proc/cpuinfo has no line with flags",
            "mount /proc",
        )),
    }
    checks.push(asids(memory.edx));
    checks
}

/// The kernel takes a flag of the processor's away where the firmware's settings do not go with it.
/// C: `early_detect_mem_encrypt()`.
fn firmware(flags: &str) -> Check {
    if flags.split_whitespace().any(|flag| flag == "sev_es") {
        Check::good(
            "firmware-settings",
            "the kernel has found memory encryption switched on, and SMM locked",
        )
    } else {
        Check::bad(
            "firmware-settings",
            "the processor has SEV-ES, and the kernel does not use it: memory encryption is off, or SMM is not locked",
            "switch on SMEE (memory encryption), SEV control and SMM lock in the firmware's settings",
        )
    }
}

/// SEV-ES has the ASIDs below the lowest one for SEV alone, which is in EDX of the function.
fn asids(lowest_without_es: u32) -> Check {
    match lowest_without_es {
        0 | 1 => Check::bad(
            "asids",
            "the firmware leaves no address space IDs to SEV-ES",
            "set the lowest ASID for SEV without ES to more than 1 in the firmware's settings (SEV-ES ASID space limit)",
        ),
        2 => Check::good("asids", "one guest with SEV-ES or SEV-SNP at a time (ASID 1)"),
        lowest => Check::good(
            "asids",
            format!(
                "{count} guests with SEV-ES or SEV-SNP at a time (ASIDs 1 to {count})",
                count = lowest - 1
            ),
        ),
    }
}
