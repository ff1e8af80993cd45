// SPDX-License-Identifier: GPL-2.0
//! A GHCB page in guest memory, as the VMM sees it.

use ghcb_rs::ghcb_abi::page::{BufferRange, Qword, SharedPage, PAGE_SIZE};
use std::sync::atomic::Ordering;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// The page at a guest-physical address.
#[derive(Clone, Copy)]
pub struct PageInMemory<'a> {
    memory: &'a GuestMemoryMmap,
    gpa: u64,
}

impl<'a> PageInMemory<'a> {
    /// The page at `gpa`, which must be memory.
    pub fn new(memory: &'a GuestMemoryMmap, gpa: u64) -> Self {
        Self { memory, gpa }
    }

    /// A copy of the whole page.
    pub fn copy(&self) -> PageImage {
        let mut image = PageImage::default();
        for (word, at) in image.0.iter_mut().zip(Qword::all()) {
            *word = self.load(at);
        }
        image
    }

    /// Overwrite the whole page.
    pub fn write(&self, image: &PageImage) {
        for (word, at) in image.0.iter().zip(Qword::all()) {
            self.store(at, *word);
        }
    }

    fn address(&self, offset: usize) -> GuestAddress {
        GuestAddress(self.gpa + offset as u64)
    }
}

// Tests use addresses of the suite's own map only: an access that fails would be a fault of the suite, and shows
// as zeros.
impl SharedPage for PageInMemory<'_> {
    fn load(&self, at: Qword) -> u64 {
        self.memory
            .load(self.address(at.offset()), Ordering::Acquire)
            .unwrap_or(0)
    }

    fn store(&self, at: Qword, value: u64) {
        let _ = self
            .memory
            .store(value, self.address(at.offset()), Ordering::Release);
    }

    fn read_buffer(&self, from: BufferRange, to: &mut [u8]) {
        let length = from.len().min(to.len());
        let _ = self
            .memory
            .read_slice(&mut to[..length], self.address(from.offset()));
    }

    fn write_buffer(&self, to: BufferRange, from: &[u8]) {
        let length = to.len().min(from.len());
        let _ = self
            .memory
            .write_slice(&from[..length], self.address(to.offset()));
    }
}

/// The contents of a page, in memory of the VMM.
#[derive(Clone, PartialEq, Eq)]
pub struct PageImage(pub [u64; PAGE_SIZE / 8]);

impl Default for PageImage {
    fn default() -> Self {
        Self([0; PAGE_SIZE / 8])
    }
}

impl std::fmt::Debug for PageImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::exchange::request::PageFields::of(self).fmt(f)
    }
}

impl PageImage {
    /// Word at the byte offset `offset`, which is a multiple of eight.
    pub fn word(&self, offset: usize) -> u64 {
        self.0[offset / 8]
    }

    /// Set the word at the byte offset `offset`, which is a multiple of eight.
    pub fn set_word(&mut self, offset: usize, value: u64) {
        self.0[offset / 8] = value;
    }

    /// Byte at `offset`.
    pub fn byte(&self, offset: usize) -> u8 {
        self.0[offset / 8].to_le_bytes()[offset % 8]
    }

    /// Set the byte at `offset`.
    pub fn set_byte(&mut self, offset: usize, value: u8) {
        let mut bytes = self.0[offset / 8].to_le_bytes();
        bytes[offset % 8] = value;
        self.0[offset / 8] = u64::from_le_bytes(bytes);
    }

    /// `length` bytes from `offset`.
    pub fn bytes(&self, offset: usize, length: usize) -> Vec<u8> {
        (offset..offset + length).map(|at| self.byte(at)).collect()
    }

    /// Byte offsets of the words in which `self` and `other` differ.
    pub fn differences(&self, other: &Self) -> Vec<usize> {
        (0..PAGE_SIZE)
            .step_by(8)
            .filter(|at| self.word(*at) != other.word(*at))
            .collect()
    }
}
