//! Rows on their way to the model: in batches that start at fixed rows of their input, with columns that the data lack read as missing.

use super::SCORE_ROWS;
use crate::data::source::{Chunk, ChunkStream, Input, SharedSource, Source, Tolerance};
use anyhow::Result;
use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// The batches of an input from the one that holds row `first` on, each with the number of its first row. They start at multiples of
/// [`SCORE_ROWS`], as those of an evaluation of the same file do: so a row always is scored among the same rows, and to the same bits.
pub(super) fn batches(source: &SharedSource, input: usize, columns: &[String], first: u64) -> Result<Batches> {
    let grid = SCORE_ROWS.get() as u64;
    let next = first / grid * grid;
    Ok(Batches { chunks: source.read_from(input, columns, next)?, held: None, next })
}

/// See [`batches`].
pub(super) struct Batches {
    chunks: ChunkStream,
    held: Option<Chunk>,
    next: u64,
}
impl Iterator for Batches {
    type Item = Result<(u64, Chunk)>;

    fn next(&mut self) -> Option<Self::Item> {
        let full = SCORE_ROWS.get();
        while self.held.as_ref().is_none_or(|c| c.records.num_rows() < full) {
            let chunk = match self.chunks.next() {
                None => break,
                Some(Ok(chunk)) => chunk,
                Some(Err(e)) => return Some(Err(e)),
            };
            self.held = match self.held.take().map_or(Ok(chunk.clone()), |held| held.join(chunk)) {
                Ok(chunk) => Some(chunk),
                Err(e) => return Some(Err(e)),
            };
        }
        let held = self.held.take()?;
        let rows = held.records.num_rows();
        let batch = if rows > full {
            self.held = Some(held.slice(full, rows - full));
            Chunk { broken: held.broken.clone(), ..held.slice(0, full) }
        } else {
            held
        };
        let first = self.next;
        self.next += batch.records.num_rows() as u64;
        Some(Ok((first, batch)))
    }
}

/// A source with columns that it does not have, in which every cell is missing.
pub(super) struct WithMissing {
    pub source: SharedSource,
    pub missing: Vec<String>,
}
impl WithMissing {
    fn fill(&self, columns: &[String], read: impl FnOnce(&[String]) -> Result<ChunkStream>) -> Result<ChunkStream> {
        let there: Vec<String> = columns.iter().filter(|c| !self.missing.contains(c)).cloned().collect();
        let (columns, missing) = (columns.to_vec(), self.missing.clone());
        Ok(Box::new(read(&there)?.map(move |chunk| {
            let chunk = chunk?;
            let rows = chunk.records.num_rows();
            let mut read = chunk
                .records
                .schema()
                .fields()
                .iter()
                .cloned()
                .zip(chunk.records.columns().iter().cloned())
                .collect::<Vec<_>>()
                .into_iter();
            let (mut fields, mut arrays) = (Vec::new(), Vec::new());
            for column in &columns {
                if missing.contains(column) {
                    fields.push(Arc::new(absent(column)));
                    arrays.push(Arc::new(StringArray::new_null(rows)) as ArrayRef);
                } else if let Some((field, array)) = read.next() {
                    fields.push(field);
                    arrays.push(array);
                }
            }
            let records = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
            Ok(Chunk { records, ..chunk })
        })))
    }
}
fn absent(column: &str) -> Field {
    Field::new(column, DataType::Utf8, true)
}

impl Source for WithMissing {
    fn schema(&self) -> Result<SchemaRef> {
        let schema = self.source.schema()?;
        let missing = self.missing.iter().map(|c| Arc::new(absent(c)));
        Ok(Arc::new(Schema::new(schema.fields().iter().cloned().chain(missing).collect::<Vec<_>>())))
    }
    fn inputs(&self) -> Result<Vec<Input>> {
        self.source.inputs()
    }
    fn read(&self, input: usize, columns: &[String]) -> Result<ChunkStream> {
        self.fill(columns, |there| self.source.read(input, there))
    }
    fn read_from(&self, input: usize, columns: &[String], first: u64) -> Result<ChunkStream> {
        self.fill(columns, |there| self.source.read_from(input, there, first))
    }
    fn tolerance(&self) -> Tolerance {
        self.source.tolerance()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::{BrokenRow, RowNumbers};
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    /// Rows 0, 1, 2 … in chunks of these sizes.
    struct Numbers(Vec<usize>);
    impl Source for Numbers {
        fn schema(&self) -> Result<SchemaRef> {
            Ok(Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])))
        }
        fn inputs(&self) -> Result<Vec<Input>> {
            Ok(Vec::new())
        }
        fn read(&self, input: usize, columns: &[String]) -> Result<ChunkStream> {
            assert_eq!(columns, ["n"]);
            let (mut next, schema, sizes) = (0_i64, self.schema()?, self.0.clone());
            Ok(Box::new(sizes.into_iter().map(move |rows| {
                let from = next;
                next += i64::try_from(rows)?;
                let n: ArrayRef = Arc::new(Int64Array::from_iter_values(from..next));
                let records = RecordBatch::try_new(Arc::clone(&schema), vec![n])?;
                let broken = vec![BrokenRow { number: u64::try_from(from)?, expected: "x", found: "y".into() }];
                Ok(Chunk { records, input, numbers: RowNumbers::From(u64::try_from(from)? + 1), broken })
            })))
        }
    }

    #[test]
    fn batches_start_at_multiples_whatever_the_chunks() {
        let full = SCORE_ROWS.get() as u64;
        for sizes in [vec![20_000], vec![1, 16_384, 3615], vec![5000, 0, 5000, 5000, 5000], vec![8192, 8192, 3616]] {
            let source: SharedSource = Arc::new(WithMissing { source: Arc::new(Numbers(sizes)), missing: vec!["gone".into()] });
            assert_eq!(source.schema().unwrap().fields().len(), 2);
            for first in [0, 8191, 8192, 19_999] {
                let mut expected = first / full * full;
                for batch in batches(&source, 0, &["gone".into(), "n".into()], first).unwrap() {
                    let (at, chunk) = batch.unwrap();
                    assert_eq!(at, expected);
                    let n = chunk.records.column(1).as_primitive::<Int64Type>();
                    assert_eq!(chunk.records.column(0).null_count(), n.len());
                    for row in 0..n.len() {
                        assert_eq!((u64::try_from(n.value(row)).unwrap(), chunk.numbers.get(row)), (at + row as u64, at + row as u64 + 1));
                    }
                    expected += n.len() as u64;
                    assert!(n.len() as u64 == full || expected == 20_000);
                }
                assert_eq!(expected, 20_000);
            }
        }
        // A broken row is told once, with the batch before or around it.
        let source: SharedSource = Arc::new(Numbers(vec![10_000, 10_000]));
        let broken: Vec<usize> = batches(&source, 0, &["n".into()], 0).unwrap().map(|b| b.unwrap().1.broken.len()).collect();
        assert_eq!(broken.iter().sum::<usize>(), 2);
    }
}
