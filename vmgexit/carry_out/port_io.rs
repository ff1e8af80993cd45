// SPDX-License-Identifier: GPL-2.0

//! IN, OUT, INS and OUTS.

use super::transfer;
use crate::{
    ghcb_abi::{exit_info::ExitInfo, page::PAGE_SIZE, reply::Reply},
    vmgexit::{
        flow::Flow,
        host::{AfterExit, Failure, Fulfilment, Vcpu},
        request::port_io::{Direction, PortAccess, StringTransfer},
    },
};

impl PortAccess {
    /// Asks KVM to perform the access. The reply to IN holds RAX.
    #[inline(always)]
    pub(super) fn carry_out<V: Vcpu>(&self, vcpu: &mut V, exit: ExitInfo) -> Flow<V::Buffer> {
        match self.fulfil(vcpu) {
            Fulfilment::Done => {
                Flow::Reply(vcpu.registers().returned_with(Reply::no_action(0), exit))
            }
            fulfilment => self.not_done(fulfilment),
        }
    }

    /// Asks KVM to perform the access.
    #[inline(always)]
    pub(in crate::vmgexit) fn fulfil<V: Vcpu>(&self, vcpu: &mut V) -> Fulfilment {
        vcpu.port_io(self)
    }

    /// What happens to the reply if it is not done.
    #[inline(always)]
    pub(in crate::vmgexit) fn not_done<B>(&self, fulfilment: Fulfilment) -> Flow<B> {
        match (fulfilment, self.direction) {
            (Fulfilment::Userspace, Direction::Out) => Flow::ReplyEarly(AfterExit::Userspace),
            (Fulfilment::Userspace, Direction::In) => Flow::ReplyLater(None),
            (fulfilment, _) => Flow::ReplyNotDone(fulfilment),
        }
    }
}

impl StringTransfer {
    /// Most bytes that KVM takes at once, in C the size of `kvm_vcpu_arch.pio_data`.
    const MOST_AT_ONCE: u64 = PAGE_SIZE as u64;

    /// Asks KVM to perform the transfer on a copy of the scratch area.
    #[inline(always)]
    pub(in crate::vmgexit) fn carry_out<V: Vcpu>(
        self,
        vcpu: &mut V,
        page: &V::Page,
    ) -> Result<Flow<V::Buffer>, Failure> {
        let purpose = transfer::purpose(self.direction, self.area, Self::MOST_AT_ONCE);
        transfer::transfer(vcpu, page, self.area, purpose, |vcpu, data| {
            vcpu.string_io(&self, data)
        })
    }
}
