//! Which part each row is in: train, valid or test, or none.

use super::id::{mix, unit};
use super::source::Input;
use super::store::Store;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::spec::{Scalar, Spec, Split};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::path::{Path, PathBuf};

/// A part of the rows. Nothing ever selects on test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// What is trained on.
    Train,
    /// Early stopping, best checkpoint, rate searches, calibration.
    Valid,
    /// Evaluated once, at the end.
    Test,
}
impl Part {
    /// All parts.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

/// The code of rows in no part.
pub(crate) const NO_PART: u8 = 255;

/// The part of each row, `[N]`: a [`Part::code`] or [`NO_PART`].
pub(crate) fn assign(spec: &Spec, store: &Store) -> anyhow::Result<Vec<u8>> {
    let rows = store.rows();
    let mut parts = match &spec.split {
        Split::Random { valid, test, seed } => (0..rows).map(|row| draw(mix(row as u64, *seed), *valid, *test)).collect(),
        Split::Group { valid, test, seed, .. } => (0..rows).map(|row| draw(mix(store.split_hash(row), *seed), *valid, *test)).collect(),
        Split::Column { column, train_through, valid_through, test_from } => {
            by_order(store, column, train_through, valid_through, test_from.as_ref()).map_err(|d| place(spec, d))?
        }
        Split::Files { valid, test } => by_file(store, valid, test)?,
    };
    keep_share(&mut parts, spec.train.share_of_rows, spec.train.share_seed);
    Ok(parts)
}

/// Takes training rows out until about a share of them is left. A row is kept by a number of its own, so that of two shares the smaller is a part of
/// the larger; valid and test stay as they are.
fn keep_share(parts: &mut [u8], share: f64, seed: u64) {
    if share < 1.0 {
        let out = |(row, part): &(usize, &mut u8)| **part == Part::Train.code() && unit(mix(*row as u64, mix(seed, SHARE))) >= share;
        parts.iter_mut().enumerate().filter(out).for_each(|(_, part)| *part = NO_PART);
    }
}
/// Keeps this draw apart from that of a split with the same seed.
const SHARE: u64 = 0x7368_6172;

fn place(spec: &Spec, fault: Diagnostic) -> Diagnostics {
    fault.at(spec.place("split"), "").into()
}

fn draw(word: u64, valid: f64, test: f64) -> u8 {
    let at = unit(word);
    if at < test {
        Part::Test.code()
    } else if at < test + valid {
        Part::Valid.code()
    } else {
        Part::Train.code()
    }
}

/// A bound as text and, if it is one, as a number.
struct Bound {
    text: String,
    number: Option<f64>,
}
impl Bound {
    fn of(scalar: &Scalar) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let (text, number) = match scalar {
            Scalar::Integer(i) => (i.to_string(), Some(*i as f64)),
            Scalar::Float(f) => (f.to_string(), Some(*f)),
            Scalar::Text(t) => (t.clone(), t.trim().parse().ok()),
            Scalar::Datetime(d) => (d.to_string(), None),
        };
        Self { text, number }
    }
    /// A value against this bound. A bound that is a date covers its whole day.
    fn compare(&self, value: &str, numeric: bool) -> Ordering {
        if numeric {
            let number = value.trim().parse().unwrap_or(f64::NAN);
            return number.partial_cmp(&self.number.unwrap_or(f64::NAN)).unwrap_or(Ordering::Less);
        }
        let is_date = self.text.len() == 10 && self.text.as_bytes()[4] == b'-';
        let value = if is_date { value.get(..10).unwrap_or(value) } else { value };
        // A day and a time may be joined by `T` or by a space.
        value.bytes().map(unify).cmp(self.text.bytes().map(unify))
    }
}
fn unify(b: u8) -> u8 {
    if b == b'T' || b == b't' { b' ' } else { b }
}

