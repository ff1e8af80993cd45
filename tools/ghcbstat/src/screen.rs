// SPDX-License-Identifier: GPL-2.0

//! The live table.

use crate::{
    cli::By,
    rates::{Interval, Line},
    snapshot::Snapshot,
    text,
};
use ratatui::{
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line as TextLine, Span},
    widgets::{Cell, Paragraph, Row, Table, TableState},
    Frame,
};

/// What is shown of the snapshots, and where the user is.
#[derive(Debug, Default)]
pub struct Screen {
    /// What a line is about.
    pub by: By,
    /// The guest whose events are shown; `None` for all.
    pub vm: Option<String>,
    selected: TableState,
    before: Option<Snapshot>,
    now: Option<Snapshot>,
}

/// What the user can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Lines about guests.
    Vms,
    /// Lines about events of all guests.
    Events,
    /// The line above.
    Up,
    /// The line below.
    Down,
    /// The events of the guest in this line.
    Open,
}

impl Screen {
    /// A screen without anything on it yet.
    pub fn new(by: By) -> Self {
        Self {
            by,
            ..Self::default()
        }
    }

    /// Takes what is the newest now.
    pub fn update(&mut self, snapshot: Snapshot) {
        self.before = self.now.replace(snapshot);
        self.select(self.selected.selected().unwrap_or(0));
    }

    /// Does what the user wants.
    pub fn press(&mut self, key: Key) {
        let at = self.selected.selected().unwrap_or(0);
        match key {
            Key::Vms => (self.by, self.vm) = (By::Vm, None),
            Key::Events => (self.by, self.vm) = (By::Event, None),
            Key::Up => self.select(at.saturating_sub(1)),
            Key::Down => self.select(at.saturating_add(1)),
            Key::Open if self.by == By::Vm => {
                if let Some(line) = self.lines().get(at) {
                    (self.by, self.vm) = (By::Event, Some(line.id.clone()));
                    self.select(0);
                }
            }
            Key::Open => {}
        }
    }

    /// Selects a line, or the last one.
    fn select(&mut self, at: usize) {
        let last = self.lines().len().checked_sub(1);
        self.selected.select(last.map(|last| at.min(last)));
    }

    fn interval(&self) -> Option<Interval<'_>> {
        Some(Interval {
            before: self.before.as_ref(),
            now: self.now.as_ref()?,
        })
    }

    fn lines(&self) -> Vec<Line> {
        match (self.interval(), self.by) {
            (None, _) => Vec::new(),
            (Some(interval), By::Vm) => interval.by_vm(),
            (Some(interval), By::Event) => interval.by_event(self.vm.as_deref()),
        }
    }

    /// Draws it.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let [head, body, foot] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Min(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(self.head(), head);
        self.draw_table(frame, body);
        let keys = TextLine::from(" v guests   e events   Enter events of the guest   q quit");
        frame.render_widget(Paragraph::new(keys.style(dim())), foot);
    }

    fn head(&self) -> Paragraph<'static> {
        let Some(interval) = self.interval() else {
            return Paragraph::new("");
        };
        let all = interval.all();
        let mode = interval.now.mode.as_deref().unwrap_or("unknown").to_owned();
        let unexplained = (interval.now.counters.verdicts.iter())
            .find(|verdict| verdict.name == "unexplained")
            .map_or(0, |verdict| verdict.count);
        let vms = interval.now.vms.len();
        let mut spans = vec![
            Span::styled(" ghcbstat", bold()),
            Span::raw("   mode "),
            Span::styled(mode.clone(), Style::new().fg(Color::Cyan)),
            Span::raw(format!(
                "   {vms} {}   {} exits/s",
                if vms == 1 { "guest" } else { "guests" },
                text::rate(all.rust + all.c)
            )),
            Span::styled(
                format!("   {} errors/s", text::rate(all.errors)),
                alarm(all.errors > 0.0),
            ),
        ];
        if mode == "observe" || unexplained > 0 {
            let text = format!("   {} unexplained", text::number(unexplained));
            spans.push(Span::styled(text, alarm(unexplained > 0)));
        }
        if let Some(id) = &self.vm {
            let vm = interval.now.vms.iter().find(|vm| vm.id == *id);
            let title = vm.map_or("gone", |vm| vm.title()).to_owned();
            spans.push(Span::raw("   events of "));
            spans.push(Span::styled(title, bold()));
        }
        Paragraph::new(TextLine::from(spans))
    }

    fn draw_table(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let is_by_vm = self.by == By::Vm;
        let mut head = if is_by_vm {
            vec!["VM", "NAME"]
        } else {
            vec!["EVENT"]
        };
        head.extend([
            "RUST/s", "C/s", "ERRORS/s", "EXITS", "ERRORS", "HALF IN", "99% IN",
        ]);
        let mut widths = if is_by_vm {
            vec![Constraint::Length(12), Constraint::Fill(1)]
        } else {
            vec![Constraint::Fill(1)]
        };
        widths.extend([9, 9, 9, 13, 9, 9, 9].map(Constraint::Length));
        if is_by_vm {
            head.push("MOSTLY");
            widths.push(Constraint::Length(14));
        }
        let lines = self.lines();
        let rows = lines.iter().map(|line| row(line, is_by_vm));
        let left = if is_by_vm { 2 } else { 1 };
        let head = head.into_iter().enumerate().map(|(at, name)| {
            if at < left || name == "MOSTLY" {
                Cell::from(name)
            } else {
                right(name.to_owned())
            }
        });
        let table = Table::new(rows, widths)
            .header(Row::new(head).style(bold()))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, area, &mut self.selected);
    }
}

fn row(line: &Line, is_by_vm: bool) -> Row<'static> {
    let mut cells = vec![Cell::from(line.id.clone())];
    if is_by_vm {
        cells.push(Cell::from(line.title.clone()));
    }
    let (half, most) = line.times.unzip();
    let time = |time: Option<u64>| time.map_or("-".to_owned(), text::time);
    cells.extend([
        right(text::rate(line.rust)),
        right(text::rate(line.c)),
        right(text::rate(line.errors)).style(alarm(line.errors > 0.0)),
        right(text::number(line.total_exits)),
        right(text::number(line.total_errors)),
        right(time(half)),
        right(time(most)),
    ]);
    if is_by_vm {
        cells.push(Cell::from(line.busiest.clone().unwrap_or_default()));
    }
    Row::new(cells)
}

fn right(text: String) -> Cell<'static> {
    Cell::from(TextLine::from(text).right_aligned())
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn dim() -> Style {
    Style::new().fg(Color::DarkGray)
}

fn alarm(is_bad: bool) -> Style {
    match is_bad {
        true => Style::new().fg(Color::Red),
        false => Style::new(),
    }
}
