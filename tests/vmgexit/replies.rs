// SPDX-License-Identifier: GPL-2.0

//! What the guest finds in its page after an exit.

use ghcb_rs::{
    ghcb_abi::{
        bitmap::ValidBitmap,
        exit_code::ExitCode,
        page::Field,
        reply::{Action, ErrorReason, EventInjection},
    },
    vmgexit::{kind::Kind, AfterExit},
};

use crate::support::{Call, Host};

/// What must be in the page.
pub(crate) struct Expected {
    action: Action,
    info2: u64,
    fields: Vec<(Field, u64)>,
    buffer: Option<(usize, Vec<u8>)>,
}

/// "No action", with what the event returns.
pub(crate) fn done(info2: u64, fields: &[(Field, u64)]) -> Expected {
    let (action, buffer) = (Action::NO_ACTION, None);
    let fields = fields.to_vec();
    Expected {
        action,
        info2,
        fields,
        buffer,
    }
}

/// The same, and bytes at an offset of the page.
pub(crate) fn filled(offset: usize, bytes: &[u8]) -> Expected {
    Expected {
        buffer: Some((offset, bytes.to_vec())),
        ..done(0, &[])
    }
}

pub(crate) fn exception(event: EventInjection) -> Expected {
    Expected {
        action: Action::ISSUE_EXCEPTION,
        ..done(event.0, &[])
    }
}

pub(crate) fn refused(reason: ErrorReason) -> Expected {
    Expected {
        action: Action::MALFORMED_INPUT,
        ..done(reason.0.into(), &[])
    }
}

/// The registers that the event returns, if nothing was supplied.
pub(crate) fn zeros(code: u64, info1: u64) -> Vec<(Field, u64)> {
    let returned = ExitCode(code).returned(info1);
    returned.fields().map(|field| (field, 0)).collect()
}

impl Expected {
    /// The same, with what the event returns.
    pub(crate) fn with(self, fields: &[(Field, u64)]) -> Self {
        Self {
            fields: fields.to_vec(),
            ..self
        }
    }

    /// Compares every byte of the page with what it was before.
    pub(crate) fn assert_in(&self, before: &[u8], after: &[u8]) {
        let mut expected = before.to_vec();
        let mut put = |offset: usize, bytes: &[u8]| {
            expected[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        let mut valid = ValidBitmap::REPLY;
        for (field, value) in &self.fields {
            put(field.offset(), &value.to_le_bytes());
            valid.insert(*field);
        }
        put(0x398, &u64::from(self.action.0).to_le_bytes());
        put(0x3a0, &self.info2.to_le_bytes());
        put(0x3f0, &valid.to_bytes());
        if let Some((offset, bytes)) = &self.buffer {
            put(*offset, bytes);
        }
        let differs = (0..0x1000).filter(|at| after[*at] != expected[*at]);
        assert!(
            after == expected,
            "bytes {:x?}",
            differs.collect::<Vec<_>>()
        );
    }
}

/// Handles a request that ends at once: this is the reply, and this is all that KVM was asked.
pub(crate) fn assert_reply(
    mut host: Host,
    kind: Kind,
    expected: &Expected,
    asked: &[Call],
) -> Host {
    let before = host.page.bytes();
    let log = host.log.len();
    let info = [host.page.peek(0x398), host.page.peek(0x3a0)];
    let code = host.page.peek(0x390);
    assert_eq!(host.vmgexit(), AfterExit::RESUME);

    expected.assert_in(&before, &host.page.bytes());
    let mut calls = vec![Call::Open(host.msr)];
    calls.extend_from_slice(asked);
    calls.push(Call::Close);
    assert_eq!(host.asked()[..], calls);
    assert_eq!(host.counts, [(kind, expected.action)]);
    assert_eq!(host.page.read_twice(), None);
    assert!(host.log[log..].contains(&Call::TraceEnter(code, info[0], info[1])));
    let exit = Call::TraceExit(code, expected.action.0.into(), expected.info2);
    assert!(host.log[log..].contains(&exit), "{:?}", host.log);
    let complains = host
        .log
        .iter()
        .any(|call| matches!(call, Call::Complain(_)));
    assert_eq!(complains, expected.action == Action::MALFORMED_INPUT);

    // Nothing is left for the moment before the vCPU runs.
    let log = host.log.len();
    host.complete();
    assert_eq!(host.log.len(), log);
    assert!(!host.holds_anything());
    host
}

/// Handles a request that is left to a SIPI.
pub(crate) fn assert_parked(host: &mut Host, kind: Kind, outcome: AfterExit) {
    let before = host.page.bytes();
    assert_eq!(host.vmgexit(), outcome);
    // "No action" in advance: C code may change it to what it became.
    done(0, &[]).assert_in(&before, &host.page.bytes());
    assert!(host.sev_es.ghcb);
    assert_eq!(host.counts, [(kind, Action::NO_ACTION)]);
}

/// Handles a request whose reply userspace knows: until then, nothing is written and nothing is held but
/// the request.
pub(crate) fn assert_deferred(host: &mut Host, kind: Kind) {
    let mut before = host.page.bytes();
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
    // But for the marks of the request.
    before[0x3f0..0x400].fill(0);
    assert_eq!(before, host.page.bytes());
    assert!(host.sev_es.is_pending() && !host.sev_es.ghcb && !host.page.is_viewed());
    assert_eq!(host.counts, [(kind, Action::NO_ACTION)]);
}

/// Handles a request that is answered although userspace has yet to carry it out.
pub(crate) fn assert_sent(host: &mut Host, kind: Kind) {
    let before = host.page.bytes();
    assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
    done(0, &[]).assert_in(&before, &host.page.bytes());
    assert_eq!(host.counts, [(kind, Action::NO_ACTION)]);
    assert!(!host.sev_es.ghcb && !host.holds_anything());
}
