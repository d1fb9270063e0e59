//! `parquet`: typed columnar files.

use super::{expand, fault, file_input, positions, same_columns};
use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use anyhow::Context;
use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use esmm_funnel_core::data::source::{Chunk, ChunkStream, Input, RowNumbers, SharedSource, Source};
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::plugin::SourceSettings;
use esmm_funnel_core::register_source;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows of a chunk.
const CHUNK_ROWS: usize = 16_384;

/// Parquet files: columns keep their types, and lists are bags.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parquet {
    /// Paths and globs.
    pub files: Vec<String>,
}

impl SourceSettings for Parquet {
    const PATH_KEYS: &'static [&'static str] = &["files"];

    fn open(&self, files: Option<&[PathBuf]>, _graph: &Graph) -> anyhow::Result<SharedSource> {
        Ok(Arc::new(ParquetSource { paths: expand(files, &self.files, "parquet", "parquet")?, read: Arc::default() }))
    }
}
register_source!("parquet", Parquet);

#[derive(Debug)]
struct ParquetSource {
    paths: Vec<PathBuf>,
    /// Bytes behind in the file opened last, by its share of rows.
    read: Arc<AtomicU64>,
}

fn broken(path: &Path, error: &dyn std::fmt::Display) -> anyhow::Error {
    let error = error.to_string();
    // The libraries name themselves, one inside the other.
    let why = error.rsplit("Parquet error: ").next().unwrap_or(&error);
    let message = format!("`{}` cannot be read as Parquet: {why}", path.display());
    fault("broken-file", message, "the file is truncated, or of another format")
}

fn start(path: &Path) -> anyhow::Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| broken(path, &e))
}

/// A column's type with dictionaries decoded.
fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => value,
        other => other,
    }
}

fn names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|f| f.name().clone()).collect()
}

impl Source for ParquetSource {
    fn schema(&self) -> anyhow::Result<SchemaRef> {
        let mut first: Option<(&Path, SchemaRef)> = None;
        for path in &self.paths {
            let schema = Arc::clone(start(path)?.schema());
            match &first {
                None => first = Some((path, schema)),
                Some((at, expected)) => same_columns((at, &names(expected)), (path, &names(&schema)))?,
            }
        }
        let (_, schema) = first.context("no files")?;
        let fields: Vec<Field> = schema.fields().iter().map(|f| Field::new(f.name(), plain(f.data_type()).clone(), true)).collect();
        Ok(Arc::new(Schema::new(fields)))
    }

    fn inputs(&self) -> anyhow::Result<Vec<Input>> {
        self.paths.iter().map(|p| file_input(p, "row")).collect()
    }

    fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn read(&self, input: usize, columns: &[String]) -> anyhow::Result<ChunkStream> {
        self.read_from(input, columns, 0)
    }

    /// Row groups and pages before `first` are not decoded.
    fn read_from(&self, input: usize, columns: &[String], first: u64) -> anyhow::Result<ChunkStream> {
        let path = self.paths.get(input).with_context(|| format!("no input {input}"))?.clone();
        // Types are those of the first file, so that all chunks of the source agree.
        let expected = Arc::clone(start(&self.paths[0])?.schema());
        let field = |name: &String| Ok(Field::new(name, plain(expected.field_with_name(name)?.data_type()).clone(), true));
        let builder = start(&path)?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let wanted = positions(&path, &names(builder.schema()), columns)?;
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<anyhow::Result<Vec<_>>>()?));
        // A projection keeps the file's order; `order` puts it back into the order asked for.
        let mut kept = wanted.clone();
        kept.sort_unstable();
        kept.dedup();
        let order: Vec<usize> = wanted.iter().filter_map(|w| kept.iter().position(|k| k == w)).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), kept);
        let skipped = usize::try_from(first.min(rows))?;
        let builder = builder.with_projection(mask).with_batch_size(CHUNK_ROWS).with_offset(skipped);
        let reader = builder.build().map_err(|e| broken(&path, &e))?;
        let (read, bytes) = (Arc::clone(&self.read), std::fs::metadata(&path).map_or(0, |m| m.len()));
        read.store(0, Ordering::Relaxed);
        let mut next = first + 1;
        Ok(Box::new(reader.map(move |batch| {
            let batch = batch.map_err(|e| broken(&path, &e))?;
            let records = select(&batch, &order, &schema).map_err(|e| broken(&path, &e))?;
            let numbers = RowNumbers::From(next);
            next += records.num_rows() as u64;
            let behind = u128::from(bytes) * u128::from(next - 1) / u128::from(rows.max(1));
            read.store(u64::try_from(behind).unwrap_or(bytes), Ordering::Relaxed);
            Ok(Chunk { records, input, numbers, broken: Vec::new() })
        })))
    }
}

