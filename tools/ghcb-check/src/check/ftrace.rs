// SPDX-License-Identifier: GPL-2.0

//! ftrace, by which functions are redirected.

use super::{is_denied, livepatch::of_ftrace, sentences, Subject};
use crate::report::Check;

/// ENODEV, which opening the list of functions gives if ftrace has shut itself down. C: `ftrace_avail_open()`.
const ENODEV: i32 = 19;

pub(super) fn check(subject: &Subject<'_>) -> Check {
    let name = "ftrace";
    if subject
        .host
        .text("/proc/sys/kernel/ftrace_enabled")
        .is_ok_and(|value| value == "0")
    {
        return Check::bad(
            name,
            sentences::FTRACE_OFF,
            "sysctl kernel.ftrace_enabled=1",
        );
    }
    match of_ftrace("available_filter_functions", |path| subject.host.open(path)) {
        Ok(_) => Check::good(name, "it is on"),
        Err(error) if error.raw_os_error() == Some(ENODEV) => Check::bad(
            name,
            format!("{}: no function of kvm_amd can be replaced {}", sentences::DEAD_FTRACE, sentences::UNTIL_REBOOT),
            "see in the kernel's log what it has met, and start the host anew",
        ),
        Err(error) if is_denied(&error) => Check::unknown(
            name,
            "it is not switched off; whether it has shut itself down only root may see",
            super::AS_ROOT,
        ),
        Err(_) => Check::unknown(
            name,
            "it is not switched off; whether it has shut itself down, its files would tell, which are not there",
            "mount -t tracefs tracefs /sys/kernel/tracing",
        ),
    }
}
