// SPDX-License-Identifier: GPL-2.0
//! A guest's memory: what userspace sees of it, and for SEV-SNP the private pages beside it.

use crate::launch::kind::Kind;
use crate::launch::vm::Config;
use anyhow::{ensure, Context, Result};
use kvm_bindings::{
    kvm_create_guest_memfd, kvm_memory_attributes, kvm_userspace_memory_region,
    kvm_userspace_memory_region2, KVM_MEMORY_ATTRIBUTE_PRIVATE, KVM_MEM_GUEST_MEMFD,
};
use kvm_ioctls::VmFd;
use mailbox::{map, PAGE};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use vm_memory::{Address, GuestMemory, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap};

/// Map the memory that userspace shares with the guest.
pub(super) fn map(config: &Config) -> Result<GuestMemoryMmap> {
    let size = usize::try_from(map::SHARED + map::SHARED_SIZE)?;
    let mut ranges = vec![(vm_memory::GuestAddress(map::PRIVATE), size)];
    if config.extra {
        ranges.push((vm_memory::GuestAddress(map::EXTRA), PAGE as usize));
    }
    GuestMemoryMmap::from_ranges(&ranges).context("guest memory")
}

/// Give `vm` a slot for each region of `memory`. The private half of a VM for SEV-SNP has pages of its own, which
/// nobody but the guest sees: they live as long as the file that is returned.
pub(super) fn attach(vm: &VmFd, kind: Kind, memory: &GuestMemoryMmap) -> Result<Option<OwnedFd>> {
    let mut private = None;
    for (slot, region) in (0..).zip(memory.iter()) {
        let slot = kvm_userspace_memory_region {
            slot,
            guest_phys_addr: region.start_addr().raw_value(),
            memory_size: region.len(),
            userspace_addr: memory.get_host_address(region.start_addr())? as u64,
            flags: 0,
        };
        if kind.is_snp() && slot.guest_phys_addr == map::PRIVATE {
            private = Some(attach_private(vm, region, &slot)?);
            continue;
        }
        // SAFETY: The memory outlives the VM: both are fields of `Vm`, and slots do not overlap.
        unsafe { vm.set_user_memory_region(slot) }.context("KVM_SET_USER_MEMORY_REGION")?;
    }
    Ok(private)
}

fn attach_private(
    vm: &VmFd,
    region: &GuestRegionMmap,
    slot: &kvm_userspace_memory_region,
) -> Result<OwnedFd> {
    let file = vm
        .create_guest_memfd(kvm_create_guest_memfd {
            size: region.len(),
            ..Default::default()
        })
        .context("KVM_CREATE_GUEST_MEMFD")?;
    // SAFETY: The descriptor is new, and nobody else's.
    let file = unsafe { OwnedFd::from_raw_fd(file) };
    let slot = kvm_userspace_memory_region2 {
        slot: slot.slot,
        flags: KVM_MEM_GUEST_MEMFD,
        guest_phys_addr: slot.guest_phys_addr,
        memory_size: slot.memory_size,
        userspace_addr: slot.userspace_addr,
        guest_memfd: u32::try_from(file.as_raw_fd())?,
        ..Default::default()
    };
    // SAFETY: As for other slots.
    unsafe { vm.set_user_memory_region2(slot) }.context("KVM_SET_USER_MEMORY_REGION2")?;
    set_private(vm, map::PRIVATE, map::PRIVATE_SIZE, true)?;
    Ok(file)
}

/// Take `size` bytes from `gpa` out of a guest's private memory: the next access brings fresh pages.
pub fn punch(private: &File, gpa: u64, size: u64) -> Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let (at, size) = (i64::try_from(gpa - map::PRIVATE)?, i64::try_from(size)?);
    // SAFETY: The descriptor is open; the guest's memory is nobody's here.
    let status = unsafe { libc::fallocate(private.as_raw_fd(), mode, at, size) };
    ensure!(
        status == 0,
        "fallocate: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}

/// Make `size` bytes from `gpa` private, or shared.
pub fn set_private(vm: &VmFd, gpa: u64, size: u64, private: bool) -> Result<()> {
    let attributes = if private {
        KVM_MEMORY_ATTRIBUTE_PRIVATE
    } else {
        0
    };
    vm.set_memory_attributes(kvm_memory_attributes {
        address: gpa,
        size,
        attributes: attributes.into(),
        flags: 0,
    })
    .with_context(|| format!("KVM_SET_MEMORY_ATTRIBUTES {gpa:#x} {size:#x}"))
}
