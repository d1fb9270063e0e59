//! Rows in, probabilities out: the key columns, then per stage `p_<stage>` and `p_<stage>_given_<parent>`, then `p_<outcome>`, then the values
//! that were asked for. Memory does not grow with the number of rows.

use super::options::{MissingColumns, PredictOptions, PredictSummary, UnknownIds};
use super::rows::{Batches, WithMissing, batches};
use super::{Scorer, Sink, Values};
use crate::data::source::{Chunk, Input, SharedSource};
use crate::data::{BESIDE_HINT, Batch, Dataset, LeftOut, Part, RawEncoder, Stopped, joined, place};
use crate::diagnostic::suggest::did_you_mean;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::Graph;
use crate::graph::words::prediction_columns;
use crate::model::ScoreModel;
use anyhow::{Context, Result};
use arrow::array::{Array, ArrayRef, Float64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Scorer {
    /// Scores every row of `source`, in input order, into the file `out`.
    ///
    /// # Errors
    /// A column that is missing, a cell that cannot be read, the file system; on an error there is no `out`.
    pub fn predict(&self, source: &SharedSource, out: &Path, options: &PredictOptions<'_>) -> Result<PredictSummary> {
        let rows = RowScorer::new(self, source, *options)?;
        let mut sink = Sink::create(out, rows.schema())?;
        let mut summary = PredictSummary::default();
        let mut left_out = LeftOut::new(source.tolerance());
        for (i, input) in rows.inputs()?.iter().enumerate() {
            for batch in rows.batches(i, 0)? {
                rows.go_on().with_context(|| format!("nothing was written to `{}`", out.display()))?;
                let (_, chunk) = batch?;
                left_out.take(&chunk, input)?;
                let scored = rows.score(chunk, input)?;
                sink.write(&rows.take(&scored, 0..scored.rows(), input, &mut summary)?)?;
                (options.progress)(summary.rows);
            }
        }
        sink.finish()?;
        summary.left_out = left_out.messages();
        Ok(summary)
    }
}

/// Scores rows of a source: what a file and a folder of predictions share.
pub(super) struct RowScorer<'a> {
    graph: &'a Graph,
    model: ScoreModel<'a>,
    encoder: RawEncoder,
    source: SharedSource,
    /// Of features, then keys, then values.
    columns: Vec<String>,
    keys: Range<usize>,
    pub(super) values: Values,
    missing: Vec<String>,
    schema: SchemaRef,
    options: PredictOptions<'a>,
}

/// Scored rows.
pub(super) struct Scored {
    batch: Batch,
    records: RecordBatch,
    chunk: Chunk,
}
impl Scored {
    pub(super) fn rows(&self) -> usize {
        self.records.num_rows()
    }
}

impl<'a> RowScorer<'a> {
    pub(super) fn new(scorer: &'a Scorer, source: &SharedSource, options: PredictOptions<'a>) -> Result<Self> {
        let mut source = joined(source)?;
        let schema = source.schema()?;
        let mut encoder = RawEncoder::new(Arc::clone(&scorer.preprocessor));
        encoder.show_values = options.show_values;
        let (mut columns, keys) = (encoder.columns(), &scorer.spec.data.keys);
        let hint = |faults: Diagnostics| {
            let hinted = |d: Diagnostic| if scorer.spec.data.beside.is_empty() { d } else { d.help(BESIDE_HINT) };
            Diagnostics(faults.0.into_iter().map(hinted).collect())
        };
        let missing = missing(&schema, &columns, keys, options.missing_columns).map_err(hint)?;
        let values = Values::parse(options.values, &scorer.graph, &schema, keys)?;
        let keys_at = columns.len()..columns.len() + keys.len();
        columns.extend(keys.iter().cloned());
        columns.extend(values.columns().iter().filter(|c| !columns.contains(c)).cloned().collect::<Vec<_>>());
        let keys = keys.iter().filter_map(|k| schema.field_with_name(k).ok().cloned());
        let out = output(&scorer.graph, keys, values.names());
        if !missing.is_empty() {
            source = Arc::new(WithMissing { source, missing: missing.clone() });
        }
        let model = scorer.model.scorer();
        Ok(Self { graph: &scorer.graph, model, encoder, source, columns, keys: keys_at, values, missing, schema: out, options })
    }

    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
    /// The inputs of rows.
    pub(super) fn inputs(&self) -> Result<Vec<Input>> {
        self.source.inputs()
    }
    /// See [`batches`].
    pub(super) fn batches(&self, input: usize, first: u64) -> Result<Batches> {
        batches(&self.source, input, &self.columns, first)
    }
    /// # Errors
    /// [`Stopped`], if that was asked for.
    pub(super) fn go_on(&self) -> Result<()> {
        if self.options.stop.load(Ordering::Relaxed) { Err(Stopped.into()) } else { Ok(()) }
    }
    /// Rows of an input that can be used. Without entities in inputs of their own, no column is needed to tell.
    pub(super) fn count(&self, input: usize, all_columns: bool) -> Result<u64> {
        let mut rows = 0;
        for chunk in self.source.read(input, if all_columns { &self.columns } else { &[] })? {
            self.go_on()?;
            rows += chunk?.records.num_rows() as u64;
        }
        Ok(rows)
    }

