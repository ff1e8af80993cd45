// SPDX-License-Identifier: GPL-2.0
//! The figures as a picture: bars for the events, lines for the series.

use crate::report::{Report, Row};
use crate::Handler;
use std::fmt::Write;

const WIDTH: f64 = 900.0;
/// Where bars begin, right of their names.
const LEFT: f64 = 190.0;
const BAR: f64 = 12.0;
const ROW: f64 = 34.0;
const PANEL: f64 = 280.0;
const C: &str = "#8a8f98";
const RUST: &str = "#b7410e";
const EMULATION: &str = "#000000";

/// Draw an SVG.
pub fn draw(report: &Report) -> String {
    let rows: Vec<_> = report.events().collect();
    let series = report.series();
    let bars = 60.0 + rows.len() as f64 * ROW;
    let panels = series.len().div_ceil(3) as f64;
    let height = bars + panels * (PANEL * 0.75) + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(
        &mut svg,
        10.0,
        20.0,
        "Instructions of a VMGEXIT above the floor",
    );
    for (x, colour, name) in [
        (420.0, C, "C"),
        (460.0, RUST, "Rust"),
        (520.0, EMULATION, "KVM's emulation ends here"),
    ] {
        rectangle(
            &mut svg,
            x,
            11.0,
            if colour == EMULATION { 2.0 } else { 10.0 },
            10.0,
            colour,
        );
        text(&mut svg, x + 14.0, 20.0, name);
    }
    let most = rows
        .iter()
        .flat_map(|row| [row.above(Handler::C), row.above(Handler::Rust)])
        .flatten()
        .max()
        .unwrap_or(1) as f64;
    for (index, row) in rows.iter().enumerate() {
        event(
            &mut svg,
            report,
            row,
            40.0 + index as f64 * ROW,
            (WIDTH - LEFT - 80.0) / most,
        );
    }
    for (index, (title, key, rows)) in series.iter().enumerate() {
        let x = (index % 3) as f64 * (PANEL + 20.0) + 10.0;
        let y = bars + (index / 3) as f64 * (PANEL * 0.75);
        panel(&mut svg, x, y, title, *key, rows);
    }
    svg.push_str("</svg>\n");
    svg
}

fn event(svg: &mut String, report: &Report, row: &Row, y: f64, scale: f64) {
    text(svg, 10.0, y + BAR + 4.0, &row.event);
    for (line, handler, colour) in [(0.0, Handler::C, C), (1.0, Handler::Rust, RUST)] {
        let y = y + line * BAR;
        match row.above(handler) {
            Some(value) => {
                let width = value as f64 * scale;
                rectangle(svg, LEFT, y, width, BAR - 1.0, colour);
                text(svg, LEFT + width + 4.0, y + BAR - 2.0, &value.to_string());
            }
            None => text(svg, LEFT, y + BAR - 2.0, "no handler"),
        }
    }
    if let Some(emulation) = report.emulation(row) {
        rectangle(
            svg,
            LEFT + emulation as f64 * scale,
            y,
            1.5,
            2.0 * BAR - 1.0,
            EMULATION,
        );
    }
}

fn panel(svg: &mut String, x: f64, y: f64, title: &str, key: fn(&Row) -> u64, rows: &[&Row]) {
    let (width, height) = (PANEL - 60.0, PANEL * 0.75 - 60.0);
    let (left, bottom) = (x + 45.0, y + 20.0 + height);
    text(svg, x, y + 12.0, title);
    let values = |handler| {
        rows.iter()
            .filter_map(move |row| Some((key(row) as f64, row.above(handler)? as f64)))
            .collect::<Vec<_>>()
    };
    let all: Vec<_> = [values(Handler::C), values(Handler::Rust)].concat();
    let most = |part: fn(&(f64, f64)) -> f64| all.iter().map(part).fold(1.0, f64::max);
    let (most_x, most_y) = (most(|at| at.0), most(|at| at.1));
    let place =
        |(at, value): (f64, f64)| (left + at / most_x * width, bottom - value / most_y * height);
    let _ = writeln!(
        svg,
        "<path d=\"M{left} {} V{bottom} H{}\" fill=\"none\" stroke=\"black\"/>",
        bottom - height,
        left + width
    );
    text(svg, x, bottom - height + 8.0, &most_y.to_string());
    text(svg, x + 30.0, bottom + 4.0, "0");
    let mut free = 0.0;
    for row in rows {
        let (at, _) = place((key(row) as f64, 0.0));
        if at >= free {
            text(svg, at - 6.0, bottom + 15.0, &key(row).to_string());
            free = at + 30.0;
        }
    }
    for (handler, colour) in [(Handler::C, C), (Handler::Rust, RUST)] {
        let points: Vec<_> = values(handler)
            .into_iter()
            .map(place)
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
    }
}

fn rectangle(svg: &mut String, x: f64, y: f64, width: f64, height: f64, colour: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

/// `value` must hold nothing that XML gives a meaning.
fn text(svg: &mut String, x: f64, y: f64, value: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\">{value}</text>");
}
