// SPDX-License-Identifier: GPL-2.0

//! The path of a request in the page, from its header to its reply.

use super::{
    carry_out::{ap, fault},
    flow::Flow,
    host::{AfterExit, Complaint, Failure, Fault, Fulfilment, Protocol, Registration, Vcpu},
    kind::Kind,
    request::{context::Context, registers::Registers, snp::SnpRequest, NaeEvent},
};
use crate::ghcb_abi::{
    bitmap::ValidBitmap,
    exit_code::ExitCode,
    exit_info::ExitInfo,
    reply::{Action, ErrorReason, Reply},
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
    let request = match prove(vcpu, gpa, &snapshot) {
        Ok(request) => request,
        Err(reason) => {
            let (valid, scratch) = (snapshot.header().valid(), snapshot.scratch());
            let given = Registers::of(&snapshot);
            return refuse(vcpu, page, exit, valid, scratch, &given, reason);
        }
    };
    let kind = Kind::of(exit.code, exit.info1);
    let flow = match request {
        // Reply to a frequent event here: which registers it returns is known at compile time.
        NaeEvent::Instruction(request) => match request.fulfil(vcpu) {
            Fulfilment::Done => return write_registers(vcpu, page, exit, kind),
            fulfilment => Ok(request.not_done(fulfilment, exit)),
        },
        NaeEvent::PortIo(access) => match access.fulfil(vcpu) {
            Fulfilment::Done => return write_registers(vcpu, page, exit, kind),
            fulfilment => Ok(access.not_done(fulfilment)),
        },
        request => request.carry_out(vcpu, page, &snapshot, exit),
    };
    match flow {
        Ok(flow) => conclude(vcpu, page, exit, kind, flow),
        Err(Failure::Refused(reason)) => write(vcpu, page, exit, kind, Reply::error(reason)),
        Err(Failure::Fault) => Err(Fault),
    }
}

/// Checks a request in the order in which KVM's C handler does, and decodes it.
///
/// An SEV-SNP guest's page must be the registered one, whatever is in it.
#[inline(always)]
pub(super) fn prove<V: Protocol + Registration>(
    vcpu: &V,
    gpa: u64,
    snapshot: &Snapshot,
) -> Result<NaeEvent, ErrorReason> {
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
    let kind = Kind::of(exit.code, exit.info1);
    let reply = given.returned_with(Reply::error(reason), exit);
    write_only(vcpu, page, exit.code, kind, reply)?;
    vcpu.complain(Complaint::Refused {
        exit,
        valid,
        scratch,
        registers: *given,
        reason,
    });
    Ok(AfterExit::Resume)
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
        Flow::Reply(reply) => write(vcpu, page, exit, kind, reply),
        Flow::ReplyNotDone(fulfilment) => fail(vcpu, page, exit, kind, fulfilment),
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
            Ok(AfterExit::Userspace)
        }
        Flow::ReplyByC(registers) => {
            let outcome = ap::hold_by_page(vcpu, page, exit, &registers)?;
            vcpu.count(kind, Action::NO_ACTION);
            Ok(outcome)
        }
        Flow::ReplyAndFail(reply, error) => {
            write(vcpu, page, exit, kind, reply)?;
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
    write(vcpu, page, exit, kind, reply)
}

/// Writes the reply that returns the event's registers.
#[inline(always)]
fn write_registers<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    exit: ExitInfo,
    kind: Kind,
) -> Result<AfterExit, Fault> {
    let reply = vcpu.registers().returned_with(Reply::no_action(0), exit);
    write(vcpu, page, exit, kind, reply)
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
    Ok(AfterExit::Resume)
}
