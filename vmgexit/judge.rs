// SPDX-License-Identifier: GPL-2.0

//! Judges C: foresees what would be answered here, and compares it with what C answers.
//!
//! Foreseeing changes nothing: it reads the page, and leaves it as it is. So it can say of a request whether it is legal,
//! and what the answer is where that follows from the request and from what the host keeps. What KVM's emulation, userspace or
//! the firmware make of a legal request is not foreseen. Of these exits it is compared whether C takes the request, too, and
//! which errors and exceptions C makes of it. The differences of docs/differences.md are known by what they look like when C's function returns.

mod foresight;

use super::{
    kind::Kind,
    request::{registers::Registers, tsc::TimeStampRead},
    verdict::Verdict,
};
use crate::ghcb_abi::{
    bitmap::ValidBitmap,
    exit_code::ExitCode,
    exit_info::ExitInfo,
    features::Features,
    ioio::IoInfo,
    msr::{GhcbMsr, MsrInfo},
    page::Field,
    reply::{Action, ErrorReason, EventInjection},
};

pub use foresight::{foresee, Expected};

/// Error numbers of `include/uapi/asm-generic/errno-base.h`, negative.
mod errno {
    pub(super) const EIO: i32 = -5;
    pub(super) const ENOMEM: i32 = -12;
    pub(super) const EFAULT: i32 = -14;
    pub(super) const EINVAL: i32 = -22;
}

/// A request in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// What it is about.
    pub exit: ExitInfo,
    /// What the guest marked valid.
    pub valid: ValidBitmap,
    /// SW_SCRATCH, zero if not valid or not used.
    pub scratch: u64,
    /// Its registers, zero if not valid or not used.
    pub registers: Registers,
}

impl PageRequest {
    /// Whether C has met another request in the page.
    fn has_changed(&self, page: &CPage) -> bool {
        let operands = self.exit.code.operands(self.exit.info1);
        let has_scratch = operands.contains(Field::SwScratch);
        self.exit != page.exit
            || self.valid != page.valid
            || has_scratch && self.scratch != page.scratch
    }
}

/// What can be seen of C's answer when its function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CAnswer {
    /// What the function returned: above zero to resume the guest, zero for userspace, or an error number.
    pub result: i32,
    /// The GHCB MSR.
    pub msr: GhcbMsr,
    /// What of the page C has read and written; `None` if it has not reached it.
    pub page: Option<CPage>,
    /// Vector of the exception that KVM will inject.
    pub exception: Option<u8>,
    /// Why KVM_RUN returns to userspace.
    pub reason: ExitReason,
}

/// The page as C has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CPage {
    /// What C takes the request for.
    pub exit: ExitInfo,
    /// What C takes for valid.
    pub valid: ValidBitmap,
    /// What C takes for SW_SCRATCH, zero if not valid.
    pub scratch: u64,
    /// SW_EXITINFO1 of the reply.
    pub info1: u64,
    /// SW_EXITINFO2 of the reply.
    pub info2: u64,
    /// RAX of the reply.
    pub rax: u64,
}

/// Why KVM_RUN returns to userspace, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// KVM does not know what to do. C: `KVM_EXIT_INTERNAL_ERROR`.
    InternalError,
    /// The guest ends itself. C: `KVM_SYSTEM_EVENT_SEV_TERM`.
    Termination,
    /// Anything else.
    Other,
}

/// What is known of an exit before C answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foresight {
    /// What the exit is counted as.
    pub kind: Kind,
    /// The GHCB MSR.
    pub msr: GhcbMsr,
    /// The request in the page, if there is one.
    pub request: Option<PageRequest>,
    /// What would be answered here.
    pub expected: Expected,
    is_snp: bool,
}

/// What a request in the page is answered with, in short.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// "No action" with SW_EXITINFO2.
    Done(u64),
    /// An error.
    Error(ErrorReason),
    /// An exception in the reply.
    Exception(u64),
    /// An exception that is injected.
    Injected(u8),
    /// KVM_RUN returns to userspace, with "no action" in the page.
    Userspace,
    /// KVM_RUN fails.
    Failure(i32),
    /// Anything else.
    Other,
}

impl CPage {
    /// Whether no handler writes such a reply: the guest has written over it.
    fn is_overwritten(&self) -> bool {
        let is_reply = match u32::try_from(self.info1).map(Action) {
            Ok(Action::NO_ACTION) => true,
            Ok(Action::ISSUE_EXCEPTION) => EventInjection(self.info2).is_acceptable(),
            Ok(Action::MALFORMED_INPUT) => {
                u32::try_from(self.info2).is_ok_and(|reason| ErrorReason(reason).name().is_some())
            }
            _ => false,
        };
        !is_reply
    }
}