    /// The columns of the predictions for a batch.
    pub(super) fn score(&self, chunk: Chunk, input: &Input) -> Result<Scored> {
        if chunk.records.num_rows() == 0 {
            return Ok(Scored { batch: Batch::default(), records: RecordBatch::new_empty(self.schema()), chunk });
        }
        let batch = self.encoder.encode(&chunk, input)?.batch;
        let numbers = self.encoder.encode_numbers(&chunk, input, self.values.columns())?;
        let logits = self.model.logits(&batch)?;
        let p = probabilities(self.graph, &logits.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let values = self.values.compute(&p, &numbers);
        let mut columns = chunk.records.columns()[self.keys.clone()].to_vec();
        columns.extend(p.into_iter().map(|p| Arc::new(Float64Array::from(p)) as ArrayRef));
        columns.extend(values.into_iter().map(|v| {
            let rows = v.into_iter().map(|v| (!v.is_nan()).then_some(v));
            Arc::new(rows.collect::<Float64Array>()) as ArrayRef
        }));
        Ok(Scored { batch, records: RecordBatch::try_new(self.schema(), columns)?, chunk })
    }

    /// Some rows of a batch, counted.
    ///
    /// # Errors
    /// An unknown id, where the policy has it so.
    pub(super) fn take(&self, scored: &Scored, rows: Range<usize>, input: &Input, summary: &mut PredictSummary) -> Result<RecordBatch> {
        let records = scored.records.slice(rows.start, rows.len());
        let mut first = None;
        self.encoder.each_unknown(&scored.batch, rows.clone(), |row, column| {
            if let Some(n) = summary.unknown_ids.get_mut(column) {
                *n += 1;
            } else {
                summary.unknown_ids.insert(column.to_owned(), 1);
            }
            first.get_or_insert_with(|| (row, column.to_owned()));
        });
        if let (UnknownIds::Error, Some((row, column))) = (self.options.unknown_ids, first) {
            let place = place(&input.name, input.unit, scored.chunk.numbers.get(row));
            let message = format!("{place}: column {column}: an id that the model does not know (unseen in training, or too rare there)");
            let help = "`--unknown-ids accept` reads such ids as out of vocabulary and counts them";
            return Err(Diagnostics::from(Diagnostic::error("unknown-id", message).help(help)).into());
        }
        let n = rows.len() as u64;
        summary.rows += n;
        self.missing.iter().for_each(|column| *summary.missing_columns.entry(column.clone()).or_default() += n);
        let values = records.columns().iter().rev().take(self.values.names().count()).rev();
        for (name, value) in self.values.names().zip(values) {
            *summary.without_value.entry(name.to_owned()).or_default() += value.null_count() as u64;
        }
        Ok(records)
    }
}

/// The columns of predictions.
fn output<'n>(graph: &Graph, keys: impl Iterator<Item = Field>, values: impl Iterator<Item = &'n str>) -> SchemaRef {
    let p = prediction_columns(graph).into_iter().map(|name| Field::new(name, DataType::Float64, false));
    let values = values.map(|name| Field::new(name, DataType::Float64, true));
    Arc::new(Schema::new(keys.chain(p).chain(values).collect::<Vec<_>>()))
}

/// Writes the predictions of a part whose logits, `[S][N]` in order of the inputs, are at hand.
///
/// # Errors
/// The file system.
pub fn write_predictions(data: &Dataset, graph: &Graph, part: Part, logits: &[Vec<f32>], out: &Path) -> Result<()> {
    let rows = logits.first().map_or(0, Vec::len);
    let write = |sink: &mut Sink, schema: &SchemaRef, mut columns: Vec<ArrayRef>, rows: Range<usize>| {
        let logits: Vec<&[f32]> = logits.iter().map(|z| &z[rows.clone()]).collect();
        columns.extend(probabilities(graph, &logits).into_iter().map(|p| Arc::new(Float64Array::from(p)) as ArrayRef));
        sink.write(&RecordBatch::try_new(Arc::clone(schema), columns)?)
    };
    let Some(keys) = data.keys(part)? else {
        let schema = output(graph, std::iter::empty(), std::iter::empty());
        let mut sink = Sink::create(out, Arc::clone(&schema))?;
        write(&mut sink, &schema, Vec::new(), 0..rows)?;
        return sink.finish();
    };
    let (mut sink, mut at) = (None, 0);
    for batch in keys {
        let batch = batch?;
        let fields = batch.schema();
        let schema = output(graph, fields.fields().iter().map(|f| f.as_ref().clone()), std::iter::empty());
        let sink = match &mut sink {
            Some(sink) => sink,
            None => sink.insert(Sink::create(out, Arc::clone(&schema))?),
        };
        write(sink, &schema, batch.columns().to_vec(), at..at + batch.num_rows())?;
        at += batch.num_rows();
    }
    sink.map_or(Ok(()), Sink::finish)
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

/// The columns of features that the data lack, if the policy allows that.
fn missing(schema: &SchemaRef, features: &[String], keys: &[String], policy: MissingColumns) -> Result<Vec<String>, Diagnostics> {
    let have: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let lacks = |columns: &[String]| columns.iter().filter(|c| !have.contains(&c.as_str())).cloned().collect::<Vec<_>>();
    let (missing, keys) = (lacks(features), lacks(keys));
    let filled = policy == MissingColumns::Default && missing.len() < features.len();
    let refused: Vec<Diagnostic> = missing
        .iter()
        .filter(|_| !filled)
        .chain(&keys)
        .map(|column| {
            let why = if keys.contains(column) { "which predictions carry as a key" } else { "which the model needs" };
            let fault = Diagnostic::error("missing-column", format!("the data have no column `{column}`, {why}"));
            let fault = match did_you_mean(column, &have) {
                Some(hint) => fault.help(hint),
                None => fault,
            };
            fault.help(format!("columns there are: {}", have.join(", ")))
        })
        .collect();
    if refused.is_empty() { Ok(missing) } else { Err(Diagnostics(refused)) }
}
