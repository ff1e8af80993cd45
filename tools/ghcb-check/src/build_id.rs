// SPDX-License-Identifier: GPL-2.0

//! Build IDs, by which the module knows the kernel and the modules that it was made for.

use std::fmt;

/// Bytes of one.
const SIZE: usize = 20;

/// ELF note in front of one: name size, descriptor size, NT_GNU_BUILD_ID, name.
const HEADER: [u8; 16] = *b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";

/// A build ID.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BuildId([u8; SIZE]);

impl BuildId {
    /// The first one in a section of ELF notes, which are aligned to four bytes.
    pub fn in_notes(notes: &[u8]) -> Option<Self> {
        (0..notes.len()).step_by(4).find_map(|at| {
            let id = notes.get(at..)?.strip_prefix(&HEADER)?.get(..SIZE)?;
            Some(Self(id.try_into().ok()?))
        })
    }

    /// One in hexadecimal digits.
    pub fn parse(digits: &str) -> Option<Self> {
        let mut id = [0; SIZE];
        if digits.len() != 2 * SIZE {
            return None;
        }
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(id))
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
