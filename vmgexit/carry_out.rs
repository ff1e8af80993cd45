// SPDX-License-Identifier: GPL-2.0

//! What is done about a request, by the names of [`request`](super::request).

pub(crate) mod ap;
mod ap_creation;
mod apic_ids;
pub mod deferred;
pub mod fairness;
pub(crate) mod fault;
pub mod guest_request;
mod instruction;
mod mmio;
pub mod page_list;
pub mod page_state;
mod port_io;
mod snp;
pub(crate) mod system;
mod transfer;
mod tsc;

use super::{
    flow::Flow,
    host::{Failure, Vcpu},
    request::{registers::Registers, NaeEvent},
};
use crate::ghcb_abi::{exit_info::ExitInfo, reply::Reply, snapshot::Snapshot};

impl NaeEvent {
    /// Has the event carried out by the family that it belongs to.
    #[inline(always)]
    pub(super) fn carry_out<V: Vcpu>(
        self,
        vcpu: &mut V,
        page: &V::Page,
        snapshot: &Snapshot,
        exit: ExitInfo,
    ) -> Result<Flow<V::Buffer>, Failure> {
        match self {
            Self::Instruction(request) => Ok(request.carry_out(vcpu, exit)),
            Self::PortIo(access) => Ok(access.carry_out(vcpu, exit)),
            Self::StringIo(transfer) => transfer.carry_out(vcpu, page),
            Self::Mmio(access) => access.carry_out(vcpu, page),
            Self::TimeStamp(read) => Ok(read.carry_out(vcpu)),
            Self::Ap(event) => Ok(event.carry_out(vcpu)),
            Self::System(event) => Ok(event.carry_out(vcpu)),
            Self::Snp(event) => {
                let given = Registers::of(snapshot);
                event.carry_out(vcpu, page, &given, exit.code, exit.info1)
            }
            Self::Nothing => {
                let given = Registers::of(snapshot);
                Ok(Flow::Reply(given.returned_with(
                    Reply::no_action(0),
                    exit.code,
                    exit.info1,
                )))
            }
        }
    }
}
