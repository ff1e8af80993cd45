// SPDX-License-Identifier: GPL-2.0

//! The handling path: what a host does when a guest executes VMGEXIT.
//!
//! ```text
//! GHCB MSR ── a request of its own ─────────────────────► msr_protocol
//!     └────── a page: Snapshot ─► NaeEvent ─► carry out ─► Reply
//!               (one look)  (proved)     (a family each)
//! ```
//!
//! A [`Snapshot`] is all that is ever read of the guest's page. [`NaeEvent::decode`] proves it: a request
//! that the specification does not allow has no representation, and becomes an error reply at once. A
//! request is carried out by KVM, which is reached through the [`Vcpu`] trait alone. A [`Reply`] holds
//! what the event returns, and nothing else gets into the page.
//!
//! Most exits end here, with the page neither mapped nor pinned; so do those that userspace carries out
//! without returning anything. Where userspace says what the reply is, it is *deferred*: nothing of the page
//! is kept, and [`deliver`](waiting::deliver) writes the reply when userspace lets the vCPU run again. The few
//! that a SIPI ends are *parked*: [`Waiting::park`](waiting::Waiting::park) leaves the state that KVM's own code
//! knows how to complete, and completes.
//!
//! Nothing here ends the VM, except where the guest asks for it, and nothing here panics.

#![forbid(unsafe_code)]

pub mod ap;
pub mod carry_out;
pub mod context;
pub mod host;
pub mod instruction;
pub mod kind;
pub mod memory;
pub mod mmio;
pub mod msr_protocol;
pub mod port_io;
pub mod record;
pub mod request;
pub mod system;
pub mod takeover;
pub mod tally;
pub mod tsc;
pub mod vcpu;
pub mod waiting;

use crate::ghcb_abi::{
    bitmap::ValidBitmap,
    exit_code::ExitCode,
    msr::MsrInfo,
    reply::{Action, ErrorReason, Reply},
    snapshot::{Header, Snapshot},
    version::Usage,
};
use context::Context;
use kind::Kind;
use port_io::Direction;
use request::{snp::SnpRequest, NaeEvent};
use vcpu::{Complaint, ExitInfo, Failure, Fault, Fulfilment, Registers, Scratch, Vcpu};

/// What KVM_RUN does after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterExit {
    /// The guest runs on.
    Resume,
    /// KVM_RUN returns to userspace; `kvm_run` says why.
    Userspace,
    /// KVM_RUN fails: the guest reported an event that it cannot handle, or userspace's answer is none.
    Unsupported,
    /// KVM_RUN fails with this negative error number: something of the host's does not work.
    HostFault(i32),
}

impl AfterExit {
    /// What a function of KVM returns for it: one, zero, or a negative error number.
    #[inline]
    pub const fn to_kvm(self) -> i32 {
        /// `EINVAL` of `include/uapi/asm-generic/errno-base.h`.
        const EINVAL: i32 = 22;
        match self {
            Self::Resume => 1,
            Self::Userspace => 0,
            Self::Unsupported => -EINVAL,
            Self::HostFault(error) => error,
        }
    }
}

/// What happens to the reply, and what a family of events leaves to others.
pub(crate) enum Flow<B> {
    /// Write this reply; the exit is complete.
    Reply(Reply),
    /// Reply that KVM did not carry the request out; the exit is complete.
    ReplyNotDone(Fulfilment),
    /// Write this reply, which is for a guest that runs nevertheless: KVM_RUN fails with this error number.
    ReplyAndFail(Reply, i32),
    /// Reply early, with "no action", and end KVM_RUN: what userspace then does returns nothing.
    ReplyEarly(AfterExit),
    /// Reply later, with what userspace returns. The copy of a scratch area is kept until then.
    ReplyLater(Option<Scratch<B>>),
    /// Map the page for C, which replies with these registers when a SIPI or something else wakes the vCPU.
    ReplyByC(Registers),
}

