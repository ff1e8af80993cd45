// SPDX-License-Identifier: GPL-2.0
//! Runs of the guest, and what its samples say.

use crate::event::{snp, Ask, Event, Owed, KERNEL_MMIO, KERNEL_PORT, USER_MSR};
use crate::perf::{Counters, Counts};
use crate::result::{Clock, Figures};
use crate::{Handler, Measure};
use anyhow::{bail, ensure, Context, Result};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::msr::GhcbMsr;
use ghcb_rs::ghcb_abi::page::{Field, PROTOCOL_VERSION_OFFSET};
use ghcb_rs::ghcb_abi::psc::ELEMENT_SIZE;
use kvm_bindings::{
    kvm_run, KVM_EXIT_HLT, KVM_EXIT_HYPERCALL, KVM_EXIT_IO, KVM_EXIT_MMIO, KVM_EXIT_X86_RDMSR,
    KVM_EXIT_X86_WRMSR,
};
use kvm_ioctls::{IoEventAddress, Kvm, NoDatamatch};
use mailbox::Role;
use order::{Order, Row, Store};
use std::mem::offset_of;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};
use vm_memory::GuestMemoryMmap;
use vmm::exchange::page_image::{PageImage, PageInMemory};
use vmm::exchange::page_list::BEGIN;
use vmm::exchange::userspace;
use vmm::launch::kind::Kind;
use vmm::launch::vm::{set_word, word, Config, Vm};
use vmm_sys_util::eventfd::EventFd;

/// What a measurement gives.
pub struct Measured {
    /// The guest's ticks of a round trip.
    pub ticks: Figures,
    /// What was counted outside of the guest meanwhile, if that was asked for.
    pub counts: Option<Counts>,
}

/// A guest that takes orders.
pub struct Session {
    // Before the VM: it holds mappings of its vCPUs.
    runs: Vec<Run>,
    vm: Vm,
    _doorbell: EventFd,
}

impl Session {
    /// Launch a guest with this many vCPUs, whose exits `handler` answers.
    pub fn start(vcpus: u64, handler: Handler) -> Result<Self> {
        let is_snp = Kind::chosen().is_snp();
        // One more, which does not run, so that there is one to create.
        let all = if is_snp {
            vcpus.max(u64::from(snp::AP) + 1)
        } else {
            vcpus
        };
        let config = Config {
            vcpus: all,
            ..Config::default()
        };
        let roles = vec![Role::Events; usize::try_from(all)?];
        let mut vm = Vm::launch(config, &roles)?;
        let doorbell = EventFd::new(0)?;
        for address in [
            IoEventAddress::Pio(KERNEL_PORT.into()),
            IoEventAddress::Mmio(KERNEL_MMIO),
        ] {
            vm.fd()
                .register_ioevent(&doorbell, &address, NoDatamatch)
                .context("KVM_IOEVENTFD")?;
        }
        userspace::leave_msrs(vm.fd(), USER_MSR, 1)?;
        userspace::leave_hypercalls(vm.fd())?;
        let size = Kvm::new()?.get_vcpu_mmap_size()?;
        let runs = vm.split().0[..usize::try_from(vcpus)?]
            .iter()
            .map(|vcpu| Run::map(vcpu.fd().as_raw_fd(), size))
            .collect::<Result<_>>()?;
        let session = Self {
            runs,
            vm,
            _doorbell: doorbell,
        };
        if is_snp {
            session.register(handler)?;
        }
        Ok(session)
    }

    /// Have each vCPU register its page.
    fn register(&self, handler: Handler) -> Result<()> {
        let memory = self.vm.memory();
        for (vcpu, run) in (0..).zip(&self.runs) {
            let event = snp::registration(order::page(vcpu));
            let image = give_order(memory, vcpu, &event, handler, 1);
            run.until_halt(0)?;
            check(memory, vcpu, &event, handler, &image).context("registration")?;
        }
        Ok(())
    }

    /// The guest's time stamp counter.
    pub fn clock(&mut self) -> Result<Clock> {
        let khz = self.vm.split().0[0].fd().get_tsc_khz();
        Ok(Clock(khz.context("KVM_GET_TSC_KHZ")?))
    }

    /// Measure `event` again and again, for nothing: CPUs that were idle are slow at first.
    pub fn warm_up(&mut self, event: &Event, arguments: &Measure) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(arguments.warm_up) {
            self.measure(event, arguments)?;
        }
        Ok(())
    }

    /// Measure `event` on all vCPUs at the same time.
    pub fn measure(&mut self, event: &Event, arguments: &Measure) -> Result<Measured> {
        let &Measure { handler, count, .. } = arguments;
        let memory = self.vm.memory();
        let mut images = Vec::new();
        for vcpu in 0..self.runs.len() as u64 {
            images.push(give_order(memory, vcpu, event, handler, count));
        }
        // More than once: what is touched for the first time costs more.
        let mut counts = None;
        for _ in 0..arguments.repeat {
            counts = thread::scope(|scope| {
                let threads: Vec<_> = (arguments.cpu..)
                    .zip(&self.runs)
                    .map(|(cpu, run)| scope.spawn(move || run.counted(cpu, arguments.perf)))
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("threads do not panic"))
                    .reduce(|one, other| one.and(other))
                    .context("no vCPU")?
            })
            .with_context(|| format!("event {}", event.name))?;
        }
        let mut samples = Vec::new();
        for (vcpu, image) in (0..).zip(&images) {
            check(memory, vcpu, event, handler, image)
                .with_context(|| format!("event {} with {handler:?}", event.name))?;
            samples.extend((0..count).map(|n| word(memory, order::samples(vcpu) + n * 8)));
        }
        Ok(Measured {
            ticks: Figures::of(samples).context("no round trips")?,
            counts,
        })
    }
}

