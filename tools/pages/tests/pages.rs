// SPDX-License-Identifier: GPL-2.0

//! The pages and completions have all that the command lines have.

use clap::{Command, CommandFactory as _};
use std::fs;

fn options(command: &Command) -> Vec<String> {
    let own = command
        .get_arguments()
        .filter_map(|option| option.get_long());
    own.map(str::to_owned).collect()
}

#[test]
fn each_option_is_described_and_completed() {
    let directory = tempfile::tempdir().expect("a directory");
    let status = assert_cmd::Command::cargo_bin("pages")
        .expect("the program")
        .arg(directory.path())
        .ok();
    assert!(status.is_ok(), "{status:?}");
    let text = |name: String| fs::read_to_string(directory.path().join(&name)).expect(&name);
    for command in [
        ghcbstat::cli::Arguments::command(),
        ghcb_check::cli::Arguments::command(),
    ] {
        let name = command.get_name();
        let (page, completion) = (text(format!("{name}.8")), text(format!("{name}.bash")));
        for option in options(&command) {
            assert!(
                page.contains(&format!("\\-\\-{}", option.replace('-', "\\-"))),
                "{name} --{option}"
            );
            assert!(
                completion.contains(&format!("--{option}")),
                "{name} --{option}"
            );
        }
        for subcommand in command.get_subcommands() {
            assert!(
                page.contains(&format!("\\fB{}\\fR", subcommand.get_name())),
                "{page}"
            );
            assert!(completion.contains(subcommand.get_name()), "{completion}");
        }
        assert!(
            page.contains(".SH \"SEE ALSO\"") && page.contains("Exit status: 0"),
            "{page}"
        );
    }
}
