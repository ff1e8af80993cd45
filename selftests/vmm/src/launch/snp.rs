// SPDX-License-Identifier: GPL-2.0
//! Launch of an SEV-SNP guest: the commands of KVM_MEMORY_ENCRYPT_OP.

use crate::launch::sev::Launch;
use anyhow::{Context, Result};
use mailbox::PAGE;
use std::fs::File;
use std::ops::Range;
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryMmap};

/// Policy bits: the host may use SMT, and one that must be set.
const POLICY: u64 = (1 << 16) | (1 << 17);
/// `KVM_SEV_SNP_PAGE_TYPE_NORMAL`.
const PAGE_NORMAL: u8 = 1;

const LAUNCH_START: u32 = 100;
const LAUNCH_UPDATE: u32 = 101;
const LAUNCH_FINISH: u32 = 102;
const ENABLE_REQ_CERTS: u32 = 103;

/// `struct kvm_sev_snp_launch_start`, which kvm-bindings lacks.
#[repr(C)]
#[derive(Default)]
struct LaunchStart {
    policy: u64,
    gosvw: [u8; 16],
    flags: u16,
    pad0: [u8; 6],
    pad1: [u64; 4],
}

/// `struct kvm_sev_snp_launch_update`.
#[repr(C)]
#[derive(Default)]
struct LaunchUpdate {
    gfn_start: u64,
    uaddr: u64,
    len: u64,
    type_: u8,
    pad0: u8,
    flags: u16,
    pad1: u32,
    pad2: [u64; 4],
}

/// `struct kvm_sev_snp_launch_finish`.
#[repr(C)]
#[derive(Default)]
struct LaunchFinish {
    id_block_uaddr: u64,
    id_auth_uaddr: u64,
    id_block_en: u8,
    auth_key_en: u8,
    vcek_disabled: u8,
    host_data: [u8; 32],
    pad0: [u8; 3],
    flags: u16,
    pad1: [u64; 4],
}

impl Launch<'_> {
    /// Have KVM ask userspace for certificates (`KVM_EXIT_SNP_REQ_CERTS`). Before the VM has vCPUs.
    pub fn ask_for_certificates(&self) -> Result<()> {
        self.command(ENABLE_REQ_CERTS, &mut ())
            .context("KVM_SEV_SNP_ENABLE_REQ_CERTS")
    }

    /// Copy `ranges` into the guest's own memory, and the state of all vCPUs; afterwards the guest may run.
    ///
    /// The device must stay open under its number: KVM sends the guest's messages through it.
    pub fn finish_snp(self, memory: &GuestMemoryMmap, ranges: &[Range<u64>]) -> Result<File> {
        let mut start = LaunchStart {
            policy: POLICY,
            ..Default::default()
        };
        self.command(LAUNCH_START, &mut start)
            .context("KVM_SEV_SNP_LAUNCH_START")?;
        for range in ranges {
            let host = memory
                .get_host_address(GuestAddress(range.start))
                .context("address of a private range")?;
            let mut update = LaunchUpdate {
                gfn_start: range.start / PAGE,
                uaddr: host as u64,
                len: range.end - range.start,
                type_: PAGE_NORMAL,
                ..Default::default()
            };
            // KVM counts on in the structure.
            while update.len > 0 {
                self.command(LAUNCH_UPDATE, &mut update)
                    .with_context(|| format!("KVM_SEV_SNP_LAUNCH_UPDATE {range:#x?}"))?;
            }
        }
        self.command(LAUNCH_FINISH, &mut LaunchFinish::default())
            .context("KVM_SEV_SNP_LAUNCH_FINISH")?;
        Ok(self.into_firmware())
    }
}
