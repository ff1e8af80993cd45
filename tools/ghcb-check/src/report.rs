// SPDX-License-Identifier: GPL-2.0

//! What was found.

use serde::Serialize;
use std::fmt;
use std::process::ExitCode;

/// What a precondition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It holds.
    Good,
    /// It holds, and there is something to know.
    Note,
    /// It does not hold: the module would be refused, or have nothing to do.
    Bad,
    /// It could not be looked at.
    Unknown,
}

/// A precondition that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, which does not change between versions.
    pub name: &'static str,
    /// What it is.
    pub state: State,
    /// What was found, in a sentence.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Check {
    /// A precondition that holds.
    pub fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Good,
            found: found.into(),
            advice: None,
        }
    }

    /// One that holds, with something to know.
    pub fn note(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            state: State::Note,
            advice: Some(advice.into()),
            ..Self::good(name, found)
        }
    }

    /// One that does not hold.
    pub fn bad(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            state: State::Bad,
            ..Self::note(name, found, advice)
        }
    }

    /// One that could not be looked at.
    pub fn unknown(
        name: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Unknown,
            ..Self::note(name, found, advice)
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Good => "good",
            State::Note => "note",
            State::Bad => "BAD",
            State::Unknown => "?",
        };
        writeln!(f, "{state:<5}{:<19}{}", self.name, self.found)?;
        match &self.advice {
            Some(advice) => writeln!(f, "{:<24}-> {advice}", ""),
            None => Ok(()),
        }
    }
}

/// What all of it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing is bad.
    Good,
    /// Something is bad.
    Bad,
    /// Nothing is bad, and something could not be looked at.
    Unknown,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Good => 0,
            Verdict::Bad => 1,
            Verdict::Unknown => 3,
        }
        .into()
    }
}

/// All preconditions that were looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    result: Verdict,
    checks: Vec<Check>,
}

impl Report {
    /// The report on these.
    pub fn new(checks: Vec<Check>) -> Self {
        let any = |state| checks.iter().any(|check| check.state == state);
        let result = if any(State::Bad) {
            Verdict::Bad
        } else if any(State::Unknown) {
            Verdict::Unknown
        } else {
            Verdict::Good
        };
        Self { result, checks }
    }

    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        self.result
    }

    /// The text without lines about what is good.
    pub fn without_the_good(&self) -> String {
        self.checks
            .iter()
            .filter(|check| check.state != State::Good)
            .map(ToString::to_string)
            .collect()
    }

    fn count(&self, state: State) -> usize {
        self.checks
            .iter()
            .filter(|check| check.state == state)
            .count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            write!(f, "{check}")?;
        }
        writeln!(
            f,
            "ghcb-check: checks={} good={} note={} bad={} unknown={} result={}",
            self.checks.len(),
            self.count(State::Good),
            self.count(State::Note),
            self.count(State::Bad),
            self.count(State::Unknown),
            match self.result {
                Verdict::Good => "good",
                Verdict::Bad => "bad",
                Verdict::Unknown => "unknown",
            }
        )
    }
}
