// SPDX-License-Identifier: GPL-2.0
//! Devices that KVM emulates: local APIC and IOAPIC by MMIO, PIC and PIT by port I/O. Each answer is compared with the
//! state that userspace can read.

use anyhow::{Context, Result};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::IoSize::{Byte, Word};
use ghcb_rs::ghcb_abi::page::Field;
use kvm_bindings::{
    kvm_enable_cap, kvm_ioapic_state, kvm_irqchip, kvm_pic_state, kvm_pit_config,
    KVM_CAP_DISABLE_QUIRKS, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_PIT_SPEAKER_DUMMY,
    KVM_X86_QUIRK_LAPIC_MMIO_HOLE,
};
use kvm_ioctls::VmFd;
use std::process::ExitCode as Status;
use vmm::exchange::device::{brought, mmio_exit, Accesses};
use vmm::exchange::request::Request;
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Report};

const APIC: u64 = 0xfee0_0000;
const APIC_TPR: u64 = APIC + 0x80;
/// `MSR_IA32_APICBASE`, and its bits for the first processor, and "enabled".
const APIC_BASE: u64 = 0x1b;
const APIC_FIRST: u64 = 1 << 8;
const APIC_ENABLED: u64 = 1 << 11;

const IOAPIC_SELECT: u64 = 0xfec0_0000;
const IOAPIC_WINDOW: u64 = 0xfec0_0010;

const PIC_COMMAND: u16 = 0x20;
const PIC_MASK: u16 = 0x21;
const PIC_ELCR_SECOND: u16 = 0x4d1;
const PIT_SECOND: u16 = 0x42;
const PIT_COMMAND: u16 = 0x43;
const SPEAKER: u16 = 0x61;

fn main() -> Status {
    ktap::program(|report| {
        let mut vm = machine()?;
        local_apic(report, &mut vm);
        ioapic(report, &mut vm);
        pic(report, &mut vm);
        pit(report, &mut vm);
        Ok(())
    })
}

fn machine() -> Result<StepVm> {
    let config = Config {
        irqchip: true,
        ..Config::default()
    };
    let mut vm = StepVm::with(config, &[])?;
    let pit = kvm_pit_config {
        flags: KVM_PIT_SPEAKER_DUMMY,
        ..Default::default()
    };
    vm.vm().fd().create_pit2(pit).context("KVM_CREATE_PIT2")?;
    Ok(vm)
}

/// Registers of the local APIC as userspace sees them.
fn registers(vm: &mut StepVm) -> Result<Vec<u8>> {
    let state = vm.vm().vcpu(0).fd().get_lapic().context("KVM_GET_LAPIC")?;
    Ok(state.regs.iter().map(|byte| *byte as u8).collect())
}

