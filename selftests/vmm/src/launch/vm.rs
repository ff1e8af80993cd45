// SPDX-License-Identifier: GPL-2.0
//! A guest of this suite: memory, vCPUs, launch, run.

use crate::exchange::exit::{answer, answer_certificates, set_hypercall_result, Exit};
use crate::launch::kind::Kind;
use crate::launch::page_states::PageStates;
use crate::launch::{image, memory, paging, sev};
use anyhow::{ensure, Context, Result};
use kvm_bindings::{
    kvm_cpuid_entry2, kvm_mp_state, kvm_userspace_memory_region, CpuId, KVM_EXIT_MEMORY_FAULT,
    KVM_MAX_CPUID_ENTRIES, KVM_MP_STATE_HALTED, KVM_MP_STATE_RUNNABLE,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use mailbox::{device, doorbell, map, Mailbox, Role, PAGE};
use std::fs::File;
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryMmap};

/// What a VM is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How the guest is protected.
    pub kind: Kind,
    /// Number of vCPUs.
    pub vcpus: u64,
    /// GHCB protocol version to offer; zero leaves the choice to KVM.
    pub ghcb_version: u16,
    /// Whether KVM emulates the interrupt controllers.
    pub irqchip: bool,
    /// A slot of one page at [`map::EXTRA`].
    pub extra: bool,
    /// Whether the VM is of the kind before `KVM_SEV_INIT2`. For SEV-ES alone.
    pub old: bool,
    /// Whether KVM asks userspace for certificates. For SEV-SNP alone.
    pub certificates: bool,
}

impl Config {
    /// VMs that differ in what a guest may ask: of each version of the protocol, and for SEV-ES of the kind before
    /// `KVM_SEV_INIT2`, which has the first.
    pub fn kinds() -> Vec<Self> {
        let kind = Kind::chosen();
        let mut kinds: Vec<_> = kind
            .versions()
            .iter()
            .map(|version| Self {
                ghcb_version: *version,
                ..Self::default()
            })
            .collect();
        kinds.extend((kind == Kind::SevEs).then(Self::before_init2));
        kinds
    }

    /// A VM of the kind before `KVM_SEV_INIT2`.
    pub fn before_init2() -> Self {
        Self {
            ghcb_version: 1,
            old: true,
            ..Self::default()
        }
    }

    /// What it is among [`Config::kinds`].
    pub fn label(&self) -> &'static str {
        match (self.old, self.ghcb_version) {
            (true, _) => "KVM_SEV_ES_INIT",
            (false, 1) => "version 1",
            _ => "version 2",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kind: Kind::chosen(),
            vcpus: 1,
            ghcb_version: 0,
            irqchip: false,
            extra: false,
            old: false,
            certificates: false,
        }
    }
}

/// A launched guest. Dropping it frees everything in the kernel.
pub struct Vm {
    vcpus: Vec<Vcpu>,
    memory: GuestMemoryMmap,
    cpuid: CpuId,
    config: Config,
    firmware: Option<File>,
    private: Option<OwnedFd>,
    // Last, because memory and vCPUs belong to it.
    fd: VmFd,
}

/// One vCPU of a [`Vm`].
pub struct Vcpu {
    fd: VcpuFd,
    page_states: Option<Arc<PageStates>>,
}

impl Vm {
    /// Create and launch a guest whose vCPUs have `roles`.
    pub fn launch(config: Config, roles: &[Role]) -> Result<Self> {
        ensure!(
            roles.len() as u64 == config.vcpus && config.vcpus <= mailbox::MAX_VCPUS,
            "one role for each vCPU"
        );
        let kvm = Kvm::new().context("open /dev/kvm")?;
        let c_bit = sev::c_bit(&kvm)?;
        let vm = kvm
            .create_vm_with_type(if config.old { 0 } else { config.kind.vm_type() })
            .with_context(|| format!("KVM_CREATE_VM of type {}", config.kind))?;
        let launch = if config.old {
            sev::Launch::init_old(&vm)
        } else {
            sev::Launch::init(&vm, config.ghcb_version)
        }?;
        if config.certificates {
            launch.ask_for_certificates()?;
        }
        if config.irqchip {
            vm.create_irq_chip().context("KVM_CREATE_IRQCHIP")?;
        }
        let memory = memory::map(&config)?;
        let private = memory::attach(&vm, config.kind, &memory)?;
        let loaded = image::load(&memory)?;
        paging::write_tables(&memory, c_bit)?;
        let cpuid = cpuid(&kvm)?;
        let mut vcpus = Vec::new();
        for (index, role) in (0..).zip(roles) {
            paging::write_descriptors(&memory, index)?;
            let vcpu = Vcpu::new(&vm, index, &cpuid, c_bit, loaded.entry)?;
            if config.irqchip {
                // Makes KVM enter the APIC into its map: it looked before the vCPU was listed.
                let lapic = vcpu.fd.get_lapic().context("KVM_GET_LAPIC")?;
                vcpu.fd.set_lapic(&lapic).context("KVM_SET_LAPIC")?;
            }
            vcpus.push(vcpu);
            let vm = Mail {
                memory: &memory,
                vcpu: index,
            };
            vm.set(offset_of!(Mailbox, role), *role as u64);
            vm.set(offset_of!(Mailbox, vcpu), index);
            vm.set(
                offset_of!(Mailbox, doorbell),
                if config.irqchip {
                    doorbell::PORT_IO
                } else {
                    doorbell::HLT
                },
            );
        }
        let stacks = map::STACKS + config.vcpus * map::STACK_SIZE;
        let encrypted = [map::TABLES..stacks, map::IMAGE..loaded.end];
        let firmware = match config.kind {
            Kind::SevEs => launch.finish_es(&memory, &encrypted),
            Kind::SevSnp => launch.finish_snp(&memory, &encrypted),
        }?;
        Ok(Self {
            firmware: Some(firmware),
            private,
            vcpus,
            memory,
            cpuid,
            config,
            fd: vm,
        })
    }

