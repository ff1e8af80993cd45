// SPDX-License-Identifier: GPL-2.0

//! A recorded screen as text, and as a picture in SVG.

use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};
use std::fmt::Write as _;

/// Size of a cell in the picture.
const WIDTH: u32 = 8;
const HEIGHT: u32 = 18;

fn rows(buffer: &Buffer) -> impl Iterator<Item = &[Cell]> {
    buffer.content.chunks(usize::from(buffer.area.width.max(1)))
}

/// Its lines, without white space at their ends.
pub fn text(buffer: &Buffer) -> String {
    let line = |row: &[Cell]| row.iter().map(Cell::symbol).collect::<String>();
    rows(buffer)
        .map(|row| line(row).trim_end().to_owned() + "\n")
        .collect()
}

fn color(color: Color, default: &'static str) -> &'static str {
    match color {
        Color::Red => "#ff6b68",
        Color::Cyan => "#4ec9d4",
        Color::DarkGray => "#808080",
        _ => default,
    }
}

fn looks(cell: &Cell) -> (bool, bool, Color) {
    let has = |modifier| cell.modifier.contains(modifier);
    (has(Modifier::REVERSED), has(Modifier::BOLD), cell.fg)
}

/// The picture: nothing in it depends on the time or the machine.
pub fn svg(buffer: &Buffer) -> String {
    let (width, height) = (
        u32::from(buffer.area.width) * WIDTH + 2 * WIDTH,
        u32::from(buffer.area.height) * HEIGHT + HEIGHT,
    );
    let mut svg = format!(
        "<!-- SPDX-License-Identifier: GPL-2.0 -->\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"ghcbstat: a table of guests\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#1e1e1e\"/>\n\
         <g font-family=\"monospace\" font-size=\"13\">\n"
    );
    for (y, row) in (0..).zip(rows(buffer)) {
        let top = y * HEIGHT + HEIGHT / 2;
        let mut x = 0;
        // A piece of text for each run of cells that look alike.
        for run in row.chunk_by(|a, b| looks(a) == looks(b)) {
            let text: String = run.iter().map(Cell::symbol).collect();
            let cells = u32::try_from(run.len()).expect("a narrow screen");
            let (is_reversed, is_bold, foreground) = looks(&run[0]);
            let left = x * WIDTH + WIDTH;
            if is_reversed {
                let _ = writeln!(
                    svg,
                    "<rect x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{HEIGHT}\" fill=\"#d4d4d4\"/>",
                    cells * WIDTH
                );
            }
            let fill = match is_reversed {
                true => "#1e1e1e",
                false => color(foreground, "#d4d4d4"),
            };
            let weight = if is_bold { " font-weight=\"bold\"" } else { "" };
            // Each word has its place, whatever the width of the font that draws it.
            let mut at = 0;
            for word in text.split(' ') {
                let length = u32::try_from(word.chars().count()).expect("a narrow screen");
                if length > 0 {
                    let _ = writeln!(
                        svg,
                        "<text x=\"{}\" y=\"{}\" textLength=\"{}\" fill=\"{fill}\"{weight}>{}</text>",
                        left + at * WIDTH,
                        top + HEIGHT - 5,
                        length * WIDTH,
                        word.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
                    );
                }
                at += length + 1;
            }
            x += cells;
        }
    }
    svg + "</g>\n</svg>\n"
}
