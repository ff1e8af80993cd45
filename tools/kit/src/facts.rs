// SPDX-License-Identifier: GPL-2.0

//! What the host is, and who else uses it. Nothing that names a machine: no host name, no serial number, no other guest.

use crate::folder::Folder;
use raw_cpuid::CpuId;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What the host is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Name of the processor, as CPUID tells it.
    pub processor: String,
    /// Family, model and stepping.
    pub signature: String,
    /// Release of the kernel.
    pub kernel: String,
    /// CPUID 0x8000001F, EAX: which kinds of encryption there are.
    pub encryption: String,
    /// Position of the C-bit.
    pub c_bit: u32,
    /// Bits of a physical address that encryption costs.
    pub reduced_address_bits: u32,
    /// How many encrypted guests there can be, and how many of those are for SEV alone.
    pub asids: u32,
    /// The first ASID of a guest that is for SEV alone.
    pub first_sev_asid: u32,
    /// CPUID 0x8000000A, EDX: what the processor's SVM can do.
    pub svm_features: String,
    /// Parameters of kvm_amd that matter, as `sev_es=Y`.
    pub kvm_amd: Vec<String>,
    /// What `ghcb-check --json` says.
    pub check: serde_json::Value,
}

/// Parameters of kvm_amd that the report has.
const PARAMETERS: [&str; 6] = ["sev", "sev_es", "sev_snp", "debug_swap", "nested", "npt"];
/// CPUID functions: SVM, and encrypted memory.
const SVM: u32 = 0x8000_000a;
const ENCRYPTION: u32 = 0x8000_001f;

impl Facts {
    /// Looks at this host.
    pub fn of_this_host(kit: &Folder) -> Self {
        let cpuid = CpuId::new();
        let feature = cpuid.get_feature_info();
        let encryption = leaf(ENCRYPTION);
        Self {
            processor: cpuid
                .get_processor_brand_string()
                .map_or_else(String::new, |brand| brand.as_str().trim().to_owned()),
            signature: feature.map_or_else(String::new, |info| {
                let (family, model) = (info.family_id(), info.model_id());
                format!("{family:#x}-{model:#x}-{:#x}", info.stepping_id())
            }),
            kernel: text("/proc/sys/kernel/osrelease"),
            encryption: format!("{:#x}", encryption[0]),
            c_bit: encryption[1] & 0x3f,
            reduced_address_bits: (encryption[1] >> 6) & 0x3f,
            asids: encryption[2],
            first_sev_asid: encryption[3],
            svm_features: format!("{:#x}", leaf(SVM)[3]),
            kvm_amd: parameters(),
            check: check(kit),
        }
    }

    /// Whether the host can run SEV-SNP guests.
    pub fn has_snp(&self) -> bool {
        self.kvm_amd
            .iter()
            .any(|parameter| parameter == "sev_snp=Y")
    }

    /// Whether it can run SEV-ES guests.
    pub fn has_sev_es(&self) -> bool {
        self.kvm_amd.iter().any(|parameter| parameter == "sev_es=Y")
    }

    /// The first thing that `ghcb-check` finds bad, if any.
    pub fn complaint(&self) -> Option<&str> {
        let checks = self.check.get("checks")?.as_array()?;
        let bad = checks.iter().find(|check| check["state"] == "bad")?;
        bad["found"].as_str()
    }
}

/// EAX to EDX of a CPUID function; zeros where there is none.
fn leaf(function: u32) -> [u32; 4] {
    let read = |function| raw_cpuid::native_cpuid::cpuid_count(function, 0);
    // A processor answers for a function that it does not have as for its highest.
    if function > read(function & 0x8000_0000).eax {
        return [0; 4];
    }
    let result = read(function);
    [result.eax, result.ebx, result.ecx, result.edx]
}

fn parameters() -> Vec<String> {
    let read = |name: &&str| {
        let value = fs::read_to_string(format!("/sys/module/kvm_amd/parameters/{name}")).ok()?;
        Some(format!("{name}={}", value.trim()))
    };
    PARAMETERS.iter().filter_map(read).collect()
}

fn check(kit: &Folder) -> serde_json::Value {
    let release = text("/proc/sys/kernel/osrelease");
    let mut command = Command::new(kit.file("bin/ghcb-check"));
    command.arg("--json");
    if let Ok(folder) = kit.modules(&release) {
        command.arg("--module").arg(folder.join("ghcb_rs.ko"));
    }
    let output = command.output().map(|output| output.stdout);
    let parsed = output
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    parsed.unwrap_or_default()
}

/// How many VMs of others run on this host. Those of KVM have a folder each in its debugfs.
pub fn other_vms() -> usize {
    let is_vm = |name: &str| {
        name.split_once('-')
            .is_some_and(|(pid, _)| pid.parse::<u32>().is_ok())
    };
    let Ok(entries) = fs::read_dir("/sys/kernel/debug/kvm") else {
        return 0;
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| is_vm(name)).count()
}

/// A file's text without white space around it; nothing if it cannot be read.
pub fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}
