// SPDX-License-Identifier: GPL-2.0

//! Takes out of what is sent elsewhere what names the machine or its user: the host's name, serial numbers, and the folder
//! that the kit lies in.

use crate::facts::text;
use crate::folder::Folder;
use crate::report::Report;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Serial numbers that the firmware tells, in /sys/class/dmi/id.
const SERIALS: [&str; 4] = [
    "product_serial",
    "product_uuid",
    "board_serial",
    "chassis_serial",
];

/// Names of this machine, and what stands in their place.
#[derive(Clone, Debug)]
pub struct Names(Vec<(String, &'static str)>);

impl Names {
    /// Those of this host, and of the kit's folder.
    pub fn of_this_host(kit: &Folder) -> Self {
        let folder = kit.file("").display().to_string();
        let mut names = vec![(folder.trim_end_matches('/').to_owned(), "KIT")];
        let serials = SERIALS.map(|name| text(Path::new("/sys/class/dmi/id").join(name)));
        // What is shorter is "0", or the like.
        let serials = serials.into_iter().filter(|serial| serial.len() > 3);
        names.extend(serials.map(|serial| (serial, "SERIAL")));
        names.push((text("/proc/sys/kernel/hostname"), "HOST"));
        Self::new(names)
    }

    fn new(names: Vec<(String, &'static str)>) -> Self {
        let is_name = |(name, _): &(String, &str)| !name.is_empty() && name != "/";
        Self(names.into_iter().filter(is_name).collect())
    }

    /// `text` without them.
    fn without(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, instead) in &self.0 {
            text = replaced(&text, name, instead);
        }
        text
    }

    /// Takes them out of all that is not the kit's own words: these name tests, and are compared.
    pub fn take_out(&self, report: &mut Report) {
        for phase in &mut report.phases {
            let notes = phase.tests.iter_mut().flat_map(|test| &mut test.notes);
            let why = phase.why.iter_mut();
            for text in notes.chain(why).chain(&mut phase.figures) {
                *text = self.without(text);
            }
        }
        if let Some(text) = &mut report.left_behind {
            *text = self.without(text);
        }
        self.take_out_of_value(&mut report.facts.check);
    }

    fn take_out_of_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.without(text),
            Value::Array(values) => values
                .iter_mut()
                .for_each(|value| self.take_out_of_value(value)),
            Value::Object(fields) => fields
                .values_mut()
                .for_each(|value| self.take_out_of_value(value)),
            _ => {}
        }
    }

    /// Takes them out of a file.
    ///
    /// # Errors
    ///
    /// Those of reading and writing it.
    pub fn take_out_of_file(&self, path: &Path) -> Result<()> {
        let text = fs::read(path).with_context(|| path.display().to_string())?;
        let text = self.without(&String::from_utf8_lossy(&text));
        fs::write(path, text).with_context(|| path.display().to_string())
    }
}

/// `text` with `instead` for each `name` that is no part of a longer word.
fn replaced(text: &str, name: &str, instead: &str) -> String {
    let is_word = |near: Option<char>| near.is_some_and(|char| char.is_alphanumeric());
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(name) {
        done.push_str(before);
        let stands_alone = !is_word(done.chars().next_back()) && !is_word(after.chars().next());
        done.push_str(if stands_alone { instead } else { name });
        rest = after;
    }
    done.push_str(rest);
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::ktap::{Test, Verdict};
    use crate::report::{End, PhaseReport};

    fn names() -> Names {
        Names::new(vec![
            ("/home/alice/ghcb-kit-0.1.0".to_owned(), "KIT"),
            (String::new(), "SERIAL"),
            ("XK-17".to_owned(), "SERIAL"),
            ("guest".to_owned(), "HOST"),
        ])
    }

    #[test]
    fn names_are_words() {
        for (text, want) in [
            ("guest", "HOST"),
            (
                "on guest: guests, guest.example",
                "on HOST: guests, HOST.example",
            ),
            ("the key of guest's owner", "the key of HOST's owner"),
            ("/home/alice/ghcb-kit-0.1.0/bench/run", "KIT/bench/run"),
            ("XK-17 and XK-170", "SERIAL and XK-170"),
            ("nothing", "nothing"),
            ("", ""),
        ] {
            assert_eq!(names().without(text), want);
        }
    }

    #[test]
    fn a_report_keeps_the_names_of_tests_alone() {
        let secret = || "guest XK-17 /home/alice/ghcb-kit-0.1.0/x".to_owned();
        let mut report = Report {
            kit: "0.1.0".to_owned(),
            facts: Facts {
                check: serde_json::json!({ "checks": [{ "found": secret() }] }),
                ..Facts::default()
            },
            phases: vec![PhaseReport {
                name: "guest".to_owned(),
                end: End::Failed,
                why: Some(secret()),
                tests: vec![Test {
                    name: "sev-es: Linux as a guest".to_owned(),
                    verdict: Verdict::Fail,
                    notes: vec![secret()],
                }],
                figures: vec![secret()],
                counters: Vec::new(),
                tables: Vec::new(),
            }],
            left_behind: Some(secret()),
        };
        names().take_out(&mut report);
        for text in [
            serde_json::to_string(&report).expect("JSON"),
            report.to_string(),
        ] {
            assert!(!text.contains("XK-17"), "{text}");
            assert!(!text.contains("alice"), "{text}");
            assert!(!text.contains("guest SERIAL"), "{text}");
            assert!(text.contains("sev-es: Linux as a guest"), "{text}");
        }
        let json = serde_json::to_string(&report).expect("JSON");
        assert_eq!(json.matches("HOST SERIAL KIT/x").count(), 5, "{json}");
    }

    #[test]
    fn a_file_is_cleaned() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        fs::write(&log, b"guest \xff XK-17\n").expect("a file");
        names().take_out_of_file(&log).expect("a file");
        assert_eq!(
            fs::read_to_string(&log).expect("a file"),
            "HOST \u{fffd} SERIAL\n"
        );
    }
}
