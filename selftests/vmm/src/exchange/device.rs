// SPDX-License-Identifier: GPL-2.0
//! Accesses to devices of the kernel: each must be answered, without an exit to userspace unless it says so.

use crate::exchange::exit::Exit;
use crate::exchange::request::{Request, POISON};
use crate::exchange::steps::{Attempt, Outcome, StepVm};
use crate::judge::check::Check;
use crate::judge::difference::Difference;
use crate::kernel::handler::Handler;
use crate::report::ktap::Report;
use anyhow::Result;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
use mailbox::device;

/// A guest that accesses devices, and what was found wrong with the answers.
pub struct Accesses<'a> {
    vm: &'a mut StepVm,
    handler: Handler,
    check: Check,
}

impl<'a> Accesses<'a> {
    fn of(vm: &'a mut StepVm, handler: Handler) -> Self {
        Self {
            vm,
            handler,
            check: Check::new(),
        }
    }

    /// A test of what a guest reads and writes.
    pub fn test(
        report: &mut Report,
        vm: &'a mut StepVm,
        name: &str,
        test: impl FnOnce(&mut Self) -> Result<()>,
    ) {
        let handler = report.handler();
        report.test(name, || {
            let mut accesses = Self::of(vm, handler);
            test(&mut accesses)?;
            Ok(accesses.check.done())
        });
    }

    /// The checks.
    pub fn check(&mut self) -> &mut Check {
        &mut self.check
    }

    /// The guest.
    pub fn vm(&mut self) -> &mut StepVm {
        self.vm
    }

    /// What is in `len` bytes that no device has filled: difference unread-data.
    pub fn unread(&self, len: usize) -> Vec<u8> {
        vec![Difference::UnreadData.choose(self.handler, POISON as u8, 0); len]
    }

    fn take(&mut self, what: String, request: &Request, exits: &[Exit]) -> Result<Outcome> {
        let outcome = self.vm.take(Attempt::page(request))?;
        self.check.about(what);
        self.check.answered(request, &outcome, self.handler, 0);
        self.check.same("exits", outcome.exits.as_slice(), exits);
        Ok(outcome)
    }

    fn buffer(&mut self, outcome: &Outcome, len: usize) -> Vec<u8> {
        let Some(pages) = &outcome.pages else {
            return Vec::new();
        };
        let rest = pages.after.bytes(SHARED_BUFFER_OFFSET + len, 8);
        self.check
            .same("bytes behind the data", rest, vec![POISON as u8; 8]);
        pages.after.bytes(SHARED_BUFFER_OFFSET, len)
    }

    /// MMIO read that brings `exits`.
    pub fn read_with(&mut self, gpa: u64, len: usize, exits: &[Exit]) -> Result<Vec<u8>> {
        let request =
            Request::new(ExitCode::MMIO_READ, gpa, len as u64).scratch_inside(SHARED_BUFFER_OFFSET);
        let outcome = self.take(format!("read of {len} at {gpa:#x}"), &request, exits)?;
        Ok(self.buffer(&outcome, len))
    }

    /// MMIO read.
    pub fn read(&mut self, gpa: u64, len: usize) -> Result<Vec<u8>> {
        self.read_with(gpa, len, &[])
    }

    /// MMIO write that brings `exits`.
    pub fn write_with(&mut self, gpa: u64, data: &[u8], exits: &[Exit]) -> Result<()> {
        let request = Request::new(ExitCode::MMIO_WRITE, gpa, data.len() as u64)
            .scratch_inside(SHARED_BUFFER_OFFSET)
            .buffer(data);
        let what = format!("write of {data:x?} at {gpa:#x}");
        self.take(what, &request, exits).map(drop)
    }

    /// MMIO write.
    pub fn write(&mut self, gpa: u64, data: &[u8]) -> Result<()> {
        self.write_with(gpa, data, &[])
    }

    /// IN with `rax` before; RAX afterwards.
    pub fn input(&mut self, port: u16, size: IoSize, rax: u64) -> Result<u64> {
        let request =
            Request::new(ExitCode::IOIO, IoInfo::new(port, size, true).0, 0).with(Field::Rax, rax);
        let outcome = self.take(format!("IN {size:?} at {port:#x}"), &request, &[])?;
        Ok(outcome.reply().rax)
    }

    /// OUT.
    pub fn output(&mut self, port: u16, size: IoSize, value: u64) -> Result<()> {
        let request = Request::new(ExitCode::IOIO, IoInfo::new(port, size, false).0, 0)
            .with(Field::Rax, value);
        let what = format!("OUT {size:?} of {value:#x} at {port:#x}");
        self.take(what, &request, &[]).map(drop)
    }

    /// INS of `count` bytes.
    pub fn input_string(&mut self, port: u16, count: usize) -> Result<Vec<u8>> {
        let info =
            IoInfo::new(port, IoSize::Byte, true).string(true, AddressSize::BITS_64, Segment::ES);
        let request =
            Request::new(ExitCode::IOIO, info.0, count as u64).scratch_inside(SHARED_BUFFER_OFFSET);
        let outcome = self.take(format!("INS of {count} at {port:#x}"), &request, &[])?;
        Ok(self.buffer(&outcome, count))
    }

    /// OUTS of bytes that brings `exits`.
    pub fn output_string(&mut self, port: u16, data: &[u8], exits: &[Exit]) -> Result<()> {
        let info =
            IoInfo::new(port, IoSize::Byte, false).string(true, AddressSize::BITS_64, Segment::DS);
        let request = Request::new(ExitCode::IOIO, info.0, data.len() as u64)
            .scratch_inside(SHARED_BUFFER_OFFSET)
            .buffer(data);
        let what = format!("OUTS of {data:x?} at {port:#x}");
        self.take(what, &request, exits).map(drop)
    }
}

/// What userspace brings of `len` bytes.
pub fn brought(gpa: u64, len: u64) -> Vec<u8> {
    (gpa..gpa + len).map(device::mmio_byte).collect()
}

/// The exit of an MMIO access, with what a write has written.
pub fn mmio_exit(gpa: u64, len: u32, written: Option<&[u8]>) -> Exit {
    let mut data = [0; 8];
    if let Some(written) = written {
        data[..written.len()].copy_from_slice(written);
    }
    Exit::Mmio {
        gpa,
        len,
        write: written.is_some(),
        data,
    }
}
