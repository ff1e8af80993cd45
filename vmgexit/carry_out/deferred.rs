// SPDX-License-Identifier: GPL-2.0

//! Replies that waited for userspace.

use super::fault;
use crate::{
    ghcb_abi::{
        exit_code::ExitCode,
        exit_info::ExitInfo,
        guest_request::GuestRequestStatus,
        reply::{EventInjection, Reply},
    },
    vmgexit::{
        host::{Deferred, End, Fault, Vcpu},
        request::registers::Registers,
    },
};

/// Writes the reply of a deferred exit. May sleep. False if there is none.
#[inline(always)]
pub fn deliver<V: Vcpu>(vcpu: &mut V, end: End) -> bool {
    let Some(deferred) = vcpu.take_deferred(end) else {
        return false;
    };
    macro_rules! copies {
        ($($code:ident),*) => {
            match deferred.exit.code {
                $(ExitCode::$code => {
                    let exit = ExitInfo { code: ExitCode::$code, ..deferred.exit };
                    reply_to(vcpu, end, Deferred { exit, ..deferred });
                })*
                _ => reply_to(vcpu, end, deferred),
            }
        };
    }
    copies!(MSR, IOIO, VMMCALL, MMIO_READ);
    true
}

/// Writes the reply.
#[inline(always)]
fn reply_to<V: Vcpu>(vcpu: &mut V, end: End, deferred: Deferred<V::Buffer>) {
    let reply = reply(end, deferred.exit, &vcpu.registers());
    finish(vcpu, &deferred, &reply);
}

/// Writes the reply of a deferred exit, and before it what the guest receives. May sleep.
#[inline(always)]
pub(super) fn finish<V: Vcpu>(vcpu: &mut V, deferred: &Deferred<V::Buffer>, reply: &Reply) {
    let written = vcpu.open(deferred.gpa).and_then(|page| {
        let written = write(vcpu, &page, deferred, reply);
        vcpu.close(page);
        written
    });
    if written.is_err() {
        fault::report(vcpu);
    }
}

/// Writes what a deferred exit brought to its page.
#[inline(always)]
fn write<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    deferred: &Deferred<V::Buffer>,
    reply: &Reply,
) -> Result<(), Fault> {
    match &deferred.data {
        Some((area, data)) if deferred.exit.receives() => vcpu.put_back(page, *area, data)?,
        _ => {}
    }
    reply.write(page)?;
    vcpu.trace_exit(deferred.exit.code, reply);
    fault::report_error(vcpu, deferred.exit, reply);
    Ok(())
}

/// The reply, if KVM's registers are those after the exit.
#[inline]
fn reply(end: End, exit: ExitInfo, after: &Registers) -> Reply {
    let reply = match (end, exit.code) {
        (End::Failed, _) => Reply::exception(EventInjection::GP_WITHOUT_ERROR_CODE),
        // The exit ended before the firmware was asked.
        (_, ExitCode::EXT_GUEST_REQUEST) => Reply::no_action(GuestRequestStatus::FAILED.to_info2()),
        _ => Reply::no_action(0),
    };
    after.returned_with(reply, exit.code, exit.info1)
}
