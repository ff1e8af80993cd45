// SPDX-License-Identifier: GPL-2.0

//! The path of a request in the page, from its header to its reply.

use super::{
    carry_out::{ap, fault},
    flow::Flow,
    host::{AfterExit, Complaint, Failure, Fault, Fulfilment, Protocol, Registration, Vcpu},
    kind::Kind,
    request::{context::Context, registers::Registers, snp::SnpRequest, Destination, NaeEvent},
};
use crate::ghcb_abi::{
    bitmap::ValidBitmap,
    exit_code::ExitCode,
    exit_info::ExitInfo,
    reply::{Action, ErrorReason, EventInjection, Reply},
    snapshot::{Header, Snapshot},
    version::Usage,
};

/// Reads what the event needs of the page whose header was taken, proves it, has it carried out, and replies.
#[inline(always)]
pub(super) fn answer<V: Vcpu>(
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
    if let Err(reason) = check(vcpu, gpa, &snapshot) {
        return Refused::new(&snapshot, reason).reply(vcpu, page);
    }
    let version = vcpu.version();
    let answer = Answer {
        vcpu,
        page,
        exit,
        snapshot: &snapshot,
    };
    NaeEvent::decode_for(&snapshot, version, gpa, answer)
}

/// What is known of a request that is about to be proved.
struct Answer<'a, V: Vcpu> {
    vcpu: &'a mut V,
    page: &'a V::Page,
    exit: ExitInfo,
    snapshot: &'a Snapshot,
}

impl<V: Vcpu> Destination for Answer<'_, V> {
    type Outcome = Result<AfterExit, Fault>;

    /// Has a request carried out, or refuses it, and replies.
    #[inline(always)]
    fn take(self, request: Result<NaeEvent, ErrorReason>) -> Self::Outcome {
        let Self {
            vcpu,
            page,
            exit,
            snapshot,
        } = self;
        match request {
            Ok(request) => {
                let flow = request.carry_out(vcpu, page, snapshot, exit);
                conclude(vcpu, page, exit, flow)
            }
            Err(reason) => Refused::new(snapshot, reason).reply(vcpu, page),
        }
    }
}

/// Checks a request in the order in which KVM's C handler does.
///
/// An SEV-SNP guest's page must be the registered one, whatever is in it.
#[inline(always)]
fn check<V: Protocol + Registration>(
    vcpu: &V,
    gpa: u64,
    snapshot: &Snapshot,
) -> Result<(), ErrorReason> {
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
    Ok(())
}

/// Checks a request, and decodes it.
pub(super) fn prove<V: Protocol + Registration>(
    vcpu: &V,
    gpa: u64,
    snapshot: &Snapshot,
) -> Result<NaeEvent, ErrorReason> {
    check(vcpu, gpa, snapshot)?;
    NaeEvent::decode(snapshot, vcpu.version(), gpa)
}

/// A request that is refused.
struct Refused {
    exit: ExitInfo,
    valid: ValidBitmap,
    scratch: u64,
    given: Registers,
    reason: ErrorReason,
}

impl Refused {
    /// All that is to be known of it. To be called where it is refused: what has an address costs on the way there.
    #[inline]
    fn new(snapshot: &Snapshot, reason: ErrorReason) -> Self {
        Self {
            exit: ExitInfo::of(snapshot),
            valid: snapshot.header().valid(),
            scratch: snapshot.scratch(),
            given: Registers::of(snapshot),
            reason,
        }
    }

    /// Replies with the error, and reports it. The registers that the event returns are those of the request.
    #[cold]
    #[inline(never)]
    fn reply<V: Vcpu>(&self, vcpu: &mut V, page: &V::Page) -> Result<AfterExit, Fault> {
        let Self {
            exit,
            valid,
            scratch,
            given: registers,
            reason,
        } = *self;
        let kind = Kind::of(exit.code, exit.info1);
        let reply = registers.returned_with(Reply::error(reason), exit.code, exit.info1);
        write_only(vcpu, page, exit.code, kind, reply)?;
        vcpu.complain(Complaint::Refused {
            exit,
            valid,
            scratch,
            registers,
            reason,
        });
        Ok(AfterExit::RESUME)
    }
}