    /// What the VM was asked to be like.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// The VM itself.
    pub fn fd(&self) -> &VmFd {
        &self.fd
    }

    /// Serve page state changes from now on.
    pub fn serve_page_states(&mut self) -> Result<Arc<PageStates>> {
        let states = Arc::new(PageStates::of(&self.fd)?);
        for vcpu in &mut self.vcpus {
            vcpu.page_states = Some(states.clone());
        }
        Ok(states)
    }

    /// The file of the guest's private memory, if it has one.
    pub fn private_memory(&self) -> Result<Option<File>> {
        let file = self.private.as_ref().map(OwnedFd::try_clone);
        Ok(file.transpose().context("dup")?.map(File::from))
    }

    /// Close the device of the secure processor, through which KVM sends the guest's messages.
    pub fn close_firmware(&mut self) {
        self.firmware = None;
    }

    /// Take the slot at [`map::EXTRA`] away from the guest; the memory behind it stays mapped here.
    pub fn remove_extra(&self) -> Result<()> {
        let slot = kvm_userspace_memory_region {
            slot: 1,
            guest_phys_addr: map::EXTRA,
            ..Default::default()
        };
        // SAFETY: A size of zero removes the slot.
        unsafe { self.fd.set_user_memory_region(slot) }.context("remove a slot")
    }

    /// Make the memory behind [`map::EXTRA`] read-only for this process, and so for KVM.
    pub fn protect_extra(&self) -> Result<()> {
        let host = self.memory.get_host_address(GuestAddress(map::EXTRA))?;
        // SAFETY: One page of a mapping of ours, of which no reference is held.
        let status = unsafe { libc::mprotect(host.cast(), PAGE as usize, libc::PROT_READ) };
        ensure!(status == 0, "mprotect: {}", std::io::Error::last_os_error());
        Ok(())
    }

    /// The CPUID entries of the guest.
    pub fn cpuid(&self) -> &[kvm_cpuid_entry2] {
        self.cpuid.as_slice()
    }

    /// Mailbox of `vcpu`.
    pub fn mail(&self, vcpu: u64) -> Mail<'_> {
        Mail {
            memory: &self.memory,
            vcpu,
        }
    }

    /// One vCPU, and the memory beside it.
    pub fn vcpu(&mut self, index: usize) -> &mut Vcpu {
        &mut self.vcpus[index]
    }

    /// All vCPUs, the memory and the VM itself, for threads of their own.
    pub fn parts(&mut self) -> (&mut [Vcpu], &GuestMemoryMmap, &VmFd) {
        (&mut self.vcpus, &self.memory, &self.fd)
    }

    /// All vCPUs and the memory, for threads of their own.
    pub fn split(&mut self) -> (&mut [Vcpu], &GuestMemoryMmap) {
        (&mut self.vcpus, &self.memory)
    }
}

impl Vcpu {
    fn new(vm: &VmFd, index: u64, cpuid: &CpuId, c_bit: u64, entry: u64) -> Result<Self> {
        let fd = vm.create_vcpu(index).context("KVM_CREATE_VCPU")?;
        fd.set_cpuid2(cpuid).context("KVM_SET_CPUID2")?;
        let mut sregs = fd.get_sregs().context("KVM_GET_SREGS")?;
        paging::special_registers(&mut sregs, index, c_bit);
        fd.set_sregs(&sregs).context("KVM_SET_SREGS")?;
        fd.set_regs(&paging::registers(entry, index))
            .context("KVM_SET_REGS")?;
        Ok(Self::of(fd))
    }

    /// A vCPU that has a descriptor.
    pub(crate) fn of(fd: VcpuFd) -> Self {
        Self {
            fd,
            page_states: None,
        }
    }

