// SPDX-License-Identifier: GPL-2.0

//! What KVM_RUN does after an exit.

/// `EINVAL` of `include/uapi/asm-generic/errno-base.h`.
const EINVAL: i32 = 22;

/// What KVM_RUN does after an exit: what a function of KVM returns for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterExit(i32);

impl AfterExit {
    /// The guest runs on.
    pub const RESUME: Self = Self(1);

    /// KVM_RUN returns to userspace; `kvm_run` says why.
    pub const USERSPACE: Self = Self(0);

    /// KVM_RUN fails: the guest reported an event that it cannot handle, or userspace's answer is none.
    pub const UNSUPPORTED: Self = Self(-EINVAL);

    /// KVM_RUN fails with this negative error number: something of the host's does not work.
    pub const fn host_fault(error: i32) -> Self {
        Self(error)
    }

    /// One, zero, or a negative error number.
    pub const fn to_kvm(self) -> i32 {
        self.0
    }
}
