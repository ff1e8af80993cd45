// SPDX-License-Identifier: GPL-2.0
//! Observe mode: C answers, and the livepatch says of each answer how its own would have differed. Other programs show
//! with `--handler observe` that C's answers stay as they are.

use anyhow::{Context, Result};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
use mailbox::map;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode as Status;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use vmm::exchange::page_image::PageInMemory;
use vmm::exchange::pending::{port_word, read_port};
use vmm::exchange::request::{PageFields, Request};
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::judge::check::Check;
use vmm::kernel::counters::{folder, name, Table, FOLDER};
use vmm::kernel::handler::{self, Handler};
use vmm::launch::crew::wait_for;
use vmm::launch::kind::Kind;
use vmm::report::ktap;

/// How long a VM's folder may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Status {
    ktap::program(|report| {
        if report.module("observe").is_none() {
            return Ok(());
        }
        report.test("mode: what is written holds, and nothing else", modes);
        report.test("verdicts: each request by what it shows", verdicts);
        report.test("verdicts: counted for the VM, and for all", counted);
        report.test(
            "mode: to and fro under a guest that never stops",
            to_and_fro,
        );
        report.test(
            "mode: a reply that is pending comes from who began",
            pending,
        );
        report.test(
            "timing: each exit once while it is on, and none while it is off",
            timing,
        );
        report.test(
            "timing: to and fro under a guest that never stops",
            timing_to_and_fro,
        );
        handler::set_mode("answer")
    })
}

fn modes() -> Result<Vec<String>> {
    let mut check = Check::new();
    for mode in ["observe", "answer", "observe\n", "answer\n"] {
        handler::set_mode(mode)?;
        check.same("the mode", handler::mode()?.as_str(), mode.trim_end());
    }
    for mode in ["\n", "answers", "1", "Observe"] {
        check
            .about(mode)
            .that("is refused", handler::set_mode(mode).is_err());
        check.same("the mode", handler::mode()?.as_str(), "answer");
    }
    Ok(check.done())
}

/// The verdicts of a VM, or with an empty name of all.
fn read(name: &str) -> Result<BTreeMap<String, u64>> {
    let folder = match name {
        "" => Path::new(FOLDER).to_path_buf(),
        name => folder(name),
    };
    Table::read(folder.join("verdicts"))?.numbers("count")
}

/// A VM that has a folder, because it has exited in observe mode, and its name.
fn vm() -> Result<(StepVm, String)> {
    handler::set_mode("observe")?;
    let mut vm = StepVm::new()?;
    let name = name(vm.vm());
    vm.take(Attempt::page(&Request::new(ExitCode::INVD, 0, 0)))?;
    anyhow::ensure!(
        wait_for(PATIENCE, || folder(&name).join("verdicts").exists()),
        "{name} has no folder"
    );
    Ok((vm, name))
}

fn cpuid() -> Request {
    Request::new(ExitCode::CPUID, 0, 0)
        .with(Field::Rax, 0)
        .with(Field::Rcx, 0)
}

fn mmio_read() -> Request {
    Request::new(ExitCode::MMIO_READ, map::MMIO + 0x40, 4).scratch_inside(SHARED_BUFFER_OFFSET)
}

