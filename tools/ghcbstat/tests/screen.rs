// SPDX-License-Identifier: GPL-2.0

//! The screen, over a recorded minute: as text beside this file, and as the picture in docs/. With UPDATE=1 in the environment
//! both are made anew; whoever does that looks at what has changed.

mod picture;

use ghcbstat::{
    cli::By,
    recording,
    screen::{Key, Screen},
};
use ratatui::{backend::TestBackend, buffer::Buffer, Terminal};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// What is seen after the recording and some keys.
fn seen(by: By, keys: &[Key], (width, height): (u16, u16)) -> Buffer {
    let mut screen = Screen::new(by);
    for snapshot in recording::read(&here().join("recorded.jsonl")).expect("a recording") {
        screen.update(snapshot);
    }
    for key in keys {
        screen.press(*key);
    }
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| screen.draw(frame)).expect("a screen");
    terminal.backend().buffer().clone()
}

/// Compares with a file, or makes it.
fn same(path: &Path, text: &str) {
    if env::var_os("UPDATE").is_some() {
        fs::write(path, text).expect("a file");
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        text,
        expected,
        "{} differs; UPDATE=1 makes it anew",
        path.display()
    );
}

#[test]
fn guests() {
    let buffer = seen(By::Vm, &[], (120, 12));
    same(&here().join("screen-vm.txt"), &picture::text(&buffer));
}

#[test]
fn events_of_all() {
    let buffer = seen(By::Event, &[Key::Down], (100, 16));
    same(&here().join("screen-event.txt"), &picture::text(&buffer));
}

#[test]
fn events_of_a_guest() {
    // The second line is of web1.
    let buffer = seen(By::Vm, &[Key::Down, Key::Open], (100, 16));
    same(&here().join("screen-web1.txt"), &picture::text(&buffer));
    // And back.
    let back = seen(By::Vm, &[Key::Down, Key::Open, Key::Vms], (120, 12));
    assert!(picture::text(&back).contains("MOSTLY"));
}

#[test]
fn narrow_terminals_are_drawn_on_too() {
    for size in [(1, 1), (20, 3), (79, 24)] {
        seen(By::Vm, &[Key::Up], size);
    }
}

#[test]
fn the_picture_is_what_is_seen() {
    let buffer = seen(By::Vm, &[], (120, 12));
    let path = here().join("../../../docs/ghcbstat.svg");
    same(&path, &picture::svg(&buffer));
}
