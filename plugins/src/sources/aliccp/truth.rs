//! The truth of generated rows, beside what was written of them.

use crate::sources::fault;
use anyhow::Context;
use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use esmm_funnel_core::data::source::{Chunk, ChunkStream, TruthColumns};
use esmm_funnel_core::graph::{Graph, Node};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the file calls the truth of the first stage, and of the second: probability and outcome.
const COLUMNS: [[&str; 2]; 2] = [["p_click", "cf_click"], ["p_buy", "cf_buy"]];

/// The truth columns of the spec's first two stages.
pub(super) fn columns(graph: &Graph) -> Vec<TruthColumns> {
    let of = |Node { name: stage, .. }: &Node| TruthColumns {
        stage: stage.clone(),
        probability: format!("truth.p.{stage}"),
        outcome: format!("truth.cf.{stage}"),
    };
    graph.nodes.iter().take(COLUMNS.len()).map(of).collect()
}

/// As fields of the source.
pub(super) fn fields(columns: &[TruthColumns]) -> impl Iterator<Item = Field> + '_ {
    columns.iter().flat_map(|c| [Field::new(&c.probability, DataType::Float32, false), Field::new(&c.outcome, DataType::UInt8, false)])
}

/// The file beside a skeleton.
pub(super) fn beside(skeleton: &Path) -> PathBuf {
    let name = skeleton.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let bare = name.strip_suffix(".gz").unwrap_or(&name);
    let bare = bare.strip_suffix(".csv").unwrap_or(bare);
    skeleton.with_file_name(format!("{}.parquet", bare.replace("sample_skeleton", "truth")))
}

/// The rows of a truth file, in order.
struct Truths {
    name: String,
    reader: ParquetRecordBatchReader,
    /// Read, and not used up.
    ahead: RecordBatch,
}

/// Adds the truth columns to chunks that have `sample_id`, and brings the columns into this order.
pub(super) fn join(chunks: ChunkStream, path: &Path, known: &[TruthColumns], schema: SchemaRef) -> anyhow::Result<ChunkStream> {
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot read `{name}`, the truth beside its skeleton"))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).with_context(|| format!("`{name}` cannot be read as Parquet"))?;
    let ahead = RecordBatch::new_empty(Arc::new(Schema::new(builder.schema().fields().clone())));
    let mut truths = Truths { name, reader: builder.build()?, ahead };
    let known = known.to_vec();
    Ok(Box::new(chunks.map(move |chunk| {
        let chunk = chunk?;
        let truth = truths.of(chunk.records.column_by_name("sample_id").context("no sample_id")?)?;
        let column = |field: &Arc<Field>| -> anyhow::Result<ArrayRef> {
            let name = field.name();
            let place = known.iter().enumerate().find_map(|(s, c)| match name {
                name if *name == c.probability => Some(COLUMNS[s][0]),
                name if *name == c.outcome => Some(COLUMNS[s][1]),
                _ => None,
            });
            let found = place.map_or_else(|| chunk.records.column_by_name(name), |place| truth.column_by_name(place));
            found.cloned().with_context(|| format!("`{}` has no column for `{name}`", truths.name))
        };
        let columns = schema.fields().iter().map(column).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Chunk { records: RecordBatch::try_new(Arc::clone(&schema), columns)?, ..chunk })
    })))
}

impl Truths {
    /// The rows with these sample ids, which ascend as those of the file do.
    fn of(&mut self, sample_ids: &ArrayRef) -> anyhow::Result<RecordBatch> {
        let wanted = sample_ids.as_primitive::<Int64Type>().values();
        let mut at = Vec::with_capacity(wanted.len());
        let mut from = 0;
        for id in wanted {
            loop {
                let ids = self.ids()?;
                if let Some(found) = ids[from..].iter().position(|i| i == id) {
                    from += found;
                    at.push(u32::try_from(from)?);
                    break;
                }
                from = ids.len();
                let Some(next) = self.reader.next() else {
                    let message = format!("`{}` has no row, or none in this place, for sample_id {id}", self.name);
                    return Err(fault("truth-rows", message, "the files are not of one `synth` run; or leave `truth` out"));
                };
                self.ahead = concat_batches(&self.ahead.schema(), [&self.ahead, &next?])?;
            }
        }
        let at = UInt32Array::from(at);
        let columns = self.ahead.columns().iter().map(|c| take(c, &at, None)).collect::<Result<Vec<_>, _>>()?;
        let rows = RecordBatch::try_new(self.ahead.schema(), columns)?;
        self.ahead = self.ahead.slice(from, self.ahead.num_rows() - from);
        Ok(rows)
    }

    fn ids(&self) -> anyhow::Result<arrow::buffer::ScalarBuffer<i64>> {
        let ids = self.ahead.column_by_name("sample_id").filter(|c| c.data_type() == &DataType::Int64);
        Ok(ids.with_context(|| format!("`{}` has no sample_id", self.name))?.as_primitive::<Int64Type>().values().clone())
    }
}
