// SPDX-License-Identifier: GPL-2.0

//! The MSR protocol: requests and responses in the GHCB MSR.

use super::{
    carry_out::{ap, page_state, system},
    host::{AfterExit, Complaint, Fulfilment, HoldType, Vcpu},
    kind::Kind,
};
use crate::ghcb_abi::{
    msr::{CpuidRegister, MsrRequest, MsrResponse, DATA_SHIFT, GFN_NONE},
    psc::PageOperation,
    reply::Action,
    version::Version,
};

/// The lowest version that this host speaks. C: `GHCB_VERSION_MIN`.
pub(super) const VERSION_MIN: Version = Version::V1;

/// Error of a request for another VMPL: KVM has one.
const NO_VMPL: u32 = 1;

/// Answers a request for SEV information. Neither sleeps nor traces.
#[inline]
pub fn answer_sev_info<V: Vcpu>(vcpu: &mut V) -> AfterExit {
    vcpu.count(Kind::MsrSevInfo, Action::NO_ACTION);
    let response = MsrResponse::SevInfo {
        max: vcpu.version(),
        min: VERSION_MIN,
        c_bit: vcpu.c_bit(),
    };
    vcpu.set_ghcb_msr(response.encode());
    AfterExit::RESUME
}

/// Answers a request for one register of CPUID, subfunction 0. Does not trace.
///
/// As with KVM's C handler, the value stays in the MSR if KVM does not emulate it.
#[inline]
pub fn answer_cpuid<V: Vcpu>(vcpu: &mut V) -> AfterExit {
    if vcpu.cpuid((vcpu.ghcb_msr().0 >> 32) as u32) == Fulfilment::Done {
        vcpu.count(Kind::MsrCpuid, Action::NO_ACTION);
        let register = CpuidRegister::of(vcpu.ghcb_msr());
        let after = vcpu.registers();
        let value = match register {
            CpuidRegister::Eax => after.rax,
            CpuidRegister::Ebx => after.rbx,
            CpuidRegister::Ecx => after.rcx,
            CpuidRegister::Edx => after.rdx,
        } as u32;
        vcpu.set_ghcb_msr(MsrResponse::Cpuid { value, register }.encode());
    } else {
        fail(vcpu, Kind::MsrCpuid);
    }
    AfterExit::RESUME
}

/// Counts and reports a request that is not carried out. Called while it is in the MSR still.
#[cold]
#[inline(never)]
fn fail<V: Vcpu>(vcpu: &mut V, kind: Kind) {
    vcpu.count(kind, Action::MALFORMED_INPUT);
    let msr = vcpu.ghcb_msr();
    vcpu.complain(Complaint::MsrFailed { kind, msr });
}

/// Handles any request in the MSR.
///
/// What is for SEV-SNP alone gets the answer "failed" without it, or "no preference" where a preferred address was
/// asked for. A value that is no request stays in the MSR, as with KVM's C handler.
#[inline]
pub fn handle<V: Vcpu>(vcpu: &mut V) -> AfterExit {
    use MsrResponse::{HypervisorFeatures, PageStateChange, PreferredGpa, RegisterGpa, RunVmpl};
    let msr = vcpu.ghcb_msr();
    vcpu.trace_msr_enter(msr);
    let outcome = match msr.request() {
        MsrRequest::SevInfo => answer_sev_info(vcpu),
        MsrRequest::Cpuid { .. } => answer_cpuid(vcpu),
        MsrRequest::ApResetHold => hold(vcpu),
        MsrRequest::HypervisorFeatures => {
            vcpu.count(Kind::MsrHvFeatures, Action::NO_ACTION);
            let features = system::features(vcpu.is_snp());
            vcpu.set_ghcb_msr(HypervisorFeatures(features).encode());
            AfterExit::RESUME
        }
        MsrRequest::Terminate(reason) => {
            vcpu.count(Kind::MsrTerminate, Action::NO_ACTION);
            vcpu.complain(Complaint::TerminatedByMsr(reason));
            vcpu.terminate();
            // As in C, there is no response to trace.
            return AfterExit::USERSPACE;
        }
        MsrRequest::PreferredGpa => {
            let response = PreferredGpa { gfn: GFN_NONE };
            if vcpu.is_snp() {
                respond(vcpu, Kind::MsrPreferredGpa, response)
            } else {
                respond_failed(vcpu, Kind::MsrPreferredGpa, response)
            }
        }
        MsrRequest::RegisterGpa { gfn } if vcpu.is_snp() => {
            vcpu.register(gfn << DATA_SHIFT);
            respond(vcpu, Kind::MsrRegisterGpa, RegisterGpa { gfn })
        }
        MsrRequest::RegisterGpa { .. } => {
            let gfn = GFN_NONE;
            respond_failed(vcpu, Kind::MsrRegisterGpa, RegisterGpa { gfn })
        }
        MsrRequest::PageStateChange { gfn, operation } if vcpu.is_snp() => {
            change_page(vcpu, gfn, operation)
        }
        MsrRequest::PageStateChange { .. } => {
            let error = MsrResponse::PSC_ERROR;
            respond_failed(vcpu, Kind::MsrPageStateChange, PageStateChange { error })
        }
        MsrRequest::RunVmpl { .. } => {
            let error = NO_VMPL;
            respond_failed(vcpu, Kind::MsrRunVmpl, RunVmpl { error })
        }
        // `handle()` is not called with the address of a page.
        MsrRequest::GhcbGpa(_) | MsrRequest::Unknown(_) => {
            vcpu.count(Kind::MsrUnknown, Action::MALFORMED_INPUT);
            vcpu.complain(Complaint::UnknownMsr(msr));
            AfterExit::RESUME
        }
    };
    vcpu.trace_msr_exit(outcome);
    outcome
}

/// Answers a request.
fn respond<V: Vcpu>(vcpu: &mut V, kind: Kind, response: MsrResponse) -> AfterExit {
    vcpu.count(kind, Action::NO_ACTION);
    vcpu.set_ghcb_msr(response.encode());
    AfterExit::RESUME
}

/// Answers a request that is for SEV-SNP alone, or that the host does not carry out, with "failed".
fn respond_failed<V: Vcpu>(vcpu: &mut V, kind: Kind, response: MsrResponse) -> AfterExit {
    fail(vcpu, kind);
    vcpu.set_ghcb_msr(response.encode());
    AfterExit::RESUME
}

/// Page state change. The response follows userspace's answer, and comes from KVM's C code.
fn change_page<V: Vcpu>(vcpu: &mut V, gfn: u64, operation: PageOperation) -> AfterExit {
    match page_state::by_msr(vcpu, gfn, operation) {
        Ok(outcome) => {
            vcpu.count(Kind::MsrPageStateChange, Action::NO_ACTION);
            outcome
        }
        Err(response) => respond_failed(vcpu, Kind::MsrPageStateChange, response),
    }
}

/// AP reset hold. KVM changes the response when a SIPI arrives.
fn hold<V: Vcpu>(vcpu: &mut V) -> AfterExit {
    vcpu.count(Kind::MsrApResetHold, Action::NO_ACTION);
    let outcome = vcpu.hold(HoldType::Msr);
    vcpu.set_ghcb_msr(MsrResponse::ApResetHold(ap::NOT_YET).encode());
    outcome
}
