// SPDX-License-Identifier: GPL-2.0
//! What a hostile VMGEXIT may bring, and what no VMGEXIT may.

use crate::exchange::exit::Exit;
use crate::exchange::steps::{Attempt, Outcome};
use crate::kernel::handler::Handler;
use crate::launch::kind::Kind;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::msr::{GhcbMsr, MsrRequest};
use ghcb_rs::ghcb_abi::page::Field;
use ghcb_rs::ghcb_abi::reply::EventInjection;

/// Ends that a guest may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Permit {
    /// Termination.
    termination: bool,
    /// KVM_RUN fails: the guest says that it cannot go on.
    unsupported: bool,
}

impl Permit {
    fn of(attempt: &Attempt) -> Self {
        let ask = |termination, unsupported| Self {
            termination,
            unsupported,
        };
        let Some(image) = attempt.own_page() else {
            return match GhcbMsr(attempt.msr_value().unwrap_or(0)).request() {
                MsrRequest::Terminate(_) => ask(true, false),
                // Any attempt may have left its page there.
                MsrRequest::GhcbGpa(_) => ask(true, true),
                _ => ask(false, false),
            };
        };
        match ExitCode(image.word(Field::SwExitCode.offset())) {
            ExitCode::TERMINATE => ask(true, false),
            ExitCode::UNSUPPORTED_EVENT => ask(false, true),
            _ => ask(false, false),
        }
    }
}

/// What is wrong about `outcome`, if something is: the guest goes on, unless it asked for its end.
pub fn problem(handler: Handler, attempt: &Attempt, outcome: &Outcome) -> Option<String> {
    if !outcome.went_on {
        return Some("the guest does not go on".into());
    }
    if let Some((vector, _)) = outcome.exception {
        // C injects the exceptions of emulated instructions.
        let legal = [
            EventInjection::UD_VECTOR,
            EventInjection::GP_WITHOUT_ERROR_CODE.vector(),
        ];
        if handler == Handler::Rust || !legal.contains(&vector) {
            return Some(format!("exception {vector}"));
        }
    }
    let permit = Permit::of(attempt);
    let is_snp = Kind::chosen().is_snp();
    let legal = |exit: &Exit| match (handler, exit) {
        (_, Exit::Io { .. } | Exit::Mmio { .. } | Exit::ApResetHold) => true,
        // A guest may take its own memory for what it has asked userspace to make of it.
        (_, Exit::Hypercall { .. } | Exit::MemoryFault { .. }) => is_snp,
        // Difference request-out-of-reach.
        (Handler::C, Exit::Errno(libc::EIO)) => is_snp,
        (Handler::Rust, Exit::Errno(libc::EINVAL)) => permit.unsupported,
        (Handler::Rust, exit) => exit.is_termination() && permit.termination,
        (Handler::C, Exit::Errno(errno)) => [libc::EINVAL, libc::EFAULT].contains(errno),
        (Handler::C, Exit::InternalError { suberror }) => *suberror == 4,
        (Handler::C, exit) => exit.is_termination(),
    };
    outcome
        .exits
        .iter()
        .find(|exit| !legal(exit))
        .map(|exit| format!("{exit:x?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::request::Request;

    fn went_on(exits: Vec<Exit>) -> Outcome {
        Outcome {
            went_on: true,
            msr: 0,
            exception: None,
            exits,
            pages: None,
            infos: (0, 0),
        }
    }

    fn termination() -> Exit {
        Exit::SystemEvent {
            type_: crate::exchange::exit::SYSTEM_EVENT_SEV_TERM,
            data: vec![0x100],
        }
    }

    #[test]
    fn a_guest_dies_of_nothing() {
        let dead = Outcome {
            went_on: false,
            ..went_on(vec![Exit::Shutdown])
        };
        for handler in [Handler::C, Handler::Rust] {
            assert!(problem(handler, &Attempt::msr(0x100), &dead).is_some());
        }
    }

    #[test]
    fn an_end_must_be_asked_for() {
        let page = |code| Attempt::page(&Request::new(code, 0, 0));
        let end = went_on(vec![termination()]);
        let refused = went_on(vec![Exit::Errno(libc::EINVAL)]);
        let verdict = |attempt: &Attempt, outcome| problem(Handler::Rust, attempt, outcome);
        assert_eq!(verdict(&Attempt::msr(0x100), &end), None);
        assert_eq!(verdict(&page(ExitCode::TERMINATE), &end), None);
        assert_eq!(verdict(&page(ExitCode::UNSUPPORTED_EVENT), &refused), None);
        for attempt in [page(ExitCode::INVD), Attempt::msr(2)] {
            assert!(verdict(&attempt, &end).is_some());
            assert!(verdict(&attempt, &refused).is_some());
        }
        let shutdown = went_on(vec![Exit::Shutdown]);
        assert!(verdict(&Attempt::msr(0x100), &shutdown).is_some());
    }

    #[test]
    fn rust_injects_nothing() {
        let undefined = Outcome {
            exception: Some((6, 0)),
            ..went_on(Vec::new())
        };
        let attempt = Attempt::msr(2);
        assert!(problem(Handler::Rust, &attempt, &undefined).is_some());
        assert_eq!(problem(Handler::C, &attempt, &undefined), None);
    }
}
