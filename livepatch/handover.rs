// SPDX-License-Identifier: GPL-2.0

//! Takes functions of KVM over and gives them back, and waits in the background for what is still pending.
//!
//! In which order, and when the module may go, says [`takeover`](crate::vmgexit::takeover). A work item looks
//! for what can be given back: nobody waits, neither the livepatch core with its lock held, nor who takes the
//! module out, nor a vCPU.
//!
//! C headers: `include/linux/rcupdate.h`, `include/linux/workqueue.h`.

use super::{direct::Redirection, news, replacement};
use crate::{
    kvm::{
        deferral::{self, PerCpu},
        differences::BEFORE_RUN,
        imports::entry,
    },
    observe,
    vmgexit::{
        takeover::{Machine, Set, Takeover},
        tally,
    },
};
use core::mem;
use kernel::{
    bindings, fmt,
    prelude::*,
    sync::{global_lock, Arc},
    time::{delay::fsleep, msecs_to_jiffies, Delta, Msecs},
    workqueue::{
        self, impl_has_delayed_work, impl_has_work, new_delayed_work, new_work, DelayedWork, Work,
        WorkItem,
    },
};

extern "C" {
    /// C: `include/linux/rcupdate.h`.
    fn synchronize_rcu_tasks();
}

/// Interval between two checks while exits are handled here: the livepatch core may have dropped this patch
/// for a cumulative one.
const SELDOM: Msecs = 1000;

/// Interval while a reply is pending or a call is in flight.
const OFTEN: Msecs = 50;

/// What handles exits.
static HANDLING: [Redirection; 1] = [Redirection::new(
    &raw const entry::SEV_HANDLE_VMGEXIT,
    replacement::of_sev_handle_vmgexit,
)];

/// What writes pending replies, and what frees vCPUs.
static DELIVERY: [Redirection; 8] = [
    Redirection::new(&raw const entry::SEV_FREE_VCPU, || {
        replacement::sev_free_vcpu as *const () as usize
    }),
    Redirection::new(&raw const BEFORE_RUN, || {
        replacement::before_run as *const () as usize
    }),
    Redirection::new(&raw const entry::SVM_COMPLETE_EMULATED_MSR, || {
        replacement::svm_complete_emulated_msr as *const () as usize
    }),
    Redirection::new(&raw const entry::COMPLETE_SEV_ES_EMULATED_MMIO, || {
        replacement::complete_sev_es_emulated_mmio as *const () as usize
    }),
    Redirection::new(&raw const entry::COMPLETE_SEV_ES_EMULATED_INS, || {
        replacement::complete_sev_es_emulated_ins as *const () as usize
    }),
    Redirection::new(&raw const entry::COMPLETE_SEV_ES_EMULATED_OUTS, || {
        replacement::complete_sev_es_emulated_outs as *const () as usize
    }),
    Redirection::new(&raw const entry::SNP_COMPLETE_ONE_PSC, || {
        replacement::snp_complete_one_psc as *const () as usize
    }),
    Redirection::new(&raw const entry::SNP_COMPLETE_REQ_CERTS, || {
        replacement::snp_complete_req_certs as *const () as usize
    }),
];

/// The functions of a set.
fn functions_of(set: Set) -> &'static [Redirection] {
    match set {
        Set::Handling => &HANDLING,
        Set::Delivery => &DELIVERY,
    }
}

/// What [`LOCK`] keeps.
struct State {
    takeover: Takeover,
    /// Whether it was said that something cannot be given back.
    is_said: bool,
    /// Who looks; `None` before there is anything, and at the end.
    watch: Option<Arc<Watch>>,
}

global_lock! {
    // SAFETY: `init()` comes before anything else of this file.
    unsafe(uninit) static LOCK: Mutex<State> = State {
        takeover: Takeover::new(),
        is_said: false,
        watch: None,
    };
}

/// The kernel, with [`LOCK`] held and kvm_amd there, if anything is taken over.
struct Host;

impl Machine for Host {
    type Error = Error;
    type Tallies = PerCpu;

    fn attach(&mut self, set: Set) -> Result {
        // SAFETY: As for `Host`.
        functions_of(set)
            .iter()
            .try_for_each(|function| unsafe { function.attach() })
    }

    fn detach(&mut self, set: Set) -> bool {
        functions_of(set).iter().rev().fold(true, |all, function| {
            // SAFETY: As for `Host`.
            unsafe { function.detach() && all }
        })
    }

    /// No function between the jump to a replacement and its count sleeps, nor between its end and the return;
    /// nor do those that are never counted: what ends an MSR access, what lets a vCPU without a pending reply
    /// run, and the answer to a request for SEV information. So a task that is there is running, or was
    /// preempted and is runnable, until it has given up its CPU by itself, has been in user mode, or has entered
    /// a guest. Also, what each CPU has counted before is seen.
    fn settle(&mut self) {
        // SAFETY: In a task that may sleep.
        unsafe { synchronize_rcu_tasks() };
    }

    fn hold_module(&mut self) {
        // SAFETY: The livepatch core has a reference, or the module's initialization is running.
        unsafe { bindings::__module_get(super::module().cast()) };
    }

    fn release_module(&mut self) {
        // From now on it is not seen which vCPUs are freed.
        observe::forget_all();
        // SAFETY: There is the reference that `hold_module()` has taken. Code that still runs is waited for by
        // `finish()`, which the module's end calls.
        unsafe { bindings::module_put(super::module().cast()) };
    }

    fn tallies(&self) -> &PerCpu {
        &PerCpu
    }
}

