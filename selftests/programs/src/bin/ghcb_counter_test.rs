// SPDX-License-Identifier: GPL-2.0
//! What the livepatch counts of each VM and vCPU, and the last requests that it refused: the files that
//! `docs/ABI/debugfs-ghcb_rs` promises.

use anyhow::{ensure, Context, Result};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::page::Field;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode as Status;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use vmm::exchange::request::Request;
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::judge::check::Check;
use vmm::kernel::counters::{folder, name, Table, FOLDER, KVM};
use vmm::kernel::handler::{self, Handler};
use vmm::launch::crew::wait_for;
use vmm::report::ktap;

/// How long a VM's folder may take to come or to go.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that are kept.
const KEPT: usize = 256;

fn main() -> Status {
    ktap::program(|report| {
        if report.module("counters").is_none() {
            return Ok(());
        }
        report.test("files: those that are promised, with their columns", files);
        report.test(
            "VMs: a folder each, named as KVM names it, until the VM ends",
            folders,
        );
        report.test("counters: each exit of each VM where it belongs", exits);
        report.test("counters: each error by its event and its reason", errors);
        report.test("counters: what a VM has counted stays in the sums", sums);
        report.test("failures: the request, field by field", fields);
        report.test(
            "failures: a flood leaves the last of it, and nothing else",
            flood,
        );
        report.test("failures: whole lines while they are written", readers);
        report.test("files: one that is open when its VM ends", open_file);
        report.test("module: out and in, with a VM that goes on", out_and_in);
        Ok(())
    })
}

fn cpuid() -> Attempt {
    Attempt::page(
        &Request::new(ExitCode::CPUID, 0, 0)
            .with(Field::Rax, 0)
            .with(Field::Rcx, 0),
    )
}

/// CPUID without RCX.
fn missing() -> Request {
    Request::new(ExitCode::CPUID, 0, 0).with(Field::Rax, 7)
}

/// Wait for the folder of a VM.
fn wait_for_folder(name: &str) -> Result<()> {
    let folder = folder(name);
    ensure!(
        wait_for(PATIENCE, || folder.join("vcpus").exists()),
        "there is no {}",
        folder.display()
    );
    Ok(())
}

/// A VM that has a folder, because it has exited, and its name.
fn vm() -> Result<(StepVm, String)> {
    let mut vm = StepVm::new()?;
    let name = name(vm.vm());
    vm.take(Attempt::page(&Request::new(ExitCode::INVD, 0, 0)))?;
    wait_for_folder(&name)?;
    Ok((vm, name))
}

/// A column of a file of a VM, or with an empty name of all.
fn numbers(name: &str, file: &str, column: &str) -> Result<BTreeMap<String, u64>> {
    let folder = match name {
        "" => Path::new(FOLDER).to_path_buf(),
        name => folder(name),
    };
    Table::read(folder.join(file))?.numbers(column)
}

/// What has come to the numbers `before`.
fn growth(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = after.iter().map(|(key, value)| {
        let before = before.get(key).copied().unwrap_or(0);
        (key.clone(), value.wrapping_sub(before))
    });
    grown.filter(|(_, value)| *value != 0).collect()
}

fn number(key: &str, value: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([(key.to_string(), value)])
}

/// The sum over all rows but the total.
fn sum(numbers: &BTreeMap<String, u64>) -> u64 {
    let rows = numbers.iter().filter(|(key, _)| *key != "total");
    rows.map(|(_, value)| value).sum()
}

fn files() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (_vm, name) = vm()?;
    let promises = promises();
    for promise in &promises {
        for file in &promise.files {
            check.about(*file);
            let path = file.replace("<vm>", &name);
            match Table::read(&path) {
                _ if promise.columns.is_empty() => {
                    check.that("is there", Path::new(&path).exists())
                }
                Ok(table) => {
                    check.same("columns", table.columns(), promise.columns.clone());
                    let rows = table.column(promise.columns[0])?;
                    check.that("rows", promise.rows.iter().all(|row| rows.contains(row)))
                }
                Err(error) => check.that(&format!("{error:#}"), false),
            };
        }
    }
    let promised: Vec<_> = promises.iter().flat_map(|promise| &promise.files).collect();
    for (folder, place) in [
        (FOLDER.into(), FOLDER.into()),
        (folder(&name), format!("{FOLDER}/vms/<vm>")),
    ] {
        for entry in fs::read_dir(folder)? {
            let file = format!("{place}/{}", entry?.file_name().to_string_lossy());
            let is_promised = promised.iter().any(|known| known.starts_with(&file));
            check.about(&file).that("is promised", is_promised);
        }
    }
    let events = Table::read(Path::new(FOLDER).join("events"))?;
    let last = events.column("event")?.last().copied();
    check
        .about("events")
        .same("the last row", last, Some("total"));
    Ok(check.done())
}

