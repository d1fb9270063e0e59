//! Faults of cells, collected over all rows: one finding a column, with how often and where first.

use super::source::{Input, RowNumbers};
use crate::diagnostic::{Diagnostic, Diagnostics};

/// How many places a message names.
pub(crate) const PLACES: usize = 5;

/// `data/train.csv:1041`, or `synthetic: row 17` where the input has no lines.
#[must_use]
pub fn place(input: &str, unit: &str, number: u64) -> String {
    if unit == "line" { format!("{input}:{number}") } else { format!("{input}: {unit} {number}") }
}

/// Where the cells of a chunk are from, and what of them may be shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    pub input: &'a Input,
    pub numbers: &'a RowNumbers,
    pub show_values: bool,
}
impl At<'_> {
    pub fn place(&self, row: usize) -> String {
        place(&self.input.name, self.input.unit, self.numbers.get(row))
    }
    /// A feature's cell in words, without its value unless that was asked for.
    pub fn describe(&self, cell: &str) -> String {
        if self.show_values {
            return format!("{cell:?}");
        }
        let n = cell.chars().count();
        format!("text of {n} character{}", if n == 1 { "" } else { "s" })
    }
}

#[derive(Debug)]
struct Fault {
    id: &'static str,
    /// What the name names: a column.
    what: &'static str,
    column: String,
    expected: &'static str,
    found: String,
    places: Vec<String>,
    count: u64,
    help: &'static str,
}

/// What was wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Notes a broken cell; `found` is asked only for the first.
    pub fn add(
        &mut self,
        fault: (&'static str, &'static str, &'static str),
        column: &str,
        place: impl FnOnce() -> String,
        found: impl FnOnce() -> String,
    ) {
        self.add_to(fault, "column", column, place, found);
    }

    /// Notes something broken in a row that is no cell: `what` it is, by its name.
    pub fn add_to(
        &mut self,
        (id, expected, help): (&'static str, &'static str, &'static str),
        what: &'static str,
        column: &str,
        place: impl FnOnce() -> String,
        found: impl FnOnce() -> String,
    ) {
        if let Some(fault) = self.0.iter_mut().find(|f| f.id == id && f.column == column) {
            fault.count += 1;
            if fault.places.len() < PLACES {
                fault.places.push(place());
            }
        } else {
            let (column, places) = (column.to_owned(), vec![place()]);
            self.0.push(Fault { id, what, column, expected, found: found(), places, count: 1, help });
        }
    }

    /// Adds what was wrong further down.
    pub fn absorb(&mut self, later: Self) {
        for fault in later.0 {
            if let Some(known) = self.0.iter_mut().find(|f| f.id == fault.id && f.column == fault.column) {
                known.count += fault.count;
                let room = PLACES.saturating_sub(known.places.len());
                known.places.extend(fault.places.into_iter().take(room));
            } else {
                self.0.push(fault);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The findings, if any.
    pub fn check(self) -> Result<(), Diagnostics> {
        if self.0.is_empty() {
            return Ok(());
        }
        let one = |f: Fault| {
            let mut message = format!("{}: {} {}: expected {}, found {}", f.places[0], f.what, f.column, f.expected, f.found);
            if f.count > 1 {
                message = format!(
                    "{message}; {} such {}, the first at {}",
                    f.count,
                    if f.what == "column" { "cells" } else { "rows" },
                    f.places.join(", ")
                );
            }
            let finding = Diagnostic::error(f.id, message);
            if f.help.is_empty() { finding } else { finding.help(f.help) }
        };
        Err(Diagnostics(self.0.into_iter().map(one).collect()))
    }
}