impl CAnswer {
    /// The answer to a request in the page.
    fn told(&self, page: &CPage) -> Told {
        match (self.result, self.exception, Action(page.info1 as u32)) {
            (..=-1, _, Action::NO_ACTION) if page.info2 == 0 => Told::Failure(self.result),
            (0, None, Action::NO_ACTION) if page.info2 == 0 => Told::Userspace,
            (1.., Some(vector), Action::NO_ACTION) if page.info2 == 0 => Told::Injected(vector),
            (1.., None, Action::NO_ACTION) => Told::Done(page.info2),
            (1.., None, Action::ISSUE_EXCEPTION) => Told::Exception(page.info2),
            (1.., None, Action::MALFORMED_INPUT) => match u32::try_from(page.info2) {
                Ok(reason) => Told::Error(ErrorReason(reason)),
                Err(_) => Told::Other,
            },
            _ => Told::Other,
        }
    }
}

impl Foresight {
    /// Compares C's answer with what was foreseen.
    pub fn judge(&self, c: &CAnswer) -> Verdict {
        match (&self.request, &c.page) {
            (None, None) => self.judge_msr(c),
            // What C cannot pin.
            (Some(_), None) if c.result > 0 && c.msr == self.msr => Verdict::AnyUserMemory,
            (Some(request), Some(page)) => {
                if request.has_changed(page) || page.is_overwritten() {
                    Verdict::Raced
                } else if c.msr != self.msr {
                    Verdict::Unexplained
                } else {
                    self.judge_page(c, request, page)
                }
            }
            _ => Verdict::Unexplained,
        }
    }

    /// The same where there is a page.
    fn judge_page(&self, c: &CAnswer, request: &PageRequest, page: &CPage) -> Verdict {
        let exit = &request.exit;
        let told = c.told(page);
        let kind = Kind::of(exit.code, exit.info1);
        let all = ValidBitmap::of(&[Field::Rax, Field::Rbx, Field::Rcx, Field::Rdx]);
        let alike = if exit.returned().is_superset_of(all) {
            Verdict::Same
        } else {
            Verdict::ReturnedRegisters
        };
        match (self.expected, told) {
            (Expected::Done(info2), Told::Done(c)) if c == info2 => alike,
            (Expected::JumpTable(gpa), Told::Done(c)) if c == gpa => alike,
            // Another vCPU has changed it.
            (Expected::JumpTable(_), Told::Done(_)) => Verdict::Raced,
            (Expected::Error(reason), Told::Error(c)) if c == reason => alike,
            (Expected::Error(reason), _) => self.judge_error(exit, reason, told),

            (Expected::Instruction, Told::Done(0)) => alike,
            (Expected::Instruction, Told::Userspace) => Verdict::Accepted,
            (Expected::Instruction, Told::Exception(event))
                if matches!(kind, Kind::ReadMsr | Kind::WriteMsr)
                    && event == EventInjection::GP_WITHOUT_ERROR_CODE.0 =>
            {
                alike
            }
            (Expected::Instruction, Told::Injected(_)) => Verdict::EmulationException,
            (Expected::Instruction, Told::Failure(errno::EINVAL)) if kind == Kind::WriteMsr => {
                Verdict::WrmsrPassthrough
            }

            (Expected::PortIo | Expected::Transfer, Told::Done(0)) => alike,
            (Expected::PortIo | Expected::Transfer, Told::Userspace) => Verdict::Accepted,
            (Expected::Transfer, Told::Failure(errno::EFAULT)) => Verdict::ScratchUnreadable,
            (Expected::Transfer, Told::Failure(errno::ENOMEM)) => Verdict::NoMemory,

            (Expected::Time(TimeStampRead::Rdtsc), Told::Userspace)
                if c.reason == ExitReason::InternalError =>
            {
                Verdict::Rdtsc
            }
            (Expected::Time(TimeStampRead::Rdtscp), Told::Injected(EventInjection::UD_VECTOR)) => {
                Verdict::Rdtscp
            }

            // C writes the reply to both.
            (Expected::Hold, Told::Done(0)) => Verdict::Same,
            (Expected::Hold, Told::Userspace) => Verdict::Accepted,

            (Expected::Dr7(value), Told::Done(0)) if value == page.rax => alike,
            (Expected::Dr7(_), Told::Done(0)) => Verdict::ReadDr7,
            (Expected::Features(mine), Told::Done(c)) => self.judge_features(mine, c, alike),
            (Expected::Termination, Told::Userspace) if c.reason == ExitReason::Termination => {
                alike
            }
            (Expected::Unsupported, Told::Failure(errno::EINVAL)) => alike,

            (Expected::PageState | Expected::GuestRequest, Told::Done(_) | Told::Userspace) => {
                Verdict::Accepted
            }
            (Expected::GuestRequest, Told::Error(ErrorReason::INVALID_INPUT))
                if exit.code == ExitCode::EXT_GUEST_REQUEST =>
            {
                Verdict::Accepted
            }
            (Expected::GuestRequest, Told::Failure(errno::EIO)) => Verdict::RequestOutOfReach,
            (Expected::GuestRequest, Told::Failure(_)) => Verdict::RequestNoAnswer,
            (Expected::ApCreation, Told::Done(0) | Told::Error(ErrorReason::INVALID_INPUT)) => {
                Verdict::Accepted
            }
            (Expected::ApicIds, Told::Error(ErrorReason::INVALID_EVENT)) => Verdict::ApicIdList,
            _ => Verdict::Unexplained,
        }
    }

