// SPDX-License-Identifier: GPL-2.0
//! Lists of page state changes, and what comes between: userspace that refuses or gives no answer, lists from a seed,
//! a second vCPU that changes the list meanwhile.

use anyhow::Result;
use clap::Parser;
use ghcb_rs::ghcb_abi::msr::MsrResponse;
use ghcb_rs::ghcb_abi::psc::{PageOperation, PscEntry, PscStatus, ELEMENT_SIZE};
use mailbox::{map, PAGE};
use std::process::ExitCode as Status;
use vmm::exchange::exit::Exit;
use vmm::exchange::page_list::{asked, by_msr, large, page, response, PageList, BEGIN, GFN};
use vmm::exchange::race::{self, Change};
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::hostile::random::Random;
use vmm::hostile::snp::any_list;
use vmm::judge::check::Check;
use vmm::judge::page_list::Lists;
use vmm::kernel::handler::Handler;
use vmm::launch::kind::Kind;
use vmm::launch::page_states::{ENCRYPTED, SIZE_2M};
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Options, Report};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Lists from a seed
    #[arg(long, default_value_t = 400)]
    count: usize,
    /// The seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const PRIVATE: PageOperation = PageOperation::PRIVATE;
const SHARED: PageOperation = PageOperation::SHARED;
const EINVAL: u64 = libc::EINVAL as u64;
const EAGAIN: u64 = libc::EAGAIN as u64;
/// No answer that KVM knows.
const NO_ANSWER: u64 = 5;

fn main() -> Status {
    let mut arguments = Arguments::parse();
    arguments.options.guest = Kind::SevSnp;
    ktap::run(&arguments.options, |report| {
        without_userspace(report, &mut StepVm::new()?);
        let mut lists = Lists::new(report)?;
        refusals(&mut lists);
        random(&mut lists, arguments.seed, arguments.count);
        unanswered(&mut lists);
        races(report)
    })
}

/// KVM has not been told to ask userspace.
fn without_userspace(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    report.test("nobody serves: by MSR, the response is an error", || {
        let mut check = Check::new();
        for operation in [PRIVATE, SHARED] {
            let outcome = vm.take(by_msr(GFN, operation))?;
            check
                .quiet(&outcome)
                .same("MSR", outcome.msr, response(MsrResponse::PSC_ERROR));
        }
        Ok(check.done())
    });
    report.test("nobody serves: by list, the generic error", || {
        let request = PageList::range(GFN, 3, PRIVATE).request(BEGIN);
        let outcome = vm.take(Attempt::page(&request))?;
        let mut check = Check::new();
        check.answered(&request, &outcome, handler, PscStatus::GENERIC.0);
        check.quiet(&outcome);
        Ok(check.done())
    });
}

fn refusals(lists: &mut Lists<'_>) {
    let entries = (0..6).map(|number| page(number * 3, PRIVATE));
    let mut list = PageList::new(entries.collect());
    list.entries.insert(4, page(10, PageOperation::UNSMASH));
    for (answer, name) in [(EINVAL, "EINVAL"), (EAGAIN, "EAGAIN")] {
        for grants in 0..6 {
            let name =
                format!("userspace refuses with {name} after {grants} ranges: progress is told");
            lists.all(&name, &[(list.clone(), BEGIN)], (grants, answer));
        }
    }
}

fn random(lists: &mut Lists<'_>, seed: u64, count: usize) {
    println!("# {count} lists from the seed {seed}");
    let mut numbers = Random::new(seed);
    let any: Vec<_> = (0..count).map(|_| any_list(&mut numbers)).collect();
    for grants in [usize::MAX, 2] {
        let name = format!("lists from a seed, refused after {grants}");
        lists.all(&name, &any, (grants, EINVAL));
    }
}

/// KVM_RUN fails, as with C; whoever goes on nevertheless has a guest that runs, and is answered.
fn unanswered(lists: &mut Lists<'_>) {
    let (handler, vm, states) = (lists.handler, &mut lists.vm, &lists.states);
    for (attempt, name, is_list) in [
        (by_msr(GFN, PRIVATE), "by MSR", false),
        (
            Attempt::page(&PageList::range(GFN, 2, PRIVATE).request(BEGIN)),
            "by list",
            true,
        ),
    ] {
        let name = format!("userspace gives no answer: {name}: EINVAL, the guest goes on");
        if handler == Handler::C && is_list {
            // Difference psc-unanswered.
            lists.report.skip(&name, "kvm_amd warns at the next list");
            continue;
        }
        lists.report.test(&name, || {
            states.refuse_after(0, NO_ANSWER);
            let outcome = vm.take(attempt)?;
            states.grant();
            let mut check = Check::new();
            check.that("the guest goes on", outcome.went_on);
            let last = outcome.exits.last();
            check.same("last exit", last, Some(&Exit::Errno(libc::EINVAL)));
            let request = PageList::range(GFN, 2, PRIVATE).request(BEGIN);
            let outcome = vm.take(Attempt::page(&request))?;
            check
                .about("the next")
                .answered(&request, &outcome, handler, 0);
            Ok(check.done())
        });
    }
}

