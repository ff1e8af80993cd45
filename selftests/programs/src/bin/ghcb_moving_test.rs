// SPDX-License-Identifier: GPL-2.0
//! What lies behind the GHCB changes over and over, under a guest that raises requests without pause.

use anyhow::Result;
use clap::Parser;
use mailbox::map;
use std::process::ExitCode as Status;
use vmm::backing::child::Child;
use vmm::backing::huge_page;
use vmm::backing::memory::{self, Memory, LARGE, LOG_WRITTEN};
use vmm::backing::{huge, page, two_pages, COLLAPSE, PAGE, SLOT};
use vmm::judge::check::Check;
use vmm::judge::replies::{Guest, Machine, Tally};
use vmm::kernel::balance::Balance;
use vmm::kernel::settings::{self, Setting, Swap};
use vmm::report::ktap::{self, Options, Report};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Changes of each kind
    #[arg(long, default_value_t = 20)]
    count: usize,
}

/// The slots of the views.
const VIEW_SLOTS: [u32; 2] = [8, 9];

/// What a change may do to a request at that moment.
#[derive(Clone, Copy, PartialEq)]
enum Harm {
    /// Nothing: each gets the right reply.
    None,
    /// The page that it is in, or that its reply is in, may be gone.
    Lost,
    /// It may get no reply.
    Unanswered,
}

type Change = fn(&Memory, usize) -> Result<Vec<String>>;

fn main() -> Status {
    let arguments = Arguments::parse();
    ktap::run(&arguments.options, |report| {
        let before = Balance::now()?;
        let mut tests = Tests {
            report,
            count: arguments.count,
        };
        tests.pages();
        tests.large_pages();
        tests.slots();
        let imbalance = before.problems()?;
        report.problems("pins are balanced, and memory is back", &imbalance);
        Ok(())
    })
}

fn good(result: Result<()>) -> Result<Vec<String>> {
    result.map(|()| Vec::new())
}

struct Tests<'a> {
    report: &'a mut Report,
    count: usize,
}

