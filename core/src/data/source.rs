//! What a source plugin gives: record batches with a schema.

use arrow::array::BooleanArray;
use arrow::compute::{concat_batches, filter_record_batch};
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
    /// Rows hereabouts that cannot be used, and are not among the records; see [`Source::tolerance`].
    pub broken: Vec<BrokenRow>,
}

/// A row, or a member of an entity input, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenRow {
    /// Its number in the input.
    pub number: u64,
    /// What should stand there; rows are counted by it.
    pub expected: &'static str,
    /// What does, without values of features.
    pub found: String,
}

/// What becomes of broken rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tolerance {
    /// How many may be left out, over all inputs; more are an error.
    pub rows: u64,
    /// How to have them left out.
    pub help: &'static str,
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
    /// For an input whose rows are the members of an entity.
    pub entities: Option<EntityColumns>,
}

/// What an *entity input* holds: the key column, and columns that the inputs of rows do not have. They hold the key, and each row stands for
/// the member with its key.
///
/// A row's member is looked up in the entity inputs read before it; one that follows an input of rows starts anew, so that each part of the
/// data may have its own (members, rows, members, rows). A member is encoded once, and what is kept in memory of it is its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityColumns {
    /// The column that the inputs of rows have too.
    pub key: String,
    /// The other columns.
    pub columns: Vec<String>,
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
    /// All columns, with arrow types (`Utf8` for text formats); those of entity inputs among them.
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

    /// Like [`Self::read`], from the row `first` on, counted from 0 among the rows that can be used. Formats that can find a row faster than by
    /// reading all before it do so.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn read_from(&self, input: usize, columns: &[String], first: u64) -> anyhow::Result<ChunkStream> {
        Ok(without_first(self.read(input, columns)?, first))
    }

    /// [`Self::read`] without the first `chunks` chunks, which have been read before.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn read_after(&self, input: usize, columns: &[String], chunks: usize) -> anyhow::Result<ChunkStream> {
        let all = self.read(input, columns)?;
        Ok(if chunks == 0 { all } else { Box::new(all.skip(chunks)) })
    }

    /// How many broken rows may be left out: those of [`Chunk::broken`], a second member with one key, a row without its member.
    fn tolerance(&self) -> Tolerance {
        Tolerance::default()
    }

    /// Columns that stand in files beside the rows: no feature by inference.
    fn beside(&self) -> Vec<String> {
        Vec::new()
    }

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

/// All rows but the first ones, with what is broken among those.
fn without_first(chunks: ChunkStream, mut first: u64) -> ChunkStream {
    Box::new(chunks.filter_map(move |chunk| {
        let chunk = match chunk {
            Ok(chunk) if first > 0 => chunk,
            other => return Some(other),
        };
        let rows = chunk.records.num_rows();
        let skipped = usize::try_from(first).unwrap_or(usize::MAX).min(rows);
        first -= skipped as u64;
        (skipped < rows).then(|| Ok(chunk.slice(skipped, rows - skipped)))
    }))
}

impl Chunk {
    /// Some of its rows; what is broken stays behind.
    pub(crate) fn slice(&self, from: usize, rows: usize) -> Self {
        let numbers = match &self.numbers {
            RowNumbers::From(first) => RowNumbers::From(first + from as u64),
            RowNumbers::Each(all) => RowNumbers::Each(all[from..from + rows].to_vec()),
        };
        Self { records: self.records.slice(from, rows), input: self.input, numbers, broken: Vec::new() }
    }

    /// Its rows, then those of the next chunk.
    pub(crate) fn join(mut self, next: Self) -> anyhow::Result<Self> {
        let rows = self.records.num_rows();
        self.broken.extend(next.broken);
        if rows == 0 {
            return Ok(Self { broken: self.broken, ..next });
        }
        let numbers = |chunk: &RowNumbers, rows: usize| (0..rows).map(|row| chunk.get(row)).collect::<Vec<_>>();
        let all = [numbers(&self.numbers, rows), numbers(&next.numbers, next.records.num_rows())].concat();
        let records = concat_batches(&self.records.schema(), [&self.records, &next.records])?;
        Ok(Self { records, numbers: RowNumbers::Each(all), ..self })
    }

    /// The rows to keep; the broken ones have been noted.
    pub(crate) fn only(&self, keep: &[bool]) -> anyhow::Result<Self> {
        let records = filter_record_batch(&self.records, &BooleanArray::from(keep.to_vec()))?;
        let numbers = keep.iter().enumerate().filter(|(_, kept)| **kept).map(|(row, _)| self.numbers.get(row));
        Ok(Self { records, input: self.input, numbers: RowNumbers::Each(numbers.collect()), broken: Vec::new() })
    }
}