fn select(batch: &RecordBatch, order: &[usize], schema: &SchemaRef) -> anyhow::Result<RecordBatch> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let one = |(&at, field): (&usize, &Arc<Field>)| -> anyhow::Result<ArrayRef> {
        let column = batch.column(at);
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        cast_with_options(column, field.data_type(), &strict).with_context(|| format!("column {}", field.name()))
    };
    let columns = order.iter().zip(schema.fields()).map(one).collect::<anyhow::Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::parquet::arrow::ArrowWriter;
    use arrow::array::{AsArray, DictionaryArray, Int32Array, Int64Array, StringArray};
    use arrow::datatypes::{Int32Type, Int64Type};
    use esmm_funnel_core::diagnostic::Diagnostics;

    fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    fn settings(paths: &[&Path]) -> Parquet {
        Parquet { files: paths.iter().map(|p| p.display().to_string()).collect() }
    }

    #[test]
    fn columns_come_in_the_order_asked_for_with_types_of_the_first_file() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("1.parquet"), dir.path().join("2.parquet"));
        let words: DictionaryArray<Int32Type> = vec!["x", "y", "x"].into_iter().collect();
        write(&one, vec![("a", Arc::new(Int64Array::from(vec![1, 2, 3]))), ("b", Arc::new(words))]);
        write(&two, vec![("b", Arc::new(StringArray::from(vec!["z"]))), ("a", Arc::new(Int32Array::from(vec![4])))]);
        let source = settings(&[&one, &two]).open(None, &Graph::default()).unwrap();
        assert_eq!(source.schema().unwrap().field(1).data_type(), &DataType::Utf8);
        let columns = ["b".to_owned(), "a".to_owned()];
        let first = source.read(0, &columns).unwrap().next().unwrap().unwrap();
        assert_eq!(first.records.column(0).as_string::<i32>().value(2), "x");
        assert_eq!((first.numbers.get(0), first.numbers.get(2)), (1, 3));
        let last = source.read_from(0, &columns, 2).unwrap().next().unwrap().unwrap();
        assert_eq!((last.records.num_rows(), last.numbers.get(0)), (1, 3));
        assert_eq!(last.records.column(0).as_string::<i32>().value(0), "x");
        assert!(source.read_from(0, &columns, 3).unwrap().next().is_none());
        let counted: usize = source.read(0, &[]).unwrap().map(|c| c.unwrap().records.num_rows()).sum();
        assert_eq!(counted, 3);
        let second = source.read(1, &columns).unwrap().next().unwrap().unwrap();
        assert_eq!(second.records.column(1).as_primitive::<Int64Type>().value(0), 4);
    }

    #[test]
    fn a_file_that_is_no_parquet_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let good = dir.path().join("good.parquet");
        write(&good, vec![("a", Arc::new(Int64Array::from(vec![1; 1000])))]);
        let bytes = std::fs::read(&good).unwrap();
        let cut = dir.path().join("cut.parquet");
        std::fs::write(&cut, &bytes[..bytes.len() - 20]).unwrap();
        let error = settings(&[&cut]).open(None, &Graph::default()).unwrap().schema().unwrap_err();
        let message = &error.downcast_ref::<Diagnostics>().unwrap().0[0].message;
        assert!(message.contains("cut.parquet` cannot be read as Parquet"), "{message}");
    }
}
