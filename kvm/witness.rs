// SPDX-License-Identifier: GPL-2.0

//! Observe mode: C answers an exit, and what would have been answered here is compared.
//!
//! Neither the guest nor its VMM can tell: before C's function runs, the page is read; afterwards, what it has left in the
//! page, in the GHCB MSR, in KVM's registers and in `kvm_run`.

use super::{bindings, KvmVcpu};
use crate::{
    ghcb_abi::{bitmap::ValidBitmap, exit_code::ExitCode, exit_info::ExitInfo, page::Field},
    observe,
    vmgexit::{
        host::Protocol,
        judge::{self, CAnswer, CPage, ExitReason},
    },
};
use kernel::ffi::c_int;

/// Lets C answer an exit by `answer`, and judges it.
pub(crate) fn watch(vcpu: &mut KvmVcpu, answer: impl FnOnce() -> c_int) -> c_int {
    let foresight = judge::foresee(vcpu);
    let result = answer();
    let c = vcpu.c_answer(result);
    observe::judge(vcpu, &foresight, &c);
    result
}

impl KvmVcpu {
    /// What C's function has left, which has returned `result`.
    fn c_answer(&self, result: c_int) -> CAnswer {
        // SAFETY: By the invariant, these fields are this task's alone.
        let exception = unsafe {
            let queued = &raw const (*self.vcpu()).arch.exception;
            (*queued).pending.then_some((*queued).vector)
        };
        CAnswer {
            result,
            msr: self.ghcb_msr(),
            page: self.c_page(),
            exception,
            reason: self.exit_reason(),
        }
    }

    /// The page as C has it, if it has mapped it.
    fn c_page(&self) -> Option<CPage> {
        // SAFETY: By the invariant. While `ghcb` is not null, C has the page mapped there; the guest may write to it at any
        // moment, so it is read by volatile accesses.
        unsafe {
            let sev_es = &raw const (*self.svm()).sev_es;
            let page = (*sev_es).ghcb.cast::<u8>().cast_const();
            if page.is_null() {
                return None;
            }
            let word = |field: Field| page.add(field.offset()).cast::<u64>().read_volatile();
            let control = self.control();
            let [low, high] = (&raw const (*sev_es).valid_bitmap)
                .cast::<[u64; 2]>()
                .read_unaligned();
            Some(CPage {
                exit: ExitInfo {
                    code: ExitCode((*control).exit_code),
                    info1: (*control).exit_info_1,
                    info2: (*control).exit_info_2,
                },
                valid: ValidBitmap::from_words(low, high),
                scratch: (*sev_es).sw_scratch,
                info1: word(Field::SwExitInfo1),
                info2: word(Field::SwExitInfo2),
                rax: self.rax(),
            })
        }
    }

    /// Why KVM_RUN returns, if it does.
    fn exit_reason(&self) -> ExitReason {
        // SAFETY: By the invariant, `kvm_run` is mapped for as long as the vCPU exists. Userspace may write to it at any
        // moment; these are plain loads of integers.
        unsafe {
            let run = (*self.vcpu()).run;
            match (*run).exit_reason {
                bindings::KVM_EXIT_INTERNAL_ERROR => ExitReason::InternalError,
                bindings::KVM_EXIT_SYSTEM_EVENT
                    if (*run).__bindgen_anon_1.system_event.type_
                        == bindings::KVM_SYSTEM_EVENT_SEV_TERM =>
                {
                    ExitReason::Termination
                }
                _ => ExitReason::Other,
            }
        }
    }
}
