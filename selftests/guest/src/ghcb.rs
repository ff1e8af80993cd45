// SPDX-License-Identifier: GPL-2.0
//! The guest's own GHCB: a shared page, and requests through it.

use crate::cpu;
use ghcb_rs::ghcb_abi::bitmap::ValidBitmap;
use ghcb_rs::ghcb_abi::page::{BufferRange, Field, Qword, SharedPage};

/// A GHCB page of this guest, mapped shared at its physical address.
#[derive(Clone, Copy)]
pub struct OwnPage {
    address: u64,
}

/// SVM's information word for OUT of one byte: port, and the bits of operand and address size.
const IOIO: u64 = 0x7b;
const IOIO_SIZE8: u64 = 1 << 4;
const IOIO_ADDRESS64: u64 = 1 << 9;

/// Protocol version that the guest writes.
const VERSION: u64 = 2;

impl OwnPage {
    /// The page at `address`, virtual and physical.
    pub fn new(address: u64) -> Self {
        Self { address }
    }

    /// Its guest-physical address.
    pub fn gpa(&self) -> u64 {
        self.address
    }

    /// Clear the fields in front of the shared buffer, and write version and usage.
    pub fn clear(&self) {
        for word in Qword::all().take_while(|word| word.offset() < 0x408) {
            self.store(word, 0);
        }
        self.store(Qword::VERSION_USAGE, VERSION << 16);
    }

    /// Write `value` and mark it valid.
    pub fn set(&self, field: Field, value: u64) {
        field.store(self, value);
        ValidBitmap::load(self).with(field).store(self);
    }

    /// Raise the event and wait for the answer.
    pub fn exit(&self, code: u64, info1: u64, info2: u64) {
        self.set(Field::SwExitCode, code);
        self.set(Field::SwExitInfo1, info1);
        self.set(Field::SwExitInfo2, info2);
        cpu::write_ghcb_msr(self.gpa());
        cpu::vmgexit();
    }

    /// OUT of one byte; false if the hypervisor refused.
    pub fn out_byte(&self, port: u16, value: u8) -> bool {
        self.clear();
        self.set(Field::Rax, u64::from(value));
        self.exit(IOIO, u64::from(port) << 16 | IOIO_SIZE8 | IOIO_ADDRESS64, 0);
        Field::SwExitInfo1.load(self) as u32 == 0
    }

    fn at(&self, offset: usize) -> *mut u8 {
        (self.address as usize + offset) as *mut u8
    }
}

impl SharedPage for OwnPage {
    fn load(&self, at: Qword) -> u64 {
        // SAFETY: The page is mapped for the guest's life, and the offset is aligned and inside it.
        unsafe { self.at(at.offset()).cast::<u64>().read_volatile() }
    }

    fn store(&self, at: Qword, value: u64) {
        // SAFETY: As above; the page is the guest's to write.
        unsafe { self.at(at.offset()).cast::<u64>().write_volatile(value) };
    }

    fn read_buffer(&self, from: BufferRange, to: &mut [u8]) {
        for (offset, byte) in (0..from.len()).zip(to) {
            // SAFETY: The range lies inside the page.
            *byte = unsafe { self.at(from.offset() + offset).read_volatile() };
        }
    }

    fn write_buffer(&self, to: BufferRange, from: &[u8]) {
        for (offset, byte) in (0..to.len()).zip(from) {
            // SAFETY: The range lies inside the page.
            unsafe { self.at(to.offset() + offset).write_volatile(*byte) };
        }
    }
}
