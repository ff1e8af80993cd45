// SPDX-License-Identifier: GPL-2.0
//! The guest's own GHCB: a shared page, and requests through it.

use crate::cpu::{self, Vcpu};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::exit_info::ExitInfo;
use ghcb_rs::ghcb_abi::guest::{self, CallError, OperandSize, Register, Registers, Sync};
use ghcb_rs::ghcb_abi::ioio::{IoInfo, IoSize};
use ghcb_rs::ghcb_abi::page::{BufferRange, Qword, SharedPage};
use ghcb_rs::ghcb_abi::version::Version;

/// A GHCB page of this guest, mapped shared at its physical address.
#[derive(Clone, Copy)]
pub struct OwnPage {
    address: u64,
}

impl OwnPage {
    /// The page at `address`, virtual and physical.
    pub fn new(address: u64) -> Self {
        Self { address }
    }

    /// Its guest-physical address.
    pub fn gpa(&self) -> u64 {
        self.address
    }

    /// Have the hypervisor look at the page.
    pub fn vmgexit(&self) {
        Vcpu::current().name_ghcb(self.gpa());
        cpu::vmgexit();
    }

    /// OUT of one byte.
    pub fn out_byte(&self, port: u16, value: u8) -> Result<u64, CallError> {
        let mut registers = Registers {
            rax: u64::from(value),
            ..Registers::default()
        };
        let exit = ExitInfo {
            code: ExitCode::IOIO,
            info1: IoInfo::new(port, IoSize::Byte, false).0,
            info2: 0,
        };
        let rax = Sync::NONE.sized(Register::A, OperandSize::Byte);
        guest::copy_out(self, Version::V2, &registers, &exit, &rax);
        self.vmgexit();
        guest::copy_in(self, &mut registers, &Sync::NONE)
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
