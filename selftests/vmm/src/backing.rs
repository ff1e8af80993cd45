// SPDX-License-Identifier: GPL-2.0
//! Changes of what lies behind a page of the guest, and what each leaves there.

pub mod child;
pub mod huge_page;
pub mod memory;
pub mod uffd;

use crate::backing::child::Child;
use crate::backing::memory::{Memory, VmFd, LARGE, LOG_WRITTEN};
use crate::judge::check::Check;
use crate::kernel::settings::Setting;
use crate::launch::crew::wait_for;
use anyhow::{ensure, Result};
use mailbox::map;
use std::cell::Cell;
use std::time::Duration;

/// The slot at [`map::MOVING`].
pub const SLOT: u32 = 7;
/// Size of a page.
pub const PAGE: usize = 4096;
/// `MADV_COLLAPSE`, which the libc crate does not name everywhere.
pub const COLLAPSE: i32 = 25;
/// Longest that the kernel may take to find two equal pages.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a change leaves behind the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// What the guest wrote, at whatever place.
    Contents,
    /// A page of zeros; the old one is gone, or may not be used any more.
    Zeros,
}

/// What the host must have for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    Swap,
    TwoNodes,
    /// Those of hugetlbfs.
    HugePages,
    /// Those that the kernel makes of small ones.
    TransparentHugePages,
}

/// A page of the VMM, and where the guest has it.
pub struct Place<'a> {
    pub vm: &'a VmFd,
    pub memory: &'a Memory,
    /// Memory that may come instead.
    pub other: &'a Memory,
    /// Set where the slot has moved over the other memory.
    pub moved: &'a Cell<bool>,
    /// Userspace has an exit of the guest: the handler may hold the page where it is.
    pub parked: bool,
}

/// Looks at the old page when the exit is over.
pub type Later = Box<dyn FnOnce() -> Result<Vec<String>>>;

