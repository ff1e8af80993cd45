// SPDX-License-Identifier: GPL-2.0
//! What lies behind the guest's first shared megabytes, where its GHCBs are: a huge page, or small ones.

use anyhow::{ensure, Context, Result};
use mailbox::{map, PAGE};
use std::fs;
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryMmap};

/// `MADV_COLLAPSE`: newer than some C libraries.
const COLLAPSE: libc::c_int = 25;
/// Size of a huge page; the shared half begins with one.
const HUGE: u64 = 2 << 20;
const _: () = assert!(map::SHARED % HUGE == 0 && map::PAGES < map::SHARED + HUGE);
/// A shared page that nothing uses.
const SPARE: u64 = map::STEPS + 0x9_0000;
const _: () = assert!(SPARE + PAGE <= map::PAGES);

/// Why a test that wants one is left out.
pub const NONE: &str = "the kernel makes no huge pages";

/// Whether the kernel makes huge pages of anonymous memory. One with PREEMPT_RT does not.
pub fn known() -> bool {
    fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap_or(false)
}

/// Have the kernel put them into a huge page.
pub fn collapse(memory: &GuestMemoryMmap) -> Result<()> {
    advise(memory, map::SHARED, HUGE, libc::MADV_HUGEPAGE)?;
    advise(memory, map::SHARED, HUGE, COLLAPSE)
}

/// Have them in small pages.
pub fn split(memory: &GuestMemoryMmap) -> Result<()> {
    advise(memory, map::SHARED, HUGE, libc::MADV_NOHUGEPAGE)?;
    // A huge page of which a part goes away is mapped in small pages from then on.
    advise(memory, SPARE, PAGE, libc::MADV_DONTNEED)
}

fn advise(memory: &GuestMemoryMmap, gpa: u64, length: u64, advice: libc::c_int) -> Result<()> {
    let host = memory.get_host_address(GuestAddress(gpa))?;
    // SAFETY: The range lies in a mapping of ours. The advice keeps the contents, but for those of a page that
    // nothing uses.
    let status = unsafe { libc::madvise(host.cast(), length as usize, advice) };
    let error = std::io::Error::last_os_error();
    ensure!(status == 0, "madvise({gpa:#x}, {advice}): {error}");
    Ok(())
}

/// How much of the mapping behind the shared half is in huge pages, in kilobytes.
pub fn huge(memory: &GuestMemoryMmap) -> Result<u64> {
    let host = memory.get_host_address(GuestAddress(map::SHARED))? as u64;
    let text = fs::read_to_string("/proc/self/smaps").context("/proc/self/smaps")?;
    let mut here = false;
    for line in text.lines() {
        if let Some((start, end)) = range(line) {
            here = (start..end).contains(&host);
        } else if let Some(value) = line.strip_prefix("AnonHugePages:").filter(|_| here) {
            let number = value.split_whitespace().next().unwrap_or_default();
            return number.parse().context("AnonHugePages");
        }
    }
    anyhow::bail!("no mapping at {host:#x}")
}

/// The addresses, if `line` is the first one of a mapping.
fn range(line: &str) -> Option<(u64, u64)> {
    let (start, rest) = line.split_once('-')?;
    let (end, _) = rest.split_once(' ')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?))
}
