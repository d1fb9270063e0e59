//! What a prediction is asked for, and what it tells of the rows.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

/// What becomes of ids that own no row of the model's tables: unseen in training, or too rare there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownIds {
    /// They are read as out of vocabulary, and counted.
    #[default]
    Accept,
    /// The first one is an error.
    Error,
}

/// What becomes of columns that the model reads and the data lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingColumns {
    /// They are an error.
    #[default]
    Error,
    /// They are read as if every cell were missing, and counted.
    Default,
}

/// How to predict.
#[derive(Clone, Copy)]
pub struct PredictOptions<'a> {
    /// `NAME=EXPR` texts, each a column more.
    pub values: &'a [String],
    /// Policy for ids.
    pub unknown_ids: UnknownIds,
    /// Policy for columns.
    pub missing_columns: MissingColumns,
    /// Messages may show values of the data.
    pub show_values: bool,
    /// Called after every batch with the number of rows so far.
    pub progress: &'a dyn Fn(u64),
    /// Set to true to stop; predicting then fails with [`crate::data::Stopped`].
    pub stop: &'a AtomicBool,
}
impl<'a> PredictOptions<'a> {
    /// Without values, with the usual policies.
    #[must_use]
    pub fn new(stop: &'a AtomicBool) -> Self {
        let (unknown_ids, missing_columns) = (UnknownIds::default(), MissingColumns::default());
        Self { values: &[], unknown_ids, missing_columns, show_values: false, progress: &|_| {}, stop }
    }
}

/// What a prediction saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictSummary {
    /// Rows written.
    pub rows: u64,
    /// Per column: ids that own no table row, read as out of vocabulary, on all rows.
    #[serde(default)]
    pub unknown_ids: BTreeMap<String, u64>,
    /// Per column that the data lack: rows in which it was read as missing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing_columns: BTreeMap<String, u64>,
    /// Per value that was asked for: rows without one (null), because a cell is missing or the result is not finite.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub without_value: BTreeMap<String, u64>,
    /// Broken rows of the input, which the output does not have, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}
impl PredictSummary {
    /// Adds what other rows gave.
    pub(super) fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        let pairs = [
            (&mut self.unknown_ids, &other.unknown_ids),
            (&mut self.missing_columns, &other.missing_columns),
            (&mut self.without_value, &other.without_value),
        ];
        for (to, from) in pairs {
            for (column, n) in from {
                *to.entry(column.clone()).or_default() += n;
            }
        }
        self.left_out.extend(other.left_out.iter().cloned());
    }
}
