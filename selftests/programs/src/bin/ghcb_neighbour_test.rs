// SPDX-License-Identifier: GPL-2.0
//! Tracers and other livepatches of the functions that the module replaces: both work, or the later one is refused.

use anyhow::{ensure, Context, Result};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode as Status;
use std::time::Duration;
use vmm::exchange::request::Request;
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::judge::check::Check;
use vmm::kernel::handler::{self, Handler};
use vmm::kernel::kvm_amd;
use vmm::kernel::module as kernel;
use vmm::kernel::neighbour::{both, functions, guest, module_is_refused, vmgexits, HANDLER};
use vmm::kernel::tracing::Tracing;
use vmm::launch::crew::wait_for;
use vmm::report::ktap::{self, Report};

/// Functions of kvm_amd that each exit takes; the module leaves the second alone.
const OF_EACH_EXIT: [&str; 2] = [HANDLER, "sev_es_unmap_ghcb"];
/// Others of kvm_amd: one that the module leaves alone, and the one that its livepatch stands on.
const OTHERS: [&str; 2] = ["sev_guest_memory_reclaimed", "sev_hardware_unsetup"];
const PATIENCE: Duration = Duration::from_secs(20);

const SECOND: &str = "/sys/kernel/livepatch/second_patch";
const SECOND_CALLS: &str = "/sys/module/second_patch/parameters/calls";

fn main() -> Status {
    ktap::program(|report| {
        let Some(module) = report.module("neighbours") else {
            return Ok(());
        };
        tracers(report, &module);
        let second = second_patch(&module);
        if second.exists() {
            patches(report, &module, &second)?;
            replaced(report, &module, &second);
        } else {
            report.skip("a second livepatch", "GHCB_SECOND_PATCH names none");
        }
        Ok(())
    })
}

/// The second livepatch: `GHCB_SECOND_PATCH`, or beside the module.
fn second_patch(module: &Path) -> PathBuf {
    match std::env::var_os("GHCB_SECOND_PATCH") {
        Some(path) => path.into(),
        None => module.with_file_name("second_patch.ko"),
    }
}

fn tracers(report: &mut Report, module: &Path) {
    for after in [true, false] {
        let order = if after { "after" } else { "before" };
        report.test(&format!("the function tracer, {order} the module"), || {
            let (mut check, tracing) = (Check::new(), Tracing::new()?);
            both(after, module, || tracing.functions(&OF_EACH_EXIT))?;
            for handler in [Handler::Rust, Handler::C] {
                tracing.take("")?;
                check.about(format!("{handler} answers"));
                guest(&mut check, handler)?;
                // The doorbell of the guest is no VMGEXIT.
                let calls = tracing.take(" sev_handle_vmgexit <-")?;
                check.same("calls traced", calls, vmgexits());
                let (back, turn): (_, fn(&Path) -> Result<()>) = match handler {
                    Handler::Rust => (Handler::C, |_| handler::remove()),
                    Handler::C => (Handler::Rust, handler::insert),
                };
                turn(module)?;
                check.same("who answers now", handler::current(), back);
            }
            Ok(check.done())
        });
        report.test(&format!("the call graph, {order} the module"), || {
            let (mut check, tracing) = (Check::new(), Tracing::new()?);
            both(after, module, || tracing.graph(&OF_EACH_EXIT))?;
            guest(&mut check, Handler::Rust)?;
            let calls = tracing.take_calls(HANDLER)?;
            check.same("calls traced", calls, vmgexits());
            Ok(check.done())
        });
        report.test(&format!("probes of all kinds, {order} the module"), || {
            let (mut check, mut tracing) = (Check::new(), Tracing::new()?);
            both(after, module, || {
                tracing.probe('p', "kprobe", "kvm_amd:sev_handle_vmgexit")?;
                tracing.probe('r', "kretprobe", "kvm_amd:sev_handle_vmgexit $retval")?;
                tracing.probe('f', "fprobe", "sev_handle_vmgexit")?;
                tracing.probe('f', "fretprobe", "sev_handle_vmgexit%return $retval")
            })?;
            guest(&mut check, Handler::Rust)?;
            for (name, count) in tracing.take_events()? {
                check.same(&name, count, vmgexits());
            }
            Ok(check.done())
        });
    }
}

