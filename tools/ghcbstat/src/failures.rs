// SPDX-License-Identifier: GPL-2.0

//! The ring of requests that were refused or could not be explained, in sentences.

use crate::{
    names,
    table::{self, Table},
};
use ghcb_abi::{
    bitmap::ValidBitmap,
    exit_code::ExitCode,
    ioio::IoInfo,
    msr::{GhcbMsr, MsrRequest},
    page::Field,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// A request. Fields that it did not mark valid are zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its number since the module came; gaps are records that were lost.
    pub number: u64,
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub time_ns: u64,
    /// The guest's directory.
    pub vm: String,
    /// What QEMU or libvirt call the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Number of the vCPU.
    pub vcpu: u32,
    /// The event, as it is counted.
    pub event: String,
    /// Why.
    pub reason: String,
    /// The GHCB MSR.
    pub msr: u64,
    /// SW_EXITCODE.
    pub code: u64,
    /// SW_EXITINFO1.
    pub info1: u64,
    /// SW_EXITINFO2.
    pub info2: u64,
    /// The valid bitmap.
    #[serde(skip)]
    pub valid: u128,
    /// SW_SCRATCH.
    pub scratch: u64,
    /// RAX.
    pub rax: u64,
    /// RBX.
    pub rbx: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// What Rust answers, if that could not be explained.
    pub rust: String,
    /// What C answers.
    pub c: String,
}

/// The records of the ring, the oldest first. Files of the host are below `root`.
///
/// # Errors
///
/// The text is none of the module's.
pub fn parse(root: &Path, text: &str) -> Result<Vec<Failure>, table::Error> {
    let mut names = BTreeMap::<String, Option<String>>::new();
    let table = Table::parse(text);
    let mut records = table
        .rows()
        .map(|row| {
            let vm = row.text("vm")?.to_owned();
            let name = names.entry(vm.clone()).or_insert_with(|| {
                let pid = vm.split('-').next()?.parse().ok()?;
                names::of(root, pid)
            });
            Ok(Failure {
                number: row.number("number")?,
                time_ns: row.number("time_ns")?,
                name: name.clone(),
                vm,
                vcpu: row.number("vcpu")?,
                event: row.text("event")?.to_owned(),
                reason: row.text("reason")?.to_owned(),
                msr: row.number("msr")?,
                code: row.number("code")?,
                info1: row.number("info1")?,
                info2: row.number("info2")?,
                valid: row.number("valid")?,
                scratch: row.number("scratch")?,
                rax: row.number("rax")?,
                rbx: row.number("rbx")?,
                rcx: row.number("rcx")?,
                rdx: row.number("rdx")?,
                rust: row.text("rust")?.to_owned(),
                c: row.text("c")?.to_owned(),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    records.sort_by_key(|record| record.number);
    Ok(records)
}

impl Failure {
    fn valid(&self) -> ValidBitmap {
        ValidBitmap::from_bits(self.valid)
    }

    /// What the guest has asked for.
    fn request(&self) -> String {
        if self.reason == "unreachable_page" {
            return format!("GHCB at {:#x}", self.msr);
        }
        if self.event.starts_with("msr_") {
            return by_msr(GhcbMsr(self.msr));
        }
        let code = ExitCode(self.code);
        let [info1, info2] = [self.info1, self.info2];
        match code {
            ExitCode::IOIO => {
                let port = IoInfo(info1);
                format!(
                    "{} port {:#x} (info {info1:#x})",
                    if port.is_in() { "IN from" } else { "OUT to" },
                    port.port()
                )
            }
            ExitCode::CPUID => format!("CPUID {:#x} index {:#x}", self.rax, self.rcx),
            ExitCode::MSR if info1 == 0 => format!("RDMSR {:#x}", self.rcx),
            ExitCode::MSR => format!("WRMSR {:#x}", self.rcx),
            ExitCode::MMIO_READ => format!("MMIO read of {info2} bytes at {info1:#x}"),
            ExitCode::MMIO_WRITE => format!("MMIO write of {info2} bytes at {info1:#x}"),
            _ => format!("{code} (info {info1:#x} {info2:#x})"),
        }
    }

    /// Why it was refused.
    fn because(&self) -> String {
        let code = ExitCode(self.code);
        match self.reason.as_str() {
            "not_registered" => "its GHCB is not the one that it has registered".to_owned(),
            "invalid_usage" => "the page has a usage that is not known".to_owned(),
            "invalid_scratch_area" => format!(
                "the scratch area at {:#x} is where none may be",
                self.scratch
            ),
            "missing_input" => {
                let required = code.required(self.info1).fields;
                let required = match code {
                    ExitCode::CPUID if self.rax == ExitCode::CPUID_NEEDS_XCR0 => {
                        required.with(Field::Xcr0)
                    }
                    _ => required,
                };
                let missing: Vec<_> = self.valid().missing(required).fields().map(name).collect();
                match missing.as_slice() {
                    [] => "a field that it needs is not marked valid".to_owned(),
                    [one] => format!("{one} is not marked valid"),
                    _ => format!("{} are not marked valid", missing.join(", ")),
                }
            }
            "invalid_input" => "an operand is not one that the event allows".to_owned(),
            "invalid_event" => "it is no event, or none for this guest".to_owned(),
            "unreachable_page" => "it cannot be reached, so there is no reply".to_owned(),
            "msr_failed" => "the answer is \"failed\"".to_owned(),
            "msr_unknown" => "the MSR holds no request".to_owned(),
            other => other.replace('_', " "),
        }
    }
}

/// A field's name in the manuals.
fn name(field: Field) -> String {
    let name = format!("{field:?}");
    match name.strip_prefix("Sw") {
        Some(rest) => format!("SW_{}", rest.to_uppercase()),
        None => name.to_uppercase(),
    }
}

/// A request by the GHCB MSR.
fn by_msr(msr: GhcbMsr) -> String {
    match msr.request() {
        MsrRequest::Cpuid { function, register } => {
            format!(
                "by the MSR: CPUID {function:#x}, {}",
                format!("{register:?}").to_uppercase()
            )
        }
        request => format!("by the MSR: {request:?}"),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time_ns / 1_000_000_000;
        let micros = self.time_ns % 1_000_000_000 / 1000;
        let guest = self.name.as_deref().unwrap_or(&self.vm);
        write!(
            f,
            "[{seconds:>5}.{micros:06}] {guest} vcpu{}: {}",
            self.vcpu,
            self.request()
        )?;
        if self.reason == "unexplained" {
            write!(
                f,
                ": Rust would answer {}, and C did answer {}",
                self.rust, self.c
            )
        } else {
            write!(f, ": refused: {}", self.because())
        }
    }
}