fn by_order(store: &Store, column: &str, train: &Scalar, valid: &Scalar, test: Option<&Scalar>) -> Result<Vec<u8>, Diagnostic> {
    let (train, valid, test) = (Bound::of(train), Bound::of(valid), test.map(Bound::of));
    let is_number = |text: &str| text.trim().parse::<f64>().is_ok_and(f64::is_finite);
    let odd = (0..store.rows()).find(|&row| !store.split_text(row).is_empty() && !is_number(store.split_text(row)));
    let numeric = odd.is_none();
    let bounds = [Some(&train), Some(&valid), test.as_ref()];
    if let Some(text) = bounds.into_iter().flatten().find(|b| b.number.is_none()).filter(|_| numeric) {
        let message = format!("split by column `{column}`: its values are numbers, and the bound `{}` is not", text.text);
        return Err(Diagnostic::error("split-bound", message).help("write the bounds like the column's values"));
    }
    if let Some(row) = odd
        && bounds.into_iter().flatten().all(|b| b.number.is_some())
    {
        let message = format!("{}: column {column}: the split's bounds are numbers, and this value is not", store.place(row));
        return Err(Diagnostic::error("split-bound", message).help("write the bounds like the column's values"));
    }
    let falls = |low: &Bound, high: &Bound| low.compare(&high.text, numeric) == Ordering::Less;
    if falls(&train, &valid) || test.as_ref().is_some_and(|t| valid.compare(&t.text, numeric) != Ordering::Greater) {
        let message = format!("split by column `{column}`: the bounds do not ascend, so the parts would overlap");
        return Err(Diagnostic::error("split-bound", message).help("train_through ≤ valid_through < test_from"));
    }
    let part = |text: &str| {
        if text.is_empty() {
            NO_PART
        } else if train.compare(text, numeric) != Ordering::Greater {
            Part::Train.code()
        } else if valid.compare(text, numeric) != Ordering::Greater {
            Part::Valid.code()
        } else if test.as_ref().is_none_or(|t| t.compare(text, numeric) != Ordering::Less) {
            Part::Test.code()
        } else {
            NO_PART
        }
    };
    Ok((0..store.rows()).map(|row| part(store.split_text(row))).collect())
}

fn by_file(store: &Store, valid: &[String], test: &[String]) -> anyhow::Result<Vec<u8>> {
    let inputs = &store.meta().inputs;
    let mut parts = vec![None; inputs.len()];
    let mut faults = Vec::new();
    for (patterns, part) in [(valid, Part::Valid), (test, Part::Test)] {
        for pattern in patterns {
            let files = glob_files(pattern)?;
            let mut found = false;
            for (input, of) in inputs.iter().zip(&mut parts) {
                let Some(path) = &input.path else { continue };
                if !names(pattern, &files, path) {
                    continue;
                }
                found = true;
                if of.replace(part).is_some_and(|before| before != part) {
                    let message = format!("split by file: `{}` is in valid and in test", input.name);
                    faults.push(Diagnostic::error("split-files", message).help("a file can be in one part only"));
                }
            }
            if !found {
                let message = format!("split by file: `{pattern}` names no file of the source");
                faults.push(Diagnostic::error("split-files", message));
            }
        }
    }
    if !faults.is_empty() {
        return Err(Diagnostics(faults).into());
    }
    let mut rows = Vec::with_capacity(store.rows());
    for (input, part) in inputs.iter().zip(parts) {
        rows.resize(rows.len() + usize::try_from(input.rows)?, part.unwrap_or(Part::Train).code());
    }
    Ok(rows)
}

/// Which inputs a split by file keeps for valid and test.
pub(crate) fn held_out(spec: &Spec, inputs: &[Input]) -> anyhow::Result<Vec<bool>> {
    let mut held = vec![false; inputs.len()];
    let Split::Files { valid, test } = &spec.split else { return Ok(held) };
    for pattern in valid.iter().chain(test) {
        let files = glob_files(pattern)?;
        for (input, held) in inputs.iter().zip(&mut held) {
            *held |= input.path.as_ref().is_some_and(|path| names(pattern, &files, path));
        }
    }
    Ok(held)
}

/// Whether a pattern, which leads to these files, names a path.
fn names(pattern: &str, files: &[PathBuf], path: &Path) -> bool {
    named(pattern, path) || files.iter().any(|f| same_file(f, path))
}

/// The files that a glob, or a plain path, names; sorted.
pub(crate) fn glob_files(pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
    if Path::new(pattern).exists() {
        return Ok(vec![PathBuf::from(pattern)]);
    }
    let mut files = Vec::new();
    for path in glob::glob(pattern).with_context(|| format!("`{pattern}` is no pattern"))? {
        files.push(path?);
    }
    files.sort();
    Ok(files)
}

/// Whether a path or glob names this path as it is written.
fn named(pattern: &str, path: &Path) -> bool {
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
    path == Path::new(pattern) || glob::Pattern::new(pattern).is_ok_and(|p| p.matches_path_with(path, options))
}

/// Whether two paths lead to one file.
pub(crate) fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
