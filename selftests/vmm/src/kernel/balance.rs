// SPDX-License-Identifier: GPL-2.0
//! What the host's kernel has handed out: pins, slab objects, pages, and those that the reverse map table gives to guests; before the guests of a test and after them.

use crate::kernel::rmp;
use crate::launch::crew::wait_for;
use crate::launch::kind::Kind;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// What the kernel has handed out at some time.
#[derive(Clone, Debug)]
pub struct Balance {
    /// Pages pinned and not yet unpinned.
    pins: i64,
    /// Pages that belong to guests, for programs whose guests are SEV-SNP ones.
    assigned: Option<i64>,
    /// Objects in use of each cache that the handler and KVM take from.
    objects: BTreeMap<String, i64>,
    /// Kilobytes, each kind by its name.
    kilobytes: BTreeMap<&'static str, i64>,
}

/// Objects of a cache that come and go for other reasons: fewer than a leak at each of 1,000 VMGEXITs.
const SLACK_OBJECTS: i64 = 200;
/// Kilobytes that do: less than a page at each of 1,000 VMGEXITs, and more than a huge page and a half, which the kernel
/// has been seen to keep.
const SLACK_KILOBYTES: i64 = 3_900;
/// How long callbacks and workers of the kernel may take to free what nobody uses any more.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long they take as a rule.
const SETTLE: Duration = Duration::from_millis(500);

/// Pages in `/proc/meminfo` that have an owner there; all others are in use by nobody it knows.
const OWNED: [&str; 12] = [
    "MemFree:",
    "Buffers:",
    "Cached:",
    "SwapCached:",
    "AnonPages:",
    "Slab:",
    "KernelStack:",
    "PageTables:",
    "SecPageTables:",
    "VmallocUsed:",
    "Percpu:",
    "Hugetlb:",
];

impl Balance {
    /// The state now, once it has settled.
    pub fn now() -> Result<Self> {
        std::thread::sleep(SETTLE);
        Self::at_once()
    }

    fn at_once() -> Result<Self> {
        // Each CPU keeps a part of the counters for itself until it is asked for them.
        fs::write("/proc/sys/vm/stat_refresh", "1").context("/proc/sys/vm/stat_refresh")?;
        let slabs = Slabs::now()?;
        let vmstat = read("/proc/vmstat")?;
        let zones = read("/proc/zoneinfo")?;
        let meminfo = read("/proc/meminfo")?;
        let memory = |name| field(&meminfo, name);
        let owned: i64 = OWNED.iter().map(|name| memory(name)).sum();
        // Free pages that a CPU keeps at hand are none of MemFree.
        let at_hand: i64 = zones
            .lines()
            .filter_map(|line| {
                line.trim_start()
                    .strip_prefix("count:")?
                    .trim()
                    .parse::<i64>()
                    .ok()
            })
            .sum();
        let page = page_kilobytes();
        let is_snp = Kind::chosen().is_snp();
        Ok(Self {
            assigned: if is_snp { rmp::assigned()? } else { None },
            pins: field(&vmstat, "nr_foll_pin_acquired ") - field(&vmstat, "nr_foll_pin_released "),
            objects: slabs.objects,
            kilobytes: BTreeMap::from([
                (
                    "pages that nobody accounts for",
                    memory("MemTotal:") - owned - at_hand * page,
                ),
                ("large allocations", memory("Slab:") - slabs.pages * page),
                ("page tables of guests", memory("SecPageTables:")),
                ("memory of vmalloc()", memory("VmallocUsed:")),
                ("memory of each CPU", memory("Percpu:")),
            ]),
        })
    }

    /// What is missing now, and does not come back.
    pub fn problems(&self) -> Result<Vec<String>> {
        let mut state = Self::now();
        wait_for(PATIENCE, || {
            let missing = state
                .as_ref()
                .is_ok_and(|now| !self.missing(now).is_empty());
            if missing {
                state = Self::now();
            }
            !missing
        });
        Ok(self.missing(&state?))
    }

    fn missing(&self, now: &Self) -> Vec<String> {
        let mut problems = Vec::new();
        if now.pins != self.pins {
            problems.push(format!("{} pins, {} before", now.pins, self.pins));
        }
        if now.assigned != self.assigned {
            let [now, before] = [now.assigned, self.assigned].map(Option::unwrap_or_default);
            problems.push(format!(
                "{now} pages of the reverse map table are assigned, {before} before"
            ));
        }
        for (name, count) in &self.kilobytes {
            let now = now.kilobytes.get(name).copied().unwrap_or(0);
            if now - count > SLACK_KILOBYTES {
                problems.push(format!("{name}: {now} kB, {count} kB before"));
            }
        }
        for (name, now) in &now.objects {
            let count = self.objects.get(name).copied().unwrap_or(0);
            if now - count > SLACK_OBJECTS {
                problems.push(format!("{name}: {now} objects, {count} before"));
            }
        }
        problems
    }
}

/// What `/proc/slabinfo` says; nothing on a kernel without it.
#[derive(Default)]
struct Slabs {
    objects: BTreeMap<String, i64>,
    /// Of all caches.
    pages: i64,
}

impl Slabs {
    fn now() -> Result<Self> {
        const TABLE: &str = "/proc/slabinfo";
        let Ok(before) = fs::read_to_string(TABLE) else {
            return Ok(Self::default());
        };
        for name in before.lines().filter_map(|line| line.split(' ').next()) {
            if is_watched(name) {
                // Free objects that a CPU keeps at hand count as used until then. Some caches have no such file.
                let _ = fs::write(format!("/sys/kernel/slab/{name}/shrink"), "1");
            }
        }
        let mut this = Self::default();
        // A line: name, objects in use, objects, their size, their number in a slab, its pages; "slabdata": slabs.
        for line in read(TABLE)?.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |index: usize| words.get(index).and_then(|word| word.parse::<i64>().ok());
            let (Some(used), Some(pages), Some(slabs)) = (number(1), number(5), number(14)) else {
                continue;
            };
            this.pages += pages * slabs;
            if is_watched(words[0]) {
                this.objects.insert(words[0].to_owned(), used);
            }
        }
        Ok(this)
    }
}

/// Whether the handler or KVM takes objects from this cache, and hardly anybody else whose objects last.
fn is_watched(name: &str) -> bool {
    let general = name.starts_with("kmalloc-") && !name.starts_with("kmalloc-rcl");
    general || name.starts_with("kvm") || ["pte_list_desc", "x86_emulator"].contains(&name)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.to_owned())
}

/// The number behind `name` at the start of a line of `text`, or zero.
fn field(text: &str, name: &str) -> i64 {
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}

fn page_kilobytes() -> i64 {
    // SAFETY: Plain system call.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    bytes / 1024
}
