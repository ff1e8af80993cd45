// SPDX-License-Identifier: GPL-2.0
//! The VM that a guest moves to: `KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM`.

use super::kind::Kind;
use super::memory;
use super::vm::{Vcpu, Vm};
use anyhow::{Context, Result};
use kvm_bindings::{kvm_enable_cap, CpuId};
use kvm_ioctls::{Kvm, VmFd};
use std::os::fd::AsRawFd;

/// `KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM`.
const MOVE_CONTEXT: u32 = 206;

/// A VM with one vCPU, which has taken a guest over. The guest's memory is its predecessor's.
pub struct Successor {
    vcpu: Vcpu,
    fd: VmFd,
}

impl Successor {
    /// Move the guest of `vm`, of the kind before `KVM_SEV_INIT2`, with the registers that KVM keeps for it.
    /// `vm` cannot run any more, and must outlive this.
    pub fn of(vm: &mut Vm) -> Result<Self> {
        let kvm = Kvm::new().context("open /dev/kvm")?;
        let fd = kvm.create_vm_with_type(0).context("KVM_CREATE_VM")?;
        memory::attach(&fd, Kind::SevEs, vm.memory())?;
        let vcpu = fd.create_vcpu(0).context("KVM_CREATE_VCPU")?;
        vcpu.set_cpuid2(&CpuId::from_entries(vm.cpuid())?)
            .context("KVM_SET_CPUID2")?;
        let source = vm.vcpu(0).fd();
        vcpu.set_regs(&source.get_regs().context("KVM_GET_REGS")?)
            .context("KVM_SET_REGS")?;
        vcpu.set_sregs(&source.get_sregs().context("KVM_GET_SREGS")?)
            .context("KVM_SET_SREGS")?;
        let mut capability = kvm_enable_cap {
            cap: MOVE_CONTEXT,
            ..Default::default()
        };
        capability.args[0] = vm.fd().as_raw_fd() as u64;
        fd.enable_cap(&capability)
            .context("KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM")?;
        Ok(Self {
            vcpu: Vcpu::of(vcpu),
            fd,
        })
    }

    /// Its vCPU.
    pub fn vcpu(&mut self) -> &mut Vcpu {
        &mut self.vcpu
    }

    /// The VM itself.
    pub fn fd(&self) -> &VmFd {
        &self.fd
    }
}
