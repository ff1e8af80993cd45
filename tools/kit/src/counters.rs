// SPDX-License-Identifier: GPL-2.0

//! What the module has counted: its files in debugfs, of all guests together.

use crate::facts::text;
use std::path::Path;

/// Where they are.
const FOLDER: &str = "/sys/kernel/debug/ghcb_rs";
/// Those of them that have counts alone. docs/ABI/debugfs-ghcb_rs says what they mean.
const FILES: [&str; 3] = ["events", "reasons", "verdicts"];

/// Rows of what the module has counted since it was inserted, as `events: event=cpuid rust=5 c=0 errors=0`, without those that
/// have nothing but zeros; none if it is not there.
pub fn now() -> Vec<String> {
    let of_file = |name: &&str| rows(name, &text(Path::new(FOLDER).join(name)));
    FILES.iter().flat_map(of_file).collect()
}

fn rows(name: &str, text: &str) -> Vec<String> {
    let mut lines = text.lines();
    let head: Vec<_> = lines.next().unwrap_or_default().split('\t').collect();
    let row = |line: &str| {
        let cells: Vec<_> = line.split('\t').collect();
        let is_counted = cells.iter().skip(1).any(|&cell| cell != "0");
        let pairs = head.iter().zip(cells);
        let pairs: Vec<_> = pairs.map(|(name, cell)| format!("{name}={cell}")).collect();
        is_counted.then(|| format!("{name}: {}", pairs.join(" ")))
    };
    lines.filter_map(row).collect()
}

/// Answers of C that the module cannot explain, among such rows.
pub fn unexplained(rows: &[String]) -> Option<&String> {
    rows.iter()
        .find(|row| row.starts_with("verdicts: verdict=unexplained "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERDICTS: &str = "verdict\tcount\nsame\t12\nraced\t0\nunexplained\t3\n";

    #[test]
    fn rows_have_the_names_of_their_columns() {
        let events = "event\trust\tc\terrors\ncpuid\t5\t0\t1\nrdtsc\t0\t0\t0\ntotal\t0\t7\t0\n";
        assert_eq!(
            rows("events", events),
            [
                "events: event=cpuid rust=5 c=0 errors=1",
                "events: event=total rust=0 c=7 errors=0"
            ]
        );
        assert!(rows("events", "").is_empty());
    }

    #[test]
    fn what_is_unexplained_is_found() {
        let some = rows("verdicts", VERDICTS);
        assert_eq!(
            unexplained(&some).map(String::as_str),
            Some("verdicts: verdict=unexplained count=3")
        );
        let none = rows("verdicts", &VERDICTS.replace("\t3", "\t0"));
        assert_eq!(none.len(), 1);
        assert_eq!(unexplained(&none), None);
    }
}