impl<B> Flow<B> {
    /// The flow after an access that returns nothing in registers and is complete without userspace.
    #[inline(always)]
    fn after(fulfilment: Fulfilment) -> Self {
        match fulfilment {
            Fulfilment::Done => Self::Reply(Reply::no_action(0)),
            fulfilment => Self::ReplyNotDone(fulfilment),
        }
    }
}

/// Handles a VMGEXIT. C: `sev_handle_vmgexit()`.
///
/// `begin` counts a call in flight; dropping what it returns ends that call. All that may sleep is done
/// in between. A request for SEV information is not counted if it is not traced: its answer is a few
/// instructions long and cannot sleep.
#[inline(always)]
pub fn handle<V: Vcpu, Call>(vcpu: &mut V, begin: impl FnOnce() -> Call) -> AfterExit {
    match vcpu.ghcb_msr().info() {
        MsrInfo::GHCB_GPA => handle_page(vcpu, begin),
        MsrInfo::SEV_INFO_REQUEST if !vcpu.traces_msr() => msr_protocol::answer_sev_info(vcpu),
        MsrInfo::CPUID_REQUEST if !vcpu.traces_msr() => {
            let _call = begin();
            msr_protocol::answer_cpuid(vcpu)
        }
        _ => handle_msr(vcpu, begin),
    }
}

/// Handles any request in the MSR. Not inlined, so that the frequent requests save fewer registers.
#[inline(never)]
fn handle_msr<V: Vcpu, Call>(vcpu: &mut V, begin: impl FnOnce() -> Call) -> AfterExit {
    let _call = begin();
    msr_protocol::handle(vcpu)
}

/// Handles a request in the page. Not inlined, so that the frequent requests in the MSR save fewer registers.
#[inline(never)]
fn handle_page<V: Vcpu, Call>(vcpu: &mut V, begin: impl FnOnce() -> Call) -> AfterExit {
    let _call = begin();
    let gpa = vcpu.ghcb_msr().0;
    // Without a page there is nowhere to reply: resume the guest, as C does.
    let page = if gpa != 0 { vcpu.open(gpa) } else { Err(Fault) };
    let outcome = page.and_then(|page| {
        let outcome = answer(vcpu, &page, gpa);
        vcpu.close(page);
        outcome
    });
    outcome.unwrap_or_else(|Fault| {
        unreachable_page(vcpu);
        AfterExit::Resume
    })
}

/// Answers the request that is in the page.
#[inline(always)]
fn answer<V: Vcpu>(vcpu: &mut V, page: &V::Page, gpa: u64) -> Result<AfterExit, Fault> {
    let header = Header::take(page)?;
    match header.exit_code() {
        ExitCode::CPUID => answer_one::<V, { ExitCode::CPUID.0 }>(vcpu, page, gpa, header),
        ExitCode::MSR => answer_one::<V, { ExitCode::MSR.0 }>(vcpu, page, gpa, header),
        ExitCode::IOIO => answer_one::<V, { ExitCode::IOIO.0 }>(vcpu, page, gpa, header),
        ExitCode::MMIO_READ => answer_one::<V, { ExitCode::MMIO_READ.0 }>(vcpu, page, gpa, header),
        ExitCode::MMIO_WRITE => {
            answer_one::<V, { ExitCode::MMIO_WRITE.0 }>(vcpu, page, gpa, header)
        }
        ExitCode::RDTSC => answer_one::<V, { ExitCode::RDTSC.0 }>(vcpu, page, gpa, header),
        _ => answer_others(vcpu, page, gpa, header),
    }
}

/// Answers a frequent event. The compiler makes a copy of the path for each, with its exit code a constant.
#[inline(always)]
fn answer_one<V: Vcpu, const EXIT_CODE: u64>(
    vcpu: &mut V,
    page: &V::Page,
    gpa: u64,
    header: Header,
) -> Result<AfterExit, Fault> {
    answer_any(vcpu, page, gpa, header.about(ExitCode(EXIT_CODE)))
}

