// SPDX-License-Identifier: GPL-2.0

//! The preconditions, in the order in which they are shown.

mod device;
mod ftrace;
mod identity;
mod kernel;
mod kvm_amd;
mod livepatch;
mod processor;
pub mod sentences;
mod signature;

use crate::{host::Host, module::Module, report::Report};
use anyhow::Context as _;
use std::io;
use std::path::Path;

pub use kernel::OPTIONS;
pub use livepatch::REPLACED;

/// What all preconditions are judged by.
struct Subject<'a> {
    host: &'a Host,
    /// Release of the running kernel.
    release: String,
    /// The module that would be loaded; `None` if there is none.
    module: Option<Module>,
}

impl Subject<'_> {
    /// A parameter of a loaded module.
    fn parameter(&self, module: &str, name: &str) -> Option<String> {
        let path = format!("/sys/module/{module}/parameters/{name}");
        self.host.text(&path).ok()
    }

    /// Whether a module is loaded or built in.
    fn has_module(&self, name: &str) -> bool {
        self.host.has(&format!("/sys/module/{name}"))
    }

    /// Whether ghcb_rs is loaded already. What it has redirected is then no obstacle.
    fn is_loaded(&self) -> bool {
        self.has_module("ghcb_rs")
    }
}

/// Looks at all of them. `file` is the module that would be loaded, else it is looked for.
///
/// # Errors
///
/// If it is not known which kernel runs, or `file` is no module.
pub fn all(host: &Host, file: Option<&Path>) -> anyhow::Result<Report> {
    let release = host.release().context("/proc/sys/kernel/osrelease")?;
    let found;
    let file = match file {
        Some(file) => Some(file),
        None => {
            found = Module::find(host, &release, "ghcb_rs");
            found.as_deref()
        }
    };
    let module = file
        .map(|file| Module::open(file).with_context(|| file.display().to_string()))
        .transpose()?;
    let subject = Subject {
        host,
        release,
        module,
    };
    let mut checks = processor::checks(&subject);
    checks.extend(device::checks(&subject));
    checks.extend(kvm_amd::checks(&subject));
    checks.extend(kernel::checks(&subject));
    checks.extend(identity::checks(&subject));
    checks.push(signature::check(&subject));
    checks.push(ftrace::check(&subject));
    checks.extend(livepatch::checks(&subject));
    Ok(Report::new(checks))
}

/// Whether something cannot be read for lack of rights alone.
fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// What to do where rights are missing.
const AS_ROOT: &str = "run ghcb-check as root";
