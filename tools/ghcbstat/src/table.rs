// SPDX-License-Identifier: GPL-2.0

//! The module's files are tables: columns with names, which keep their meaning, separated by tabulators. New columns come
//! at the right end, and are ignored here.

/// A file.
#[derive(Debug)]
pub struct Table<'a> {
    columns: Vec<&'a str>,
    rows: Vec<Vec<&'a str>>,
}

/// Why a file is none of the module's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A column is missing.
    #[error("there is no column {0}")]
    Column(&'static str),
    /// A row is shorter than the first line.
    #[error("a row has no {0}")]
    Short(&'static str),
    /// A number is none, or too large.
    #[error("{0}: {1} is no number that is expected there")]
    Number(&'static str, String),
}

impl<'a> Table<'a> {
    /// The table in a text.
    pub fn parse(text: &'a str) -> Self {
        let mut lines = text.lines().map(|line| line.split('\t').collect());
        Self {
            columns: lines.next().unwrap_or_default(),
            rows: lines.collect(),
        }
    }

    /// Its rows.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row { table: self, cells })
    }
}

/// A row of it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    table: &'a Table<'a>,
    cells: &'a [&'a str],
}

impl<'a> Row<'a> {
    /// What is in a column.
    ///
    /// # Errors
    ///
    /// There is no such column, or nothing in it.
    pub fn text(&self, column: &'static str) -> Result<&'a str, Error> {
        let at = self.table.columns.iter().position(|name| *name == column);
        let at = at.ok_or(Error::Column(column))?;
        self.cells.get(at).copied().ok_or(Error::Short(column))
    }

    /// The number in a column: decimal, or hexadecimal with 0x.
    ///
    /// # Errors
    ///
    /// There is none, or a larger one.
    pub fn number<T: TryFrom<u128>>(&self, column: &'static str) -> Result<T, Error> {
        let text = self.text(column)?;
        match text.strip_prefix("0x") {
            Some(digits) => u128::from_str_radix(digits, 16),
            None => text.parse(),
        }
        .ok()
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| Error::Number(column, text.to_owned()))
    }
}
