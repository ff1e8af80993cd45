// SPDX-License-Identifier: GPL-2.0

//! What the scripted KVM emulates.

use ghcb_rs::{
    ghcb_abi::{exit_code::ExitCode, ioio::IoSize},
    vmgexit::{
        host::{Emulator, Fulfilment},
        request::context::Context,
        request::instruction::{Emulation, Instruction},
        request::mmio::MmioAccess,
        request::port_io::{PortAccess, StringTransfer},
        request::registers::Registers,
    },
};

use super::{Call, Host};

impl Emulator for Host {
    fn set_context(&mut self, context: &Context) {
        self.contexts.push(*context);
    }

    fn emulate(&mut self, emulation: &Emulation) -> Fulfilment {
        self.may_sleep();
        self.log.push(Call::Emulate(*emulation));
        self.registers = match self.answer {
            Fulfilment::Done => self.after,
            _ => emulation.registers,
        };
        self.answer
    }

    fn cpuid(&mut self, function: u32) -> Fulfilment {
        self.emulate(&Emulation {
            instruction: Instruction::of(ExitCode::CPUID, 0),
            registers: Registers {
                rax: function.into(),
                ..Registers::default()
            },
        })
    }

    fn registers(&self) -> Registers {
        self.registers
    }

    fn port_io(&mut self, access: &PortAccess) -> Fulfilment {
        self.log.push(Call::PortIo(*access));
        self.registers.rax = access.rax;
        if access.direction.is_in() && self.answer == Fulfilment::Done {
            // C: `kvm_fast_pio_in()`.
            let mask = access.size.mask();
            let kept = if access.size == IoSize::Dword {
                0
            } else {
                access.rax & !mask
            };
            self.registers.rax = kept | self.device & mask;
        }
        self.answer
    }

    fn string_io(&mut self, transfer: &StringTransfer, data: &mut Vec<u8>) -> Fulfilment {
        self.log.push(Call::StringIo(*transfer, data.clone()));
        if transfer.direction.is_in() && self.answer == Fulfilment::Done {
            self.fill_from_device(data);
        }
        self.answer
    }

    fn mmio(&mut self, access: &MmioAccess, data: &mut Vec<u8>) -> Fulfilment {
        self.log.push(Call::Mmio(*access, data.clone()));
        if access.direction.is_in() && self.answer == Fulfilment::Done {
            self.fill_from_device(data);
        }
        self.answer
    }
}

impl Host {
    fn fill_from_device(&self, buffer: &mut [u8]) {
        for (byte, device) in buffer
            .iter_mut()
            .zip(self.device.to_le_bytes().iter().cycle())
        {
            *byte = *device;
        }
    }
}
