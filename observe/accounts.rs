// SPDX-License-Identifier: GPL-2.0

//! An account for each vCPU: what has been counted of it.
//!
//! It is opened at the vCPU's first exit and closed when the vCPU is freed. A CPU remembers the account that it used last, so
//! that counting is a comparison and an increment; when another vCPU runs there, its account is found in a table. Neither
//! takes a lock, sleeps or allocates. Opening one allocates, without waiting for memory: where there is none, the exit is
//! counted for all, and the next one tries again.
//!
//! An account is freed when no task can still be looking at it: who looks does not sleep meanwhile, so RCU Tasks says when
//! that is. Who reads all accounts, for a file, is a [`Reader`], which keeps them open.
//!
//! C headers: `include/linux/rcupdate.h`.

use super::{
    counts::Counts,
    files,
    latency::Latency,
    per_cpu,
    vcpu::{Vcpu, VmName},
};
use crate::vmgexit::{kind::Kind, refusal::Refusal, verdict::Verdict};
use core::{
    mem::offset_of,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU8, Ordering},
};
use kernel::{
    alloc::flags::{GFP_NOWAIT, __GFP_NOWARN},
    bindings::callback_head,
    prelude::*,
    sync::global_lock,
};

extern "C" {
    fn call_rcu_tasks(
        head: *mut callback_head,
        function: Option<unsafe extern "C" fn(*mut callback_head)>,
    );
    fn rcu_barrier_tasks();
}

/// What has been counted of a vCPU.
#[repr(C)]
pub(super) struct Account {
    /// [`Vcpu::key()`]. First, so that [`NOBODY`] can stand for an account.
    key: usize,
    /// Counters.
    pub(super) counts: Counts,
    /// Its VM.
    pub(super) vm: VmName,
    /// Its number in there.
    pub(super) vcpu: u32,
    /// The kind of the exit that was counted last as such, plus one, while times are taken; zero if none has been.
    last: AtomicU8,
    /// How long exits have taken, if that was asked for.
    latency: AtomicPtr<Latency>,
    /// The next one in the same place of the table.
    next: AtomicPtr<Account>,
    /// For RCU.
    head: callback_head,
}

// SAFETY: Integers, null pointers, and no function. Those that are atomic are laid out as those that are not.
unsafe impl Zeroable for Account {}

/// Stands for the account that a CPU used last when there is none: no vCPU has its key.
static NOBODY: usize = 0;

const fn nobody() -> *mut Account {
    (&raw const NOBODY).cast_mut().cast()
}

/// The account that a CPU used last.
#[link_section = ".data..percpu"]
// SAFETY: A static in that section.
static LAST: per_cpu::Pointer<Account> = unsafe { per_cpu::Pointer::new(nobody()) };

/// log2 of the number of places in the table.
const TABLE_BITS: u32 = 8;

/// All accounts that are open, each in the place that its key says.
static TABLE: [AtomicPtr<Account>; 1 << TABLE_BITS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; 1 << TABLE_BITS];

/// What was counted of vCPUs that are gone, and of those that had no account.
static REST: Counts = Counts::new();

/// How long exits of vCPUs took that are gone.
static REST_LATENCY: Latency = Latency::new();

global_lock! {
    // SAFETY: `init()` comes before anything else of this file.
    unsafe(uninit) static OPEN: Mutex<()> = ();
}

global_lock! {
    // SAFETY: As for `OPEN`. Held to change the table.
    unsafe(uninit) static CHANGE: SpinLock<()> = ();
}

/// Initializes the locks.
///
/// # Safety
///
/// To be called once, and before any other function here.
pub(super) unsafe fn init() {
    // SAFETY: By the caller.
    unsafe {
        OPEN.init();
        CHANGE.init();
    }
}

/// Counts an exit of a vCPU that this task runs.
#[inline(always)]
pub(super) fn count(vcpu: &impl Vcpu, kind: Kind) {
    let account = LAST.get();
    // SAFETY: What a CPU used last is an account that is not freed before this task sleeps, or `NOBODY`, of which no more
    // than the key is looked at.
    unsafe {
        if (*account).key == vcpu.key() {
            return (*account).counts.count_exit(kind);
        }
    }
    count_elsewhere(vcpu, kind);
}

/// The same where another vCPU has run on this CPU since.
#[cold]
#[inline(never)]
fn count_elsewhere(vcpu: &impl Vcpu, kind: Kind) {
    match of(vcpu) {
        Some(account) => {
            LAST.set(ptr::from_ref(account).cast_mut());
            account.counts.count_exit(kind);
            account.set_last(kind);
        }
        None => REST.share_exit(kind),
    }
}

