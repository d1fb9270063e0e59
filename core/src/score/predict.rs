//! Rows in, probabilities out: the key columns, then per stage `p_<stage>` and `p_<stage>_given_<parent>`, then `p_<outcome>`.

use super::{Scorer, Sink};
use crate::data::source::{Chunk, SharedSource};
use crate::graph::words::prediction_columns;
use anyhow::{Context, Result, bail};
use arrow::array::{ArrayRef, BooleanArray, Float64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a prediction saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PredictSummary {
    /// Rows written.
    pub rows: u64,
    /// Per column: ids that own no table row, read as out of vocabulary.
    pub unknown_ids: Vec<(String, u64)>,
}

impl Scorer {
    /// Scores every row of `source` for which `keep` (given the row's number over all inputs) is true, in input order, into the file `out`.
    ///
    /// # Errors
    /// A column that is missing, a cell that cannot be read, the file system; on an error there is no `out`.
    pub fn predict(
        &self,
        source: &SharedSource,
        keep: &dyn Fn(u64) -> bool,
        out: &Path,
        progress: &dyn Fn(u64),
        stop: &AtomicBool,
    ) -> Result<PredictSummary> {
        let schema = source.schema()?;
        let keys = self.key_columns(&schema)?;
        let encoder = self.encoder(&schema)?;
        let mut columns = encoder.columns();
        let first_key = columns.len();
        columns.extend(keys.iter().map(|k| k.name().clone()));
        let written = self.prediction_schema(&keys);
        let mut sink = Sink::create(out, Arc::clone(&written))?;
        let scorer = self.model.scorer();
        let (mut seen, mut rows) = (0u64, 0u64);
        for (i, input) in source.inputs()?.iter().enumerate() {
            for chunk in source.read(i, &columns)? {
                if stop.load(Ordering::Relaxed) {
                    bail!("interrupted; nothing was written to `{}`", out.display());
                }
                let chunk = chunk?;
                let mask: BooleanArray = (0..chunk.records.num_rows() as u64).map(|r| Some(keep(seen + r))).collect();
                seen += chunk.records.num_rows() as u64;
                let batch = encoder.encode(&chunk, input).with_context(|| format!("`{}`", input.name))?;
                let logits = scorer.logits(&batch)?;
                let all = self.record_batch(&written, &chunk, first_key, &logits)?;
                let kept = if mask.true_count() == mask.len() { all } else { filter_record_batch(&all, &mask)? };
                rows += kept.num_rows() as u64;
                sink.write(&kept)?;
                progress(rows);
            }
        }
        sink.finish()?;
        Ok(PredictSummary { rows, unknown_ids: encoder.unknown_ids() })
    }

    fn key_columns(&self, schema: &SchemaRef) -> Result<Vec<Field>> {
        self.spec
            .data
            .keys
            .iter()
            .map(|k| {
                let field = schema.field_with_name(k).ok().with_context(|| format!("the key column `{k}` is not in the data"))?;
                Ok(field.clone())
            })
            .collect()
    }

    fn prediction_schema(&self, keys: &[Field]) -> SchemaRef {
        let p = prediction_columns(&self.graph).into_iter().map(|name| Field::new(name, DataType::Float64, false));
        Arc::new(Schema::new(keys.iter().cloned().chain(p).collect::<Vec<_>>()))
    }

    fn record_batch(&self, schema: &SchemaRef, chunk: &Chunk, first_key: usize, logits: &[Vec<f32>]) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = chunk.records.columns()[first_key..].to_vec();
        columns.extend(self.probabilities(logits).into_iter().map(|p| Arc::new(Float64Array::from(p)) as ArrayRef));
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }

    /// The columns of [`prediction_columns`], from per-stage logits.
    #[must_use]
    pub fn probabilities(&self, logits: &[Vec<f32>]) -> Vec<Vec<f64>> {
        let logits: Vec<&[f32]> = logits.iter().map(Vec::as_slice).collect();
        let composed = self.graph.compose(&logits);
        let exp = |log_p: &[f64]| log_p.iter().map(|l| l.exp()).collect::<Vec<f64>>();
        let stages = self.graph.len();
        let mut out: Vec<Vec<f64>> =
            (0..stages).flat_map(|s| [exp(&composed.targets[s].log_p), exp(&composed.conditional[s].log_p)]).collect();
        out.extend(composed.targets[stages..].iter().map(|t| exp(&t.log_p)));
        out
    }
}
