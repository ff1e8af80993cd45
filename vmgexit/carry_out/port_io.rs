// SPDX-License-Identifier: GPL-2.0

//! IN, OUT, INS and OUTS.

use super::transfer;
use crate::{
    ghcb_abi::{exit_info::ExitInfo, page::PAGE_SIZE, reply::Reply},
    vmgexit::{
        flow::Flow,
        host::{AfterExit, Failure, Fulfilment, Vcpu},
        request::port_io::{PortAccess, StringTransfer},
    },
};

impl PortAccess {
    /// Asks KVM to perform the access. The reply to IN holds RAX.
    #[inline(always)]
    pub(super) fn carry_out<V: Vcpu>(&self, vcpu: &mut V, exit: ExitInfo) -> Flow<V::Buffer> {
        match vcpu.port_io(self) {
            Fulfilment::Done => Flow::Reply(vcpu.registers().returned_with(
                Reply::no_action(0),
                exit.code,
                exit.info1,
            )),
            Fulfilment::Userspace if self.direction.is_in() => Flow::ReplyLater(None),
            Fulfilment::Userspace => Flow::ReplyEarly(AfterExit::USERSPACE),
            fulfilment => Flow::ReplyNotDone(fulfilment),
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
        let mut data = vcpu.fetch(page, self.area, purpose)?;
        let fulfilment = vcpu.string_io(&self, &mut data);
        transfer::after(vcpu, page, self.area, purpose, data, fulfilment)
    }
}
