// SPDX-License-Identifier: GPL-2.0

//! The time stamp counter: RDTSC and RDTSCP.

use super::{vcpu::Vcpu, Flow};
use crate::ghcb_abi::{exit_code::ExitCode, reply::Reply, snapshot::Snapshot};

/// Which instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeStampRead {
    /// RDTSC: RDX and RAX.
    Rdtsc,
    /// RDTSCP: RCX as well, which is IA32_TSC_AUX.
    Rdtscp,
}

impl TimeStampRead {
    /// Decodes an event about the time stamp counter.
    #[inline(always)]
    pub(super) const fn decode(snapshot: &Snapshot) -> Self {
        match snapshot.exit_code() {
            ExitCode::RDTSCP => Self::Rdtscp,
            _ => Self::Rdtsc,
        }
    }

    /// Returns the guest's time.
    #[inline]
    pub(super) fn carry_out<V: Vcpu>(self, vcpu: &mut V) -> Flow<V::Buffer> {
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
