// SPDX-License-Identifier: GPL-2.0

//! KVM's emulation of instructions and devices.

use super::memory::Memory;
use crate::{
    ghcb_abi::reply::EventInjection,
    vmgexit::request::{
        context::Context,
        instruction::Emulation,
        mmio::MmioAccess,
        port_io::{PortAccess, StringTransfer},
        registers::Registers,
    },
};

/// What KVM made of an emulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fulfilment {
    /// Done; results are in the registers or the buffer.
    Done,
    /// The guest shall raise an exception instead.
    Exception(EventInjection),
    /// KVM returned an error, with which C's handler would end KVM_RUN.
    Error,
    /// Userspace has to do it; `kvm_run` holds what.
    Userspace,
}

/// KVM's emulation of what a guest asks for.
pub trait Emulator: Memory {
    /// Hands KVM the context of a request. KVM checks XCR0 and IA32_XSS, and ignores a value that is not legal.
    fn set_context(&mut self, context: &Context);

    /// Lets KVM emulate an instruction on registers that are not the guest's own.
    fn emulate(&mut self, emulation: &Emulation) -> Fulfilment;

    /// Lets KVM emulate CPUID of a function, subfunction 0, for a guest that need not have a page.
    fn cpuid(&mut self, function: u32) -> Fulfilment;

    /// The registers after an emulation.
    fn registers(&self) -> Registers;

    /// Lets KVM do one IN or OUT. The value is in RAX.
    fn port_io(&mut self, access: &PortAccess) -> Fulfilment;

    /// Lets KVM do INS or OUTS on a copy of the scratch area.
    fn string_io(&mut self, transfer: &StringTransfer, data: &mut Self::Buffer) -> Fulfilment;

    /// Lets KVM access memory-mapped I/O on a copy of the scratch area.
    fn mmio(&mut self, access: &MmioAccess, data: &mut Self::Buffer) -> Fulfilment;
}
