//! Rows that are at hand, scored in memory: what a server does. The columns go through the same encoder, model and composition as those of
//! `predict`; nothing is computed here that is not computed there.

mod columns;
mod join;

pub use columns::{CellKind, ColumnFault, OnlineColumn};
pub use join::join;

use super::scorer::version;
use super::{Scorer, probabilities};
use crate::data::source::{Chunk, Input, RowNumbers};
use crate::data::{Batch, RawEncoder, SharedColumns};
use crate::device::Device;
use crate::graph::words::prediction_columns;
use crate::model::ScoreNetworks;
use crate::run::RunFolder;
use anyhow::Result;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// A trained funnel with all that scoring rows at hand takes, made once.
pub struct Online {
    scorer: Scorer,
    networks: ScoreNetworks,
    encoder: RawEncoder,
    columns: Vec<OnlineColumn>,
    schema: SchemaRef,
    names: Vec<String>,
    rows: Input,
    shared: Input,
}

impl std::fmt::Debug for Online {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Online").field("version", &self.scorer.version).field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl Online {
    /// Loads a finished run.
    ///
    /// # Errors
    /// As [`Scorer::open`].
    pub fn open(folder: &RunFolder, device: &Device) -> Result<Self> {
        let scorer = Scorer::open(folder, device)?;
        let columns = columns::of(scorer.preprocessor.layout());
        let input = |name: &str| Input { name: name.into(), path: None, fingerprint: String::new(), unit: "row", bytes: 0, entities: None };
        let online = Self {
            networks: scorer.model.networks(),
            encoder: RawEncoder::new(Arc::clone(&scorer.preprocessor)),
            schema: columns::schema(&columns),
            columns,
            names: prediction_columns(&scorer.graph),
            rows: input("rows"),
            shared: input("shared"),
            scorer,
        };
        // A run whose files were replaced meanwhile must not pass for either.
        anyhow::ensure!(version(folder, true)? == online.version(), "the run `{}` changed while it was loaded", folder.path.display());
        Ok(online)
    }

    /// The run: spec, graph, model, preprocessor.
    #[must_use]
    pub fn scorer(&self) -> &Scorer {
        &self.scorer
    }
    /// Tells models apart: a hash of the checkpoint, of vocabularies and transforms.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.scorer.version
    }
    /// The columns that rows must have.
    #[must_use]
    pub fn columns(&self) -> &[OnlineColumn] {
        &self.columns
    }
    /// The same as an arrow schema: the one form in which rows are encoded and logged.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
    /// The columns of predictions, in the order of [`Self::score`].
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Which of the columns are in common, by their places in [`Self::columns`].
    #[must_use]
    pub fn shared_columns(&self, is_shared: &[bool]) -> SharedColumns {
        let of = |name: &str| self.columns.iter().position(|c| c.name == name).is_some_and(|at| is_shared[at]);
        SharedColumns::of(self.scorer.preprocessor.layout(), of)
    }

    /// Encodes rows whose columns are those of [`Self::schema`].
    ///
    /// # Errors
    /// A cell that cannot be read; rows are counted from 0.
    pub fn encode(&self, records: &RecordBatch) -> Result<Batch> {
        let chunk = Chunk { records: records.clone(), input: 0, numbers: RowNumbers::From(0), broken: Vec::new() };
        self.encoder.encode_batch(&chunk, &self.rows)
    }

    /// Encodes rows that have the columns of `shared`, one row, in common.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_shared(&self, split: &SharedColumns, shared: &RecordBatch, rows: &RecordBatch) -> Result<Batch> {
        self.encoder.encode_shared(split, shared, rows, [&self.shared, &self.rows])
    }

    /// Probabilities of encoded rows.
    ///
    /// # Shapes
    /// `[P][B]`: a column for each of [`Self::names`].
    ///
    /// # Errors
    /// A tower that breaks its promises.
    pub fn score(&self, batch: &Batch) -> Result<Vec<Vec<f64>>> {
        let logits = self.scorer.model.logits(&self.networks, batch)?;
        Ok(probabilities(&self.scorer.graph, &logits.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    }
}
