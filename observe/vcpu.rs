// SPDX-License-Identifier: GPL-2.0

//! Which vCPU, of which VM.

use core::fmt::Display;
use kernel::{fmt, prelude::*};

/// A vCPU whose exits are counted.
pub(crate) trait Vcpu {
    /// A number that no other vCPU has while this one is there, not zero.
    fn key(&self) -> usize;

    /// Its number in its VM. C: `vcpu_id`.
    fn number(&self) -> u32;

    /// Its VM.
    fn vm(&self) -> VmName;
}

/// The name of a VM in debugfs: process ID of the VMM and number of the VM's file there. Ends with a zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct VmName([u8; Self::LENGTH]);

impl VmName {
    /// Bytes, with the zero at the end.
    pub(crate) const LENGTH: usize = 24;

    /// Words that hold one.
    pub(super) const WORDS: usize = Self::LENGTH / size_of::<u64>();

    /// The bytes up to a zero, as many as fit.
    pub(crate) fn new(bytes: impl Iterator<Item = u8>) -> Self {
        let mut name = [0; Self::LENGTH];
        for (to, from) in name.iter_mut().zip(bytes) {
            if from == 0 {
                break;
            }
            *to = from;
        }
        let [.., end] = &mut name;
        *end = 0;
        Self(name)
    }

    /// The name of a VM that KVM has not given one, by the process ID of its VMM.
    pub(crate) fn unnamed(pid: u32) -> Self {
        const DIGITS: [u32; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
        let digits = DIGITS.iter().filter(|digit| **digit <= pid);
        let digits = digits.map(|digit| (pid.checked_div(*digit).unwrap_or(0) % 10) as u8 | b'0');
        Self::new(Iterator::chain(digits, *b"-vm"))
    }

    /// The name, for C.
    pub(super) fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }

    /// Its bytes as words.
    pub(super) fn words(&self) -> [u64; Self::WORDS] {
        let mut words = [0; Self::WORDS];
        for (word, bytes) in words.iter_mut().zip(self.0.chunks_exact(size_of::<u64>())) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        words
    }

    /// What [`words()`](Self::words) has made of it.
    pub(super) fn from_words(words: &[u64]) -> Self {
        Self::new(words.iter().flat_map(|word| word.to_le_bytes()))
    }
}

impl Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_cstr().to_str().unwrap_or("?"))
    }
}
