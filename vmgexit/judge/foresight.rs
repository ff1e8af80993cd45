// SPDX-License-Identifier: GPL-2.0

//! What is foreseen of an answer, and how.

use super::{Foresight, PageRequest};
use crate::{
    ghcb_abi::{
        exit_info::ExitInfo,
        msr::{GhcbMsr, MsrInfo, MsrRequest, MsrResponse, GFN_NONE},
        reply::ErrorReason,
        snapshot::{Header, Snapshot},
    },
    vmgexit::{
        answer,
        carry_out::system,
        host::{Fault, GuestState, Memory, Protocol, Registration},
        kind::Kind,
        msr_protocol::VERSION_MIN,
        request::{
            ap::ApEvent, registers::Registers, snp::SnpRequest, system::SystemEvent,
            tsc::TimeStampRead, NaeEvent,
        },
    },
};

/// What is foreseen of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// None: there is no page.
    NoReply,
    /// An error.
    Error(ErrorReason),
    /// "No action", with this SW_EXITINFO2.
    Done(u64),
    /// This address of the AP jump table, which all vCPUs of the VM share.
    JumpTable(u64),
    /// KVM's emulation of an instruction.
    Instruction,
    /// KVM's emulation of IN or OUT.
    PortIo,
    /// KVM's emulation of INS, OUTS or MMIO.
    Transfer,
    /// The time.
    Time(TimeStampRead),
    /// A wait for a SIPI.
    Hold,
    /// This DR7.
    Dr7(u64),
    /// These features.
    Features(u64),
    /// The guest's end.
    Termination,
    /// An error for KVM_RUN.
    Unsupported,
    /// What a list of page state changes comes to.
    PageState,
    /// What a message to the firmware comes to.
    GuestRequest,
    /// What an AP creation comes to.
    ApCreation,
    /// The list of APIC IDs, or an error.
    ApicIds,
    /// This value in the MSR.
    Msr(GhcbMsr),
    /// KVM's emulation of CPUID in the MSR.
    MsrCpuid,
    /// A wait for a SIPI, and its response in the MSR.
    MsrHold,
    /// These features in the MSR.
    MsrFeatures(u64),
    /// "Failed" in the MSR, to what only guests with SEV-SNP may ask for.
    MsrFailed,
    /// What a page state change in the MSR comes to.
    MsrPageState,
}

impl Expected {
    /// Names, for a file.
    pub const NAMES: [&'static str; 23] = [
        "nothing",
        "error",
        "done",
        "instruction",
        "port_io",
        "transfer",
        "rdtsc",
        "rdtscp",
        "hold",
        "dr7",
        "features",
        "termination",
        "unsupported",
        "page_state",
        "guest_request",
        "ap_creation",
        "apic_ids",
        "msr",
        "msr_cpuid",
        "msr_hold",
        "msr_failed",
        "msr_page_state",
        "jump_table",
    ];

    /// Which name it has, and the number that belongs to it; zero if none does.
    pub const fn encode(self) -> (u8, u64) {
        match self {
            Self::NoReply => (0, 0),
            Self::Error(reason) => (1, reason.0 as u64),
            Self::Done(info2) => (2, info2),
            Self::Instruction => (3, 0),
            Self::PortIo => (4, 0),
            Self::Transfer => (5, 0),
            Self::Time(TimeStampRead::Rdtsc) => (6, 0),
            Self::Time(TimeStampRead::Rdtscp) => (7, 0),
            Self::Hold => (8, 0),
            Self::Dr7(value) => (9, value),
            Self::Features(features) | Self::MsrFeatures(features) => (10, features),
            Self::Termination => (11, 0),
            Self::Unsupported => (12, 0),
            Self::PageState => (13, 0),
            Self::GuestRequest => (14, 0),
            Self::ApCreation => (15, 0),
            Self::ApicIds => (16, 0),
            Self::Msr(value) => (17, value.0),
            Self::MsrCpuid => (18, 0),
            Self::MsrHold => (19, 0),
            Self::MsrFailed => (20, 0),
            Self::MsrPageState => (21, 0),
            Self::JumpTable(gpa) => (22, gpa),
        }
    }
}

/// Foresees the answer to an exit. May sleep.
pub fn foresee<V: Protocol + Memory + GuestState + Registration>(vcpu: &mut V) -> Foresight {
    let msr = vcpu.ghcb_msr();
    let is_snp = vcpu.is_snp();
    if msr.info() != MsrInfo::GHCB_GPA {
        let (kind, expected) = foresee_msr(vcpu, msr);
        return Foresight {
            kind,
            msr,
            request: None,
            expected,
            is_snp,
        };
    }
    match look(vcpu, msr.0) {
        Ok(snapshot) => {
            let exit = ExitInfo::of(&snapshot);
            Foresight {
                kind: Kind::of(exit.code, exit.info1),
                msr,
                request: Some(PageRequest {
                    exit,
                    valid: snapshot.header().valid(),
                    scratch: snapshot.scratch(),
                    registers: Registers::of(&snapshot),
                }),
                expected: foresee_page(vcpu, msr.0, &snapshot),
                is_snp,
            }
        }
        Err(Fault) => Foresight {
            kind: Kind::UnreachablePage,
            msr,
            request: None,
            expected: Expected::NoReply,
            is_snp,
        },
    }
}

