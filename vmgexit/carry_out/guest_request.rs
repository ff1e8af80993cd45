// SPDX-License-Identifier: GPL-2.0

//! Guest request and extended guest request.
//!
//! The message is read once, as a whole. What it is about is decided from the copy, which is what the firmware
//! gets, also after userspace has been asked for certificates.

use super::deferred;
use crate::{
    ghcb_abi::{
        guest_request::{GuestRequestStatus, MessageType, VmmError},
        page::{Field, PAGE_SIZE},
        reply::{ErrorReason, Reply},
        scratch::ScratchArea,
    },
    vmgexit::{
        flow::Flow,
        host::{AfterExit, CertificateAnswer, End, Failure, Scratch, Vcpu},
        request::guest_request::{is_page_aligned, GuestRequest},
    },
};

/// Zeros that end a table of certificates, in bytes: an entry.
const END_OF_TABLE: usize = 24;

/// Address of a deferred message. The copy is complete, so the address is not read again.
const NOWHERE: ScratchArea = ScratchArea::External {
    gpa: u64::MAX << PAGE_SIZE.trailing_zeros(),
    len: PAGE_SIZE as u64,
};

/// A reply.
const fn reply(vmm: VmmError, firmware: u32) -> Reply {
    Reply::no_action(GuestRequestStatus { vmm, firmware }.to_info2())
}

/// What a request comes to.
enum Sent {
    Reply(Reply),
    /// The firmware did not answer: the reply, and the error for KVM_RUN.
    HostFault(Reply, i32),
}

impl GuestRequest {
    /// Carries it out.
    pub(crate) fn carry_out<V: Vcpu>(self, vcpu: &mut V) -> Result<Flow<V::Buffer>, Failure> {
        const INVALID: Failure = Failure::Refused(ErrorReason::INVALID_INPUT);
        if !vcpu.may_ask_firmware() {
            return Ok(Flow::Reply(reply(VmmError::BUSY, 0)));
        }
        let message = vcpu.read_message(self.request).map_err(|_| INVALID)?;
        let Some(message) = message else {
            return Ok(Flow::Reply(reply(VmmError::BUSY, 0)));
        };
        if self.is_extended && MessageType::of(message.as_ref()) == MessageType::REPORT_REQUEST {
            let data = self.data.ok_or(INVALID)?;
            if !is_page_aligned(data.gpa) {
                return Err(INVALID);
            }
            if vcpu.has_certificates() {
                vcpu.ask_for_certificates(data.gpa, data.pages);
                return Ok(Flow::ReplyLater(Some(Scratch {
                    area: NOWHERE,
                    buffer: message,
                })));
            }
            if data.pages != 0 {
                vcpu.clear(data.gpa, END_OF_TABLE).map_err(|_| INVALID)?;
            }
        }
        Ok(match self.send(vcpu, message) {
            Sent::Reply(reply) => Flow::Reply(reply),
            Sent::HostFault(reply, error) => Flow::ReplyAndFail(reply, error),
        })
    }

    /// Hands the message to the firmware, and its response to the guest.
    fn send<V: Vcpu>(&self, vcpu: &mut V, mut message: V::Buffer) -> Sent {
        let answer = match vcpu.ask_firmware(&mut message) {
            Ok(answer) => answer,
            // If userspace runs the guest in spite of the error, the guest asks again.
            Err(fault) => return Sent::HostFault(reply(VmmError::BUSY, 0), fault.0),
        };
        Sent::Reply(match vcpu.write_message(self.response, &message) {
            Ok(()) => reply(VmmError::NONE, answer.status),
            Err(_) => Reply::error(ErrorReason::INVALID_INPUT),
        })
    }
}

/// Goes on with a request, when userspace has answered. C: `snp_complete_req_certs()`. May sleep.
///
/// If the answer is none that KVM knows of, KVM_RUN fails as in C, and the reply is still to be written.
pub fn go_on<V: Vcpu>(vcpu: &mut V) -> AfterExit {
    let answer = vcpu.certificate_answer();
    if answer == CertificateAnswer::Invalid {
        return AfterExit::UNSUPPORTED;
    }
    let Some(mut deferred) = vcpu.take_deferred(End::Completed) else {
        return AfterExit::RESUME;
    };
    let message = deferred.data.take().map(|(_, message)| message);
    let request = GuestRequest {
        request: deferred.exit.info1,
        response: deferred.exit.info2,
        is_extended: true,
        data: None,
    };
    let (reply, outcome) = match (answer, message) {
        (CertificateAnswer::Done, Some(message)) => match request.send(vcpu, message) {
            Sent::Reply(reply) => (reply, AfterExit::RESUME),
            Sent::HostFault(reply, error) => (reply, AfterExit::host_fault(error)),
        },
        (CertificateAnswer::TooFewPages(needed), _) => {
            let reply = reply(VmmError::INVALID_LENGTH, 0).with_rbx(needed);
            (reply, AfterExit::RESUME)
        }
        (CertificateAnswer::Busy, _) => (reply(VmmError::BUSY, 0), AfterExit::RESUME),
        _ => (reply(VmmError::GENERIC, 0), AfterExit::RESUME),
    };
    let reply = match reply.get(Field::Rbx) {
        Some(_) => reply,
        None => vcpu
            .registers()
            .returned_with(reply, deferred.exit.code, deferred.exit.info1),
    };
    deferred::finish(vcpu, &deferred, &reply);
    outcome
}
