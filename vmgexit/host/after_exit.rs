// SPDX-License-Identifier: GPL-2.0

//! What KVM_RUN does after an exit.

/// What KVM_RUN does after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterExit {
    /// The guest runs on.
    Resume,
    /// KVM_RUN returns to userspace; `kvm_run` says why.
    Userspace,
    /// KVM_RUN fails: the guest reported an event that it cannot handle, or userspace's answer is none.
    Unsupported,
    /// KVM_RUN fails with this negative error number: something of the host's does not work.
    HostFault(i32),
}

impl AfterExit {
    /// What a function of KVM returns for it: one, zero, or a negative error number.
    #[inline]
    pub const fn to_kvm(self) -> i32 {
        /// `EINVAL` of `include/uapi/asm-generic/errno-base.h`.
        const EINVAL: i32 = 22;
        match self {
            Self::Resume => 1,
            Self::Userspace => 0,
            Self::Unsupported => -EINVAL,
            Self::HostFault(error) => error,
        }
    }
}
