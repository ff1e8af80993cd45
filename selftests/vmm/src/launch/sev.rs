// SPDX-License-Identifier: GPL-2.0
//! Launch of a guest: the commands of KVM_MEMORY_ENCRYPT_OP, those of SEV-SNP apart.

use anyhow::{ensure, Context, Result};
use kvm_bindings::{
    kvm_enc_region, kvm_sev_cmd, kvm_sev_guest_status, kvm_sev_launch_measure,
    kvm_sev_launch_start, kvm_sev_launch_update_data,
};
use kvm_ioctls::{Kvm, VmFd};
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryMmap};

/// CPUID leaf that describes memory encryption.
pub const CPUID_ENCRYPTION: u32 = 0x8000_001f;

/// Policy bit: the guest must run with SEV-ES.
const POLICY_ES: u32 = 1 << 2;

const LAUNCH_START: u32 = 2;
const LAUNCH_UPDATE_DATA: u32 = 3;
const LAUNCH_UPDATE_VMSA: u32 = 4;
const LAUNCH_MEASURE: u32 = 6;
const LAUNCH_FINISH: u32 = 7;
const GUEST_STATUS: u32 = 16;
const INIT2: u32 = 22;
/// `KVM_SEV_ES_INIT`, for VMs of the default type.
const ES_INIT: u32 = 1;

/// State that GUEST_STATUS reports for a guest that may run.
const STATE_RUNNING: u32 = 3;

/// `struct kvm_sev_init`, newer than kvm-bindings.
#[repr(C)]
#[derive(Default)]
struct Init2 {
    vmsa_features: u64,
    flags: u32,
    ghcb_version: u16,
    pad1: u16,
    pad2: [u32; 8],
}

/// A VM that is being launched.
pub struct Launch<'a> {
    vm: &'a VmFd,
    firmware: File,
}

impl<'a> Launch<'a> {
    /// Make `vm`, of the default type, an SEV-ES guest as before `KVM_SEV_INIT2`: protocol version 1, and state
    /// that userspace may read and write.
    pub fn init_old(vm: &'a VmFd) -> Result<Self> {
        let launch = Self::open(vm)?;
        launch
            .command(ES_INIT, &mut ())
            .context("KVM_SEV_ES_INIT")?;
        Ok(launch)
    }

    /// Make `vm` a guest of its type that speaks `ghcb_version`; zero leaves the choice to KVM.
    pub fn init(vm: &'a VmFd, ghcb_version: u16) -> Result<Self> {
        let launch = Self::open(vm)?;
        let mut init = Init2 {
            ghcb_version,
            ..Default::default()
        };
        launch.command(INIT2, &mut init).context("KVM_SEV_INIT2")?;
        Ok(launch)
    }

    fn open(vm: &'a VmFd) -> Result<Self> {
        let firmware = File::options()
            .read(true)
            .write(true)
            .open("/dev/sev")
            .context("open /dev/sev")?;
        Ok(Self { vm, firmware })
    }

    /// Encrypt `ranges` and the state of all vCPUs of an SEV-ES guest; afterwards the guest may run.
    pub fn finish_es(self, memory: &GuestMemoryMmap, ranges: &[Range<u64>]) -> Result<File> {
        let mut start = kvm_sev_launch_start {
            policy: POLICY_ES,
            ..Default::default()
        };
        self.command(LAUNCH_START, &mut start)
            .context("KVM_SEV_LAUNCH_START")?;
        for range in ranges {
            let host = memory
                .get_host_address(GuestAddress(range.start))
                .context("address of a private range")?;
            let length = range.end - range.start;
            self.vm
                .register_enc_memory_region(&kvm_enc_region {
                    addr: host as u64,
                    size: length,
                })
                .context("KVM_MEMORY_ENCRYPT_REG_REGION")?;
            let mut update = kvm_sev_launch_update_data {
                uaddr: host as u64,
                len: u32::try_from(length)?,
                ..Default::default()
            };
            self.command(LAUNCH_UPDATE_DATA, &mut update)
                .with_context(|| format!("KVM_SEV_LAUNCH_UPDATE_DATA {range:#x?}"))?;
        }
        self.command(LAUNCH_UPDATE_VMSA, &mut ())
            .context("KVM_SEV_LAUNCH_UPDATE_VMSA")?;
        let mut digest = [0u8; 256];
        let mut measure = kvm_sev_launch_measure {
            uaddr: digest.as_mut_ptr() as u64,
            len: digest.len() as u32,
            ..Default::default()
        };
        self.command(LAUNCH_MEASURE, &mut measure)
            .context("KVM_SEV_LAUNCH_MEASURE")?;
        self.command(LAUNCH_FINISH, &mut ())
            .context("KVM_SEV_LAUNCH_FINISH")?;
        let mut status = kvm_sev_guest_status::default();
        self.command(GUEST_STATUS, &mut status)
            .context("KVM_SEV_GUEST_STATUS")?;
        ensure!(
            status.state == STATE_RUNNING,
            "guest state {} after launch",
            status.state
        );
        Ok(self.into_firmware())
    }

    /// The device of the secure processor.
    pub(super) fn into_firmware(self) -> File {
        self.firmware
    }

    /// Carry out the command `id`.
    pub(super) fn command<T>(&self, id: u32, argument: &mut T) -> Result<()> {
        let mut command = kvm_sev_cmd {
            id,
            data: if size_of::<T>() == 0 {
                0
            } else {
                std::ptr::from_mut(argument) as u64
            },
            sev_fd: u32::try_from(self.firmware.as_raw_fd())?,
            ..Default::default()
        };
        self.vm
            .encrypt_op_sev(&mut command)
            .with_context(|| format!("firmware error {:#x}", command.error))
    }
}

/// Bit of a page-table entry that marks private memory, as the CPU reports it.
pub fn c_bit(kvm: &Kvm) -> Result<u64> {
    let cpuid = kvm
        .get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES)
        .context("KVM_GET_SUPPORTED_CPUID")?;
    let leaf = cpuid
        .as_slice()
        .iter()
        .find(|entry| entry.function == CPUID_ENCRYPTION)
        .context("CPUID leaf for memory encryption")?;
    Ok(1 << (leaf.ebx & 0x3f))
}