/// Answers an infrequent event.
#[inline(never)]
fn answer_others<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    gpa: u64,
    header: Header,
) -> Result<AfterExit, Fault> {
    answer_any(vcpu, page, gpa, header)
}

/// Reads what the event needs, proves it, has it carried out, and replies.
#[inline(always)]
fn answer_any<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    gpa: u64,
    header: Header,
) -> Result<AfterExit, Fault> {
    let (code, info1) = (header.exit_code(), header.info1());
    // Read the registers that the event returns, too: an error reply returns them unchanged.
    let wanted = code.operands(info1).union(code.returned(info1));
    let snapshot = Snapshot::read(header, page, wanted.union(Context::FIELDS))?;
    let exit = ExitInfo::of(&snapshot);
    vcpu.trace_enter(exit);
    // As in C, also for a request that is then refused.
    vcpu.set_context(&Context::of(&snapshot));
    let request = match prove(vcpu, gpa, &snapshot) {
        Ok(request) => request,
        Err(reason) => {
            let (valid, scratch) = (snapshot.header().valid(), snapshot.scratch());
            let given = Registers::of(&snapshot);
            return refuse(vcpu, page, exit, valid, scratch, &given, reason);
        }
    };
    let kind = Kind::of(exit.code, exit.info1);
    // Frequent events reply here: which registers they return is known at compile time.
    let flow = match request {
        NaeEvent::Instruction(request) => match request.emulate(vcpu) {
            Fulfilment::Done => {
                let reply = vcpu.registers().returned_with(Reply::no_action(0), exit);
                return write(vcpu, page, exit.code, kind, reply);
            }
            Fulfilment::Userspace => Ok(Flow::ReplyLater(None)),
            fulfilment => Ok(Flow::ReplyNotDone(fulfilment)),
        },
        NaeEvent::PortIo(access) => match (access.carry_out(vcpu), access.direction) {
            (Fulfilment::Done, _) => {
                let reply = vcpu.registers().returned_with(Reply::no_action(0), exit);
                return write(vcpu, page, exit.code, kind, reply);
            }
            (Fulfilment::Userspace, Direction::Out) => Ok(Flow::ReplyEarly(AfterExit::Userspace)),
            (Fulfilment::Userspace, Direction::In) => Ok(Flow::ReplyLater(None)),
            (fulfilment, _) => Ok(Flow::ReplyNotDone(fulfilment)),
        },
        NaeEvent::StringIo(transfer) => transfer.carry_out(vcpu, page),
        NaeEvent::Mmio(access) => access.carry_out(vcpu, page),
        NaeEvent::TimeStamp(read) => Ok(read.carry_out(vcpu)),
        NaeEvent::Ap(event) => Ok(event.carry_out(vcpu)),
        NaeEvent::System(event) => Ok(event.carry_out(vcpu)),
        NaeEvent::Snp(event) => {
            let given = Registers::of(&snapshot);
            event.carry_out(vcpu, page, &given, exit)
        }
        NaeEvent::Nothing => {
            let reply = Registers::of(&snapshot).returned_with(Reply::no_action(0), exit);
            Ok(Flow::Reply(reply))
        }
    };
    match flow {
        Ok(flow) => conclude(vcpu, page, exit, kind, flow),
        Err(Failure::Refused(reason)) => write(vcpu, page, exit.code, kind, Reply::error(reason)),
        Err(Failure::Fault) => Err(Fault),
    }
}

