// SPDX-License-Identifier: GPL-2.0

//! The files in debugfs; `docs/ABI/debugfs-ghcb_rs` says what is in them.
//!
//! The directories of VMs come and go by a work item: no vCPU waits for who reads them, nor its VM's end.

use super::{
    accounts, failures,
    tables::{self, Scope},
    vcpu::VmName,
};
use kernel::{
    bindings,
    debugfs::{Dir, File},
    fmt,
    prelude::*,
    sync::{global_lock, Arc},
    workqueue::{self, impl_has_work, new_work, Work, WorkItem},
};

/// The files in debugfs. Dropping this removes them.
#[pin_data(PinnedDrop)]
pub(crate) struct Files {
    #[pin]
    events: File<Scope>,
    #[pin]
    reasons: File<Scope>,
    #[pin]
    verdicts: File<Scope>,
    #[pin]
    latency: File<Scope>,
    #[pin]
    failures: File<()>,
    #[pin]
    pending: File<()>,
    _dir: Dir,
}

impl Files {
    /// Makes `/sys/kernel/debug/ghcb_rs`. `write_pending` writes the table of pending replies.
    pub(crate) fn new<F>(write_pending: &'static F) -> impl PinInit<Self, Error>
    where
        F: Fn(&(), &mut fmt::Formatter<'_>) -> fmt::Result + Send + Sync,
    {
        let dir = Dir::new(c"ghcb_rs");
        let parent = dir.clone();
        pin_init::pin_init_scope(move || {
            start(parent.subdir(c"vms"))?;
            Ok(try_pin_init!(Self {
                events <- parent.read_callback_file(c"events", Scope::All, &Scope::write_events),
                reasons <- parent.read_callback_file(c"reasons", Scope::All, &Scope::write_reasons),
                verdicts <- parent.read_callback_file(c"verdicts", Scope::All, &Scope::write_verdicts),
                latency <- parent.read_callback_file(c"latency", Scope::All, &Scope::write_latency),
                failures <- parent.read_callback_file(c"failures", (), &|&(), f| failures::write(f)),
                pending <- parent.read_callback_file(c"pending", (), write_pending),
                _dir: dir,
            }? Error))
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Files {
    fn drop(self: Pin<&mut Self>) {
        end();
    }
}

/// The files of a VM. Dropping this removes them, when nobody reads them any more.
#[pin_data]
struct VmFiles {
    #[pin]
    events: File<Scope>,
    #[pin]
    reasons: File<Scope>,
    #[pin]
    verdicts: File<Scope>,
    #[pin]
    latency: File<Scope>,
    #[pin]
    vcpus: File<VmName>,
    _dir: Dir,
    vm: VmName,
}

impl VmFiles {
    fn new(parent: &Dir, vm: VmName) -> Result<Pin<KBox<Self>>> {
        let dir = parent.subdir(vm.as_cstr());
        let inner = dir.clone();
        KBox::pin_init(
            try_pin_init!(Self {
                events <- inner.read_callback_file(c"events", Scope::Vm(vm), &Scope::write_events),
                reasons <- inner.read_callback_file(c"reasons", Scope::Vm(vm), &Scope::write_reasons),
                verdicts <- inner.read_callback_file(c"verdicts", Scope::Vm(vm), &Scope::write_verdicts),
                latency <- inner.read_callback_file(c"latency", Scope::Vm(vm), &Scope::write_latency),
                vcpus <- inner.read_callback_file(c"vcpus", vm, &tables::write_vcpus),
                _dir: dir,
                vm,
            }? Error),
            GFP_KERNEL,
        )
    }
}

/// What makes and removes the directories of VMs.
#[pin_data]
struct Clerk {
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Clerk { self.work }
}

impl WorkItem for Clerk {
    type Pointer = Arc<Self>;

    fn run(_: Arc<Self>) {
        let mut vms = VMS.lock();
        if let Some(vms) = vms.as_mut() {
            vms.update();
        }
    }
}

/// The directories of VMs, in one of their own.
struct Vms {
    dir: Dir,
    first: Option<KBox<Entry>>,
}

/// A list of directories.
struct Entry {
    files: Pin<KBox<VmFiles>>,
    next: Option<KBox<Entry>>,
}

impl Vms {
    /// Makes the directories that VMs lack, and removes those of VMs that are gone.
    fn update(&mut self) {
        let mut rest = self.first.take();
        while let Some(mut entry) = rest {
            rest = entry.next.take();
            if accounts::find_vm(|vm| *vm == entry.files.vm).is_some() {
                entry.next = self.first.take();
                self.first = Some(entry);
            }
        }
        while let Some(vm) = accounts::find_vm(|vm| !self.has(vm)) {
            // Without memory, the next vCPU brings the next try.
            if self.add(vm).is_err() {
                break;
            }
        }
    }

    /// Whether a VM has a directory.
    fn has(&self, vm: &VmName) -> bool {
        let mut next = &self.first;
        while let Some(entry) = next {
            if entry.files.vm == *vm {
                return true;
            }
            next = &entry.next;
        }
        false
    }

    /// Makes the directory of a VM.
    fn add(&mut self, vm: VmName) -> Result {
        let files = VmFiles::new(&self.dir, vm)?;
        let mut entry = KBox::new(Entry { files, next: None }, GFP_KERNEL)?;
        entry.next = self.first.take();
        self.first = Some(entry);
        Ok(())
    }
}

global_lock! {
    // SAFETY: `init()` comes before anything else of this file. Held by the work item, and at the start and the end.
    unsafe(uninit) static VMS: Mutex<Option<Vms>> = None;
}

global_lock! {
    // SAFETY: As for `VMS`.
    unsafe(uninit) static CLERK: SpinLock<Option<Arc<Clerk>>> = None;
}

/// Initializes the locks.
///
/// # Safety
///
/// To be called once, and before any other function here.
pub(super) unsafe fn init() {
    // SAFETY: By the caller.
    unsafe {
        VMS.init();
        CLERK.init();
    }
}

/// Begins to make directories in `dir`.
fn start(dir: Dir) -> Result {
    let clerk = Arc::pin_init(
        pin_init!(Clerk { work <- new_work!("ghcb_rs_files") }),
        GFP_KERNEL,
    )?;
    *VMS.lock() = Some(Vms { dir, first: None });
    *CLERK.lock() = Some(clerk);
    Ok(())
}

/// Has the directories made and removed, soon. Does not sleep.
pub(super) fn look() {
    let clerk = CLERK.lock().clone();
    if let Some(clerk) = clerk {
        let _ = workqueue::system_long().enqueue(clerk);
    }
}

/// Removes all directories. No exit is handled any more.
fn end() {
    accounts::close_all();
    let clerk = CLERK.lock().take();
    if let Some(clerk) = clerk {
        // SAFETY: It has been initialized, and lives as long as `clerk`. Nobody queues it any more.
        unsafe { bindings::flush_work(Work::raw_get(&raw const clerk.work)) };
    }
    let vms = VMS.lock().take();
    if let Some(mut vms) = vms {
        // One by one: dropping a list drops each entry inside of the one before.
        vms.update();
    }
    accounts::end();
}
