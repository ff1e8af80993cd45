// SPDX-License-Identifier: GPL-2.0

//! The last requests that were refused, or that C has answered in a way that nobody expected, for a file.

use super::vcpu::{Vcpu, VmName};
use crate::{
    ghcb_abi::{
        bitmap::ValidBitmap,
        exit_code::ExitCode,
        exit_info::ExitInfo,
        msr::GhcbMsr,
        reply::{Action, ErrorReason},
    },
    vmgexit::{
        host::Complaint,
        judge::{CAnswer, Foresight, PageRequest},
        kind::Kind,
        refusal::Refusal,
        request::registers::Registers,
        ring::Ring,
        verdict::Verdict,
    },
};
use core::{fmt::Display, sync::atomic::AtomicU64};
use kernel::{bindings::ktime_get, fmt};

/// How many are kept.
const COUNT: usize = 256;

/// Words of a record.
const WORDS: usize = VmName::WORDS + 18;

static RING: Ring<AtomicU64, COUNT, WORDS> = Ring::new();

/// A request, why it is kept, and for an answer that nobody expected, both answers.
struct Failure {
    /// Nanoseconds of the monotonic clock.
    time: u64,
    vm: VmName,
    vcpu: u32,
    kind: u8,
    /// A [`Refusal`], or [`UNEXPLAINED`].
    reason: u8,
    msr: GhcbMsr,
    exit: ExitInfo,
    valid: ValidBitmap,
    scratch: u64,
    registers: Registers,
    answers: Answers,
}

/// Stands for a reason where C has answered.
const UNEXPLAINED: u8 = u8::MAX;

/// Both answers.
#[derive(Clone, Copy, Default)]
struct Answers {
    /// Number of a row in [`Expected::NAMES`](crate::vmgexit::judge::Expected::NAMES), and what belongs to it.
    expected: (u8, u64),
    /// What C's function returned.
    result: i32,
    /// The exception that is injected.
    exception: Option<u8>,
    /// The GHCB MSR.
    msr: u64,
    /// Both infos of the reply, if C has reached the page.
    infos: Option<[u64; 2]>,
}

impl Failure {
    /// One about nothing yet.
    fn new(vm: VmName, vcpu: u32, msr: GhcbMsr, kind: Kind, reason: u8) -> Self {
        Self {
            // SAFETY: In a task, with the clock running.
            time: unsafe { ktime_get() } as u64,
            vm,
            vcpu,
            kind: kind as u8,
            reason,
            msr,
            exit: ExitInfo {
                code: ExitCode(0),
                info1: 0,
                info2: 0,
            },
            valid: ValidBitmap::EMPTY,
            scratch: 0,
            registers: Registers::default(),
            answers: Answers::default(),
        }
    }

    /// Keeps it. One that is lost has lost to newer ones.
    fn keep(&self) {
        RING.push(&self.encode());
    }

    fn encode(&self) -> [u64; WORDS] {
        let (valid_low, valid_high) = self.valid.to_words();
        let (exception, expected) = (self.answers.exception, self.answers.expected);
        let flags = u64::from(exception.is_some()) | u64::from(self.answers.infos.is_some()) << 1;
        let [info1, info2] = self.answers.infos.unwrap_or_default();
        let [vm_0, vm_1, vm_2] = self.vm.words();
        [
            self.time,
            bytes([self.kind, self.reason, expected.0, exception.unwrap_or(0)]) << 32
                | u64::from(self.vcpu),
            u64::from(self.answers.result as u32) << 32 | flags,
            self.msr.0,
            self.exit.code.0,
            self.exit.info1,
            self.exit.info2,
            valid_low,
            valid_high,
            self.scratch,
            self.registers.rax,
            self.registers.rbx,
            self.registers.rcx,
            self.registers.rdx,
            expected.1,
            self.answers.msr,
            info1,
            info2,
            vm_0,
            vm_1,
            vm_2,
        ]
    }

    fn decode(record: &[u64; WORDS]) -> Self {
        let [time, what, flags, msr, code, exit_info1, exit_info2, valid_low, valid_high, scratch, rax, rbx, rcx, rdx, expected, c_msr, info1, info2, vm @ ..] =
            record;
        let [kind, reason, expected_kind, exception] = ((what >> 32) as u32).to_le_bytes();
        Self {
            time: *time,
            vm: VmName::from_words(vm),
            vcpu: *what as u32,
            kind,
            reason,
            msr: GhcbMsr(*msr),
            exit: ExitInfo {
                code: ExitCode(*code),
                info1: *exit_info1,
                info2: *exit_info2,
            },
            valid: ValidBitmap::from_words(*valid_low, *valid_high),
            scratch: *scratch,
            registers: Registers {
                rax: *rax,
                rbx: *rbx,
                rcx: *rcx,
                rdx: *rdx,
                rsi: 0,
            },
            answers: Answers {
                expected: (expected_kind, *expected),
                result: (flags >> 32) as i32,
                exception: (flags & 1 != 0).then_some(exception),
                msr: *c_msr,
                infos: (flags & 2 != 0).then_some([*info1, *info2]),
            },
        }
    }
}

