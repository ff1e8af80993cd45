// SPDX-License-Identifier: GPL-2.0

//! Guests with SEV-SNP: a file for each event.

mod ap_creation;
mod apic_ids;
pub(crate) mod c_model;
mod fairness;
mod guest_request;
mod page_list;
mod page_state;
mod registration;

use ghcb_rs::{
    ghcb_abi::{
        exit_code::ExitCode,
        page::Field,
        reply::{Action, ErrorReason},
    },
    vmgexit::AfterExit,
};

use crate::support::{Call, Host};

/// A host whose guest has SEV-SNP and asks for an event.
pub(crate) fn request(code: ExitCode, info1: u64, info2: u64, fields: &[(Field, u64)]) -> Host {
    Host::snp().request(code, info1, info2, fields)
}

/// The action and the result in the page.
pub(crate) fn infos(host: &Host) -> (u64, u64) {
    (host.page.peek(0x398), host.page.peek(0x3a0))
}

/// The guest is told why its request is refused, and nothing else was asked of the host.
pub(crate) fn assert_refused(host: Host, reason: ErrorReason) -> Host {
    assert_refused_after(host, reason, &[])
}

/// The same, after the host was asked for something.
pub(crate) fn assert_refused_after(mut host: Host, reason: ErrorReason, asked: &[Call]) -> Host {
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(infos(&host), (2, reason.0.into()));
    assert_eq!(asked_of(&host), asked);
    let [(_, action)] = host.counts[..] else {
        panic!("counted {:?}", host.counts);
    };
    assert_eq!(action, Action::MALFORMED_INPUT);
    assert!(!host.holds_anything());
    host
}

/// What was asked of the host besides the page.
pub(crate) fn asked_of(host: &Host) -> Vec<Call> {
    let is_page = |call: &Call| matches!(call, Call::Open(_) | Call::Close);
    host.asked()
        .into_iter()
        .filter(|call| !is_page(call))
        .collect()
}
