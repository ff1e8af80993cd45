// SPDX-License-Identifier: GPL-2.0

//! The events of SEV-SNP.

use crate::{
    ghcb_abi::{exit_code::ExitCode, reply::Reply},
    vmgexit::{
        flow::Flow,
        host::{Failure, Vcpu},
        request::{registers::Registers, snp::SnpRequest},
    },
};

impl SnpRequest {
    /// Carries the event out. A register that the event returns stays as it was `given`, unless it is told anew.
    #[inline(never)]
    pub(super) fn carry_out<V: Vcpu>(
        self,
        vcpu: &mut V,
        page: &V::Page,
        given: &Registers,
        exit_code: ExitCode,
        info1: u64,
    ) -> Result<Flow<V::Buffer>, Failure> {
        let flow = match self {
            Self::PageState(change) => change.carry_out(vcpu, page),
            Self::Guest(request) => request.carry_out(vcpu),
            Self::Ap(change) => change.carry_out(vcpu),
            Self::ApicIds(list) => list.carry_out(vcpu),
        };
        // No event returns more than one.
        let returned = |reply: Reply| {
            if reply.valid().is_superset_of(exit_code.returned(info1)) {
                reply
            } else {
                given.returned_with(reply, exit_code, info1)
            }
        };
        match flow {
            Ok(Flow::Reply(reply)) => Ok(Flow::Reply(returned(reply))),
            Ok(Flow::ReplyAndFail(reply, error)) => Ok(Flow::ReplyAndFail(returned(reply), error)),
            Err(Failure::Refused(reason)) => Ok(Flow::Reply(returned(Reply::error(reason)))),
            flow => flow,
        }
    }
}
