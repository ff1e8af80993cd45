// SPDX-License-Identifier: GPL-2.0
//! A scratch area outside the GHCB, and which of its bytes a request touched.

use crate::exchange::request::POISON;
use mailbox::map;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Bytes in front of the area that must stay as they are.
pub const MARGIN: u64 = 64;

/// Where the area begins.
pub const AREA: u64 = map::SCRATCH + MARGIN;

/// Fill the room with poison, and the area's start with `bytes`.
pub fn fill(memory: &GuestMemoryMmap, bytes: &[u8]) -> anyhow::Result<()> {
    let poison = vec![POISON as u8; map::SCRATCH_SIZE as usize];
    memory.write_slice(&poison, GuestAddress(map::SCRATCH))?;
    memory.write_slice(bytes, GuestAddress(AREA))?;
    Ok(())
}

/// What is wrong, if the area must hold `want` and everything around it poison.
pub fn problems(memory: &GuestMemoryMmap, want: &[u8]) -> anyhow::Result<Vec<String>> {
    let mut got = vec![0; map::SCRATCH_SIZE as usize];
    memory.read_slice(&mut got, GuestAddress(map::SCRATCH))?;
    let area = MARGIN as usize..MARGIN as usize + want.len();
    let mut problems = Vec::new();
    let foreign = got
        .iter()
        .enumerate()
        .find(|(at, byte)| !area.contains(at) && **byte != POISON as u8);
    if let Some((at, byte)) = foreign {
        let distance = at as i64 - MARGIN as i64;
        problems.push(format!(
            "byte {distance} from the area's start is {byte:#x}"
        ));
    }
    let wrong = got[area]
        .iter()
        .zip(want)
        .position(|(got, want)| got != want);
    if let Some(at) = wrong {
        problems.push(format!("byte {at} of {} is wrong", want.len()));
    }
    Ok(problems)
}
