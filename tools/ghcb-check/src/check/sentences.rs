// SPDX-License-Identifier: GPL-2.0

//! What the module itself says when it refuses: it and this program say the same of the same thing.

/// No processor for it.
pub const NO_SEV_ES: &str = "this processor has no SEV-ES, or its firmware hides it";

/// No SMAP.
pub const NO_SMAP: &str = "this processor has no SMAP, as all with SEV-ES have";

/// Another kernel, or a module of another one. A name comes before it.
pub const OTHER: &str = "is not the one that the module was built for";

/// What to do about it.
pub const REBUILD: &str = "rebuild ghcb_rs for it";

/// ftrace has met code that it does not expect.
pub const DEAD_FTRACE: &str = "ftrace has shut itself down";

/// Until when nothing can be done about it.
pub const UNTIL_REBOOT: &str = "until the host is started anew";

/// ftrace was switched off.
pub const FTRACE_OFF: &str =
    "ftrace is switched off (kernel.ftrace_enabled=0): no function of kvm_amd can be replaced";

/// A function is taken.
pub const CANNOT_BE_REPLACED: &str = "a function of kvm_amd cannot be replaced";

/// kvm_amd is not there yet.
pub const WAITING: &str = "waiting for kvm_amd";

/// All of them.
pub const ALL: [&str; 9] = [
    NO_SEV_ES,
    NO_SMAP,
    OTHER,
    REBUILD,
    DEAD_FTRACE,
    UNTIL_REBOOT,
    FTRACE_OFF,
    CANNOT_BE_REPLACED,
    WAITING,
];
