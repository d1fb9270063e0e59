//! Rows in, probabilities out: the key columns, then per stage `p_<stage>` and `p_<stage>_given_<parent>`, then `p_<outcome>`.

use super::{Scorer, Sink};
use crate::data::source::SharedSource;
use crate::data::{Dataset, LeftOut, Part, RawEncoder, Stopped, joined};
use crate::diagnostic::suggest::did_you_mean;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::Graph;
use crate::graph::words::prediction_columns;
use anyhow::{Context, Result};
use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a prediction saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PredictSummary {
    /// Rows written.
    pub rows: u64,
    /// Per column: ids that own no table row, read as out of vocabulary.
    pub unknown_ids: BTreeMap<String, u64>,
    /// Broken rows of the input, which the output does not have, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

impl Scorer {
    /// Scores every row of `source`, in input order, into the file `out`.
    ///
    /// # Errors
    /// A column that is missing, a cell that cannot be read, the file system; on an error there is no `out`.
    pub fn predict(&self, source: &SharedSource, out: &Path, progress: &dyn Fn(u64), stop: &AtomicBool) -> Result<PredictSummary> {
        let source = joined(source)?;
        let schema = source.schema()?;
        let encoder = RawEncoder::new(Arc::clone(&self.preprocessor));
        let mut columns = encoder.columns();
        let first_key = columns.len();
        columns.extend(self.spec.data.keys.iter().cloned());
        require(&schema, &columns)?;
        let keys: Vec<Field> = columns[first_key..].iter().filter_map(|k| schema.field_with_name(k).ok().cloned()).collect();
        let mut sink = Predictions::create(out, &self.graph, &keys)?;
        let scorer = self.model.scorer();
        let mut summary = PredictSummary::default();
        let mut left_out = LeftOut::new(source.tolerance());
        for (i, input) in source.inputs()?.iter().enumerate() {
            for chunk in source.read(i, &columns)? {
                if stop.load(Ordering::Relaxed) {
                    return Err(Stopped).with_context(|| format!("nothing was written to `{}`", out.display()));
                }
                let chunk = chunk?;
                left_out.take(&chunk, input)?;
                let encoded = encoder.encode(&chunk, input)?;
                for (column, n) in encoded.unknown_ids {
                    *summary.unknown_ids.entry(column).or_default() += n;
                }
                let logits = scorer.logits(&encoded.batch)?;
                sink.write(chunk.records.columns()[first_key..].to_vec(), &logits.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
                summary.rows += chunk.records.num_rows() as u64;
                progress(summary.rows);
            }
        }
        sink.finish()?;
        summary.left_out = left_out.messages();
        Ok(summary)
    }
}

/// Writes the predictions of a part whose logits, `[S][N]` in order of the inputs, are at hand.
///
/// # Errors
/// The file system.
pub fn write_predictions(data: &Dataset, graph: &Graph, part: Part, logits: &[Vec<f32>], out: &Path) -> Result<()> {
    let rows = logits.first().map_or(0, Vec::len);
    let slice = |from: usize, to: usize| logits.iter().map(|z| &z[from..to]).collect::<Vec<_>>();
    let Some(keys) = data.keys(part)? else {
        let mut sink = Predictions::create(out, graph, &[])?;
        sink.write(Vec::new(), &slice(0, rows))?;
        return sink.finish();
    };
    let (mut sink, mut at) = (None, 0);
    for batch in keys {
        let batch = batch?;
        let fields: Vec<Field> = batch.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
        let sink = match &mut sink {
            Some(sink) => sink,
            None => sink.insert(Predictions::create(out, graph, &fields)?),
        };
        sink.write(batch.columns().to_vec(), &slice(at, at + batch.num_rows()))?;
        at += batch.num_rows();
    }
    sink.map_or(Ok(()), Predictions::finish)
}

/// A file of predictions.
struct Predictions<'a> {
    graph: &'a Graph,
    schema: SchemaRef,
    sink: Sink,
}
impl<'a> Predictions<'a> {
    fn create(out: &Path, graph: &'a Graph, keys: &[Field]) -> Result<Self> {
        let p = prediction_columns(graph).into_iter().map(|name| Field::new(name, DataType::Float64, false));
        let schema: SchemaRef = Arc::new(Schema::new(keys.iter().cloned().chain(p).collect::<Vec<_>>()));
        Ok(Self { graph, sink: Sink::create(out, Arc::clone(&schema))?, schema })
    }
    fn write(&mut self, mut columns: Vec<ArrayRef>, logits: &[&[f32]]) -> Result<()> {
        columns.extend(probabilities(self.graph, logits).into_iter().map(|p| Arc::new(Float64Array::from(p)) as ArrayRef));
        self.sink.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
    fn finish(self) -> Result<()> {
        self.sink.finish()
    }
}

/// The columns of [`prediction_columns`], from per-stage conditional logits `[S][N]`.
#[must_use]
pub fn probabilities(graph: &Graph, logits: &[&[f32]]) -> Vec<Vec<f64>> {
    let composed = graph.compose(logits);
    let exp = |log_p: &[f64]| log_p.iter().map(|l| l.exp()).collect::<Vec<f64>>();
    let stages = graph.len();
    let mut out: Vec<Vec<f64>> = (0..stages).flat_map(|s| [exp(&composed.targets[s].log_p), exp(&composed.conditional[s].log_p)]).collect();
    out.extend(composed.targets[stages..].iter().map(|t| exp(&t.log_p)));
    out
}

fn require(schema: &SchemaRef, columns: &[String]) -> Result<(), Diagnostics> {
    let have: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let missing = columns.iter().filter(|c| !have.contains(&c.as_str())).map(|column| {
        let fault = Diagnostic::error("missing-column", format!("the data have no column `{column}`, which the model needs"));
        let fault = match did_you_mean(column, &have) {
            Some(hint) => fault.help(hint),
            None => fault,
        };
        fault.help(format!("columns there are: {}", have.join(", ")))
    });
    let missing: Vec<Diagnostic> = missing.collect();
    if missing.is_empty() { Ok(()) } else { Err(Diagnostics(missing)) }
}