fn verdicts() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (mut vm, name) = vm()?;
    let page = |request: &Request| Attempt::page(request);
    let snp = Kind::chosen().is_snp();
    let mut cases = vec![
        ("cpuid", page(&cpuid()), "same"),
        (
            "CPUID without RCX",
            page(&cpuid().without(Field::Rcx)),
            "same",
        ),
        ("CPUID by the MSR", Attempt::msr(0x4000_0004), "same"),
        (
            "CPUID by the MSR, with more bits",
            Attempt::msr(0x4001_0004),
            "msr-reserved-bits",
        ),
        ("no request in the MSR", Attempt::msr(0x7777), "same"),
        ("another VMPL", Attempt::msr(0x16), "msr-snp-request"),
        (
            "INVD",
            page(&Request::new(ExitCode::INVD, 0, 0)),
            "returned-registers",
        ),
        (
            "no event",
            page(&Request::new(ExitCode(0x403), 0, 0)),
            "returned-registers",
        ),
        (
            "usage",
            page(&Request::new(ExitCode::INVD, 0, 0).usage(1)),
            "returned-registers",
        ),
        (
            "an event of SEV-SNP",
            page(&Request::new(ExitCode::SECURE_AVIC, 0, 0)),
            "returned-registers",
        ),
        (
            "several sizes",
            page(&Request::new(ExitCode::IOIO, 0x03f8_0031, 0)),
            "ioio-size",
        ),
        (
            "DR7",
            page(&Request::new(ExitCode::READ_DR7, 0, 0).with(Field::Rax, 0x1234)),
            "read-dr7",
        ),
        (
            "an MMIO access of userspace",
            page(&mmio_read()),
            "accepted",
        ),
    ];
    cases.push(if snp {
        (
            "features",
            page(&Request::new(ExitCode::HV_FEATURES, 0, 0)),
            "snp-features",
        )
    } else {
        (
            "features",
            page(&Request::new(ExitCode::HV_FEATURES, 0, 0)),
            "hv-features",
        )
    });
    cases.push((
        "features by the MSR",
        Attempt::msr(0x80),
        if snp { "snp-features" } else { "hv-features" },
    ));
    for (what, attempt, verdict) in cases {
        check.about(what);
        let before = read(&name)?;
        vm.take(attempt)?;
        let after = read(&name)?;
        let grown = |name: &str| {
            after
                .get(name)
                .zip(before.get(name))
                .map(|(after, before)| after - before)
        };
        // What the guest does besides, at its doorbell, is counted as others are.
        let others = ["same", "accepted", "returned-registers"];
        check.that(verdict, grown(verdict).is_some_and(|grown| grown > 0));
        for other in after.keys().map(String::as_str) {
            if other != verdict && !others.contains(&other) {
                check.same(other, grown(other), Some(0));
            }
        }
    }
    Ok(check.done())
}

fn counted() -> Result<Vec<String>> {
    let mut check = Check::new();
    let all = read("")?;
    let (mut vm, name) = vm()?;
    for _ in 0..8 {
        vm.take(Attempt::page(&cpuid()))?;
    }
    let of_vm = read(&name)?;
    let same = of_vm.get("same").copied().unwrap_or(0);
    check.that("the same", same >= 8);
    let grown = read("")?
        .get("same")
        .zip(all.get("same"))
        .map(|(after, before)| after - before);
    check.same("of all", grown, Some(same));
    let events = Table::read(folder(&name).join("events"))?;
    let sum: u64 = of_vm.values().sum();
    check.same(
        "by C",
        events.numbers("c")?.get("total").copied(),
        Some(sum),
    );
    check.same(
        "by Rust",
        events.numbers("rust")?.get("total").copied(),
        Some(0),
    );
    check.same("CPUID", events.numbers("c")?.get("cpuid").copied(), Some(8));
    Ok(check.done())
}

/// How often a guest asks while something changes.
const ASKED: u64 = 300;

