// SPDX-License-Identifier: GPL-2.0
//! What tests of others who want the functions that the module replaces have in common.

use crate::exchange::request::Request;
use crate::exchange::steps::{Attempt, StepVm};
use crate::judge::check::Check;
use crate::kernel::handler::{self, Handler};
use crate::kernel::host::KernelLog;
use crate::kernel::module as kernel;
use crate::launch::kind::Kind;
use anyhow::{Context, Result};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use std::fs;
use std::path::Path;

/// The function that is called once for each VMGEXIT.
pub const HANDLER: &str = "sev_handle_vmgexit";
/// The function that is called for MSR accesses alone.
pub const OF_MSR: &str = "svm_complete_emulated_msr";
/// The function that is called before a vCPU runs: the first of these that kvm_amd has.
const BEFORE_RUN: [&str; 2] = ["sev_vcpu_needs_initialization", "svm_vcpu_pre_run"];
/// Requests of a guest.
const COUNT: usize = 20;
/// What the module says when another one has such a function.
const SENTENCE: &str = "ghcb_rs: a function of kvm_amd cannot be replaced";

/// Functions of kvm_amd that the module replaces, and that are called while a guest runs.
pub fn functions() -> Result<[&'static str; 3]> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("read /proc/kallsyms")?;
    let has = |name: &&str| symbols.contains(&format!(" {name}\t[kvm_amd]"));
    let before_run = BEFORE_RUN.into_iter().find(has);
    let before_run =
        before_run.context("kvm_amd has no function that is called before a vCPU runs")?;
    Ok([HANDLER, before_run, OF_MSR])
}

/// VMGEXITs of a guest: an SEV-SNP guest registers each page first.
pub fn vmgexits() -> usize {
    if Kind::chosen().is_snp() {
        2 * COUNT
    } else {
        COUNT
    }
}

/// A guest raises [`vmgexits`]; each is answered, and by `handler`.
pub fn guest(check: &mut Check, handler: Handler) -> Result<()> {
    let mut vm = StepVm::new()?;
    let request = Request::new(ExitCode::INVD, 0, 0);
    let answered = || handler::answered().unwrap_or(0);
    let before = answered();
    for outcome in vm.take_all(&vec![Attempt::page(&request); COUNT])? {
        check.answered(&request, &outcome, handler, 0);
    }
    let want = if handler == Handler::Rust {
        vmgexits()
    } else {
        0
    };
    check.same("answers in Rust", answered() - before, want as u64);
    Ok(())
}

/// The neighbour comes after the module, or before it.
pub fn both(after: bool, module: &Path, neighbour: impl FnOnce() -> Result<()>) -> Result<()> {
    if after {
        return neighbour();
    }
    handler::remove()?;
    neighbour()?;
    handler::insert(module)
}

/// The module must be refused, with a sentence that says why, and nothing is left of it.
pub fn module_is_refused(check: &mut Check, module: &Path) -> Result<()> {
    let mut log = KernelLog::open()?;
    let error = kernel::insert(module, "").err();
    let error = error.and_then(|error| error.raw_os_error());
    check.same("error of the module", error, Some(libc::EBUSY));
    let says = log.lines()?;
    let said = says.iter().filter(|line| line.contains(SENTENCE)).count();
    check.same("sentences that say why", said, 1);
    check.that("the module is not there", !handler::loaded());
    Ok(())
}