    /// C does not refuse what would be refused here, or for another reason.
    fn judge_error(&self, exit: &ExitInfo, reason: ErrorReason, told: Told) -> Verdict {
        let io = IoInfo(exit.info1);
        match (reason, told, exit.code) {
            (ErrorReason::INVALID_EVENT, Told::Error(ErrorReason::MISSING_INPUT), code)
                if code.is_snp_event() =>
            {
                Verdict::SnpEventFirst
            }
            (
                ErrorReason::MISSING_INPUT,
                Told::Error(ErrorReason::INVALID_EVENT),
                ExitCode::APIC_ID_LIST,
            ) => Verdict::ApicIdList,
            (ErrorReason::INVALID_INPUT, _, ExitCode::IOIO)
                if io.size().is_none() && io.size_bits() != 0 =>
            {
                Verdict::IoioSize
            }
            (ErrorReason::INVALID_SCRATCH_AREA, Told::Failure(errno::EINVAL), ExitCode::IOIO)
                if io.is_string() =>
            {
                Verdict::StringTooLong
            }
            _ => Verdict::Unexplained,
        }
    }

    /// Whether C's features are those that would be told here.
    fn judge_features(&self, mine: u64, c: u64, alike: Verdict) -> Verdict {
        if mine == c {
            alike
        } else if self.is_snp && mine == c | Features::APIC_ID_LIST.0 {
            Verdict::SnpFeatures
        } else if !self.is_snp && mine == 0 {
            Verdict::HvFeatures
        } else {
            Verdict::Unexplained
        }
    }

    /// The same where there is no page.
    fn judge_msr(&self, c: &CAnswer) -> Verdict {
        let is_untouched = c.msr == self.msr;
        match (self.expected, c.result, c.exception) {
            (Expected::NoReply, 1.., None) if is_untouched => Verdict::Same,
            (Expected::Msr(mine), 1.., None) if c.msr == mine => Verdict::Same,
            (Expected::MsrCpuid, 1.., Some(_)) => Verdict::MsrCpuidCpl,
            (Expected::MsrCpuid, 1.., None) => self.judge_cpuid(c.msr),
            (Expected::MsrHold, 0.., None) if c.msr.info() == MsrInfo::AP_RESET_HOLD_RESPONSE => {
                match (c.msr.data(), c.result) {
                    (0, 0) => Verdict::Accepted,
                    (0, _) => Verdict::Same,
                    _ => Verdict::Unexplained,
                }
            }
            (Expected::MsrFeatures(mine), 1.., None)
                if c.msr.info() == MsrInfo::HV_FEATURES_RESPONSE =>
            {
                self.judge_features(mine, c.msr.data(), Verdict::Same)
            }
            (Expected::Termination, 0, None)
                if is_untouched && c.reason == ExitReason::Termination =>
            {
                Verdict::Same
            }
            (Expected::MsrFailed, 0, None)
                if is_untouched && c.reason == ExitReason::Termination =>
            {
                Verdict::MsrSnpRequest
            }
            (Expected::MsrFailed, 1.., None)
                if is_untouched && c.msr.info() == MsrInfo::RUN_VMPL_REQUEST =>
            {
                Verdict::MsrSnpRequest
            }
            (Expected::MsrPageState, 0, None) if is_untouched => Verdict::Accepted,
            (Expected::MsrPageState, 1.., None) if c.msr.info() == MsrInfo::PSC_RESPONSE => {
                Verdict::Accepted
            }
            _ => Verdict::Unexplained,
        }
    }

    /// Whether a response to CPUID is one, but for bits that mean nothing.
    fn judge_cpuid(&self, c: GhcbMsr) -> Verdict {
        /// Value, register, and what the MSR holds.
        const USED: u64 = 0xffff_ffff_c000_0fff;
        const REGISTER: u64 = 0xc000_0000;
        if c.info() != MsrInfo::CPUID_RESPONSE || (c.0 ^ self.msr.0) & REGISTER != 0 {
            Verdict::Unexplained
        } else if c.0 & !USED == 0 {
            Verdict::Same
        } else if (c.0 ^ self.msr.0) & !USED == 0 {
            Verdict::MsrReservedBits
        } else {
            Verdict::Unexplained
        }
    }
}