/// Reads the request in the page, which stays as it is.
fn look<V: Memory>(vcpu: &mut V, gpa: u64) -> Result<Snapshot, Fault> {
    if gpa == 0 {
        return Err(Fault);
    }
    let page = vcpu.open(gpa)?;
    let header = Header::look(&page)?;
    let (code, info1) = (header.exit_code(), header.info1());
    let wanted = code.operands(info1).union(code.returned(info1));
    Snapshot::read(header, &page, wanted)
}

/// Foresees the answer to a request in the page.
fn foresee_page<V: Protocol + GuestState + Registration>(
    vcpu: &V,
    gpa: u64,
    snapshot: &Snapshot,
) -> Expected {
    match answer::prove(vcpu, gpa, snapshot) {
        Err(reason) => Expected::Error(reason),
        Ok(NaeEvent::Instruction(_)) => Expected::Instruction,
        Ok(NaeEvent::PortIo(_)) => Expected::PortIo,
        Ok(NaeEvent::StringIo(_) | NaeEvent::Mmio(_)) => Expected::Transfer,
        Ok(NaeEvent::TimeStamp(read)) => Expected::Time(read),
        Ok(NaeEvent::Ap(ApEvent::ResetHold(_))) => Expected::Hold,
        Ok(NaeEvent::Ap(ApEvent::GetJumpTable)) => Expected::JumpTable(vcpu.ap_jump_table()),
        Ok(NaeEvent::System(SystemEvent::ReadDr7)) => Expected::Dr7(vcpu.dr7()),
        Ok(NaeEvent::System(SystemEvent::HypervisorFeatures)) => {
            Expected::Features(system::features(vcpu.is_snp()).0)
        }
        Ok(NaeEvent::System(SystemEvent::Terminate { .. })) => Expected::Termination,
        Ok(NaeEvent::System(SystemEvent::Unsupported { .. })) => Expected::Unsupported,
        Ok(NaeEvent::Snp(SnpRequest::PageState(_))) => Expected::PageState,
        Ok(NaeEvent::Snp(SnpRequest::Guest(_))) => Expected::GuestRequest,
        Ok(NaeEvent::Snp(SnpRequest::Ap(_))) => Expected::ApCreation,
        Ok(NaeEvent::Snp(SnpRequest::ApicIds(_))) => Expected::ApicIds,
        Ok(
            NaeEvent::Ap(ApEvent::SetJumpTable(_))
            | NaeEvent::System(SystemEvent::NmiComplete | SystemEvent::WriteDr7(_))
            | NaeEvent::Nothing,
        ) => Expected::Done(0),
    }
}

/// Foresees the answer to a request in the MSR.
fn foresee_msr<V: Protocol + Registration>(vcpu: &V, msr: GhcbMsr) -> (Kind, Expected) {
    let is_snp = vcpu.is_snp();
    match msr.request() {
        MsrRequest::SevInfo => (Kind::MsrSevInfo, {
            let response = MsrResponse::SevInfo {
                max: vcpu.version(),
                min: VERSION_MIN,
                c_bit: vcpu.c_bit(),
            };
            Expected::Msr(response.encode())
        }),
        MsrRequest::Cpuid { .. } => (Kind::MsrCpuid, Expected::MsrCpuid),
        MsrRequest::ApResetHold => (Kind::MsrApResetHold, Expected::MsrHold),
        MsrRequest::HypervisorFeatures => (
            Kind::MsrHvFeatures,
            Expected::MsrFeatures(system::features(is_snp).0),
        ),
        MsrRequest::Terminate(_) => (Kind::MsrTerminate, Expected::Termination),
        MsrRequest::PreferredGpa if is_snp => (Kind::MsrPreferredGpa, {
            let response = MsrResponse::PreferredGpa { gfn: GFN_NONE };
            Expected::Msr(response.encode())
        }),
        MsrRequest::RegisterGpa { gfn } if is_snp => (Kind::MsrRegisterGpa, {
            let response = MsrResponse::RegisterGpa { gfn };
            Expected::Msr(response.encode())
        }),
        MsrRequest::PageStateChange { .. } if is_snp => {
            (Kind::MsrPageStateChange, Expected::MsrPageState)
        }
        MsrRequest::PreferredGpa => (Kind::MsrPreferredGpa, Expected::MsrFailed),
        MsrRequest::RegisterGpa { .. } => (Kind::MsrRegisterGpa, Expected::MsrFailed),
        MsrRequest::PageStateChange { .. } => (Kind::MsrPageStateChange, Expected::MsrFailed),
        MsrRequest::RunVmpl { .. } => (Kind::MsrRunVmpl, Expected::MsrFailed),
        MsrRequest::GhcbGpa(_) | MsrRequest::Unknown(_) => (Kind::MsrUnknown, Expected::Msr(msr)),
    }
}
