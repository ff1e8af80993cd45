// SPDX-License-Identifier: GPL-2.0

//! The MSR protocol: requests and responses in the GHCB MSR.

use super::{
    ap,
    instruction::{Emulation, Instruction},
    kind::Kind,
    system,
    vcpu::{Complaint, Fulfilment, HoldType, Outcome, Registers, Vcpu},
};
use crate::ghcb_abi::{
    msr::{CpuidRegister, GhcbMsr, MsrRequest, MsrResponse, GFN_NONE},
    reply::Action,
    version::Version,
};

/// The lowest version that this host speaks. C: `GHCB_VERSION_MIN`.
const VERSION_MIN: Version = Version::V1;

/// Error of a request that is for SEV-SNP alone, where the response has room for one.
const NOT_SNP: u32 = 1;

/// Handles a request in the MSR.
///
/// What is for SEV-SNP alone gets the answer "failed", in which the value of the response is fixed by
/// the protocol. A value that is no request stays in the MSR, as with KVM's C handler.
pub(super) fn handle<V: Vcpu>(vcpu: &mut V, msr: GhcbMsr) -> Outcome {
    vcpu.trace_msr_enter(msr);
    let (kind, answer) = match msr.request() {
        MsrRequest::SevInfo => (Kind::MsrSevInfo, sev_info(vcpu)),
        MsrRequest::Cpuid { function, register } => {
            (Kind::MsrCpuid, cpuid(vcpu, function, register))
        }
        MsrRequest::ApResetHold => return hold(vcpu),
        MsrRequest::HypervisorFeatures => (
            Kind::MsrHvFeatures,
            Some(MsrResponse::HypervisorFeatures(system::FEATURES)),
        ),
        MsrRequest::Terminate(reason) => {
            vcpu.count(Kind::MsrTerminate, Action::NO_ACTION);
            vcpu.complain(Complaint::TerminatedByMsr(reason));
            vcpu.terminate();
            return Outcome::Userspace;
        }
        MsrRequest::PreferredGpa => (
            Kind::MsrSnp,
            Some(MsrResponse::PreferredGpa { gfn: GFN_NONE }),
        ),
        MsrRequest::RegisterGpa { .. } => (
            Kind::MsrSnp,
            Some(MsrResponse::RegisterGpa { gfn: GFN_NONE }),
        ),
        MsrRequest::PageStateChange { .. } => (
            Kind::MsrSnp,
            Some(MsrResponse::PageStateChange {
                error: MsrResponse::PSC_ERROR,
            }),
        ),
        MsrRequest::RunVmpl { .. } => (Kind::MsrSnp, Some(MsrResponse::RunVmpl { error: NOT_SNP })),
        MsrRequest::GhcbGpa(_) | MsrRequest::Unknown(_) => {
            vcpu.complain(Complaint::UnknownMsr(msr));
            (Kind::MsrUnknown, None)
        }
    };
    let refused = matches!(kind, Kind::MsrSnp | Kind::MsrUnknown) || answer.is_none();
    vcpu.count(
        kind,
        if refused {
            Action::MALFORMED_INPUT
        } else {
            Action::NO_ACTION
        },
    );
    if let Some(response) = answer {
        vcpu.set_ghcb_msr(response.encode());
    }
    conclude(vcpu, Outcome::Resume)
}

/// Traces the value that the guest will find.
fn conclude<V: Vcpu>(vcpu: &mut V, outcome: Outcome) -> Outcome {
    let msr = vcpu.ghcb_msr();
    vcpu.trace_msr_exit(msr, outcome);
    outcome
}

/// Versions and encryption bit.
fn sev_info<V: Vcpu>(vcpu: &V) -> Option<MsrResponse> {
    Some(MsrResponse::SevInfo {
        max: vcpu.version(),
        min: VERSION_MIN,
        c_bit: vcpu.c_bit(),
    })
}

/// One register of CPUID, subfunction 0.
fn cpuid<V: Vcpu>(vcpu: &mut V, function: u32, register: CpuidRegister) -> Option<MsrResponse> {
    let emulation = Emulation {
        instruction: Instruction::Cpuid,
        registers: Registers {
            rax: function.into(),
            ..Registers::default()
        },
        cpl: 0,
        xcr0: None,
        xss: None,
    };
    if vcpu.emulate(&emulation) != Fulfilment::Done {
        return None;
    }
    let after = vcpu.registers();
    let value = match register {
        CpuidRegister::Eax => after.rax,
        CpuidRegister::Ebx => after.rbx,
        CpuidRegister::Ecx => after.rcx,
        CpuidRegister::Edx => after.rdx,
    };
    Some(MsrResponse::Cpuid {
        value: value as u32,
        register,
    })
}

/// AP reset hold. KVM changes the response when a SIPI arrives.
fn hold<V: Vcpu>(vcpu: &mut V) -> Outcome {
    vcpu.count(Kind::MsrApResetHold, Action::NO_ACTION);
    let outcome = vcpu.hold(HoldType::Msr);
    vcpu.set_ghcb_msr(MsrResponse::ApResetHold(ap::NOT_YET).encode());
    conclude(vcpu, outcome)
}
