// SPDX-License-Identifier: GPL-2.0

//! Pages that cannot be reached.

use crate::{
    ghcb_abi::reply::Action,
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
