// SPDX-License-Identifier: GPL-2.0

//! RDTSC and RDTSCP.

use crate::{
    ghcb_abi::reply::Reply,
    vmgexit::{flow::Flow, host::Vcpu, request::tsc::TimeStampRead},
};

impl TimeStampRead {
    /// Returns the guest's time.
    #[inline]
    pub(in crate::vmgexit) fn carry_out<V: Vcpu>(self, vcpu: &mut V) -> Flow<V::Buffer> {
        let stamp = vcpu.time_stamp();
        let reply = Reply::no_action(0)
            .with_rax(stamp & 0xffff_ffff)
            .with_rdx(stamp >> 32);
        Flow::Reply(match self {
            Self::Rdtsc => reply,
            Self::Rdtscp => reply.with_rcx(vcpu.tsc_aux()),
        })
    }
}
