// SPDX-License-Identifier: GPL-2.0
//! The guest's image: an ELF file beside the test program.

use anyhow::{ensure, Context, Result};
use mailbox::{map, PAGE};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{elf, Endianness};
use std::path::PathBuf;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Name of the file.
const FILE: &str = "ghcb_guest";

/// Where an image came to lie.
pub struct Loaded {
    /// Address of the first instruction.
    pub entry: u64,
    /// End of the last segment, rounded up to a page.
    pub end: u64,
}

/// Path of the image: `GHCB_GUEST`, or beside the program.
fn path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("GHCB_GUEST") {
        return Ok(path.into());
    }
    let program = std::env::current_exe().context("path of this program")?;
    Ok(program.with_file_name(FILE))
}

/// Load the image into `memory`.
pub fn load(memory: &GuestMemoryMmap) -> Result<Loaded> {
    let path = path()?;
    let data = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let header = elf::FileHeader64::<Endianness>::parse(&*data).context("ELF header")?;
    let endian = header.endian().context("byte order")?;
    let mut end = map::IMAGE;
    for segment in header.program_headers(endian, &*data).context("segments")? {
        if segment.p_type(endian) != elf::PT_LOAD || segment.p_memsz(endian) == 0 {
            continue;
        }
        let start = segment.p_paddr(endian);
        let stop = start + segment.p_memsz(endian);
        ensure!(
            start >= map::IMAGE && stop <= map::PRIVATE_SPARE,
            "segment {start:#x}..{stop:#x} lies outside the image's room"
        );
        let bytes = segment
            .data(endian, &*data)
            .ok()
            .context("contents of a segment")?;
        memory.write_slice(bytes, GuestAddress(start))?;
        end = end.max(stop.next_multiple_of(PAGE));
    }
    Ok(Loaded {
        entry: header.e_entry(endian),
        end,
    })
}
