// SPDX-License-Identifier: GPL-2.0
//! BPF programs at the entry and exit of functions of kvm_amd.
//!
//! Such a program is called directly, as the module's functions are, and a function can be called so by one user alone:
//! at those that the module replaces, the later of the two is refused.

use anyhow::{anyhow, Context, Result};
use std::path::Path;
use std::process::ExitCode;
use vmm::judge::check::Check;
use vmm::kernel::bpf::{Place, Program};
use vmm::kernel::handler::{self, Handler};
use vmm::kernel::neighbour::{
    both, functions, guest, module_is_refused, vmgexits, HANDLER, OF_MSR,
};
use vmm::report::ktap::{self, Report};

const KVM: &str = "kvm_amd";
/// One that it leaves alone, and that is called for each exit.
const NEIGHBOUR: &str = "svm_handle_exit";

fn main() -> ExitCode {
    ktap::program(|report| {
        let Some(module) = report.module("BPF programs") else {
            return Ok(());
        };
        for function in functions()? {
            refused(report, function);
            first(report, &module, function);
        }
        beside(report, &module);
        Ok(())
    })
}

fn refused(report: &mut Report, function: &str) {
    for place in Place::ALL {
        let name = format!("a program at {function} ({place:?}) is refused");
        report.test(&name, || {
            let mut check = Check::new();
            let attached = Program::attach(KVM, function, place)?;
            // Kernels differ in how they say it.
            let is_refused = matches!(attached, Err(libc::EBUSY | libc::EINVAL));
            check.that("the program is refused", is_refused);
            guest(&mut check, Handler::Rust)?;
            Ok(check.done())
        });
    }
}

fn first(report: &mut Report, module: &Path, function: &str) {
    let name = format!("after programs at {function}, the module is refused");
    report.test(&name, || {
        let mut check = Check::new();
        handler::remove()?;
        let entry = attach(function, Place::Entry)?;
        let exit = attach(function, Place::Exit)?;
        module_is_refused(&mut check, module)?;
        guest(&mut check, Handler::C)?;
        for (place, program) in [("entry", &entry), ("exit", &exit)] {
            let runs = program.runs()?;
            match function {
                HANDLER => check.same(&format!("runs at the {place}"), runs, vmgexits() as u64),
                OF_MSR => check.same(&format!("runs at the {place}"), runs, 0),
                _ => check.that("the program runs", runs > 0),
            };
        }
        drop((entry, exit));
        handler::insert(module)?;
        guest(&mut check, Handler::Rust)?;
        Ok(check.done())
    });
}

/// At a function that the module leaves alone, in either order.
fn beside(report: &mut Report, module: &Path) {
    for after in [true, false] {
        let order = if after { "after" } else { "before" };
        let name = format!("programs at {NEIGHBOUR}, {order} the module");
        report.test(&name, || {
            let mut check = Check::new();
            let mut programs = Vec::new();
            both(after, module, || {
                for place in Place::ALL {
                    programs.push(attach(NEIGHBOUR, place)?);
                }
                Ok(())
            })?;
            guest(&mut check, Handler::Rust)?;
            for program in programs {
                check.that(
                    "the program sees each VMGEXIT",
                    program.runs()? >= vmgexits() as u64,
                );
            }
            Ok(check.done())
        });
    }
}

/// A program that the kernel must not refuse.
fn attach(function: &str, place: Place) -> Result<Program> {
    Program::attach(KVM, function, place)?
        .map_err(|error| anyhow!("error {error}"))
        .with_context(|| format!("a program at {function}"))
}