/// Checks a request in the order in which KVM's C handler does, and decodes it.
///
/// An SEV-SNP guest's page must be the registered one, whatever is in it.
#[inline(always)]
fn prove<V: Vcpu>(vcpu: &V, gpa: u64, snapshot: &Snapshot) -> Result<NaeEvent, ErrorReason> {
    let is_snp = vcpu.is_snp();
    if is_snp && !vcpu.is_registered(gpa) {
        return Err(ErrorReason::NOT_REGISTERED);
    }
    if snapshot.header().usage() != Usage::DEFAULT {
        return Err(ErrorReason::INVALID_USAGE);
    }
    let code = snapshot.exit_code();
    if code.is_snp_event() && !(is_snp && SnpRequest::is_answered(code)) {
        return Err(ErrorReason::INVALID_EVENT);
    }
    if !snapshot.missing().is_empty() {
        return Err(ErrorReason::MISSING_INPUT);
    }
    NaeEvent::decode(snapshot, vcpu.version(), gpa)
}

/// Refuses a request that is not legal. The registers that the event returns are those of the request.
#[cold]
#[inline(never)]
fn refuse<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    exit: ExitInfo,
    valid: ValidBitmap,
    scratch: u64,
    given: &Registers,
    reason: ErrorReason,
) -> Result<AfterExit, Fault> {
    vcpu.complain(Complaint::Refused {
        exit,
        valid,
        scratch,
        reason,
    });
    let kind = Kind::of(exit.code, exit.info1);
    let reply = given.returned_with(Reply::error(reason), exit);
    write(vcpu, page, exit.code, kind, reply)
}

/// Writes the reply, or records that it is written later or by C.
#[inline(always)]
fn conclude<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    exit: ExitInfo,
    kind: Kind,
    flow: Flow<V::Buffer>,
) -> Result<AfterExit, Fault> {
    match flow {
        Flow::Reply(reply) => write(vcpu, page, exit.code, kind, reply),
        Flow::ReplyNotDone(fulfilment) => fail(vcpu, page, exit, kind, fulfilment),
        Flow::ReplyEarly(outcome) => {
            // If the page is no longer there, the device still gets the data.
            if write(vcpu, page, exit.code, kind, Reply::no_action(0)).is_err() {
                unreachable_page(vcpu);
            }
            Ok(outcome)
        }
        Flow::ReplyLater(scratch) => {
            vcpu.defer(page, exit, scratch)?;
            vcpu.count(kind, Action::NO_ACTION);
            Ok(AfterExit::Userspace)
        }
        Flow::ReplyByC(registers) => {
            let outcome = ap::hold_by_page(vcpu, page, exit, &registers)?;
            vcpu.count(kind, Action::NO_ACTION);
            Ok(outcome)
        }
        Flow::ReplyAndFail(reply, error) => {
            write(vcpu, page, exit.code, kind, reply)?;
            Ok(AfterExit::HostFault(error))
        }
    }
}

/// Tells the guest that KVM did not do what was asked.
#[cold]
#[inline(never)]
fn fail<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    exit: ExitInfo,
    kind: Kind,
    fulfilment: Fulfilment,
) -> Result<AfterExit, Fault> {
    let reply = match fulfilment {
        Fulfilment::Exception(event) => Reply::exception(event),
        _ => Reply::error(ErrorReason::INVALID_INPUT),
    };
    let reply = vcpu.registers().returned_with(reply, exit);
    write(vcpu, page, exit.code, kind, reply)
}

/// Writes a reply. The guest runs on.
#[inline(always)]
fn write<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    exit_code: ExitCode,
    kind: Kind,
    reply: Reply,
) -> Result<AfterExit, Fault> {
    reply.write(page)?;
    vcpu.count(kind, reply.action());
    vcpu.trace_exit(exit_code, &reply);
    Ok(AfterExit::Resume)
}

/// Counts and reports that a guest's page cannot be reached.
#[cold]
fn unreachable_page<V: Vcpu>(vcpu: &mut V) {
    let gpa = vcpu.ghcb_msr().0;
    vcpu.count(Kind::UnreachablePage, Action::MALFORMED_INPUT);
    vcpu.complain(Complaint::UnreachablePage(gpa));
}
