// SPDX-License-Identifier: GPL-2.0
//! What lies on the kernel's buses beside its devices, ioeventfds and zones of coalesced MMIO; and accesses of which the
//! kernel serves a part.

use anyhow::{bail, Result};
use ghcb_rs::ghcb_abi::ioio::IoSize::Byte;
use kvm_ioctls::IoEventAddress;
use mailbox::map;
use std::process::ExitCode as Status;
use vmm::exchange::device::{brought, mmio_exit, Accesses};
use vmm::exchange::exit::Exit;
use vmm::exchange::steps::StepVm;
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Report};
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// Where the local APIC and the IOAPIC are.
const APIC: u64 = 0xfee0_0000;
const APIC_END: u64 = APIC + 0x1000;
const IOAPIC: u64 = 0xfec0_0000;
const IOAPIC_END: u64 = IOAPIC + 0x100;

/// An address and a port without a device.
const OTHER: u64 = map::MMIO + 0x800;
const OTHER_PORT: u16 = 0x600;

fn main() -> Status {
    ktap::program(|report| {
        let mut vm = StepVm::new()?;
        events(report, &mut vm);
        coalesced(report, &mut vm);
        if !report.has_version_1("accesses in parts") {
            return Ok(());
        }
        // Version 2 has no access of more than eight bytes.
        let config = Config {
            irqchip: true,
            ghcb_version: 1,
            ..Config::default()
        };
        in_part(report, &mut StepVm::with(config, &[])?);
        Ok(())
    })
}

/// How often it was signalled since the last look.
fn signals(event: &EventFd) -> Result<u64> {
    match event.read() {
        Ok(count) => Ok(count),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(0),
        Err(error) => bail!("eventfd: {error}"),
    }
}

fn events(report: &mut Report, vm: &mut StepVm) {
    Accesses::test(
        report,
        vm,
        "ioeventfd: a write of its value signals, others are userspace's",
        |at| {
            let event = EventFd::new(EFD_NONBLOCK)?;
            let address = IoEventAddress::Mmio(OTHER);
            let fd = at.vm().vm().fd();
            fd.register_ioevent(&event, &address, 0x4433_2211u32)?;
            at.write(OTHER, &[0x11, 0x22, 0x33, 0x44])?;
            at.check().same("signals", signals(&event)?, 1);
            for data in [
                &[0x11, 0x22, 0x33, 0x45][..],
                &[0x11, 0x22],
                &[0x11, 0x22, 0x33, 0x44, 0, 0, 0, 0],
            ] {
                let len = data.len() as u32;
                at.write_with(OTHER, data, &[mmio_exit(OTHER, len, Some(data))])?;
            }
            let got = at.read_with(OTHER, 4, &[mmio_exit(OTHER, 4, None)])?;
            at.check()
                .same("data", got, brought(OTHER, 4))
                .same("signals", signals(&event)?, 0);
            at.vm()
                .vm()
                .fd()
                .unregister_ioevent(&event, &address, 0x4433_2211u32)?;
            Ok(())
        },
    );
    Accesses::test(
        report,
        vm,
        "ioeventfd of a port: the first of a string says whose it is",
        |at| {
            let event = EventFd::new(EFD_NONBLOCK)?;
            let address = IoEventAddress::Pio(OTHER_PORT.into());
            at.vm()
                .vm()
                .fd()
                .register_ioevent(&event, &address, 0x11u8)?;
            at.output(OTHER_PORT, Byte, 0x11)?;
            at.check().same("signals", signals(&event)?, 1);
            at.output_string(OTHER_PORT, &[0x11; 3], &[])?;
            at.check().same("signals", signals(&event)?, 3);
            at.output_string(OTHER_PORT, &[0x11, 0x22, 0x11], &[])?;
            at.check()
                .same("signals until another value", signals(&event)?, 1);
            let data = [0x22, 0x11, 0x11];
            let exit = Exit::Io {
                port: OTHER_PORT,
                size: 1,
                count: 3,
                out: true,
                data: data.to_vec(),
            };
            at.output_string(OTHER_PORT, &data, &[exit])?;
            at.check().same("signals", signals(&event)?, 0);
            Ok(())
        },
    );
}

