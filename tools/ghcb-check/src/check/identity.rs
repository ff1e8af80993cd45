// SPDX-License-Identifier: GPL-2.0

//! Are the kernel, kvm_amd and kvm those that the module was made for?

use super::{sentences, Subject};
use crate::{build_id::BuildId, module::Module, report::Check};

pub(super) fn checks(subject: &Subject<'_>) -> Vec<Check> {
    let Some(module) = &subject.module else {
        return vec![Check::unknown(
            "module",
            format!(
                "there is no ghcb_rs.ko below /lib/modules/{}",
                subject.release
            ),
            "install ghcb-rs-dkms, or build it and name it with --module",
        )];
    };
    let mut checks = vec![built_for(subject, module)];
    for (what, name) in [
        ("vmlinux", "vmlinux-build-id"),
        ("kvm_amd", "kvm_amd-build-id"),
        ("kvm", "kvm-build-id"),
    ] {
        checks.push(same(subject, module, what, name));
    }
    checks
}

/// The kernel's loader compares more than the release; this is what goes wrong in practice.
fn built_for(subject: &Subject<'_>, module: &Module) -> Check {
    let path = module.path.display();
    match module.release() {
        Some(release) if release == subject.release => {
            let loaded = match subject.is_loaded() {
                true => ", and one is loaded already",
                false => "",
            };
            Check::good("module", format!("{path} is for this kernel{loaded}"))
        }
        release => Check::bad(
            "module",
            format!(
                "{path} is for the kernel {}, and {} runs",
                release.unwrap_or("of another kind"),
                subject.release
            ),
            sentences::REBUILD,
        ),
    }
}

fn same(subject: &Subject<'_>, module: &Module, what: &str, name: &'static str) -> Check {
    let made_for = module
        .info(&format!("{what}_build_id"))
        .and_then(BuildId::parse);
    let Some(made_for) = made_for else {
        return Check::bad(
            name,
            format!(
                "{} does not say which {what} it was made for",
                module.path.display()
            ),
            sentences::REBUILD,
        );
    };
    match of_host(subject, what) {
        None => Check::unknown(
            name,
            format!("the build ID of this {what} cannot be read"),
            match what {
                "vmlinux" => super::AS_ROOT,
                _ => "modprobe kvm_amd, or install the kernel's modules",
            },
        ),
        Some(id) if id == made_for => Check::good(name, format!("{id}, as the module wants it")),
        Some(id) => Check::bad(
            name,
            format!(
                "this {what} {}: it is {id}, not {made_for}",
                sentences::OTHER
            ),
            sentences::REBUILD,
        ),
    }
}

/// Of what runs, or what would be loaded.
fn of_host(subject: &Subject<'_>, what: &str) -> Option<BuildId> {
    let host = subject.host;
    if what == "vmlinux" {
        return BuildId::in_notes(&host.bytes("/sys/kernel/notes").ok()?);
    }
    let notes = format!("/sys/module/{what}/notes/.note.gnu.build-id");
    if let Ok(notes) = host.bytes(&notes) {
        return BuildId::in_notes(&notes);
    }
    let file = Module::find(host, &subject.release, &what.replace('_', "-"))?;
    Module::open(&file).ok()?.build_id
}