impl Tests<'_> {
    fn pages(&mut self) {
        self.test("dropped, as by a balloon", page, Harm::Lost, |memory, _| {
            good(memory.advise(libc::MADV_DONTNEED))
        });
        self.test(
            "unmapped, and mapped anew",
            page,
            Harm::Lost,
            |memory, _| {
                memory.unmap()?;
                good(memory.renew())
            },
        );
        // It seldom meets a reply of which a part is written.
        self.repeat(
            20 * self.count,
            "made read-only, and writable again",
            page,
            Harm::Unanswered,
            |memory, _| {
                memory.protect(libc::PROT_READ)?;
                good(memory.protect(libc::PROT_READ | libc::PROT_WRITE))
            },
        );
        self.test(
            "shared with a child until written to",
            page,
            Harm::None,
            |memory, _| Child::watch(memory)?.problems(),
        );
        self.test(
            "a hole punched into its file",
            two_pages,
            Harm::Lost,
            |memory, _| good(memory.punch(0)),
        );
        self.test(
            "dropped, but kept by its file",
            two_pages,
            Harm::None,
            |memory, _| good(memory.advise(libc::MADV_DONTNEED)),
        );
        self.test(
            "all of the host's memory compacted",
            page,
            Harm::None,
            |_, _| good(std::fs::write("/proc/sys/vm/compact_memory", "1").map_err(Into::into)),
        );
        match Swap::have() {
            Ok(_swap) => self.test("swapped out", page, Harm::None, |memory, _| {
                good(memory.advise(libc::MADV_PAGEOUT))
            }),
            Err(error) => self.report.skip("swapped out", &format!("{error:#}")),
        }
        if settings::has_two_nodes() {
            self.test("migrated between nodes", page, Harm::None, |memory, _| {
                // A page that the handler has pinned stays where it is.
                memory.migrate()?;
                Ok(Vec::new())
            });
        } else {
            self.report
                .skip("migrated between nodes", "the host has one");
        }
        self.replaced();
    }

    fn large_pages(&mut self) {
        if huge_page::known() {
            self.transparent_huge_pages();
        } else {
            self.report.skip("huge pages", huge_page::NONE);
        }
        match Setting::set("/proc/sys/vm/nr_hugepages", "4") {
            Ok(_pages) => self.test(
                "a page of hugetlbfs, dropped",
                Memory::hugetlb,
                Harm::Lost,
                |memory, _| good(memory.advise(libc::MADV_DONTNEED)),
            ),
            Err(error) => self
                .report
                .skip("a page of hugetlbfs", &format!("{error:#}")),
        }
    }

    fn transparent_huge_pages(&mut self) {
        self.test(
            "collapsed into a huge page, and split",
            huge,
            Harm::None,
            |memory, _| {
                // Neither can be done to a page that is pinned at that moment.
                let _ = memory.advise(COLLAPSE);
                good(memory.advise_part(libc::MADV_DONTNEED, LARGE / 2, LARGE / 2))
            },
        );
        self.test("a huge page, dropped", huge, Harm::Lost, |memory, _| {
            memory.advise(libc::MADV_HUGEPAGE)?;
            good(memory.advise(libc::MADV_DONTNEED))
        });
    }

    /// `change`, as often as is asked for.
    fn test(&mut self, name: &str, memory: fn() -> Result<Memory>, harm: Harm, change: Change) {
        self.repeat(self.count, name, memory, harm, change);
    }

    /// `change` again and again; the guest raises each request between two.
    fn repeat(
        &mut self,
        count: usize,
        name: &str,
        memory: fn() -> Result<Memory>,
        harm: Harm,
        change: Change,
    ) {
        self.report.test(name, || {
            let mut machine = Machine::new()?;
            let memory = memory()?;
            memory.attach(machine.fd(), SLOT, map::MOVING, 0)?;
            let mut problems = Vec::new();
            let (tally, complaints) = machine.run([map::MOVING, 0], |guest| {
                for n in 0..count {
                    problems.extend(change(&memory, n)?);
                    guest.go_on()?;
                }
                Ok(())
            })?;
            problems.extend(complaints);
            problems.extend(judge(name, &tally, harm, count));
            Ok(problems)
        });
    }

    /// Two pages of a file in turn; the one that is not there must stay as it is.
    fn replaced(&mut self) {
        let count = self.count;
        let name = "another page of its file mapped there";
        self.report.test(name, || {
            let mut machine = Machine::new()?;
            let memory = two_pages()?;
            memory.attach(machine.fd(), SLOT, map::MOVING, 0)?;
            let mut check = Check::new();
            let (tally, complaints) = machine.run([map::MOVING, 0], |guest| {
                for n in 0..count {
                    memory.show_page((n + 1) % 2)?;
                    // What userspace had at that moment ends with the page that it began with.
                    guest.go_on()?;
                    let old = memory.page_of_file(n % 2)?;
                    guest.go_on()?;
                    let changed = old.differences(&memory.page_of_file(n % 2)?);
                    check.same("words of the old page that changed", changed, Vec::new());
                }
                Ok(())
            })?;
            let mut problems = check.done();
            problems.extend(complaints);
            problems.extend(judge(name, &tally, Harm::Lost, count));
            Ok(problems)
        });
    }

    fn slots(&mut self) {
        self.moved("its slot taken away and given back", |at, _| {
            memory::detach(at.guest.fd(), SLOT)?;
            at.pages[0].attach(at.guest.fd(), SLOT, map::MOVING, 0)
        });
        self.moved("its slot moved between two pages", |at, n| {
            memory::detach(at.guest.fd(), SLOT)?;
            // From here on, nothing may come into the page that was taken away.
            at.guest.allow(0);
            at.guest.go_on()?;
            let next = (n + 1) % 2;
            at.guest.allow(1 << next);
            at.pages[next].attach(at.guest.fd(), SLOT, map::MOVING, 0)
        });
        self.moved("its slot moved to another address, and back", |at, _| {
            at.pages[0].attach(at.guest.fd(), SLOT, map::MOVING + PAGE as u64, 0)?;
            at.pages[0].attach(at.guest.fd(), SLOT, map::MOVING, 0)
        });
        self.moved(
            "its slot gets a log of written pages, and loses it",
            |at, n| {
                let flags = if n % 2 == 0 { LOG_WRITTEN } else { 0 };
                at.pages[0].attach(at.guest.fd(), SLOT, map::MOVING, flags)
            },
        );
    }

    /// Change the slot; the guest sees both pages through slots that stay.
    fn moved(&mut self, name: &str, change: fn(&Slots<'_>, usize) -> Result<()>) {
        let count = self.count;
        self.report.test(name, || {
            let mut machine = Machine::new()?;
            let pages = [page()?, page()?];
            pages[0].attach(machine.fd(), SLOT, map::MOVING, 0)?;
            for (index, page) in pages.iter().enumerate() {
                page.attach(machine.fd(), VIEW_SLOTS[index], map::VIEWS[index], 0)?;
            }
            let (tally, mut problems) = machine.run(map::VIEWS, |guest| {
                let slots = Slots {
                    guest,
                    pages: &pages,
                };
                for n in 0..count {
                    change(&slots, n)?;
                    guest.go_on()?;
                }
                Ok(())
            })?;
            problems.extend(judge(name, &tally, Harm::Unanswered, count));
            Ok(problems)
        });
    }
}

/// A guest, and the two pages that may be its GHCB.
struct Slots<'a> {
    guest: &'a Guest<'a>,
    pages: &'a [Memory; 2],
}

fn judge(name: &str, tally: &Tally, harm: Harm, count: usize) -> Vec<String> {
    println!("# {name}: {count} changes, {tally:?}");
    let mut check = Check::new();
    let enough = tally.right >= count as u64;
    check.that("most requests get the right reply", enough);
    if harm != Harm::Lost {
        check.same("requests whose page was replaced", tally.lost, 0);
    }
    if harm == Harm::None {
        check.same("requests without a reply", tally.unanswered, 0);
    }
    check.done()
}