/// What the page says of files.
#[derive(Default)]
struct Promise {
    files: Vec<&'static str>,
    columns: Vec<&'static str>,
    rows: Vec<&'static str>,
}

fn promises() -> Vec<Promise> {
    let page = include_str!("../../../../docs/ABI/debugfs-ghcb_rs");
    let mut promises: Vec<Promise> = Vec::new();
    let mut is_name = false;
    for line in page.lines() {
        let was_name = is_name;
        is_name = false;
        let Some((what, text)) = line.split_once(":\t") else {
            continue;
        };
        let mut words = text.split_whitespace();
        match (what, promises.last_mut()) {
            ("What", Some(promise)) if was_name => promise.files.extend(words.next()),
            ("What", _) => promises.push(Promise {
                files: words.collect(),
                ..Promise::default()
            }),
            ("Columns", Some(promise)) => promise.columns.extend(words),
            ("Rows", Some(promise)) => promise.rows.extend(words),
            _ => {}
        }
        is_name = what == "What";
    }
    promises
}

fn folders() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (first, first_name) = vm()?;
    let (second, second_name) = vm()?;
    for name in [&first_name, &second_name] {
        check
            .about(name)
            .that("KVM has it", Path::new(KVM).join(name).exists());
    }
    drop(first);
    let gone = wait_for(PATIENCE, || !folder(&first_name).exists());
    check.about("one ends").that("its folder is gone", gone);
    check.that("the other's is there", folder(&second_name).exists());
    drop(second);
    let gone = wait_for(PATIENCE, || !folder(&second_name).exists());
    check.about("both have ended").that("no folder", gone);
    Ok(check.done())
}

fn exits() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (mut first, first_name) = vm()?;
    let (mut second, second_name) = vm()?;
    let read = |name: &str| numbers(name, "events", "rust");
    let before = [read("")?, read(&first_name)?, read(&second_name)?];
    // In turns, so that a CPU changes from one to the other.
    for _ in 0..5 {
        first.take_all(&[cpuid(), cpuid()])?;
        second.take(cpuid())?;
    }
    let after = [read("")?, read(&first_name)?, read(&second_name)?];
    let cpuids = [15, 10, 5];
    for ((before, after), cpuids) in before.iter().zip(&after).zip(cpuids) {
        let grown = growth(before, after);
        check.same("CPUID", grown.get("cpuid"), Some(&cpuids));
        check.same("the total", grown.get("total"), Some(&sum(&grown)));
    }
    // The only vCPU's counters are those of the VM.
    let vcpus = Table::read(folder(&first_name).join("vcpus"))?;
    let rows = vcpus
        .column("event")?
        .into_iter()
        .zip(vcpus.column("rust")?);
    let mut of_vcpu = BTreeMap::new();
    for (event, count) in rows {
        of_vcpu.insert(event.to_string(), count.parse::<u64>()?);
    }
    let vm = growth(&BTreeMap::new(), &after[1]);
    let vm: BTreeMap<_, _> = vm.into_iter().filter(|(key, _)| key != "total").collect();
    check.same("the vCPU's counters", of_vcpu, vm);
    check.that(
        "it is number 0",
        vcpus.column("vcpu")?.iter().all(|number| *number == "0"),
    );
    check.same("by C", sum(&numbers(&first_name, "events", "c")?), 0);
    Ok(check.done())
}