/// Counts an error reply to a vCPU that this task runs. Returns the name of its VM, which is found on the way.
pub(super) fn count_error(vcpu: &impl Vcpu, kind: Kind, refusal: Refusal) -> VmName {
    match of(vcpu) {
        Some(account) => {
            account.counts.count_error(kind, refusal);
            account.vm
        }
        None => {
            REST.share_error(kind, refusal);
            vcpu.vm()
        }
    }
}

/// Counts an exit that C has answered, of a vCPU that this task runs.
pub(super) fn count_verdict(vcpu: &impl Vcpu, kind: Kind, verdict: Verdict) {
    match of(vcpu) {
        Some(account) => {
            account.counts.count_verdict(kind, verdict);
            account.set_last(kind);
        }
        None => REST.share_verdict(kind, verdict),
    }
}

/// An exit begins whose time is taken. Which kind it is of is told by the count of it, which is therefore to go by
/// [`count_elsewhere()`].
pub(super) fn begin_timed(vcpu: &impl Vcpu) {
    LAST.set(nobody());
    if let Some(account) = find(vcpu.key()) {
        // SAFETY: It is in the table, and closed by who frees the vCPU.
        unsafe { &(*account).last }.store(0, Ordering::Relaxed);
    }
}

/// It has ended, after so many nanoseconds. May sleep. One that was counted on another CPU, as exits are whose time is not
/// taken, is left out.
pub(super) fn end_timed(vcpu: &impl Vcpu, time: u64) {
    let Some(account) = of(vcpu) else { return };
    let last = account.last.swap(0, Ordering::Relaxed);
    let kind = usize::from(last)
        .checked_sub(1)
        .and_then(|last| Kind::ALL.get(last));
    if let Some((kind, latency)) = kind.zip(account.latency()) {
        latency.count(*kind, time);
    }
}

impl Account {
    /// Remembers what kind an exit is of.
    fn set_last(&self, kind: Kind) {
        self.last
            .store((kind as u8).wrapping_add(1), Ordering::Relaxed);
    }

    /// Where times are counted, if there is memory. May sleep.
    fn latency(&self) -> Option<&Latency> {
        let mut latency = self.latency.load(Ordering::Acquire);
        if latency.is_null() {
            let new = KVBox::<Latency>::zeroed(GFP_KERNEL | __GFP_NOWARN).ok()?;
            latency = KVBox::into_raw(new);
            // This task alone makes one.
            self.latency.store(latency, Ordering::Release);
        }
        // SAFETY: It is freed with the account.
        unsafe { latency.as_ref() }
    }
}

/// The account of a vCPU that this task runs, and that is therefore not freed.
fn of<V: Vcpu>(vcpu: &V) -> Option<&Account> {
    let account = find(vcpu.key()).or_else(|| open(vcpu))?;
    // SAFETY: It is in the table, and closed by who frees the vCPU.
    Some(unsafe { &*account })
}

/// The place of a key in the table.
fn place(key: usize) -> Option<&'static AtomicPtr<Account>> {
    /// 2^64 divided by the golden ratio.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let spread = (key as u64).wrapping_mul(SPREAD);
    TABLE.get((spread >> (u64::BITS - TABLE_BITS)) as usize)
}

/// Looks for an account. Valid until the caller sleeps, if nothing else keeps it.
fn find(key: usize) -> Option<*mut Account> {
    let mut account = place(key)?.load(Ordering::Acquire);
    while !account.is_null() {
        // SAFETY: It was in the table when this task last slept, or later: it is not freed yet.
        unsafe {
            if (*account).key == key {
                return Some(account);
            }
            account = (*account).next.load(Ordering::Acquire);
        }
    }
    None
}

/// Opens an account, if there is memory. Does not sleep.
fn open(vcpu: &impl Vcpu) -> Option<*mut Account> {
    let place = place(vcpu.key())?;
    let mut account = KBox::<Account>::zeroed(GFP_NOWAIT | __GFP_NOWARN).ok()?;
    account.key = vcpu.key();
    account.vm = vcpu.vm();
    account.vcpu = vcpu.number();
    let account = KBox::into_raw(account);
    {
        let _change = CHANGE.lock();
        // SAFETY: This task's alone still.
        unsafe { &(*account).next }.store(place.load(Ordering::Relaxed), Ordering::Relaxed);
        place.store(account, Ordering::Release);
    }
    files::look();
    Some(account)
}

