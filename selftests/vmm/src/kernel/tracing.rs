// SPDX-License-Identifier: GPL-2.0
//! The kernel's tracing of functions, in an instance of its own.

use anyhow::{Context, Result};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

const TRACEFS: &str = "/sys/kernel/tracing";
const INSTANCE: &str = "instances/ghcb_test";
/// Group of the events that are made here.
const GROUP: &str = "ghcb_test";

/// A buffer, what fills it, and nothing left of either afterwards.
pub struct Tracing {
    events: Vec<String>,
}

impl Tracing {
    /// An empty buffer.
    pub fn new() -> Result<Self> {
        let this = Self { events: Vec::new() };
        match fs::create_dir(this.path("")) {
            // A program that was killed leaves it.
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(error).context("an instance of the tracer")
            }
            _ => Ok(this),
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(TRACEFS).join(INSTANCE).join(file)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.path(file), text).with_context(|| format!("write {text:?} to {file}"))
    }

    /// Trace calls of `functions`.
    pub fn functions(&self, functions: &[&str]) -> Result<()> {
        self.write("set_ftrace_filter", &functions.join(" "))?;
        self.write("current_tracer", "function")
    }

    /// Trace calls of `functions` and of what they call.
    pub fn graph(&self, functions: &[&str]) -> Result<()> {
        self.write("set_ftrace_filter", &functions.join(" "))?;
        self.write("current_tracer", "function_graph")
    }

    /// Trace an event of the kernel's own, as `group/name`.
    pub fn event(&self, name: &str) -> Result<()> {
        self.write(&format!("events/{name}/enable"), "1")
    }

    /// Make an event `name` of a probe: its kind (`p`, `r` or `f`) and its place.
    pub fn probe(&mut self, kind: char, name: &str, place: &str) -> Result<()> {
        append(&format!("{kind}:{GROUP}/{name} {place}\n"))?;
        self.events.push(name.to_owned());
        self.write(&format!("events/{GROUP}/{name}/enable"), "1")
    }

    /// Lines of the buffer that hold `text`; the buffer is empty afterwards.
    pub fn take(&self, text: &str) -> Result<usize> {
        let trace = self.take_all()?;
        Ok(trace.lines().filter(|line| line.contains(text)).count())
    }

    /// Calls of `function` in the graph; the buffer is empty afterwards. The closing brace of a call may name its function as
    /// well (`print_graph_return()` in kernel/trace/trace_functions_graph.c).
    pub fn take_calls(&self, function: &str) -> Result<usize> {
        let trace = self.take_all()?;
        let is_call = |line: &&str| {
            let call = line.split_once('|').map(|(_, call)| call.trim_start());
            call.is_some_and(|call| call.starts_with(function))
        };
        Ok(trace.lines().filter(is_call).count())
    }

    fn take_all(&self) -> Result<String> {
        let trace = fs::read_to_string(self.path("trace")).context("the trace")?;
        self.write("trace", "")?;
        Ok(trace)
    }

    /// How often each event of [`Tracing::probe`] came; the buffer is empty afterwards.
    pub fn take_events(&self) -> Result<Vec<(String, usize)>> {
        let trace = self.take_all()?;
        let count = |name: &String| {
            let text = format!(" {name}: ");
            trace.lines().filter(|line| line.contains(&text)).count()
        };
        Ok(self
            .events
            .iter()
            .map(|name| (name.clone(), count(name)))
            .collect())
    }
}

fn append(line: &str) -> Result<()> {
    let path = PathBuf::from(TRACEFS).join("dynamic_events");
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(line.as_bytes())
        .with_context(|| format!("make the event {line:?}"))
}

impl Drop for Tracing {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.write("current_tracer", "nop");
        for name in &self.events {
            let _ = self.write(&format!("events/{GROUP}/{name}/enable"), "0");
        }
        for name in &self.events {
            let _ = append(&format!("-:{GROUP}/{name}\n"));
        }
        let _ = fs::remove_dir(self.path(""));
    }
}
