// SPDX-License-Identifier: GPL-2.0

//! Reports are compared by the names of tests: a seed or a count in one would make it another test. The programs' sources
//! are held to that.

use std::fs;
use std::path::Path;

/// What comes before the name of a test.
const BEFORE: [&str; 5] = [".test(", ".problems(", ".skip(", ".all(", "let name = "];

/// Numbers that a program takes from its command line.
fn numbers(source: &str) -> Vec<&str> {
    let options = source.split("#[arg(long, default_value_t").skip(1);
    options
        .filter_map(|option| Some(option.split_once('\n')?.1.trim().split_once(':')?.0))
        .collect()
}

/// The names that are spelt out, with what is put into them.
fn names(source: &str) -> impl Iterator<Item = &str> {
    let after = |mark| source.split(mark).skip(1);
    let spelt = |rest: &str| {
        let begin = rest.trim_start();
        ["\"", "&format!(", "format!("]
            .iter()
            .any(|word| begin.starts_with(word))
    };
    BEFORE
        .into_iter()
        .flat_map(after)
        .filter(move |rest| spelt(rest))
        .map(|rest| &rest[..rest.find(['|', ';']).unwrap_or(rest.len())])
}

/// Numbers of the command line that are part of a name.
fn faults(source: &str) -> Vec<(&str, &str)> {
    let has = |name: &str, number: &str| {
        name.contains(&format!("{{{number}}}")) || name.contains(&format!("arguments.{number}"))
    };
    let of = |number| {
        names(source)
            .filter(move |name| has(name, number))
            .map(move |name| (number, name))
    };
    numbers(source).into_iter().flat_map(of).collect()
}

#[test]
fn no_name_has_a_number_of_the_command_line() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../selftests/programs/src/bin");
    let mut with_numbers = 0;
    for entry in fs::read_dir(folder).expect("the test programs' sources") {
        let path = entry.expect("a file").path();
        let source = fs::read_to_string(&path).expect("a file");
        with_numbers += usize::from(!numbers(&source).is_empty());
        assert_eq!(faults(&source), [], "{}", path.display());
    }
    assert!(with_numbers > 0);
}

#[test]
fn such_a_name_is_found() {
    let options = "#[arg(long, default_value_t = 1)]\n    seed: u64,\n";
    for (name, is_fault) in [
        (".test(\"a seed\", || seed)", false),
        (
            ".test(&format!(\"{name} of the seed {seed}\"), || {})",
            true,
        ),
        (
            ".test(\n    &format!(\"{} seeds\", arguments.seed),\n    || {})",
            true,
        ),
        ("let name = format!(\"the seed {seed}\");", true),
        (".problems(\"a seed\", &format!(\"of {number}\"));", false),
    ] {
        let source = format!("{options}{name}");
        assert_eq!(!faults(&source).is_empty(), is_fault, "{name}");
    }
}