fn local_apic(report: &mut Report, vm: &mut StepVm) {
    Accesses::test(
        report,
        vm,
        "local APIC: what is written is what KVM has, and is read",
        |at| {
            for (offset, value) in [
                (0x80, 0x30u32),
                (0xd0, 0x5a00_0000),
                (0xe0, 0x7fff_ffff),
                (0xf0, 0x01ff),
                (0x310, 0x3400_0000),
                (0x320, 0x0001_0041),
                (0x350, 0x0001_0742),
                (0x360, 0x0001_0443),
                (0x370, 0x0001_0044),
                (0x3e0, 0xb),
            ] {
                at.write(APIC + offset, &value.to_le_bytes())?;
                let registers = registers(at.vm())?;
                let kept = &registers[offset as usize..][..4];
                at.check().same("in KVM", kept, &value.to_le_bytes());
            }
            let readable = [
                0x20, 0x30, 0x80, 0xa0, 0xd0, 0xe0, 0xf0, 0x280, 0x300, 0x310,
            ]
            .into_iter()
            .chain((0x100..0x280).step_by(16))
            .chain((0x320..0x3a0).step_by(16))
            .chain([0x3e0]);
            for offset in readable {
                let got = at.read(APIC + offset, 4)?;
                let registers = registers(at.vm())?;
                let want = &registers[offset as usize..][..4];
                at.check().same("data", got.as_slice(), want);
            }
            let version = at.read(APIC + 0x30, 4)?;
            at.check().same("version", version[0], 0x14);
            Ok(())
        },
    );
    Accesses::test(
        report,
        vm,
        "local APIC: parts of a register are read, and not written",
        |at| {
            at.write(APIC_TPR, &[0x20, 0, 0, 0])?;
            let registers = registers(at.vm())?;
            for (first, len) in [(0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (1, 2), (2, 2)] {
                let got = at.read(APIC + 0x30 + first, len)?;
                let want = &registers[0x30 + first as usize..][..len];
                at.check().same("data", got.as_slice(), want);
            }
            for data in [&[0x70][..], &[0x70, 0], &[0x70, 0, 0, 0, 0, 0, 0, 0]] {
                at.write(APIC_TPR, data)?;
                let got = at.read(APIC_TPR, 4)?;
                at.check().same("TPR", got, vec![0x20, 0, 0, 0]);
            }
            Ok(())
        },
    );
    Accesses::test(
        report,
        vm,
        "local APIC: no register, or more than one: no data",
        |at| {
            for (offset, len) in [
                (0x30, 8),
                (0x32, 4),
                (0x31, 3),
                (0x40, 4),
                (0xff0, 4),
                (0xffc, 8),
            ] {
                let got = at.read(APIC + offset, len)?;
                let want = at.unread(len);
                at.check().same("data", got, want);
            }
            Ok(())
        },
    );
    Accesses::test(
        report,
        vm,
        "local APIC: while it is off, ones are read, and nothing is written",
        |at| {
            at.write(APIC_TPR, &[0x20, 0, 0, 0])?;
            set_base(at, APIC | APIC_FIRST)?;
            for len in [1, 2, 4, 8] {
                let got = at.read(APIC_TPR, len)?;
                at.check().same("data", got, vec![0xff; len]);
            }
            at.write(APIC_TPR, &[0x70, 0, 0, 0])?;
            set_base(at, APIC | APIC_FIRST | APIC_ENABLED)?;
            let got = at.read(APIC_TPR, 4)?;
            at.check().same("TPR", got, vec![0x20, 0, 0, 0]);
            Ok(())
        },
    );
    Accesses::test(
        report,
        vm,
        "local APIC: while it is off, userspace may have its accesses",
        |at| {
            let quirk = kvm_enable_cap {
                cap: KVM_CAP_DISABLE_QUIRKS,
                args: [KVM_X86_QUIRK_LAPIC_MMIO_HOLE.into(), 0, 0, 0],
                ..Default::default()
            };
            at.vm()
                .vm()
                .fd()
                .enable_cap(&quirk)
                .context("KVM_CAP_DISABLE_QUIRKS")?;
            set_base(at, APIC | APIC_FIRST)?;
            let got = at.read_with(APIC_TPR, 4, &[mmio_exit(APIC_TPR, 4, None)])?;
            at.check().same("data", got, brought(APIC_TPR, 4));
            let data = [0x70, 1, 2, 3];
            at.write_with(APIC_TPR, &data, &[mmio_exit(APIC_TPR, 4, Some(&data))])?;
            set_base(at, APIC | APIC_FIRST | APIC_ENABLED)
        },
    );
}

/// The guest sets the local APIC's base.
fn set_base(at: &mut Accesses<'_>, value: u64) -> Result<()> {
    let request = Request::new(ExitCode::MSR, 1, 0)
        .with(Field::Rcx, APIC_BASE)
        .with(Field::Rax, value & 0xffff_ffff)
        .with(Field::Rdx, value >> 32);
    let outcome = at.vm().take(Attempt::page(&request))?;
    let reply = outcome.reply();
    let done = (reply.info1, reply.info2);
    at.check().quiet(&outcome).same("base set", done, (0, 0));
    Ok(())
}

fn chip(vm: &mut StepVm, chip_id: u32) -> Result<kvm_irqchip> {
    let mut chip = kvm_irqchip {
        chip_id,
        ..Default::default()
    };
    let fd: &VmFd = vm.vm().fd();
    fd.get_irqchip(&mut chip).context("KVM_GET_IRQCHIP")?;
    Ok(chip)
}

fn ioapic_state(vm: &mut StepVm) -> Result<kvm_ioapic_state> {
    let chip = chip(vm, KVM_IRQCHIP_IOAPIC)?;
    // SAFETY: KVM filled this member for that chip.
    Ok(unsafe { chip.chip.ioapic })
}

fn pic_state(vm: &mut StepVm) -> Result<kvm_pic_state> {
    let chip = chip(vm, KVM_IRQCHIP_PIC_MASTER)?;
    // SAFETY: KVM filled this member for that chip.
    Ok(unsafe { chip.chip.pic })
}

fn ioapic(report: &mut Report, vm: &mut StepVm) {
    Accesses::test(
        report,
        vm,
        "IOAPIC: what is written is what KVM has, and is read",
        |at| {
            for (pin, value) in [
                (5usize, 0x0a00_0000_0001_0031u64),
                (23, 0xff00_0000_0001_a9fe),
            ] {
                for (half, part) in [(0, value as u32), (1, (value >> 32) as u32)] {
                    let select = 0x10 + 2 * pin as u32 + half;
                    at.write(IOAPIC_SELECT, &select.to_le_bytes())?;
                    at.write(IOAPIC_WINDOW, &part.to_le_bytes())?;
                    let got = at.read(IOAPIC_WINDOW, 4)?;
                    at.check().same("window", got, part.to_le_bytes().to_vec());
                }
                let state = ioapic_state(at.vm())?;
                // SAFETY: Both members of the union are the same eight bytes.
                let kept = unsafe { state.redirtbl[pin].bits };
                at.check().same("in KVM", kept, value);
            }
            Ok(())
        },
    );
    Accesses::test(report, vm, "IOAPIC: accesses of each length", |at| {
        let version = 0x0017_0011u64.to_le_bytes();
        for select in [&[1][..], &[1, 0], &[1, 0, 0, 0], &[1, 0, 0, 0, 9, 9, 9, 9]] {
            at.write(IOAPIC_SELECT, &[0; 4])?;
            at.write(IOAPIC_SELECT, select)?;
            let state = ioapic_state(at.vm())?;
            at.check().same("selected", state.ioregsel, 1);
        }
        for len in [1, 2, 4, 8] {
            let got = at.read(IOAPIC_WINDOW, len)?;
            at.check().same("data", got, version[..len].to_vec());
        }
        at.write(IOAPIC_SELECT, &[0, 0, 0])?;
        let state = ioapic_state(at.vm())?;
        at.check().same("selected still", state.ioregsel, 1);
        let got = at.read(IOAPIC_WINDOW, 3)?;
        let want = at.unread(3);
        at.check().same("data", got, want);
        let got = at.read(IOAPIC_SELECT + 0x20, 4)?;
        at.check().same("no register", got, vec![0; 4]);
        Ok(())
    });
}

const RAX: u64 = 0x8877_6655_4433_2211;

fn pic(report: &mut Report, vm: &mut StepVm) {
    Accesses::test(
        report,
        vm,
        "PIC: OUT and IN of its mask and of its edge register",
        |at| {
            for mask in [0x5au64, 0xa5, 0xff] {
                at.output(PIC_MASK, Byte, 0xffff_ff00 | mask)?;
                let state = pic_state(at.vm())?;
                at.check().same("in KVM", state.imr.into(), mask);
                let rax = at.input(PIC_MASK, Byte, RAX)?;
                at.check().same("RAX", rax, RAX & !0xff | mask);
            }
            at.output(PIC_ELCR_SECOND, Byte, 0x0c)?;
            let rax = at.input(PIC_ELCR_SECOND, Byte, 0)?;
            at.check().same("RAX", rax, 0x0c);
            Ok(())
        },
    );
    Accesses::test(
        report,
        vm,
        "PIC: two bytes: zeros are read, and nothing is written",
        |at| {
            at.output(PIC_MASK, Byte, 0x5a)?;
            // One byte of it would begin its initialization, and clear the mask.
            at.output(PIC_COMMAND, Word, 0x1111)?;
            let rax = at.input(PIC_COMMAND, Word, RAX)?;
            at.check().same("RAX", rax, RAX & !0xffff);
            let rax = at.input(PIC_MASK, Byte, 0)?;
            at.check().same("mask", rax, 0x5a);
            Ok(())
        },
    );
    Accesses::test(report, vm, "PIC: INS and OUTS", |at| {
        at.output_string(PIC_MASK, &[1, 2, 0x3c], &[])?;
        let got = at.input_string(PIC_MASK, 5)?;
        at.check().same("data", got, vec![0x3c; 5]);
        Ok(())
    });
}

fn pit(report: &mut Report, vm: &mut StepVm) {
    Accesses::test(
        report,
        vm,
        "PIT: OUTS programs a count, OUT latches it, INS reads it",
        |at| {
            // The third channel, low byte and high byte, square wave.
            at.output(PIT_COMMAND, Byte, 0xb6)?;
            at.output_string(PIT_SECOND, &[0x34, 0x12], &[])?;
            let state = at.vm().vm().fd().get_pit2().context("KVM_GET_PIT2")?;
            let channel = state.channels[2];
            at.check()
                .same("count, mode", (channel.count, channel.mode), (0x1234, 3));
            at.output(PIT_COMMAND, Byte, 0x80)?;
            let state = at.vm().vm().fd().get_pit2().context("KVM_GET_PIT2")?;
            let latched = state.channels[2].latched_count;
            at.check()
                .that("count latched", state.channels[2].count_latched != 0);
            let got = at.input_string(PIT_SECOND, 2)?;
            at.check()
                .same("count", got, latched.to_le_bytes().to_vec());
            Ok(())
        },
    );
    Accesses::test(
        report,
        vm,
        "PIT: IN of a status, and of the speaker's gate",
        |at| {
            at.output(PIT_COMMAND, Byte, 0xe8)?;
            let rax = at.input(PIT_SECOND, Byte, RAX)?;
            // Its highest bit is that of the square wave.
            at.check().same("status", rax & !0x80, RAX & !0xff | 0x36);
            for gate in [3, 0] {
                at.output(SPEAKER, Byte, gate)?;
                let rax = at.input(SPEAKER, Byte, 0)?;
                at.check().same("gate", rax & 3, gate);
            }
            Ok(())
        },
    );
    Accesses::test(report, vm, "PIT: its command port brings no data", |at| {
        let rax = at.input(PIT_COMMAND, Byte, RAX)?;
        at.check().same("RAX", rax, RAX);
        let got = at.input_string(PIT_COMMAND, 4)?;
        let want = at.unread(4);
        at.check().same("data", got, want);
        Ok(())
    });
}
