// SPDX-License-Identifier: GPL-2.0

//! The registers that an event takes and returns.

use crate::ghcb_abi::{exit_code::ExitCode, page::Field, reply::Reply, snapshot::Snapshot};

/// The registers that KVM uses when it emulates an instruction for the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// RAX.
    pub rax: u64,
    /// RBX.
    pub rbx: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RSI.
    pub rsi: u64,
}

impl Registers {
    /// The registers of a request; one that is not marked valid is zero, as in C.
    #[inline]
    pub(crate) const fn of(snapshot: &Snapshot) -> Self {
        Self {
            rax: snapshot.rax(),
            rbx: snapshot.rbx(),
            rcx: snapshot.rcx(),
            rdx: snapshot.rdx(),
            rsi: snapshot.rsi(),
        }
    }

    /// Adds to `reply` the registers that the event returns.
    ///
    /// Also to an exception or an error: some guests check which registers are marked valid, and nothing else.
    #[inline(always)]
    pub(crate) fn returned_with(&self, reply: Reply, exit_code: ExitCode, info1: u64) -> Reply {
        let returned = exit_code.returned(info1);
        let mut reply = reply;
        if returned.contains(Field::Rax) {
            reply = reply.with_rax(self.rax);
        }
        if returned.contains(Field::Rbx) {
            reply = reply.with_rbx(self.rbx);
        }
        if returned.contains(Field::Rcx) {
            reply = reply.with_rcx(self.rcx);
        }
        if returned.contains(Field::Rdx) {
            reply = reply.with_rdx(self.rdx);
        }
        reply
    }
}