/// Write the order, and return what the page holds when the hypervisor sees it.
fn give_order(
    memory: &GuestMemoryMmap,
    vcpu: u64,
    event: &Event,
    handler: Handler,
    count: u64,
) -> PageImage {
    let gpa = order::page(vcpu);
    let at = order::order(vcpu);
    let mut image = PageImage::default();
    let mut stores = Vec::new();
    let mut entries = 0;
    if let Ask::Page(request) = &event.ask {
        image = request.image();
        let scratch = Field::SwScratch.offset();
        if request.is_scratch_inside() {
            image.set_word(scratch, gpa + image.word(scratch));
        }
        stores = Field::ALL
            .into_iter()
            .filter(|field| request.field(*field).is_some())
            .chain([Field::ValidBitmapLow, Field::ValidBitmapHigh])
            .map(Field::offset)
            .chain([PROTOCOL_VERSION_OFFSET])
            .map(|offset| offset & !7)
            .collect();
        // A list's header and entries tell how far it is done.
        if request.code() == ExitCode::PAGE_STATE_CHANGE {
            stores.push(BEGIN);
            entries = event.length;
        }
    }
    PageInMemory::new(memory, gpa).write(&image);
    for (index, offset) in stores.iter().enumerate() {
        let store = at + (offset_of!(Order, stores) + index * size_of::<Store>()) as u64;
        set_word(memory, store, *offset as u64);
        set_word(memory, store + 8, image.word(*offset));
    }
    let set = |offset: usize, value| set_word(memory, at + offset as u64, value);
    set(offset_of!(Order, store_count), stores.len() as u64);
    let first = image.word(BEGIN + ELEMENT_SIZE);
    let second = image.word(BEGIN + 2 * ELEMENT_SIZE);
    let row = |offset: usize, value| set(offset_of!(Order, row) + offset, value);
    row(offset_of!(Row, count), entries);
    row(offset_of!(Row, offset), (BEGIN + ELEMENT_SIZE) as u64);
    row(offset_of!(Row, first), first);
    row(offset_of!(Row, step), second.wrapping_sub(first));
    set(offset_of!(Order, msr), event.msr(handler, gpa));
    set(offset_of!(Order, count), count);
    image
}

/// Whether the handler did what it is to be measured for.
fn check(
    memory: &GuestMemoryMmap,
    vcpu: u64,
    event: &Event,
    handler: Handler,
    before: &PageImage,
) -> Result<()> {
    let gpa = order::page(vcpu);
    let page = PageInMemory::new(memory, gpa).copy();
    let msr = word(
        memory,
        order::order(vcpu) + offset_of!(Order, msr_after) as u64,
    );
    if matches!(handler, Handler::Floor | Handler::Emulation) {
        let changed = page.differences(before);
        ensure!(changed.is_empty(), "the page changed at {changed:x?}");
        let asked = event.msr(handler, gpa);
        ensure!(msr == asked, "the GHCB MSR changed to {msr:#x}");
        return Ok(());
    }
    match event.owed {
        Owed::Exit(info1, info2) => {
            let got = (
                page.word(Field::SwExitInfo1.offset()),
                page.word(Field::SwExitInfo2.offset()),
            );
            ensure!(
                got.0 == info1 && info2.is_none_or(|info2| got.1 == info2),
                "wrong reply {got:x?}"
            );
            ensure!(!page.differences(before).is_empty(), "nobody wrote a reply");
        }
        Owed::Msr(info) => ensure!(GhcbMsr(msr).info() == info, "wrong response {msr:#x}"),
    }
    Ok(())
}

/// A vCPU's descriptor and mapping, used without what a VMM would do around KVM_RUN.
struct Run {
    fd: RawFd,
    run: *mut kvm_run,
    size: usize,
}

// SAFETY: The mapping belongs to the process, and each `Run` is used by one thread at a time.
unsafe impl Sync for Run {}

impl Run {
    fn map(fd: RawFd, size: usize) -> Result<Self> {
        // SAFETY: A new mapping of a vCPU's descriptor.
        let run = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        ensure!(run != libc::MAP_FAILED, "mmap of a vCPU");
        Ok(Self {
            fd,
            run: run.cast(),
            size,
        })
    }

    /// Carry an order out, and count what that takes outside of the guest.
    fn counted(&self, cpu: usize, count: bool) -> Result<Option<Counts>> {
        let counters = count.then(Counters::begin).transpose()?;
        self.until_halt(cpu)?;
        counters.map(Counters::end).transpose()
    }

    /// Run on the host's processor `cpu`, if there is one, until the guest wants its next order.
    fn until_halt(&self, cpu: usize) -> Result<()> {
        const KVM_RUN: libc::Ioctl = 0xae80;
        // SAFETY: The set is as large as said.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut set);
            libc::sched_setaffinity(0, size_of_val(&set), &set);
        }
        loop {
            // SAFETY: KVM_RUN of a vCPU's descriptor changes the guest's memory and the mapping alone.
            let result = unsafe { libc::ioctl(self.fd, KVM_RUN, 0) };
            if result < 0 {
                bail!("KVM_RUN: {}", std::io::Error::last_os_error());
            }
            // SAFETY: KVM has written the field, and writes it again only in KVM_RUN.
            match unsafe { (&raw const (*self.run).exit_reason).read_volatile() } {
                KVM_EXIT_IO | KVM_EXIT_MMIO | KVM_EXIT_X86_RDMSR | KVM_EXIT_X86_WRMSR
                | KVM_EXIT_HYPERCALL => {}
                KVM_EXIT_HLT => return Ok(()),
                other => bail!("the guest left with reason {other}"),
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // SAFETY: Unmaps what `map()` mapped.
        unsafe { libc::munmap(self.run.cast(), self.size) };
    }
}