fn coalesced(report: &mut Report, vm: &mut StepVm) {
    Accesses::test(
        report,
        vm,
        "coalesced MMIO: writes in the zone are kept for userspace",
        |at| {
            let zone = IoEventAddress::Mmio(OTHER);
            at.vm().vm().fd().register_coalesced_mmio(zone, 16)?;
            let writes = [(OTHER, 4usize), (OTHER + 8, 8), (OTHER + 3, 1)];
            let data = [1, 2, 3, 4, 5, 6, 7, 8];
            for (gpa, len) in writes {
                at.write(gpa, &data[..len])?;
            }
            let kept = at.vm().vm().vcpu(0).coalesced()?;
            let want: Vec<_> = writes.map(|(gpa, len)| (gpa, data[..len].to_vec())).into();
            at.check().same("kept", kept, want);
            // Out of it by a byte.
            let exit = mmio_exit(OTHER + 9, 8, Some(&data));
            at.write_with(OTHER + 9, &data, &[exit])?;
            let kept = at.vm().vm().vcpu(0).coalesced()?;
            at.check().same("kept", kept, Vec::new());
            Ok(())
        },
    );
}

/// KVM takes them in pieces, and leaves the rest to userspace from the first that no device in the kernel has.
fn in_part(report: &mut Report, vm: &mut StepVm) {
    let name = "more than 8 bytes";
    let data: Vec<u8> = (1..=24).collect();
    for (device, end) in [("local APIC", APIC_END), ("IOAPIC", IOAPIC_END)] {
        let start = end - 8;
        Accesses::test(
            report,
            vm,
            &format!("{name}: the first 8 are the {device}'s"),
            |at| {
                let exits = [mmio_exit(end, 8, None), mmio_exit(end + 8, 8, None)];
                let got = at.read_with(start, 24, &exits)?;
                let first = match end {
                    APIC_END => at.unread(8),
                    _ => vec![0; 8],
                };
                let want = [first, brought(end, 16)].concat();
                at.check().same("data", got, want);
                let got = at.read_with(start, 11, &[mmio_exit(end, 3, None)])?;
                at.check().same("data", &got[8..], &brought(end, 3));
                let exits = [8, 16]
                    .map(|from| mmio_exit(start + from as u64, 8, Some(&data[from..from + 8])));
                at.write_with(start, &data, &exits)
            },
        );
        Accesses::test(
            report,
            vm,
            &format!("{name}: the last 8 would be the {device}'s"),
            |at| {
                let start = if end == APIC_END { APIC } else { IOAPIC } - 8;
                let exits = [0, 8].map(|from| mmio_exit(start + from, 8, None));
                let got = at.read_with(start, 16, &exits)?;
                at.check().same("data", got, brought(start, 16));
                Ok(())
            },
        );
    }
    Accesses::test(
        report,
        vm,
        &format!("{name}: an ioeventfd has the first"),
        |at| {
            let event = EventFd::new(EFD_NONBLOCK)?;
            let value = 0x0807_0605_0403_0201u64;
            let address = IoEventAddress::Mmio(OTHER);
            at.vm()
                .vm()
                .fd()
                .register_ioevent(&event, &address, value)?;
            at.write_with(
                OTHER,
                &data[..12],
                &[mmio_exit(OTHER + 8, 4, Some(&data[8..12]))],
            )?;
            at.check().same("signals", signals(&event)?, 1);
            Ok(())
        },
    );
    Accesses::test(
        report,
        vm,
        &format!("{name}: a coalescing zone has the first 16"),
        |at| {
            let gpa = OTHER + 0x100;
            let zone = IoEventAddress::Mmio(gpa);
            at.vm().vm().fd().register_coalesced_mmio(zone, 16)?;
            at.write_with(gpa, &data, &[mmio_exit(gpa + 16, 8, Some(&data[16..]))])?;
            let kept = at.vm().vm().vcpu(0).coalesced()?;
            let want = vec![(gpa, data[..8].to_vec()), (gpa + 8, data[8..16].to_vec())];
            at.check().same("kept", kept, want);
            Ok(())
        },
    );
}
