// SPDX-License-Identifier: GPL-2.0

//! VMGEXIT handling for KVM on AMD, in Rust.
//!
//! Loaded into a host that runs SEV-ES or SEV-SNP guests, this module takes over what the stock kvm_amd does when a
//! guest executes VMGEXIT, and gives it back when it is disabled or removed.
//!
//! | room | what is in it |
//! |---|---|
//! | [`ghcb_abi`] | the GHCB protocol: pure definitions, for hosts and guests |
//! | [`vmgexit`] | the handling path: pure code over a trait |
//! | [`kvm`] | KVM as that path sees it: all that touches KVM's memory |
//! | [`livepatch`] | the way in: which functions are replaced, and when that is refused |
//! | [`observe`] | counters and messages |

pub mod ghcb_abi;
mod kvm;
mod livepatch;
mod observe;
pub mod vmgexit;

use kernel::prelude::*;
use kvm::differences::value_of;

module! {
    type: GhcbRs,
    name: "ghcb_rs",
    authors: ["The ghcb_rs maintainers"],
    description: "VMGEXIT handling for KVM on AMD (SEV-ES, SEV-SNP) in Rust",
    license: "GPL",
    params: {
        log_level: u8 {
            default: 2,
            description: "Log nothing about guests (0), terminations (1), refused requests too (2)",
        },
        guest_requests_per_second: u32 {
            default: 0,
            description: "Messages to the secure processor of each SEV-SNP guest, on average (0: no limit)",
        },
        guest_requests_at_once: u32 {
            default: 8,
            description: "The same in a moment, if there is a limit",
        },
    },
}

/// The loaded module.
#[pin_data(PinnedDrop)]
struct GhcbRs {
    #[pin]
    files: observe::Files,
}

impl kernel::InPlaceModule for GhcbRs {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: { check()? },
            // SAFETY: The module is initialized once.
            _: { unsafe { livepatch::init() } },
            files <- observe::Files::new(&livepatch::write_pending),
            _: { livepatch::enable(module)? },
        }? Error)
    }
}

/// Fails on a machine without SEV-ES, and on parameters that are out of range.
fn check() -> Result {
    if !kvm::identity::cpu_has_sev_es() {
        pr_err!("this processor has no SEV-ES, or its firmware hides it: nothing to do here\n");
        return Err(ENODEV);
    }
    if !kvm::identity::cpu_has_smap() {
        pr_err!("this processor has no SMAP, as all with SEV-ES have: nothing to do here\n");
        return Err(ENODEV);
    }
    if kvm::identity::is_other_kernel() {
        pr_err!(
            "this vmlinux is not the one that the module was built for: rebuild ghcb_rs for it\n"
        );
        return Err(EINVAL);
    }
    let number = value_of(module_parameters::log_level.value());
    let Some(level) = observe::LogLevel::from_number(number) else {
        pr_err!("log_level={number} is none of 0, 1 and 2\n");
        return Err(EINVAL);
    };
    // SAFETY: This is called once, before anything can be observed.
    unsafe { observe::init() };
    observe::set_log_level(level);
    kvm::snp::fairness::set_limit(
        value_of(module_parameters::guest_requests_per_second.value()),
        value_of(module_parameters::guest_requests_at_once.value()),
    );
    Ok(())
}

#[pinned_drop]
impl PinnedDrop for GhcbRs {
    fn drop(self: Pin<&mut Self>) {
        livepatch::end();
    }
}