/// A change.
pub struct Change {
    pub name: &'static str,
    pub need: Need,
    pub after: After,
    /// Makes the memory that will change.
    pub memory: fn() -> Result<Memory>,
    /// Changes it.
    pub make: fn(&Place<'_>) -> Result<Later>,
}

impl Change {
    const fn new(
        name: &'static str,
        need: Need,
        after: After,
        memory: fn() -> Result<Memory>,
        make: fn(&Place<'_>) -> Result<Later>,
    ) -> Self {
        Self {
            name,
            need,
            after,
            memory,
            make,
        }
    }
}

use After::{Contents, Zeros};
use Need::{HugePages, Nothing, Swap, TransparentHugePages, TwoNodes};

/// All of them.
pub static CHANGES: [Change; 19] = [
    Change::new("dropped, as by a balloon", Nothing, Zeros, page, drop_it),
    Change::new("unmapped, and mapped anew", Nothing, Zeros, page, |at| {
        at.memory.unmap()?;
        at.memory.renew()?;
        done()
    }),
    Change::new(
        "shared with a child until written to",
        Nothing,
        Contents,
        page,
        |at| {
            let child = Child::watch(at.memory)?;
            Ok(Box::new(|| child.problems()))
        },
    ),
    Change::new(
        "merged with an equal page (KSM)",
        Nothing,
        Contents,
        page,
        merge,
    ),
    Change::new("swapped out", Swap, Contents, page, swap_out),
    Change::new(
        "swapped out, in a file in memory",
        Swap,
        Contents,
        two_pages,
        swap_out,
    ),
    Change::new("migrated to another node", TwoNodes, Contents, page, |at| {
        let moved = at.memory.migrate()?;
        ensure!(moved || at.parked, "the kernel leaves the page where it is");
        done()
    }),
    Change::new(
        "collapsed into a huge page",
        TransparentHugePages,
        Contents,
        large,
        |at| {
            let before = at.memory.frame(0)?;
            at.memory.advise(libc::MADV_HUGEPAGE)?;
            let collapsed = at.memory.advise(COLLAPSE);
            if !at.parked {
                collapsed?;
                ensure!(at.memory.frame(0)? != before, "the page has not moved");
            }
            done()
        },
    ),
    Change::new(
        "split out of a huge page",
        TransparentHugePages,
        Contents,
        huge,
        |at| {
            let half = LARGE / 2;
            at.memory.advise_part(libc::MADV_DONTNEED, half, half)?;
            done()
        },
    ),
    Change::new(
        "a huge page, dropped",
        TransparentHugePages,
        Zeros,
        huge,
        drop_it,
    ),
    Change::new(
        "a page of hugetlbfs",
        HugePages,
        Contents,
        Memory::hugetlb,
        |_| done(),
    ),
    Change::new(
        "a page of hugetlbfs, dropped",
        HugePages,
        Zeros,
        Memory::hugetlb,
        drop_it,
    ),
    Change::new(
        "another page of its file mapped there",
        Nothing,
        Zeros,
        two_pages,
        |at| {
            at.memory.show_page(1)?;
            done()
        },
    ),
    Change::new(
        "a hole punched into its file",
        Nothing,
        Zeros,
        two_pages,
        |at| {
            at.memory.punch(0)?;
            done()
        },
    ),
    Change::new("removed from its file", Nothing, Zeros, two_pages, |at| {
        at.memory.advise(libc::MADV_REMOVE)?;
        done()
    }),
    Change::new(
        "dropped, but kept by its file",
        Nothing,
        Contents,
        two_pages,
        drop_it,
    ),
    Change::new(
        "its slot taken away and given back",
        Nothing,
        Contents,
        page,
        |at| {
            memory::detach(at.vm, SLOT)?;
            at.memory.attach(at.vm, SLOT, map::MOVING, 0)?;
            done()
        },
    ),
    Change::new(
        "its slot moved over other memory",
        Nothing,
        Zeros,
        page,
        |at| {
            memory::detach(at.vm, SLOT)?;
            at.other.attach(at.vm, SLOT, map::MOVING, 0)?;
            at.moved.set(true);
            done()
        },
    ),
    Change::new(
        "its slot gets a log of written pages",
        Nothing,
        Contents,
        page,
        |at| {
            at.memory.attach(at.vm, SLOT, map::MOVING, LOG_WRITTEN)?;
            done()
        },
    ),
];

fn done() -> Result<Later> {
    Ok(Box::new(|| Ok(Vec::new())))
}

/// A page of anonymous memory.
pub fn page() -> Result<Memory> {
    Memory::anonymous(PAGE)
}

/// Room for a huge page, in small ones.
fn large() -> Result<Memory> {
    let memory = Memory::anonymous(LARGE)?;
    memory.advise(libc::MADV_NOHUGEPAGE)?;
    Ok(memory)
}

/// Memory that will be a huge page.
pub fn huge() -> Result<Memory> {
    let memory = Memory::anonymous(LARGE)?;
    memory.advise(libc::MADV_HUGEPAGE)?;
    Ok(memory)
}

/// The first page of a file in memory that has two.
pub fn two_pages() -> Result<Memory> {
    Memory::file(PAGE, 2)
}

fn drop_it(at: &Place<'_>) -> Result<Later> {
    at.memory.advise(libc::MADV_DONTNEED)?;
    done()
}

/// Have the kernel merge the page with a twin; neither may change by way of the other.
fn merge(at: &Place<'_>) -> Result<Later> {
    let twin = page()?;
    twin.set_page(&at.memory.page());
    let image = twin.page();
    let settings = [
        ("/sys/kernel/mm/ksm/sleep_millisecs", "10"),
        ("/sys/kernel/mm/ksm/pages_to_scan", "1000"),
        ("/sys/kernel/mm/ksm/run", "1"),
    ];
    let mut kept = Vec::new();
    for (path, value) in settings {
        kept.push(Setting::set(path, value)?);
    }
    for memory in [at.memory, &twin] {
        memory.advise(libc::MADV_MERGEABLE)?;
    }
    if !at.parked {
        let merged = || {
            let frames = (at.memory.frame(0), twin.frame(0));
            matches!(frames, (Ok(Some(a)), Ok(Some(b))) if a == b)
        };
        ensure!(wait_for(PATIENCE, merged), "the pages are not merged");
    }
    Ok(Box::new(move || {
        let mut check = Check::new();
        let changed = image.differences(&twin.page());
        check.same("words of its twin that changed", changed, Vec::new());
        Ok(check.done())
    }))
}

fn swap_out(at: &Place<'_>) -> Result<Later> {
    at.memory.advise(libc::MADV_PAGEOUT)?;
    // The kernel may leave a page alone that another CPU has just touched.
    let out = || {
        let gone = at.memory.frame(0).is_ok_and(|frame| frame.is_none());
        gone || at.memory.advise(libc::MADV_PAGEOUT).is_err()
    };
    ensure!(
        at.parked || wait_for(PATIENCE, out) && at.memory.frame(0)?.is_none(),
        "the page is still in memory"
    );
    done()
}
