// SPDX-License-Identifier: GPL-2.0
//! Exits that wait for userspace with their reply pending, and what the guest is to find when they end.

use crate::exchange::catalog::MTRR_BASE;
use crate::exchange::exit::Exit;
use crate::exchange::page_image::PageImage;
use crate::exchange::request::{PageFields, Request};
use crate::judge::check::Check;
use crate::launch::vm::Vm;
use anyhow::{ensure, Result};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
use mailbox::device::PORT;
use mailbox::{device, map};

/// What the guest is to find when KVM has taken in what userspace did.
enum Found {
    /// RAX, and how many bytes of it.
    Rax(u64, usize),
    /// RDX and RAX.
    Msr(u64),
    /// Bytes at the beginning of its scratch area.
    Bytes(Vec<u8>),
}

/// An exit that waits.
pub struct Kind {
    pub name: &'static str,
    pub request: Request,
    found: Found,
    /// Exits until all is there.
    pub exits: usize,
}

/// What there was before.
pub struct Before<'a> {
    /// In the page's shared buffer.
    pub buffer: &'a [u8],
    /// In the scratch area elsewhere.
    pub elsewhere: &'a PageImage,
}

/// IN of a word.
pub fn read_port() -> Request {
    Request::new(ExitCode::IOIO, IoInfo::new(PORT, IoSize::Word, true).0, 0)
}

/// What it brings.
pub fn port_word() -> u64 {
    device::port_value(PORT, 2)
}

fn string(count: usize) -> Request {
    let info =
        IoInfo::new(PORT, IoSize::Byte, true).string(true, AddressSize::BITS_64, Segment::ES);
    Request::new(ExitCode::IOIO, info.0, count as u64)
}

const MMIO: u64 = map::MMIO + 0x40;

fn read_mmio(len: u64) -> Request {
    Request::new(ExitCode::MMIO_READ, MMIO, len)
}

/// All of them. MSRs from [`MTRR_BASE`] on must be left to userspace.
pub fn kinds() -> Vec<Kind> {
    let port_bytes =
        |count| Found::Bytes((0..count).map(|at| device::port_byte(PORT, at)).collect());
    let mmio_bytes = |len| Found::Bytes((MMIO..MMIO + len).map(device::mmio_byte).collect());
    let inside = SHARED_BUFFER_OFFSET + 8;
    let msr = Request::new(ExitCode::MSR, 0, 0).with(Field::Rcx, MTRR_BASE);
    let msr_value = Found::Msr(device::msr_value(MTRR_BASE as u32));
    let kind = |name, request, found| Kind {
        name,
        request,
        found,
        exits: 1,
    };
    vec![
        kind("IN", read_port(), Found::Rax(port_word(), 2)),
        kind(
            "INS of 8 bytes",
            string(8).scratch_inside(inside),
            port_bytes(8),
        ),
        kind(
            "INS of 512 bytes",
            string(512).scratch_inside(inside),
            port_bytes(512),
        ),
        kind(
            "INS elsewhere",
            string(512).scratch_outside(map::SCRATCH),
            port_bytes(512),
        ),
        kind(
            "MMIO read",
            read_mmio(4).scratch_inside(inside),
            mmio_bytes(4),
        ),
        kind(
            "MMIO read elsewhere",
            read_mmio(8).scratch_outside(map::SCRATCH),
            mmio_bytes(8),
        ),
        kind("RDMSR", msr, msr_value),
        Kind {
            exits: 2,
            ..kind(
                "MMIO read in two parts",
                read_mmio(16).scratch_inside(inside),
                mmio_bytes(16),
            )
        },
    ]
}

impl Kind {
    /// Whether the reply is pending still when KVM has taken in `completed` exits: the registers of an IN are the
    /// vCPU's until it runs.
    pub fn is_pending(&self, completed: usize) -> bool {
        completed < self.exits || matches!(self.found, Found::Rax(..))
    }

    /// Whether the page of the request, and a scratch area elsewhere, hold what they must when `completed` exits
    /// have been taken in.
    pub fn judge(
        &self,
        check: &mut Check,
        completed: usize,
        page: &PageImage,
        elsewhere: &PageImage,
        was: &Before<'_>,
    ) {
        let reply = PageFields::of(page);
        check.same("reply", (reply.info1, reply.info2), (0, 0));
        let is_complete = completed == self.exits;
        match &self.found {
            Found::Rax(value, size) if is_complete => {
                let mask = (1 << (8 * size)) - 1;
                check
                    .that("RAX is valid", reply.valid.contains(Field::Rax))
                    .same("RAX", reply.rax & mask, value & mask);
            }
            Found::Msr(value) if is_complete => {
                check.same("RAX", reply.rax, value & 0xffff_ffff).same(
                    "RDX",
                    reply.rdx,
                    value >> 32,
                );
            }
            Found::Bytes(bytes) => {
                let at = self.request.field(Field::SwScratch).unwrap_or(0) as usize % 4096;
                let len = bytes.len();
                let (got, old) = if self.request.is_scratch_inside() {
                    let old = was.buffer[at - SHARED_BUFFER_OFFSET..].to_vec();
                    (page.bytes(at, len), old)
                } else {
                    (elsewhere.bytes(at, len), was.elsewhere.bytes(at, len))
                };
                // What has been taken in is there, and the rest is as it was.
                let taken = len * completed / self.exits;
                let want = [&bytes[..taken], &old[taken..len]].concat();
                check.same("data", got, want);
            }
            _ => {}
        }
    }
}

/// KVM_RUN takes in what userspace did, and ends before the guest runs if that was the last of the exit.
pub fn interrupt(vm: &mut Vm, is_last: bool) -> Result<()> {
    let vcpu = vm.vcpu(0);
    vcpu.set_immediate_exit(is_last);
    let exit = vcpu.run();
    vcpu.set_immediate_exit(false);
    ensure!(
        is_last == (exit == Exit::Interrupted),
        "instead of an interruption: {exit:?}"
    );
    Ok(())
}

/// The first vCPU of so many VMs of this process, as the module lists who is waited for.
pub fn mine(vms: usize) -> Vec<(u32, u32)> {
    vec![(std::process::id(), 0); vms]
}
