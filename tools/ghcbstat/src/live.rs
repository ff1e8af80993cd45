// SPDX-License-Identifier: GPL-2.0

//! The terminal, and time.

use crate::{
    cli::Arguments,
    recording::Recorder,
    screen::{Key, Screen},
    snapshot::Snapshot,
};
use anyhow::Context as _;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::DefaultTerminal;
use std::thread;
use std::time::{Duration, Instant};

/// What comes next, and how long it is after what came before. `None` at the end.
pub type Next<'a> = dyn FnMut() -> anyhow::Result<Option<(Duration, Snapshot)>> + 'a;

/// Shows one snapshot after the other until the user or they end; records them, too, if that is wanted.
///
/// # Errors
///
/// Those of taking and recording snapshots, and of the terminal.
pub fn show(
    arguments: &Arguments,
    next: &mut Next<'_>,
    mut recorder: Option<Recorder>,
) -> anyhow::Result<()> {
    // What is wrong from the beginning is said on a screen that is as it was.
    let Some((_, first)) = next()? else {
        return Ok(());
    };
    let mut terminal = ratatui::try_init().context("the terminal")?;
    let result = run(arguments, &mut terminal, first, next, recorder.as_mut());
    ratatui::restore();
    result
}

/// Records snapshots, without a terminal.
///
/// # Errors
///
/// Those of taking and recording them.
pub fn record(next: &mut Next<'_>, mut recorder: Recorder) -> anyhow::Result<()> {
    while let Some((pause, snapshot)) = next()? {
        recorder.append(&snapshot)?;
        thread::sleep(pause);
    }
    Ok(())
}

fn run(
    arguments: &Arguments,
    terminal: &mut DefaultTerminal,
    first: Snapshot,
    next: &mut Next<'_>,
    mut recorder: Option<&mut Recorder>,
) -> anyhow::Result<()> {
    let mut screen = Screen::new(arguments.by);
    let mut snapshot = first;
    loop {
        if let Some(recorder) = &mut recorder {
            recorder.append(&snapshot)?;
        }
        screen.update(snapshot);
        let due = Instant::now() + Duration::from_secs_f64(arguments.interval);
        loop {
            terminal.draw(|frame| screen.draw(frame))?;
            let left = due.saturating_duration_since(Instant::now());
            if !event::poll(left)? {
                break;
            }
            match event::read()? {
                Event::Key(key) if is_end(key) => return Ok(()),
                Event::Key(key) => {
                    if let Some(key) = meaning(key) {
                        screen.press(key);
                    }
                }
                _ => {}
            }
        }
        snapshot = match next()? {
            Some((_, snapshot)) => snapshot,
            None => return Ok(()),
        };
    }
}

fn is_end(key: KeyEvent) -> bool {
    matches!(key.code, KeyCode::Char('q'))
        || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL))
}

fn meaning(key: KeyEvent) -> Option<Key> {
    if key.kind != KeyEventKind::Press {
        return None;
    }
    Some(match key.code {
        KeyCode::Char('v') | KeyCode::Esc => Key::Vms,
        KeyCode::Char('e') => Key::Events,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::Enter => Key::Open,
        _ => return None,
    })
}
