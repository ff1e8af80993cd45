// SPDX-License-Identifier: GPL-2.0
//! Others who trace or livepatch the functions that the module replaces: both work, or whoever comes later is refused.

use anyhow::{ensure, Context, Result};
use clap::Parser;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode as Status;
use std::time::Duration;
use vmm::check::Check;
use vmm::crew::wait_for;
use vmm::handler::{self, Handler};
use vmm::host::KernelLog;
use vmm::ktap::{self, Options, Report};
use vmm::kvm_amd;
use vmm::request::Request;
use vmm::steps::{Attempt, StepVm};
use vmm::tracing::Tracing;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// The functions that the module replaces: those that each exit takes, and those of some, or of each KVM_RUN.
const FUNCTIONS: [&str; 2] = ["sev_handle_vmgexit", "sev_es_unmap_ghcb"];
const MORE_FUNCTIONS: [&str; 2] = ["svm_complete_emulated_msr", "sev_vcpu_needs_initialization"];
/// Others of kvm_amd: one that the module leaves alone, and the one that its livepatch stands on.
const OTHERS: [&str; 2] = ["sev_guest_memory_reclaimed", "sev_hardware_unsetup"];
/// VMGEXITs of a guest.
const COUNT: usize = 20;
const PATIENCE: Duration = Duration::from_secs(20);

const SECOND: &str = "/sys/kernel/livepatch/second_patch";
const SECOND_CALLS: &str = "/sys/module/second_patch/parameters/calls";

fn main() -> Status {
    let arguments = Arguments::parse();
    ktap::run(&arguments.options, |report| {
        let Some(module) = handler::module() else {
            report.skip("neighbours", "GHCB_MODULE names no module");
            return Ok(());
        };
        if report.handler() == Handler::C {
            report.skip("neighbours", "the module is not asked for");
            return Ok(());
        }
        tracers(report, &module);
        let second = second_patch(&module);
        if second.exists() {
            patches(report, &module, &second);
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

/// VMGEXITs that the module has answered, as it counts them.
fn answered() -> Result<u64> {
    let events = fs::read_to_string("/sys/kernel/debug/ghcb_rs/events").unwrap_or_default();
    let total = events.lines().find_map(|line| line.strip_prefix("total\t"));
    let rust = total.and_then(|fields| fields.split('\t').next());
    rust.map_or(Ok(0), |rust| rust.parse().context("the counters"))
}

/// A guest raises VMGEXITs; each is answered, and by `handler`.
fn guest(check: &mut Check, handler: Handler) -> Result<()> {
    let mut vm = StepVm::new()?;
    let request = Request::new(ExitCode::INVD, 0, 0);
    let before = answered()?;
    for outcome in vm.take_all(&vec![Attempt::page(&request); COUNT])? {
        check.answered(&request, &outcome, handler, 0);
    }
    let want = if handler == Handler::Rust { COUNT } else { 0 };
    check.same("answers in Rust", answered()? - before, want as u64);
    Ok(())
}

fn tracers(report: &mut Report, module: &Path) {
    for after in [true, false] {
        let order = if after { "after" } else { "before" };
        report.test(&format!("the function tracer, {order} the module"), || {
            let (mut check, tracing) = (Check::new(), Tracing::new()?);
            both(after, module, || tracing.functions(&FUNCTIONS))?;
            for handler in [Handler::Rust, Handler::C] {
                tracing.take("")?;
                check.about(format!("{handler} answers"));
                guest(&mut check, handler)?;
                // The doorbell of the guest is no VMGEXIT.
                let calls = tracing.take(" sev_handle_vmgexit <-")?;
                check.same("calls traced", calls, COUNT);
                let (back, turn): (_, fn(&Path) -> Result<()>) = match handler {
                    Handler::Rust => (Handler::C, |_| handler::remove()),
                    Handler::C => (Handler::Rust, handler::insert),
                };
                turn(module)?;
                check.same("who answers now", handler::current(), back);
            }
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
                check.same(&name, count, COUNT);
            }
            Ok(check.done())
        });
    }
}

/// The neighbour comes after the module, or before it.
fn both(after: bool, module: &Path, neighbour: impl FnOnce() -> Result<()>) -> Result<()> {
    if after {
        return neighbour();
    }
    handler::remove()?;
    neighbour()?;
    handler::insert(module)
}

/// Insert a module; the error number if the kernel refuses.
fn insert(path: &Path, parameters: &str) -> Result<i32> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let parameters = CString::new(parameters)?;
    // SAFETY: Plain system call; the kernel reads the file and the string.
    let status = unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            file.as_raw_fd(),
            parameters.as_ptr(),
            0,
        )
    };
    let error = std::io::Error::last_os_error().raw_os_error();
    let settled = || {
        !fs::read_to_string(Path::new(SECOND).join("transition"))
            .is_ok_and(|word| word.trim() == "1")
    };
    ensure!(
        wait_for(PATIENCE, settled),
        "the second livepatch is not active"
    );
    Ok(if status == 0 { 0 } else { error.unwrap_or(-1) })
}

/// Disable the second livepatch, and take it out.
fn remove_second() -> Result<()> {
    fs::write(Path::new(SECOND).join("enabled"), "0").context("disable the second livepatch")?;
    // SAFETY: Plain system call; the kernel reads the string.
    let remove = || unsafe {
        libc::syscall(
            libc::SYS_delete_module,
            c"second_patch".as_ptr(),
            libc::O_NONBLOCK,
        ) == 0
    };
    let gone = || !Path::new(SECOND).exists() && remove();
    ensure!(wait_for(PATIENCE, gone), "the second livepatch stays");
    Ok(())
}

fn patches(report: &mut Report, module: &Path, second: &Path) {
    for function in FUNCTIONS.into_iter().chain(MORE_FUNCTIONS) {
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
                let mut log = KernelLog::open()?;
                check.same("error of the module", insert(module, "")?, libc::EBUSY);
                let says = log.lines()?;
                let sentence = "ghcb_rs: a function of kvm_amd cannot be replaced";
                let said = says.iter().filter(|line| line.contains(sentence)).count();
                check.same("sentences that say why", said, 1);
                check.that(
                    "the module is not there",
                    !Path::new("/sys/module/ghcb_rs").exists(),
                );
                if FUNCTIONS.contains(&function) {
                    // The VMGEXIT and what comes before each entry are still with whom they were.
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
}

fn replaced(report: &mut Report, module: &Path, second: &Path) {
    report.test("a livepatch that takes the place of all others", || {
        let mut check = Check::new();
        // The kernel does not tell the module, which goes on until it is taken out.
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
            guest(&mut check, Handler::Rust)?;
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
