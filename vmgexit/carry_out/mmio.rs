// SPDX-License-Identifier: GPL-2.0

//! MMIO read and MMIO write.

use super::transfer;
use crate::{
    ghcb_abi::mmio::MAX_LENGTH,
    vmgexit::{
        flow::Flow,
        host::{Failure, Vcpu},
        request::mmio::MmioAccess,
    },
};

impl MmioAccess {
    /// Asks KVM to perform the access on a copy of the scratch area.
    #[inline(always)]
    pub(in crate::vmgexit) fn carry_out<V: Vcpu>(
        self,
        vcpu: &mut V,
        page: &V::Page,
    ) -> Result<Flow<V::Buffer>, Failure> {
        let purpose = transfer::purpose(self.direction, self.area, MAX_LENGTH);
        let mut data = vcpu.fetch(page, self.area, purpose)?;
        let fulfilment = vcpu.mmio(&self, &mut data);
        transfer::after(vcpu, page, self.area, purpose, data, fulfilment)
    }
}
