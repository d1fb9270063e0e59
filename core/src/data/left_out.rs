//! Broken rows that are left out: how many, of which kind, and where the first ones stand. One in a million lines of a large log should neither
//! stop a night's work nor go unseen.

use super::faults::{PLACES, place};
use super::source::{Chunk, Input, Tolerance};
use crate::diagnostic::{Diagnostic, Diagnostics};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Rows that fault alike.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kind {
    expected: Cow<'static, str>,
    /// What stood in the first one.
    found: String,
    unit: Cow<'static, str>,
    places: Vec<String>,
    count: u64,
}
impl Kind {
    fn message(&self) -> String {
        let message = format!("{}: expected {}, found {}", self.places[0], self.expected, self.found);
        if self.count == 1 {
            return message;
        }
        format!("{message}; {} such {}s, the first at {}", self.count, self.unit, self.places.join(", "))
    }
}

/// Broken rows so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    #[serde(skip)]
    tolerance: Tolerance,
    kinds: Vec<Kind>,
    count: u64,
}

impl LeftOut {
    pub(crate) fn new(tolerance: Tolerance) -> Self {
        Self { tolerance, ..Self::default() }
    }

    /// The same rows, under this tolerance.
    pub(crate) fn under(self, tolerance: Tolerance) -> Self {
        Self { tolerance, ..self }
    }

    /// Notes a row; `found` is asked only for the first of its kind.
    pub(crate) fn note(&mut self, input: &Input, number: u64, expected: &'static str, found: impl FnOnce() -> String) {
        self.count += 1;
        let place = || place(&input.name, input.unit, number);
        if let Some(kind) = self.kinds.iter_mut().find(|k| k.expected == expected) {
            kind.count += 1;
            if kind.places.len() < PLACES {
                kind.places.push(place());
            }
        } else {
            self.kinds.push(Kind { expected: expected.into(), found: found(), unit: input.unit.into(), places: vec![place()], count: 1 });
        }
    }

    /// Notes the broken rows of a chunk.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(crate) fn take(&mut self, chunk: &Chunk, input: &Input) -> Result<(), Diagnostics> {
        chunk.broken.iter().for_each(|row| self.note(input, row.number, row.expected, || row.found.clone()));
        self.check()
    }

    /// # Errors
    /// There are more broken rows than may be left out. The message counts those up to here.
    pub(crate) fn check(&self) -> Result<(), Diagnostics> {
        if self.count <= self.tolerance.rows {
            return Ok(());
        }
        let mut faults: Vec<Diagnostic> = self.kinds.iter().map(|k| Diagnostic::error("broken-row", k.message())).collect();
        if let Some(last) = faults.last_mut().filter(|_| !self.tolerance.help.is_empty()) {
            last.help.push(self.tolerance.help.to_owned());
        }
        if let Some(last) = faults.last_mut().filter(|_| self.tolerance.rows > 0) {
            last.help.push(format!("{} broken so far, and {} may be left out", self.count, self.tolerance.rows));
        }
        Err(Diagnostics(faults))
    }

    /// What was left out, in words.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.kinds.iter().map(|k| format!("{}; left out", k.message())).collect()
    }
}
