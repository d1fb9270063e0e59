//! What a source plugin gives: record batches with a schema.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::path::PathBuf;
use std::sync::Arc;

/// A stretch of rows as read, before any treatment.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The columns that were asked for, in that order. Text formats give strings; typed formats give what they hold.
    pub records: RecordBatch,
    /// Which of [`Source::inputs`] the rows are from.
    pub input: usize,
    /// For each row its number in that input, counted from 1: a text line where the format has lines, else the row.
    pub numbers: RowNumbers,
}

/// Numbers of the rows of a [`Chunk`].
#[derive(Debug, Clone)]
pub enum RowNumbers {
    /// Consecutive, from this one.
    From(u64),
    /// One by one (quoted cells may span lines).
    Each(Vec<u64>),
}
impl RowNumbers {
    /// Number of the row at `index` of the chunk.
    #[must_use]
    pub fn get(&self, index: usize) -> u64 {
        match self {
            Self::From(first) => first + index as u64,
            Self::Each(all) => all[index],
        }
    }
}

/// One input of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What messages call it: the path as given, or the source's name.
    pub name: String,
    /// The file, if it is one.
    pub path: Option<PathBuf>,
    /// Changes when the rows change: of a file its size and modification time, of a generator its settings.
    pub fingerprint: String,
    /// `line` or `row`: what [`RowNumbers`] count.
    pub unit: &'static str,
    /// Bytes to read, for progress; 0 if unknown.
    pub bytes: u64,
}

/// The truth that only generated data has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TruthColumns {
    /// The stage's name.
    pub stage: String,
    /// Column with the true conditional probability, `Float32`.
    pub probability: String,
    /// Column with the outcome that the row would have had if its parent had been reached, `UInt8`.
    pub outcome: String,
}

/// Rows from somewhere. Reading twice gives the same rows in the same order.
pub trait Source: Send + Sync {
    /// All columns, with arrow types (`Utf8` for text formats).
    ///
    /// # Errors
    /// Inputs missing or unreadable, header missing, inputs with different columns.
    fn schema(&self) -> anyhow::Result<SchemaRef>;

    /// The inputs, in reading order.
    ///
    /// # Errors
    /// Inputs missing.
    fn inputs(&self) -> anyhow::Result<Vec<Input>>;

    /// Streams one input's rows with these columns, in this order.
    ///
    /// # Errors
    /// Input missing, or a column that is not there. The stream yields an error naming input and line at the first broken row.
    fn read(&self, input: usize, columns: &[String]) -> anyhow::Result<ChunkStream>;

    /// Bytes behind in the input that was opened last, for progress; 0 if unknown.
    fn bytes_read(&self) -> u64 {
        0
    }

    /// Columns with the truth, for generated data.
    fn truth(&self) -> Vec<TruthColumns> {
        Vec::new()
    }
}

/// Chunks in order of the input.
pub type ChunkStream = Box<dyn Iterator<Item = anyhow::Result<Chunk>> + Send>;

/// A shared source.
pub type SharedSource = Arc<dyn Source>;
