// SPDX-License-Identifier: GPL-2.0

//! What is counted of each vCPU, files of it in debugfs, and messages in the log at a limited rate.

mod accounts;
mod counts;
mod failures;
mod files;
mod latency;
mod log;
mod per_cpu;
mod ratelimit;
mod tables;
mod vcpu;

use crate::{
    ghcb_abi::msr::GhcbMsr,
    vmgexit::{
        host::Complaint,
        judge::{CAnswer, Foresight},
        kind::Kind,
        verdict::Verdict,
    },
};
pub(crate) use files::Files;
use kernel::bindings::ktime_get;
pub(crate) use log::{set_log_level, LogLevel};
pub(crate) use per_cpu::Counters;
pub(crate) use vcpu::{Vcpu, VmName};

/// Initializes the locks.
///
/// # Safety
///
/// To be called once, and before any other function here.
pub(crate) unsafe fn init() {
    // SAFETY: By the caller.
    unsafe {
        accounts::init();
        files::init();
        ratelimit::init();
    }
}

/// Counts an exit of a vCPU that this task runs.
#[inline]
pub(crate) fn count(vcpu: &impl Vcpu, kind: Kind) {
    accounts::count(vcpu, kind);
}

/// Takes note of a complaint about a vCPU that this task runs: counts, keeps and tells it.
///
/// `dump` asks for all that is known of a refused request in the log. C: `kvm_amd.dump_invalid_vmcb`.
#[cold]
#[inline(never)]
pub(crate) fn complain(vcpu: &impl Vcpu, msr: GhcbMsr, dump: bool, complaint: &Complaint) {
    if let Some((kind, refusal)) = complaint.refusal() {
        let vm = accounts::count_error(vcpu, kind, refusal);
        failures::keep(vm, vcpu.number(), msr, complaint, kind, refusal);
    }
    log::complain(vcpu.number(), msr, dump, complaint);
}

/// Judges how C has answered an exit of a vCPU that this task runs: counts it, and keeps what nobody expected.
pub(crate) fn judge(vcpu: &impl Vcpu, foresight: &Foresight, c: &CAnswer) {
    let verdict = foresight.judge(c);
    accounts::count_verdict(vcpu, foresight.kind, verdict);
    if let Some(refusal) = failures::refusal_by_c(c) {
        accounts::count_error(vcpu, foresight.kind, refusal);
    }
    if verdict == Verdict::Unexplained {
        failures::keep_unexplained(vcpu, foresight, c);
    }
}

/// Has an exit of a vCPU that this task runs handled by `handle`, and takes the time. May sleep.
pub(crate) fn time<R>(vcpu: &impl Vcpu, handle: impl FnOnce() -> R) -> R {
    // SAFETY: In a task, with the clock running.
    let now = || unsafe { ktime_get() };
    accounts::begin_timed(vcpu);
    let begin = now();
    let result = handle();
    accounts::end_timed(vcpu, now().wrapping_sub(begin) as u64);
    result
}

/// Forgets a vCPU that is freed, by its [key](Vcpu::key). May sleep.
pub(crate) fn forget(key: usize) {
    accounts::close(key);
}

/// Forgets all vCPUs, whose end will not be seen: exits are C's again. May sleep.
pub(crate) fn forget_all() {
    accounts::close_all();
}