    /// Enter the guest once; reads by the guest are answered when it is entered again.
    pub fn run(&mut self) -> Exit {
        let result = self.fd.run().map(drop);
        let run = self.fd.get_kvm_run();
        if let Err(error) = result {
            // Unknown reasons are not errors here; kvm-ioctls reports them all in its enum.
            match error.errno() {
                libc::EINTR => return Exit::Interrupted,
                // An exit of its own, although KVM_RUN fails.
                libc::EFAULT if run.exit_reason == KVM_EXIT_MEMORY_FAULT => {}
                errno => return Exit::Errno(errno),
            }
        }
        // SAFETY: `run` comes from the mapping that KVM_RUN just wrote, which lives as long as `fd`.
        let exit = unsafe {
            let exit = Exit::copy_from(run);
            answer(run);
            exit
        };
        let states = self.page_states.as_ref();
        if let Some(result) = states.and_then(|states| states.serve(&exit)) {
            set_hypercall_result(run, result);
        }
        exit
    }

    /// Set or clear `immediate_exit`: KVM_RUN completes what is pending and returns.
    pub fn set_immediate_exit(&mut self, on: bool) {
        self.fd.set_kvm_immediate_exit(u8::from(on));
    }

    /// Answer the request for certificates that the last exit was.
    pub fn answer_certificates(&mut self, answer: u64, pages: u64) {
        answer_certificates(self.fd.get_kvm_run(), answer, pages);
    }

    /// Let the vCPU run although KVM waits for a SIPI.
    pub fn set_runnable(&self) -> Result<()> {
        self.set_state(KVM_MP_STATE_RUNNABLE)
    }

    /// Let the vCPU wait as after HLT.
    pub fn set_halted(&self) -> Result<()> {
        self.set_state(KVM_MP_STATE_HALTED)
    }

    fn set_state(&self, mp_state: u32) -> Result<()> {
        self.fd
            .set_mp_state(kvm_mp_state { mp_state })
            .context("KVM_SET_MP_STATE")
    }

    /// Queue an NMI.
    pub fn nmi(&self) -> Result<()> {
        self.fd.nmi().context("KVM_NMI")
    }

    /// Writes that KVM has coalesced since the last call: addresses and data.
    pub fn coalesced(&mut self) -> Result<Vec<(u64, Vec<u8>)>> {
        self.fd.map_coalesced_mmio_ring().context("map the ring")?;
        let mut writes = Vec::new();
        while let Some(write) = self.fd.coalesced_mmio_read().context("read the ring")? {
            let len = (write.len as usize).min(write.data.len());
            writes.push((write.phys_addr, write.data[..len].to_vec()));
        }
        Ok(writes)
    }

    /// The vCPU's own descriptor.
    pub fn fd(&self) -> &VcpuFd {
        &self.fd
    }
}

/// The VMM's view of one mailbox.
#[derive(Clone, Copy)]
pub struct Mail<'a> {
    memory: &'a GuestMemoryMmap,
    vcpu: u64,
}

impl<'a> Mail<'a> {
    /// The mailbox of `vcpu` in `memory`.
    pub fn new(memory: &'a GuestMemoryMmap, vcpu: u64) -> Self {
        Self { memory, vcpu }
    }

    /// Read the word at `offset` of the mailbox.
    pub fn get(&self, offset: usize) -> u64 {
        word(
            self.memory,
            map::MAILBOXES + self.vcpu * PAGE + offset as u64,
        )
    }

    /// Write the word at `offset` of the mailbox.
    pub fn set(&self, offset: usize, value: u64) {
        set_word(
            self.memory,
            map::MAILBOXES + self.vcpu * PAGE + offset as u64,
            value,
        );
    }
}

/// The word at `gpa`, zero where there is no memory.
pub fn word(memory: &GuestMemoryMmap, gpa: u64) -> u64 {
    memory
        .load(GuestAddress(gpa), Ordering::Acquire)
        .unwrap_or(0)
}

/// Set the word at `gpa`.
pub fn set_word(memory: &GuestMemoryMmap, gpa: u64, value: u64) {
    // The addresses are the suite's own; a wrong one shows as a failed test.
    let _ = memory.store(value, GuestAddress(gpa), Ordering::Release);
}

/// What KVM supports, and leaves of our own whose answers are known for certain.
fn cpuid(kvm: &Kvm) -> Result<CpuId> {
    let supported = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .context("KVM_GET_SUPPORTED_CPUID")?;
    let mut entries: Vec<_> = supported.as_slice().to_vec();
    for leaf in 0..4 {
        let function = device::CPUID_OWN + leaf;
        entries.push(kvm_cpuid_entry2 {
            function,
            eax: device::cpuid(function, 0),
            ebx: device::cpuid(function, 1),
            ecx: device::cpuid(function, 2),
            edx: device::cpuid(function, 3),
            ..Default::default()
        });
    }
    CpuId::from_entries(&entries).context("CPUID entries")
}
