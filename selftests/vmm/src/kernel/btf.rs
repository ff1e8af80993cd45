// SPDX-License-Identifier: GPL-2.0
//! BPF type format, as far as it takes to find a function of a kernel module by its name.
//!
//! C header: `include/uapi/linux/btf.h`.

use anyhow::{ensure, Context, Result};
use std::fs;

const MAGIC: u32 = 0xeb9f;
const KIND_FUNC: u32 = 12;
/// Words of each type before what its kind adds.
const TYPE: usize = 3;

/// The words of one BTF object.
struct Btf {
    types: Vec<u32>,
    strings: Vec<u8>,
}

/// Number of the type that is `function` of `module`, in the kernel's numbering.
pub fn function(module: &str, function: &str) -> Result<u32> {
    let base = Btf::read("vmlinux")?;
    // Strings and types of a module go on where those of the kernel end; number 0 is void.
    let first = 1 + base.each(|_, _| false)?.0;
    let own = Btf::read(module)?;
    let (index, found) = own.each(|kind, name| {
        let at = (name as usize).checked_sub(base.strings.len());
        kind == KIND_FUNC && at.is_some_and(|at| own.string(at) == function.as_bytes())
    })?;
    ensure!(found, "the BTF of {module} has no function {function}");
    Ok(first + index)
}

impl Btf {
    fn read(name: &str) -> Result<Self> {
        let path = format!("/sys/kernel/btf/{name}");
        let bytes = fs::read(&path).context(path)?;
        let word = |at: usize| -> Result<usize> {
            let bytes = bytes.get(at..at + 4).context("BTF ends early")?;
            Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
        };
        ensure!(word(0)? & 0xffff == MAGIC as usize, "no BTF");
        let header = word(4)?;
        let part = |offset: usize, length: usize| {
            let start = header + offset;
            bytes.get(start..start + length).context("BTF ends early")
        };
        let types = part(word(8)?, word(12)?)?;
        Ok(Self {
            types: types
                .chunks_exact(4)
                .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
                .collect(),
            strings: part(word(16)?, word(20)?)?.to_vec(),
        })
    }

    /// Go through the types until `is_it(kind, name)`; how many came before, and whether there was one.
    fn each(&self, is_it: impl Fn(u32, u32) -> bool) -> Result<(u32, bool)> {
        let mut rest = &self.types[..];
        let mut count = 0;
        while let [name, info, _, ..] = *rest {
            let kind = (info >> 24) & 0x7f;
            if is_it(kind, name) {
                return Ok((count, true));
            }
            rest = rest
                .get(TYPE + further(kind, (info & 0xff_ffff) as usize)?..)
                .context("BTF ends early")?;
            count += 1;
        }
        Ok((count, false))
    }

    fn string(&self, at: usize) -> &[u8] {
        let rest = self.strings.get(at..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Words that a type of `kind` with `count` members has besides.
fn further(kind: u32, count: usize) -> Result<usize> {
    Ok(match kind {
        // Pointers, forwards, typedefs, qualifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, declaration tags.
        1 | 14 | 17 => 1,
        // Arrays.
        3 => 3,
        // Structures, unions, sections, enumerations of 64 bits.
        4 | 5 | 15 | 19 => 3 * count,
        // Enumerations, prototypes.
        6 | 13 => 2 * count,
        _ => anyhow::bail!("BTF has a type of kind {kind}"),
    })
}
