//! `predict.json`: what a folder of predictions was made of, which parts are whole, and whether another try goes on with it.

use super::options::{MissingColumns, PredictSummary, UnknownIds};
use super::{Partition, Scorer};
use crate::data::source::Input;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

const FORMAT: u32 = 1;

/// The manifest of a folder of predictions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictManifest {
    /// `running` or `finished`.
    pub status: PredictStatus,
    /// The run's folder, as it was given.
    pub run: PathBuf,
    /// Of how many shards, and which one; all of them in the manifest of the whole.
    pub shards: u64,
    /// `None`: all.
    pub shard: Option<u64>,
    /// What decides which predictions stand in which file.
    #[serde(flatten)]
    pub work: Work,
    /// What came of it.
    #[serde(flatten)]
    pub summary: PredictSummary,
    /// The files that are whole, in order.
    pub parts: Vec<PartRecord>,
}

/// How far a folder of predictions is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PredictStatus {
    /// Parts are missing.
    Running,
    /// All parts are there.
    Finished,
}

/// What decides which predictions stand in which file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    format: u32,
    /// [`Scorer::version`].
    pub model: String,
    /// Most rows of a part.
    pub partition_rows: Option<u64>,
    /// Policies.
    pub policies: Policies,
    /// Value expressions by name.
    pub values: BTreeMap<String, String>,
    /// Columns of the predictions.
    pub columns: Vec<String>,
    /// The inputs, in order.
    pub inputs: Vec<InputRecord>,
}
/// What becomes of what the model does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policies {
    /// Ids.
    pub unknown_ids: UnknownIds,
    /// Columns.
    pub missing_columns: MissingColumns,
}
/// An input of predictions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// As it was given.
    pub name: String,
    /// Changes when the rows do.
    pub fingerprint: String,
}

/// A part that is whole. Its file holds the same record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// The file's name.
    pub file: String,
    /// Which input of rows, from 0.
    pub input: usize,
    /// Its first row there, from 0.
    pub first_row: u64,
    /// Rows and counts.
    #[serde(flatten)]
    pub summary: PredictSummary,
}

impl Work {
    pub(super) fn of(scorer: &Scorer, inputs: &[Input], partition: Partition, policies: Policies) -> Self {
        let inputs = inputs.iter().map(|i| InputRecord { name: i.name.clone(), fingerprint: i.fingerprint.clone() });
        Self {
            format: FORMAT,
            model: scorer.version.clone(),
            partition_rows: partition.rows.map(Into::into),
            policies,
            values: BTreeMap::new(),
            columns: Vec::new(),
            inputs: inputs.collect(),
        }
    }

    /// What differs in what an earlier try did, in words, if something does.
    pub(super) fn differs(&self, earlier: &Self) -> Option<String> {
        if self.format != earlier.format {
            return Some("by another version of this program".into());
        }
        if self.model != earlier.model {
            return Some(format!("with another model (`{}`, now `{}`)", earlier.model, self.model));
        }
        // The same file may be mounted elsewhere.
        let name = |input: &InputRecord| Path::new(&input.name).file_name().map(ToOwned::to_owned);
        if self.inputs.iter().map(name).ne(earlier.inputs.iter().map(name)) {
            let names = |w: &Self| w.inputs.iter().map(|i| format!("`{}`", i.name)).collect::<Vec<_>>().join(", ");
            return Some(format!("from other inputs ({}, now {})", names(earlier), names(self)));
        }
        if let Some((was, is)) = earlier.inputs.iter().zip(&self.inputs).find(|(was, is)| was.fingerprint != is.fingerprint) {
            return Some(format!("before `{}` changed ({}, now {})", is.name, was.fingerprint, is.fingerprint));
        }
        let rows = |w: &Self| w.partition_rows.map_or("none".into(), |n| n.to_string());
        if self.partition_rows != earlier.partition_rows {
            return Some(format!("with another `--partition-rows` ({}, now {})", rows(earlier), rows(self)));
        }
        if self.policies != earlier.policies {
            return Some("with other policies for unknown ids or missing columns".into());
        }
        (self.values != earlier.values || self.columns != earlier.columns).then(|| "with other columns or values".into())
    }

    /// Which input has changed since, in words.
    pub(super) fn changed(&self, inputs: &[Input]) -> Option<String> {
        let changed = self.inputs.iter().zip(inputs).find(|(was, is)| was.fingerprint != is.fingerprint);
        changed.map(|(_, is)| format!("`{}` changed", is.name))
    }

    /// Hash of all of it but the names of inputs, which a part carries to be known again.
    pub(super) fn stamp(&self, shards: u64) -> Result<String> {
        let prints: Vec<&str> = self.inputs.iter().map(|i| i.fingerprint.as_str()).collect();
        let rest = serde_json::to_string(&Self { inputs: Vec::new(), ..self.clone() })?;
        Ok(format!("{:032x}", xxh3_128(format!("{shards}\n{prints:?}\n{rest}").as_bytes())))
    }
}

impl PredictManifest {
    /// Counts all parts.
    pub(super) fn tally(&mut self) {
        self.parts.sort_by(|a, b| a.file.cmp(&b.file));
        let left_out = std::mem::take(&mut self.summary.left_out);
        self.summary = PredictSummary { left_out, ..PredictSummary::default() };
        self.parts.iter().for_each(|part| self.summary.add(&part.summary));
    }

    /// The whole of all shards' finished manifests.
    pub(super) fn merge(all: Vec<Self>) -> Option<Self> {
        let mut all = all.into_iter();
        let mut whole = all.next()?;
        for other in all {
            whole.parts.extend(other.parts);
            whole.summary.left_out.extend(other.summary.left_out);
        }
        whole.shard = None;
        whole.tally();
        Some(whole)
    }
}