/// Four bytes as a number.
fn bytes(bytes: [u8; 4]) -> u64 {
    u32::from_le_bytes(bytes).into()
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = Kind::ALL.get(usize::from(self.kind));
        let reason = match Refusal::ALL.get(usize::from(self.reason)) {
            Some(refusal) => refusal.name(),
            None => Verdict::Unexplained.name(),
        };
        write!(
            f,
            "{}\t{}\t{}\t{}\t{reason}",
            self.time,
            self.vm,
            self.vcpu,
            kind.map_or("-", |kind| kind.name()),
        )?;
        for word in [
            self.msr.0,
            self.exit.code.0,
            self.exit.info1,
            self.exit.info2,
        ] {
            write!(f, "\t{word:#x}")?;
        }
        write!(f, "\t{:#x}", self.valid.bits())?;
        let registers = &self.registers;
        for word in [
            self.scratch,
            registers.rax,
            registers.rbx,
            registers.rcx,
            registers.rdx,
        ] {
            write!(f, "\t{word:#x}")?;
        }
        if self.reason == UNEXPLAINED {
            write!(f, "\t{}", self.answers)
        } else {
            f.write_str("\t-\t-")
        }
    }
}

impl Display for Answers {
    /// Both columns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::vmgexit::judge::Expected;
        let (number, value) = self.expected;
        let name = Expected::NAMES.get(usize::from(number)).copied();
        let reason = ErrorReason(value as u32).name();
        match (name, reason) {
            (Some("error"), Some(reason)) => write!(f, "error={reason}")?,
            (name, _) => write!(f, "{}={value:#x}", name.unwrap_or("-"))?,
        }
        write!(f, "\tresult={},msr={:#x}", self.result, self.msr)?;
        if let Some([info1, info2]) = self.infos {
            write!(f, ",info1={info1:#x},info2={info2:#x}")?;
        }
        if let Some(vector) = self.exception {
            write!(f, ",exception={vector}")?;
        }
        Ok(())
    }
}

/// Keeps a request that was refused.
pub(super) fn keep(
    vm: VmName,
    vcpu: u32,
    msr: GhcbMsr,
    complaint: &Complaint,
    kind: Kind,
    refusal: Refusal,
) {
    let mut failure = Failure::new(vm, vcpu, msr, kind, refusal as u8);
    match complaint {
        Complaint::Refused {
            exit,
            valid,
            scratch,
            registers,
            ..
        } => failure.fill(&PageRequest {
            exit: *exit,
            valid: *valid,
            scratch: *scratch,
            registers: *registers,
        }),
        Complaint::NotDone { exit, .. } => failure.exit = *exit,
        _ => {}
    }
    failure.keep();
}

/// Keeps an answer of C's that nobody expected.
pub(super) fn keep_unexplained(vcpu: &impl Vcpu, foresight: &Foresight, c: &CAnswer) {
    let (vm, number) = (vcpu.vm(), vcpu.number());
    let mut failure = Failure::new(vm, number, foresight.msr, foresight.kind, UNEXPLAINED);
    if let Some(request) = &foresight.request {
        failure.fill(request);
    }
    failure.answers = Answers {
        expected: foresight.expected.encode(),
        result: c.result,
        exception: c.exception,
        msr: c.msr.0,
        infos: c.page.map(|page| [page.info1, page.info2]),
    };
    failure.keep();
}

impl Failure {
    /// Tells of a request in the page.
    fn fill(&mut self, request: &PageRequest) {
        self.exit = request.exit;
        self.valid = request.valid;
        self.scratch = request.scratch;
        self.registers = request.registers;
    }
}

/// Why a request in the page that C has answered was not carried out, if so.
pub(super) fn refusal_by_c(c: &CAnswer) -> Option<Refusal> {
    let page = c.page?;
    let is_error = c.result > 0 && page.info1 == u64::from(Action::MALFORMED_INPUT.0);
    is_error.then(|| ErrorReason(page.info2 as u32).into())
}

/// Writes the table of what is kept, the oldest first.
pub(super) fn write(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "number\ttime_ns\tvm\tvcpu\tevent\treason\tmsr\tcode\tinfo1\tinfo2\tvalid\tscratch\trax\trbx\trcx\trdx\trust\tc"
    )?;
    let mut result = Ok(());
    RING.each(|number, record| {
        if result.is_ok() {
            result = writeln!(f, "{number}\t{}", Failure::decode(record));
        }
    });
    result
}
