// SPDX-License-Identifier: GPL-2.0

//! What a host shows of its guests' exits: counters, tracepoints, complaints.

use super::after_exit::AfterExit;
use crate::{
    ghcb_abi::{
        bitmap::ValidBitmap,
        exit_code::ExitCode,
        exit_info::ExitInfo,
        msr::GhcbMsr,
        reply::{Action, ErrorReason, Reply},
        terminate::Termination,
    },
    vmgexit::{kind::Kind, refusal::Refusal, request::registers::Registers},
};

/// A guest's mistake or termination, for the host's log and for counting.
#[derive(Clone, Copy, Debug)]
pub enum Complaint {
    /// The page cannot be reached: null, not in guest memory, read-only, or gone.
    UnreachablePage(u64),
    /// A request got an error reply.
    Refused {
        /// What it was about.
        exit: ExitInfo,
        /// What the guest marked valid.
        valid: ValidBitmap,
        /// SW_SCRATCH, zero if not valid.
        scratch: u64,
        /// Its registers, zero if not valid.
        registers: Registers,
        /// Why.
        reason: ErrorReason,
    },
    /// A request that is legal got an error reply, because the host cannot do what it asks for.
    NotDone {
        /// What it was about.
        exit: ExitInfo,
        /// What the guest was told.
        reason: ErrorReason,
    },
    /// A request in the MSR was not carried out, of which the guest was told if there are words for it.
    MsrFailed {
        /// What it is counted as.
        kind: Kind,
        /// The request.
        msr: GhcbMsr,
    },
    /// A value of the GHCB MSR that is no request.
    UnknownMsr(GhcbMsr),
    /// The guest ends itself by the MSR protocol.
    TerminatedByMsr(Termination),
    /// The guest ends itself by an event.
    Terminated {
        /// SW_EXITINFO1: reason.
        info1: u64,
        /// SW_EXITINFO2: information about it.
        info2: u64,
    },
    /// The guest met a #VC that it cannot handle.
    UnsupportedEvent {
        /// SW_EXITINFO1: the exit code in question.
        info1: u64,
        /// SW_EXITINFO2: information about it.
        info2: u64,
    },
}

impl Complaint {
    /// What the exit is counted as, and why the request was not carried out; `None` if it was.
    pub fn refusal(&self) -> Option<(Kind, Refusal)> {
        match self {
            Self::UnreachablePage(_) => Some((Kind::UnreachablePage, Refusal::UnreachablePage)),
            Self::Refused { exit, reason, .. } | Self::NotDone { exit, reason } => {
                Some((Kind::of(exit.code, exit.info1), (*reason).into()))
            }
            Self::MsrFailed { kind, .. } => Some((*kind, Refusal::MsrFailed)),
            Self::UnknownMsr(_) => Some((Kind::MsrUnknown, Refusal::MsrUnknown)),
            Self::TerminatedByMsr(_) | Self::Terminated { .. } | Self::UnsupportedEvent { .. } => {
                None
            }
        }
    }
}

/// Counters, tracepoints and the log of a host.
pub trait Observer {
    /// Traces a request in the page. Tracepoint `kvm_vmgexit_enter`.
    fn trace_enter(&mut self, exit: ExitInfo);

    /// Traces a reply in the page. Tracepoint `kvm_vmgexit_exit`.
    fn trace_exit(&mut self, exit_code: ExitCode, reply: &Reply);

    /// Whether an MSR tracepoint is enabled.
    fn traces_msr(&self) -> bool;

    /// Traces a request in the MSR. Tracepoint `kvm_vmgexit_msr_protocol_enter`.
    fn trace_msr_enter(&mut self, msr: GhcbMsr);

    /// Traces what the MSR now holds. Tracepoint `kvm_vmgexit_msr_protocol_exit`.
    fn trace_msr_exit(&mut self, outcome: AfterExit);

    /// Counts an exit and what was answered. An error is also complained of, once.
    fn count(&mut self, kind: Kind, action: Action);

    /// Takes note of a complaint: in the counters, and at a limited rate in the host's log.
    fn complain(&mut self, complaint: Complaint);
}
