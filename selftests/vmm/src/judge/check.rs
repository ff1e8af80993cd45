// SPDX-License-Identifier: GPL-2.0
//! Checks that collect what is wrong instead of ending at the first.

use crate::exchange::exit::{Exit, SYSTEM_EVENT_SEV_TERM};
use crate::exchange::request::Request;
use crate::exchange::steps::Outcome;
use crate::kernel::handler::Handler;
use ghcb_rs::ghcb_abi::bitmap::ValidBitmap;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_END, SHARED_BUFFER_OFFSET};
use ghcb_rs::ghcb_abi::reply::ErrorReason;
use std::fmt::Debug;

/// What C returns with every reply (difference returned-registers).
const RETURNED_BY_C: ValidBitmap =
    ValidBitmap::of(&[Field::Rax, Field::Rbx, Field::Rcx, Field::Rdx]);

/// What a test found wrong.
#[derive(Default)]
pub struct Check {
    problems: Vec<String>,
    context: String,
}

/// Most problems that one test lists; the rest is counted.
const MOST: usize = 16;

impl Check {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Name what the next checks look at.
    pub fn about(&mut self, context: impl Into<String>) -> &mut Self {
        self.context = context.into();
        self
    }

    /// `got` must be `want`.
    pub fn same<T: PartialEq + Debug>(&mut self, what: &str, got: T, want: T) -> &mut Self {
        if got != want {
            self.wrong(format!("{what} is {got:#x?}, not {want:#x?}"));
        }
        self
    }

    /// `condition` must hold.
    pub fn that(&mut self, what: &str, condition: bool) -> &mut Self {
        if !condition {
            self.wrong(format!("not so: {what}"));
        }
        self
    }

    /// Something is wrong.
    pub fn wrong(&mut self, problem: String) {
        let line = problem.split_whitespace().collect::<Vec<_>>().join(" ");
        if self.context.is_empty() {
            self.problems.push(line);
        } else {
            self.problems.push(format!("{}: {line}", self.context));
        }
    }

    /// The guest goes on without exception and without an exit to userspace.
    pub fn quiet(&mut self, outcome: &Outcome) -> &mut Self {
        self.went_on(outcome)
            .same("exits to userspace", outcome.exits.clone(), Vec::new())
    }

    /// The guest goes on without exception.
    pub fn went_on(&mut self, outcome: &Outcome) -> &mut Self {
        self.that("the guest goes on", outcome.went_on)
            .same("exception", outcome.exception, None)
    }

    /// The hypervisor refuses the request for `reason`, and changes nothing but what the event returns.
    pub fn refused(&mut self, outcome: &Outcome, handler: Handler, reason: ErrorReason) {
        let reply = outcome.reply();
        self.quiet(outcome)
            .same("SW_EXITINFO1", reply.info1, 2)
            .same("SW_EXITINFO2", reply.info2, reason.0.into());
        let returned = outcome.pages.as_ref().map_or(ValidBitmap::EMPTY, |pages| {
            let word = |field: Field| pages.before.word(field.offset());
            ExitCode(word(Field::SwExitCode)).returned(word(Field::SwExitInfo1))
        });
        self.contained(outcome, handler, returned, false);
    }

    /// The hypervisor does what the request asks, with `info2` as result.
    pub fn answered(&mut self, request: &Request, outcome: &Outcome, handler: Handler, info2: u64) {
        let reply = outcome.reply();
        let returned = match request.code() {
            // C writes this reply, whether C or Rust began the exit.
            ExitCode::AP_RESET_HOLD => RETURNED_BY_C,
            code => code.returned(request.info1()),
        };
        self.went_on(outcome)
            .same("SW_EXITINFO1", reply.info1, 0)
            .same("SW_EXITINFO2", reply.info2, info2);
        self.contained(outcome, handler, returned, request.receives());
    }

    /// Nothing of the page changed but what a reply with `returned` holds, and the buffer if `received`.
    ///
    /// C returns RAX to RDX always (difference returned-registers).
    pub fn contained(
        &mut self,
        outcome: &Outcome,
        handler: Handler,
        returned: ValidBitmap,
        received: bool,
    ) {
        let Some(pages) = &outcome.pages else {
            self.wrong("no page".into());
            return;
        };
        let registers = match handler {
            Handler::C => RETURNED_BY_C,
            Handler::Rust => returned,
        };
        let fields = registers.union(ValidBitmap::REPLY);
        self.same("fields of the reply", outcome.reply().valid, fields);
        let bitmap = Field::ValidBitmapLow.offset()..Field::ValidBitmapHigh.offset() + 8;
        let buffer = SHARED_BUFFER_OFFSET..SHARED_BUFFER_END;
        let foreign: Vec<usize> = pages
            .before
            .differences(&pages.after)
            .into_iter()
            .filter(|at| !fields.fields().any(|field| field.offset() == *at))
            .filter(|at| !bitmap.contains(at) && (!received || !buffer.contains(at)))
            .collect();
        self.same("other words of the page that changed", foreign, Vec::new());
    }

    /// Userspace learns that the guest asks for its end with `msr`.
    pub fn terminates(&mut self, outcome: &Outcome, msr: u64) -> &mut Self {
        let want = Exit::SystemEvent {
            type_: SYSTEM_EVENT_SEV_TERM,
            data: vec![msr],
        };
        self.same("exits to userspace", outcome.exits.clone(), vec![want])
    }

    /// All that is wrong.
    pub fn done(mut self) -> Vec<String> {
        let more = self.problems.len().saturating_sub(MOST);
        self.problems.truncate(MOST);
        if more > 0 {
            self.problems.push(format!("and {more} more"));
        }
        self.problems
    }
}
