// SPDX-License-Identifier: GPL-2.0

//! Pages that cannot be reached, and what else the host cannot do.

use crate::{
    ghcb_abi::{
        exit_code::ExitCode,
        exit_info::ExitInfo,
        reply::{Action, ErrorReason, Reply},
    },
    vmgexit::{
        host::{Complaint, Vcpu},
        kind::Kind,
    },
};

/// Counts and reports that a guest's page cannot be reached.
#[cold]
pub(in crate::vmgexit) fn report<V: Vcpu>(vcpu: &mut V) {
    let gpa = vcpu.ghcb_msr().0;
    vcpu.count(Kind::UnreachablePage, Action::MALFORMED_INPUT);
    vcpu.complain(Complaint::UnreachablePage(gpa));
}

/// Reports a reply that is an error, to a request that is legal.
#[inline]
pub(in crate::vmgexit) fn report_error<V: Vcpu>(vcpu: &mut V, exit: ExitInfo, reply: &Reply) {
    if reply.action() == Action::MALFORMED_INPUT {
        let reason = ErrorReason(reply.info2() as u32);
        report_not_done(vcpu, exit.code, exit.info1, exit.info2, reason);
    }
}

/// Reports that the host cannot do what a guest asks for.
#[cold]
#[inline(never)]
fn report_not_done<V: Vcpu>(
    vcpu: &mut V,
    code: ExitCode,
    info1: u64,
    info2: u64,
    reason: ErrorReason,
) {
    let exit = ExitInfo { code, info1, info2 };
    vcpu.complain(Complaint::NotDone { exit, reason });
}