/// A second vCPU changes header and entries of the list that is worked on (CVE-2026-63937).
fn races(report: &mut Report) -> Result<()> {
    let mut vm = race::machine(Config::default())?;
    vm.vm().serve_page_states()?;
    for (name, changes) in [
        (
            "end_entry",
            vec![word(0, header(0, 7), header(0, u16::MAX))],
        ),
        ("cur_entry", vec![word(0, header(0, 7), header(200, 7))]),
        (
            "an entry",
            vec![word(3, page(2, PRIVATE).0, large(PRIVATE).0)],
        ),
        (
            "header and entries",
            vec![
                word(0, header(0, 3), header(2, 252)),
                word(1, page(0, PRIVATE).0, page(9, SHARED).0),
                word(2, large(SHARED).0, PscEntry::new(GFN + 1, SHARED, true).0),
            ],
        ),
    ] {
        report.test(
            &format!("race: {name}: what was checked is what counts"),
            || {
                let request = PageList::range(GFN, 8, PRIVATE).request(BEGIN);
                let race = race::run(&mut vm, &request, &changes, 200)?;
                println!("# race: {name}: {}", race.summary());
                let mut check = Check::new();
                let statuses = [
                    PscStatus::SUCCESS,
                    PscStatus::INVALID_HEADER,
                    PscStatus::INVALID_ENTRY,
                ];
                for outcome in &race.outcomes {
                    check.went_on(outcome).same("action", outcome.infos.0, 0);
                    let status = PscStatus(outcome.infos.1);
                    check.that(
                        "a status that the list can have",
                        statuses.contains(&status),
                    );
                    for exit in &outcome.exits {
                        check.that("a range of the list", asked(exit).is_some_and(is_of_list));
                    }
                }
                Ok(check.done())
            },
        );
    }
    one_header(report, &mut vm);
    Ok(())
}

/// Of two headers, each is good. A handler that looks twice takes the length of one and the place of the other.
fn one_header(report: &mut Report, vm: &mut StepVm) {
    let name =
        "race: one header for another: what userspace is asked for is the list of one of them";
    if report.handler() == Handler::C {
        report.skip(name, "kvm_amd reads the header anew for each range");
        return;
    }
    report.test(name, || {
        let list = PageList::range(GFN, 21, PRIVATE);
        let changes = [word(0, header(0, 7), header(4, 20))];
        let race = race::run(vm, &list.request(BEGIN), &changes, 200)?;
        println!("# race: one header for another: {}", race.summary());
        let range = |first, pages| vec![(first * PAGE, pages, ENCRYPTED)];
        // What was put back with a reply is the end of a list, if it is not overwritten.
        let wanted = [range(GFN, 8), range(GFN + 4, 17), vec![]];
        let mut check = Check::new();
        let mut met = Vec::new();
        for outcome in &race.outcomes {
            check
                .went_on(outcome)
                .same("reply", outcome.infos, (0, PscStatus::SUCCESS.0));
            let ranges: Vec<_> = outcome.exits.iter().filter_map(asked).collect();
            let is_wanted = wanted.contains(&ranges);
            check.that(&format!("a list that was there: {ranges:x?}"), is_wanted);
            met.push(ranges);
        }
        let are_met = wanted[..2].iter().all(|list| met.contains(list));
        check.that("both headers were met", are_met);
        Ok(check.done())
    });
}

/// Header or entry of the list that is raced for, and what else it becomes.
fn word(index: usize, even: u64, odd: u64) -> Change {
    Change {
        offset: BEGIN + index * ELEMENT_SIZE,
        width: 8,
        values: (even, odd),
    }
}

fn header(cur: u16, end: u16) -> u64 {
    PageList::new(vec![]).between(cur, end).header.encode()
}

/// Whether each page of a range may come of a list in [`races`].
fn is_of_list((gpa, pages, attributes): (u64, u64, u64)) -> bool {
    let inside =
        gpa >= map::CONVERTED && gpa + pages * PAGE <= map::CONVERTED + map::CONVERTED_SIZE;
    inside && pages <= 520 && attributes & !(ENCRYPTED | SIZE_2M) == 0
}
