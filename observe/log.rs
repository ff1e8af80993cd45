// SPDX-License-Identifier: GPL-2.0

//! Messages about guests, at a limited rate.

use super::ratelimit;
use crate::{
    ghcb_abi::{bitmap::ValidBitmap, exit_info::ExitInfo, msr::GhcbMsr, page::Field},
    vmgexit::host::Complaint,
};
use kernel::{
    fmt,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    task::Pid,
};

/// How much is written to the log; see [`LogLevel`].
static LOG_LEVEL: Atomic<i32> = Atomic::new(LogLevel::Refusals as i32);

/// What is written to the log. Each level includes those before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LogLevel {
    /// Nothing about guests.
    Silent = 0,
    /// Guests that end themselves.
    Terminations = 1,
    /// Requests that are refused.
    Refusals = 2,
}

impl LogLevel {
    /// The level with this number.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Silent),
            1 => Some(Self::Terminations),
            2 => Some(Self::Refusals),
            _ => None,
        }
    }
}

/// Sets what is written to the log.
pub(crate) fn set_log_level(level: LogLevel) {
    LOG_LEVEL.store(level as i32, Relaxed);
}

/// The guest that a message is about, named as KVM's own messages name it. C: `vcpu_unimpl()`.
struct Guest {
    /// Process ID of the VMM.
    vmm: Pid,
    vcpu: u32,
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kvm [{}]: vcpu{}", self.vmm, self.vcpu)
    }
}

/// Writes a complaint to the log, if the level and the rate allow it.
///
/// `dump` asks for all that is known of a refused request. C: `kvm_amd.dump_invalid_vmcb`.
pub(super) fn complain(vcpu: u32, msr: GhcbMsr, dump: bool, complaint: &Complaint) {
    let guest = Guest {
        // Not `tgid()`, which not every kernel crate has.
        vmm: current!().group_leader().pid(),
        vcpu,
    };
    let level = match complaint {
        Complaint::Terminated { .. }
        | Complaint::TerminatedByMsr(_)
        | Complaint::UnsupportedEvent { .. } => LogLevel::Terminations,
        // C has no message either.
        Complaint::NotDone { .. } | Complaint::MsrFailed { .. } => return,
        _ => LogLevel::Refusals,
    };
    if LOG_LEVEL.load(Relaxed) < level as i32 || !ratelimit::allows() {
        return;
    }
    match complaint {
        Complaint::UnreachablePage(gpa) => {
            pr_warn!("{guest}: no guest memory for a GHCB at {gpa:#x}\n");
        }
        Complaint::Refused {
            exit,
            valid,
            scratch,
            reason,
            ..
        } => {
            let code = exit.code;
            pr_warn!("{guest}: exit code {code:?} refused: {reason:?}\n");
            if dump {
                dump_request(&guest, msr, exit, *valid, *scratch);
            }
        }
        Complaint::NotDone { .. } | Complaint::MsrFailed { .. } => {}
        Complaint::UnknownMsr(value) => {
            pr_warn!("{guest}: GHCB MSR holds no request: {:#x}\n", value.0);
        }
        Complaint::TerminatedByMsr(reason) => {
            let (set, code) = (reason.set, reason.code);
            pr_info!("{guest}: guest requested termination: {set:?}:{code:#x}\n");
        }
        Complaint::Terminated { info1, info2 } => {
            pr_info!("{guest}: guest requested termination: reason {info1:#x} info {info2:#x}\n");
        }
        Complaint::UnsupportedEvent { info1, info2 } => {
            pr_warn!("{guest}: guest reports an unsupported event: {info1:#x} {info2:#x}\n");
        }
    }
}

/// Writes all that is known of a refused request. C: `dump_ghcb()`.
fn dump_request(guest: &Guest, msr: GhcbMsr, exit: &ExitInfo, valid: ValidBitmap, scratch: u64) {
    let is_valid = |field| u8::from(valid.contains(field));
    pr_warn!("{guest}: GHCB (GPA={:016x}) snapshot:\n", msr.0);
    for (name, field, value) in [
        ("sw_exit_code", Field::SwExitCode, exit.code.0),
        ("sw_exit_info_1", Field::SwExitInfo1, exit.info1),
        ("sw_exit_info_2", Field::SwExitInfo2, exit.info2),
        ("sw_scratch", Field::SwScratch, scratch),
    ] {
        pr_warn!("{name:20}{value:016x} is_valid: {}\n", is_valid(field));
    }
    pr_warn!("{:20}{:032x}\n", "valid_bitmap", valid.bits());
}