/// Insert the second livepatch; the error number if the kernel refuses.
fn insert(second: &Path, parameters: &str) -> Result<i32> {
    let result = kernel::insert(second, parameters);
    let settled = || {
        !fs::read_to_string(Path::new(SECOND).join("transition"))
            .is_ok_and(|word| word.trim() == "1")
    };
    ensure!(
        wait_for(PATIENCE, settled),
        "the second livepatch is not active"
    );
    Ok(result.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |()| 0))
}

/// Disable the second livepatch, and take it out.
fn remove_second() -> Result<()> {
    fs::write(Path::new(SECOND).join("enabled"), "0").context("disable the second livepatch")?;
    let gone = || !Path::new(SECOND).exists() && kernel::remove("second_patch").is_ok();
    ensure!(wait_for(PATIENCE, gone), "the second livepatch stays");
    Ok(())
}

fn patches(report: &mut Report, module: &Path, second: &Path) -> Result<()> {
    for function in functions()? {
        report.test(
            &format!("a second livepatch of {function} is refused"),
            || {
                let mut check = Check::new();
                let errno = insert(second, &format!("function={function}"))?;
                check.same("error", errno, libc::EBUSY);
                check.that("nothing is left of it", !Path::new(SECOND).exists());
                guest(&mut check, Handler::Rust)?;
                Ok(check.done())
            },
        );
        report.test(
            &format!("after a livepatch of {function}, the module is refused"),
            || {
                let mut check = Check::new();
                handler::remove()?;
                let errno = insert(second, &format!("function={function}"))?;
                check.same("error of the first", errno, 0);
                module_is_refused(&mut check, module)?;
                if OF_EACH_EXIT.contains(&function) {
                    // VMGEXIT and the functions called before each entry have the handlers that they had.
                    StepVm::new()?.take(Attempt::page(&Request::new(ExitCode::INVD, 0, 0)))?;
                    let calls: u64 = fs::read_to_string(SECOND_CALLS)?.trim().parse()?;
                    check.that("the first livepatch is called", calls > 0);
                }
                remove_second()?;
                guest(&mut check, Handler::C)?;
                handler::insert(module)?;
                guest(&mut check, Handler::Rust)?;
                Ok(check.done())
            },
        );
    }
    for function in OTHERS {
        for after in [true, false] {
            let order = if after { "after" } else { "before" };
            report.test(
                &format!("a livepatch of {function}, {order} the module"),
                || {
                    let mut check = Check::new();
                    both(after, module, || {
                        check.same("error", insert(second, &format!("function={function}"))?, 0);
                        Ok(())
                    })?;
                    guest(&mut check, Handler::Rust)?;
                    remove_second()?;
                    guest(&mut check, Handler::Rust)?;
                    Ok(check.done())
                },
            );
        }
    }
    Ok(())
}

fn replaced(report: &mut Report, module: &Path, second: &Path) {
    report.test("a livepatch that takes the place of all others", || {
        let mut check = Check::new();
        // The kernel does not call the module's callbacks; the module detects it.
        check.same("error", insert(second, "replace=1")?, 0);
        let replaced = wait_for(PATIENCE, || !handler::present());
        check.that("the module's livepatch is gone", replaced);
        handler::remove()?;
        guest(&mut check, Handler::C)?;
        remove_second()?;
        guest(&mut check, Handler::C)?;
        handler::insert(module)?;
        guest(&mut check, Handler::Rust)?;
        Ok(check.done())
    });
    report.test(
        "kvm_amd goes and comes beneath a livepatch that took the place of all others",
        || {
            let mut check = Check::new();
            check.same("error", insert(second, "replace=1")?, 0);
            let replaced = wait_for(PATIENCE, || !handler::present());
            check.that("the module's livepatch is gone", replaced);
            kvm_amd::reload()?;
            guest(&mut check, Handler::C)?;
            handler::remove()?;
            remove_second()?;
            guest(&mut check, Handler::C)?;
            handler::insert(module)?;
            guest(&mut check, Handler::Rust)?;
            Ok(check.done())
        },
    );
}