fn errors() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (mut vm, name) = vm()?;
    let usage = Request::new(ExitCode::MSR, 0, 0)
        .with(Field::Rcx, 0x10)
        .usage(1);
    let event = Request::new(ExitCode(0x403), 0, 0);
    // No page is there for an address beyond the guest's memory.
    for (attempt, event, reason) in [
        (Attempt::page(&missing()), "cpuid", "missing_input"),
        (Attempt::page(&usage), "read_msr", "invalid_usage"),
        (Attempt::page(&event), "unknown_event", "invalid_event"),
        (Attempt::msr(0x5_0000_0016), "msr_run_vmpl", "msr_failed"),
        (Attempt::msr(0x7777), "msr_unknown", "msr_unknown"),
    ] {
        check.about(reason);
        let before = [
            numbers(&name, "events", "errors")?,
            numbers(&name, "reasons", "count")?,
        ];
        let all = numbers("", "reasons", "count")?;
        vm.take(attempt)?;
        let after = [
            numbers(&name, "events", "errors")?,
            numbers(&name, "reasons", "count")?,
        ];
        let mut events = growth(&before[0], &after[0]);
        check.same("the total", events.remove("total"), Some(1));
        check.same("the event", events, number(event, 1));
        check.same(
            "the reason",
            growth(&before[1], &after[1]),
            number(reason, 1),
        );
        let all = growth(&all, &numbers("", "reasons", "count")?);
        check.same("of all", all, number(reason, 1));
    }
    let [events, reasons] = [
        numbers("", "events", "errors")?,
        numbers("", "reasons", "count")?,
    ];
    check
        .about("all")
        .same("as many reasons as errors", sum(&reasons), sum(&events));
    Ok(check.done())
}

fn sums() -> Result<Vec<String>> {
    let mut check = Check::new();
    let before = numbers("", "events", "rust")?;
    let (mut vm, name) = vm()?;
    vm.take_all(&[cpuid(), cpuid(), cpuid()])?;
    drop(vm);
    let gone = wait_for(PATIENCE, || !folder(&name).exists());
    check.that("its folder is gone", gone);
    let grown = growth(&before, &numbers("", "events", "rust")?);
    check.same("CPUID", grown.get("cpuid"), Some(&3));
    Ok(check.done())
}

/// The last row of what is kept, by column.
fn last_failure() -> Result<BTreeMap<String, String>> {
    let table = Table::read(Path::new(FOLDER).join("failures"))?;
    let mut row = BTreeMap::new();
    for column in table.columns() {
        let value = table
            .column(column)?
            .last()
            .copied()
            .context("nothing is kept")?;
        row.insert(column.to_string(), value.to_string());
    }
    Ok(row)
}

fn fields() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (mut vm, name) = vm()?;
    // WRMSR, without RDX.
    let request = Request::new(ExitCode::MSR, 1, 0x1234)
        .with(Field::Rax, 0x55)
        .with(Field::Rcx, 0xc000_0080);
    let valid = request.valid();
    let begin = now();
    vm.take(Attempt::page(&request))?;
    let end = now();
    let row = last_failure()?;
    let page = format!("{:#x}", StepVm::page_of(0));
    let valid = format!("{:#x}", valid.bits());
    for (column, value) in [
        ("vm", name.as_str()),
        ("vcpu", "0"),
        ("event", "write_msr"),
        ("reason", "missing_input"),
        ("msr", &page),
        ("code", "0x7c"),
        ("info1", "0x1"),
        ("info2", "0x1234"),
        ("valid", &valid),
        ("scratch", "0x0"),
        ("rax", "0x55"),
        ("rbx", "0x0"),
        ("rcx", "0xc0000080"),
        ("rdx", "0x0"),
        ("rust", "-"),
        ("c", "-"),
    ] {
        check.same(column, row.get(column).map(String::as_str), Some(value));
    }
    let time: u128 = row.get("time_ns").context("time")?.parse()?;
    check.that(
        "the time is that of the exit",
        (begin..=end).contains(&time),
    );
    Ok(check.done())
}

/// Nanoseconds of the monotonic clock.
fn now() -> u128 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: The structure is this function's own.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u128 * 1_000_000_000 + time.tv_nsec as u128
}

