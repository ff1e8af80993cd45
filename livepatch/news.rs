// SPDX-License-Identifier: GPL-2.0

//! What is said of who answers VMGEXITs, each time that it changes.

use super::settings::{mode, Mode};
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

/// Whether it was said that the module has taken over, and nothing since.
static HAS_TAKEN_OVER: Atomic<i32> = Atomic::new(0);

/// The module is in: says whether it waits.
pub(super) fn inserted() {
    if HAS_TAKEN_OVER.load(Relaxed) == 0 {
        pr_info!("waiting for kvm_amd\n");
    }
}

/// The functions of kvm_amd are replaced.
pub(super) fn taken_over() {
    if HAS_TAKEN_OVER.xchg(1, Relaxed) != 0 {
        return;
    }
    changed();
}

/// Who answers is another one than before.
pub(super) fn changed() {
    match mode() {
        Mode::Answer => pr_info!("VMGEXITs of SEV-ES and SEV-SNP guests are answered in Rust\n"),
        Mode::Observe => {
            pr_info!("VMGEXITs of SEV-ES and SEV-SNP guests are answered by kvm_amd, and judged in Rust\n");
        }
    }
}

/// They are no longer, and kvm_amd stays.
pub(super) fn given_back() {
    if HAS_TAKEN_OVER.xchg(0, Relaxed) != 0 {
        pr_info!("VMGEXITs are kvm_amd's again\n");
    }
}

/// VMGEXITs are no longer answered here, because kvm_amd is being unloaded. `waits`: and will be again when it comes.
pub(super) fn gone(waits: bool) {
    if HAS_TAKEN_OVER.xchg(0, Relaxed) == 0 {
        return;
    }
    if waits {
        pr_info!("kvm_amd has gone: waiting for it\n");
    } else {
        pr_info!("kvm_amd has gone\n");
    }
}
