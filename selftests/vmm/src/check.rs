// SPDX-License-Identifier: GPL-2.0
//! Checks that collect what is wrong instead of ending at the first.

use crate::exit::{Exit, SYSTEM_EVENT_SEV_TERM};
use crate::steps::Outcome;
use std::fmt::Debug;

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