/// Closes the account of a vCPU that is freed. May sleep.
pub(super) fn close(key: usize) {
    if find(key).is_none() {
        return;
    }
    {
        let _open = OPEN.lock();
        remove(|account| account.key == key);
    }
    files::look();
}

/// Closes all accounts. May sleep. No exit is being handled.
pub(super) fn close_all() {
    {
        let _open = OPEN.lock();
        remove(|_| true);
    }
    files::look();
}

/// Takes accounts out of the table, and has them freed. [`OPEN`] is held.
fn remove(is_over: impl Fn(&Account) -> bool) {
    for place in &TABLE {
        let mut link = place;
        loop {
            let account = link.load(Ordering::Relaxed);
            if account.is_null() {
                break;
            }
            // SAFETY: It is in the table, and `OPEN` is held.
            let it = unsafe { &*account };
            if !is_over(it) {
                link = &it.next;
                continue;
            }
            {
                let _change = CHANGE.lock();
                // A newer one may have come before it.
                unlink(place, account);
            }
            LAST.replace_all(account, nobody());
            REST.add(&it.counts);
            let latency = it.latency.swap(ptr::null_mut(), Ordering::Relaxed);
            if !latency.is_null() {
                // SAFETY: Made by `latency()`. The vCPU's task is gone, and who reads holds `OPEN`.
                let latency = unsafe { KVBox::from_raw(latency) };
                REST_LATENCY.add(&latency);
            }
            // SAFETY: Nobody finds it any more. `free()` is part of the module, which waits in `end()`.
            unsafe { call_rcu_tasks(&raw mut (*account).head, Some(free)) };
            link = place;
        }
    }
}

/// Takes an account out of its place. [`CHANGE`] is held.
fn unlink(place: &AtomicPtr<Account>, account: *mut Account) {
    let mut link = place;
    loop {
        let next = link.load(Ordering::Relaxed);
        if next.is_null() {
            return;
        }
        // SAFETY: It is in the table, and `CHANGE` is held.
        let it = unsafe { &*next };
        if next == account {
            link.store(it.next.load(Ordering::Relaxed), Ordering::Release);
            return;
        }
        link = &it.next;
    }
}

/// Frees an account.
///
/// # Safety
///
/// Called by RCU Tasks for one that [`remove()`] has handed over.
unsafe extern "C" fn free(head: *mut callback_head) {
    let account = head.wrapping_byte_sub(offset_of!(Account, head));
    // SAFETY: By the caller, it is one that `open()` has made.
    drop(unsafe { KBox::from_raw(account.cast::<Account>()) });
}

/// Waits until all accounts that were closed have been freed.
pub(super) fn end() {
    // SAFETY: In a task that may sleep.
    unsafe { rcu_barrier_tasks() };
}

/// Who reads all accounts, none of which is closed meanwhile.
pub(super) struct Reader(());

/// Lets `read` read all accounts. May sleep.
pub(super) fn read<R>(read: impl FnOnce(&Reader) -> R) -> R {
    let _open = OPEN.lock();
    read(&Reader(()))
}

impl Reader {
    /// Hands out each account. Those that are opened meanwhile may be missed.
    pub(super) fn each(&self, mut take: impl FnMut(&Account)) {
        for place in &TABLE {
            let mut account = place.load(Ordering::Acquire);
            // SAFETY: All are in the table, and `OPEN` is held as long as there is a reader.
            while let Some(it) = unsafe { account.as_ref() } {
                take(it);
                account = it.next.load(Ordering::Acquire);
            }
        }
    }

    /// What was counted of vCPUs that are gone, and of those that had no account.
    pub(super) fn rest(&self) -> (&Counts, &Latency) {
        (&REST, &REST_LATENCY)
    }

    /// How long exits of a vCPU have taken, if that was asked for.
    pub(super) fn latency_of<'a>(&'a self, account: &'a Account) -> Option<&'a Latency> {
        // SAFETY: It is freed with the account, which is not closed as long as there is a reader.
        unsafe { account.latency.load(Ordering::Acquire).as_ref() }
    }
}

/// A VM that has an account and is looked for.
pub(super) fn find_vm(is_wanted: impl Fn(&VmName) -> bool) -> Option<VmName> {
    read(|accounts| {
        let mut found = None;
        accounts.each(|account| {
            if found.is_none() && is_wanted(&account.vm) {
                found = Some(account.vm);
            }
        });
        found
    })
}