/// Has a guest ask for CPUID while `change` is called again and again; each is answered.
fn ask_during(
    check: &mut Check,
    vm: &mut StepVm,
    change: impl Fn() -> Result<()> + Sync,
) -> Result<()> {
    let stop = AtomicBool::new(false);
    let changes = std::thread::scope(|scope| {
        let changer = scope.spawn(|| {
            let mut changes = 0;
            while !stop.load(Ordering::Relaxed) {
                change()?;
                changes += 1;
            }
            anyhow::Ok(changes)
        });
        let request = cpuid();
        let mut result = Ok(());
        for _ in 0..ASKED {
            match vm.take(Attempt::page(&request)) {
                // All four registers come back from either.
                Ok(outcome) => check
                    .quiet(&outcome)
                    .answered(&request, &outcome, Handler::Rust, 0),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        result?;
        changer
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the changer died"))
    })?;
    check.that("it has changed", changes > 0);
    Ok(())
}

/// Of how many CPUIDs of a VM times were taken.
fn timed(name: &str) -> Result<u64> {
    Ok(times(name)?.get("cpuid").copied().unwrap_or(0))
}

/// How many CPUIDs of a VM were counted, in a column of its events.
fn cpuids(name: &str, column: &str) -> Result<u64> {
    let events = Table::read(folder(name).join("events"))?;
    let counts = events.numbers(column)?;
    counts.get("cpuid").copied().context("no CPUID")
}

fn to_and_fro() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (mut vm, name) = vm()?;
    ask_during(&mut check, &mut vm, || {
        handler::set_mode("answer")?;
        handler::set_mode("observe")
    })?;
    handler::set_mode("answer")?;
    // While the mode changes, C answers and nobody counts.
    let counted = cpuids(&name, "rust")? + cpuids(&name, "c")?;
    check.that("no exit twice", counted <= ASKED);
    Ok(check.done())
}

/// While it changes whether times are taken, C answers, and nobody counts nor takes times.
fn timing_to_and_fro() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (mut vm, name) = vm()?;
    for (mode, column) in [("answer", "rust"), ("observe", "c")] {
        check.about(mode);
        handler::set_mode(mode)?;
        let (counted, taken) = (cpuids(&name, column)?, timed(&name)?);
        ask_during(&mut check, &mut vm, || {
            handler::set_timing("1")?;
            handler::set_timing("0")
        })?;
        let (counted, taken) = (cpuids(&name, column)? - counted, timed(&name)? - taken);
        check.that("no exit twice", counted <= ASKED);
        check.that("no time of an exit that is not counted", taken <= counted);
    }
    handler::set_mode("answer")?;
    Ok(check.done())
}

/// The counts of a VM's histograms, by event.
fn times(name: &str) -> Result<BTreeMap<String, u64>> {
    let table = Table::read(folder(name).join("latency"))?;
    let mut counts = BTreeMap::new();
    let rows = table
        .column("event")?
        .into_iter()
        .zip(table.column("count")?);
    for ((event, count), from) in rows.zip(table.column("from_ns")?) {
        anyhow::ensure!(
            from.parse::<u64>()?.is_power_of_two(),
            "{from} is no power of two"
        );
        *counts.entry(event.to_string()).or_default() += count.parse::<u64>()?;
    }
    Ok(counts)
}

fn timing() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (mut vm, name) = vm()?;
    for mode in ["answer", "observe"] {
        check.about(mode);
        handler::set_mode(mode)?;
        let before = timed(&name)?;
        let mut take = |timing: &str, count: usize| {
            handler::set_timing(timing)?;
            vm.take_all(&vec![Attempt::page(&cpuid()); count]).map(drop)
        };
        take("0", 3)?;
        take("1", 20)?;
        take("0", 3)?;
        let after = timed(&name)?;
        // One that moves to another CPU meanwhile may be left out.
        check.that("some, and no more", (15..=20).contains(&(after - before)));
    }
    handler::set_mode("answer")?;
    check.same(
        "each is counted as an exit, too",
        cpuids(&name, "rust")?,
        26,
    );
    let of_vm: u64 = times(&name)?.values().sum();
    drop(vm);
    let gone = wait_for(PATIENCE, || !folder(&name).exists());
    check.that("its folder is gone", gone);
    let all = Table::read(Path::new(FOLDER).join("latency"))?;
    let mut sum = 0;
    for count in all.column("count")? {
        sum += count.parse::<u64>()?;
    }
    check.that("what it had is in the sums", sum >= of_vm && of_vm > 0);
    Ok(check.done())
}

/// An exit is with userspace while the mode changes.
fn pending() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (mut vm, name) = vm()?;
    for (first, then) in [("observe", "answer"), ("answer", "observe")] {
        check.about(first);
        handler::set_mode(first)?;
        let request = read_port();
        vm.begin(&Attempt::page(&request))?;
        handler::set_mode(then)?;
        StepVm::finish(vm.vm().vcpu(0))?;
        let page = PageInMemory::new(vm.vm().memory(), StepVm::page_of(0)).copy();
        let reply = PageFields::of(&page);
        check.same("infos", (reply.info1, reply.info2), (0, 0));
        check.same("RAX", reply.rax & 0xffff, port_word());
    }
    check.same(
        "unexplained",
        read(&name)?.get("unexplained").copied(),
        Some(0),
    );
    handler::set_mode("answer")?;
    Ok(check.done())
}