fn flood() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (mut victim, victim_name) = vm()?;
    victim.take(Attempt::page(&missing()))?;
    let before = [
        numbers(&victim_name, "events", "rust")?,
        numbers(&victim_name, "reasons", "count")?,
    ];
    let first: u64 = last_failure()?.get("number").context("number")?.parse()?;
    let (mut guest, name) = vm()?;
    let count = KEPT as u64 + 50;
    for at in 0..count {
        let request = Request::new(ExitCode(0x403), at, 0);
        guest.take(Attempt::page(&request))?;
    }
    let table = Table::read(Path::new(FOLDER).join("failures"))?;
    check.same("how many are kept", table.len(), KEPT);
    let expected: Vec<_> = (count - KEPT as u64..count)
        .map(|at| format!("{at:#x}"))
        .collect();
    check.that(
        "the last, in their order",
        table.column("info1")? == expected,
    );
    check.that(
        "all are the guest's",
        table.column("vm")?.iter().all(|vm| *vm == name),
    );
    let mut numbered = Vec::new();
    for number in table.column("number")? {
        numbered.push(number.parse::<u64>()?);
    }
    let from = first + 1 + count - KEPT as u64;
    check.that(
        "numbers",
        numbered == (from..first + 1 + count).collect::<Vec<_>>(),
    );
    let after = [
        numbers(&victim_name, "events", "rust")?,
        numbers(&victim_name, "reasons", "count")?,
    ];
    check.same("another VM's counters", after, before);
    Ok(check.done())
}

fn readers() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (mut guest, _) = vm()?;
    let stop = AtomicBool::new(false);
    let (tables, problems) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut tables, mut problems) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                match read_failures() {
                    Ok(()) => tables += 1,
                    Err(error) => problems.push(format!("{error:#}")),
                }
            }
            (tables, problems)
        });
        for round in 0..40_u64 {
            let attempts: Vec<_> = (0..16)
                .map(|at| {
                    Attempt::page(&Request::new(
                        ExitCode(0x403),
                        round * 16 + at,
                        round * 16 + at,
                    ))
                })
                .collect();
            if let Err(error) = guest.take_all(&attempts) {
                stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        stop.store(true, Ordering::Relaxed);
        Ok(reader
            .join()
            .unwrap_or_else(|_| (0, vec!["the reader died".into()])))
    })?;
    check.that("it was read", tables > 0);
    problems
        .into_iter()
        .take(3)
        .for_each(|problem| check.wrong(problem));
    Ok(check.done())
}

/// Each line of what is kept is of one piece: this program's unknown events have the same in both infos.
fn read_failures() -> Result<()> {
    let table = Table::read(Path::new(FOLDER).join("failures"))?;
    let columns = [
        table.column("event")?,
        table.column("code")?,
        table.column("info1")?,
        table.column("info2")?,
    ];
    for row in 0..table.len() {
        let [event, code, info1, info2] = [0, 1, 2, 3].map(|column: usize| columns[column][row]);
        let is_whole =
            event != "unknown_event" || code != "0x403" || info2 == "0x0" || info1 == info2;
        ensure!(is_whole, "{info1} and {info2} in one record");
    }
    let mut numbers = Vec::new();
    for number in table.column("number")? {
        numbers.push(number.parse::<u64>()?);
    }
    ensure!(numbers.is_sorted(), "not in their order");
    Ok(())
}

fn open_file() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (vm, name) = vm()?;
    let mut file = File::open(folder(&name).join("events"))?;
    drop(vm);
    let gone = wait_for(PATIENCE, || !folder(&name).exists());
    check.that("its folder is gone", gone);
    let mut text = String::new();
    check.that("no more is read", file.read_to_string(&mut text).is_err());
    Ok(check.done())
}

fn out_and_in() -> Result<Vec<String>> {
    let mut check = Check::new();
    let (mut vm, name) = vm()?;
    handler::switch(Handler::C)?;
    let gone = wait_for(PATIENCE, || !folder(&name).exists());
    check.about("C answers").that("no folder", gone);
    vm.take(cpuid())?;
    handler::switch(Handler::Rust)?;
    let vms = fs::read_dir(Path::new(FOLDER).join("vms"))?.count();
    check.about("inserted anew").same("folders", vms, 0);
    vm.take_all(&[cpuid(), cpuid()])?;
    wait_for_folder(&name)?;
    let cpuids = numbers(&name, "events", "rust")?.get("cpuid").copied();
    check.about("Rust answers").same("CPUID", cpuids, Some(2));
    Ok(check.done())
}