/// Writes the reply, or records that it is written later or by C.
#[inline(always)]
fn conclude<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    exit: ExitInfo,
    flow: Result<Flow<V::Buffer>, Failure>,
) -> Result<AfterExit, Fault> {
    let kind = Kind::of(exit.code, exit.info1);
    let flow = match flow {
        Ok(flow) => flow,
        Err(Failure::Refused(reason)) => {
            return write_error(vcpu, page, exit.code, exit.info1, exit.info2, reason)
        }
        Err(Failure::Fault) => return Err(Fault),
    };
    match flow {
        Flow::Reply(reply) => write(vcpu, page, exit, kind, reply),
        Flow::ReplyNotDone(fulfilment) => {
            let event = match fulfilment {
                Fulfilment::Exception(event) => Some(event),
                _ => None,
            };
            fail(vcpu, page, exit.code, exit.info1, exit.info2, event)
        }
        Flow::ReplyEarly(outcome) => {
            // If the page is no longer there, the device still gets the data.
            if write(vcpu, page, exit, kind, Reply::no_action(0)).is_err() {
                fault::report(vcpu);
            }
            Ok(outcome)
        }
        Flow::ReplyLater(scratch) => {
            vcpu.defer(page, exit, scratch)?;
            vcpu.count(kind, Action::NO_ACTION);
            Ok(AfterExit::USERSPACE)
        }
        Flow::ReplyByC(registers) => {
            let parts = (exit.code, exit.info1, exit.info2);
            let outcome = ap::hold_by_page(vcpu, page, parts, &registers)?;
            vcpu.count(kind, Action::NO_ACTION);
            Ok(outcome)
        }
        Flow::ReplyAndFail(reply, error) => {
            write(vcpu, page, exit, kind, reply)?;
            Ok(AfterExit::host_fault(error))
        }
    }
}

/// Tells the guest that KVM did not do what was asked, but had an exception or an error.
#[cold]
#[inline(never)]
fn fail<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    code: ExitCode,
    info1: u64,
    info2: u64,
    exception: Option<EventInjection>,
) -> Result<AfterExit, Fault> {
    let reply = match exception {
        Some(event) => Reply::exception(event),
        None => Reply::error(ErrorReason::INVALID_INPUT),
    };
    let reply = vcpu.registers().returned_with(reply, code, info1);
    let exit = ExitInfo { code, info1, info2 };
    write(vcpu, page, exit, Kind::of(code, info1), reply)
}

/// Replies with an error that a request met when it was carried out.
#[cold]
#[inline(never)]
fn write_error<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    code: ExitCode,
    info1: u64,
    info2: u64,
    reason: ErrorReason,
) -> Result<AfterExit, Fault> {
    let exit = ExitInfo { code, info1, info2 };
    write(
        vcpu,
        page,
        exit,
        Kind::of(code, info1),
        Reply::error(reason),
    )
}

/// Writes a reply. The guest runs on.
#[inline(always)]
fn write<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    exit: ExitInfo,
    kind: Kind,
    reply: Reply,
) -> Result<AfterExit, Fault> {
    let after = write_only(vcpu, page, exit.code, kind, reply)?;
    fault::report_error(vcpu, exit, &reply);
    Ok(after)
}

/// Writes a reply, without a word about an error in it.
#[inline(always)]
fn write_only<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    exit_code: ExitCode,
    kind: Kind,
    reply: Reply,
) -> Result<AfterExit, Fault> {
    reply.write(page)?;
    vcpu.count(kind, reply.action());
    vcpu.trace_exit(exit_code, &reply);
    Ok(AfterExit::RESUME)
}
