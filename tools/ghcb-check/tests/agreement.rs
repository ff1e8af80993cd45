// SPDX-License-Identifier: GPL-2.0

//! This program and the module say the same of the same thing: held against the module's sources beside it.

use ghcb_check::check::{sentences, OPTIONS, REPLACED};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &str) -> String {
    fs::read_to_string(top().join(path)).expect(path)
}

#[test]
fn sentences_are_the_modules_own() {
    let mut sources = text("ghcb_rs.rs") + &text("livepatch.rs");
    for entry in fs::read_dir(top().join("livepatch")).expect("livepatch/") {
        sources += &fs::read_to_string(entry.expect("an entry").path()).expect("a source");
    }
    for sentence in sentences::ALL {
        assert!(sources.contains(sentence), "{sentence}");
    }
}

#[test]
fn functions_are_those_that_the_module_replaces() {
    let sources = text("kvm/imports.rs") + &text("kvm/differences.rs");
    let blocks = sources.split("\nreplaced! {").skip(1);
    let replaced: BTreeSet<_> = blocks
        .flat_map(|block| block.lines().take_while(|line| *line != "}"))
        .filter_map(|line| line.trim().strip_prefix("fn ")?.split('(').next())
        .collect();
    assert_eq!(replaced, REPLACED.into_iter().collect());
}

/// This one is about building alone.
const BUILDING: &str = "DEBUG_INFO_BTF_MODULES=y";

#[test]
fn options_and_their_reasons_are_those_of_the_build() {
    let script = text("scripts/kernel-fits");
    let wanted: BTreeSet<_> = script
        .lines()
        .filter_map(|line| line.strip_prefix("option "))
        .filter(|line| !line.starts_with(BUILDING))
        .map(|line| format!("CONFIG_{line}"))
        .collect();
    let options = OPTIONS.map(|(option, value, reason)| format!("{option}={value} \"{reason}\""));
    assert_eq!(options.into_iter().collect::<BTreeSet<_>>(), wanted);
}