/// The work items that check.
#[pin_data]
struct Watch {
    /// At once.
    #[pin]
    now: Work<Self, 0>,
    /// After a while.
    #[pin]
    later: DelayedWork<Self, 1>,
}

impl_has_work! {
    impl HasWork<Self, 0> for Watch { self.now }
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self, 1> for Watch { self.later }
}

impl WorkItem<0> for Watch {
    type Pointer = Arc<Self>;

    fn run(_: Arc<Self>) {
        look();
    }
}

impl WorkItem<1> for Watch {
    type Pointer = Arc<Self>;

    fn run(_: Arc<Self>) {
        look();
    }
}

/// Checks once, and schedules the next check if something is left.
fn look() {
    let mut state = LOCK.lock();
    if state.takeover.is_handling() && super::is_forgotten() {
        state.end();
    }
    if state.takeover.look(&mut Host) {
        state.look_later();
    }
    state.say_if_stuck();
}

impl State {
    /// Gives new exits back.
    fn end(&mut self) {
        self.takeover.end(&mut Host);
        if !self.takeover.is_handling() {
            news::given_back();
        }
        self.say_if_stuck();
    }

    /// Says once that something cannot be given back.
    fn say_if_stuck(&mut self) {
        if !self.takeover.is_stuck() || mem::replace(&mut self.is_said, true) {
            return;
        }
        pr_err!("ftrace has shut itself down and does not give functions of kvm_amd back: they stay replaced, and ghcb_rs stays, until the host is started anew\n");
    }

    /// Schedules a check at once.
    fn look_soon(&self) {
        if let Some(watch) = &self.watch {
            let _ = workqueue::system_long().enqueue::<_, 0>(watch.clone());
        }
    }

    /// Schedules a check after an interval, unless one is scheduled.
    fn look_later(&self) {
        let delay = if self.takeover.is_handling() {
            SELDOM
        } else {
            OFTEN
        };
        if let Some(watch) = &self.watch {
            let _ = workqueue::system_long()
                .enqueue_delayed::<_, 1>(watch.clone(), msecs_to_jiffies(delay));
        }
    }
}

/// Initializes the lock.
///
/// # Safety
///
/// To be called once, and before any other function here.
pub(super) unsafe fn init() {
    // SAFETY: By the caller.
    unsafe { LOCK.init() };
}

/// Starts the checks.
pub(super) fn start() -> Result {
    let watch = Arc::pin_init(
        pin_init!(Watch {
            now <- new_work!("ghcb_rs"),
            later <- new_delayed_work!("ghcb_rs_later"),
        }),
        GFP_KERNEL,
    )?;
    LOCK.lock().watch = Some(watch);
    Ok(())
}

/// Takes over what is not taken over yet. Called with kvm_amd in place.
pub(super) fn begin() -> Result {
    let mut state = LOCK.lock();
    let result = state.takeover.begin(&mut Host);
    state.say_if_stuck();
    state.look_later();
    result
}

/// Gives new exits back; the rest follows when it is not needed any more.
pub(super) fn end() {
    let mut state = LOCK.lock();
    state.end();
    state.look_soon();
}

/// Takes the handling of exits over anew, after a change of the settings. In between, exits are C's.
///
/// # Errors
///
/// As ftrace says; exits are C's then.
pub(super) fn renew() -> Result {
    let mut state = LOCK.lock();
    if !state.takeover.is_handling() || super::is_forgotten() {
        return Ok(());
    }
    state.takeover.end(&mut Host);
    let result = state.takeover.begin(&mut Host);
    state.say_if_stuck();
    state.look_later();
    match result {
        Ok(()) => news::changed(),
        Err(_) => news::given_back(),
    }
    result
}

/// Gives everything back: kvm_amd is being unloaded, and no vCPU is left; or no exit has been handled.
pub(super) fn abandon() {
    let mut state = LOCK.lock();
    state.takeover.abandon(&mut Host);
    state.say_if_stuck();
    state.look_soon();
}

/// Whether something cannot be given back, so that the module has to stay.
pub(super) fn is_stuck() -> bool {
    LOCK.lock().takeover.is_stuck()
}

/// Ends the checks, when the module is removed.
///
/// Normally nothing is left, because the module could not go while there was. It is waited for where the
/// module's initialization has failed, when its functions may have been redirected for a moment.
pub(super) fn finish() {
    loop {
        let mut state = LOCK.lock();
        state.end();
        if !state.takeover.look(&mut Host) {
            state.say_if_stuck();
            break;
        }
        drop(state);
        fsleep(Delta::from_millis(10));
    }
    let Some(watch) = LOCK.lock().watch.take() else {
        return;
    };
    // SAFETY: Both have been initialized, and live as long as `watch`. Nobody queues them any more.
    unsafe {
        bindings::flush_work(Work::raw_get(&raw const watch.now));
        let later = DelayedWork::raw_as_work(&raw const watch.later);
        let work = Work::raw_get(later);
        bindings::flush_delayed_work(kernel::container_of!(work, bindings::delayed_work, work));
    }
}

/// Writes who is waited for: the number of calls in flight, then process ID of the VMM and vCPU, a line for
/// each pending reply.
pub(super) fn write_pending(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let state = LOCK.lock();
    writeln!(f, "calls\t{}", tally::inside(&PerCpu))?;
    if !state.takeover.is_delivering() {
        return Ok(());
    }
    // SAFETY: kvm_amd is there while anything is taken over; before it goes, `abandon()` takes the lock.
    unsafe { deferral::write_pending(f) }
}
