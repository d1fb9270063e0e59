//! What a store keeps as Parquet: values that are read once and want to be small.

use crate::data::dictionary::Dictionary;
use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::file::properties::WriterProperties;
use anyhow::Context;
use arrow::array::{ArrayRef, StringBuilder, UInt32Builder};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// A Parquet file with zstd.
pub(crate) fn parquet_writer(path: &Path, schema: Arc<Schema>) -> anyhow::Result<ArrowWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    Ok(ArrowWriter::try_new(file, schema, Some(properties))?)
}

pub(super) fn write_dictionaries(path: &Path, dictionaries: &[Dictionary]) -> anyhow::Result<()> {
    let fields = vec![Field::new("table", DataType::UInt32, false), Field::new("value", DataType::Utf8, false)];
    let schema = Arc::new(Schema::new(fields));
    let mut writer = parquet_writer(path, Arc::clone(&schema))?;
    for (i, dictionary) in dictionaries.iter().enumerate() {
        for part in dictionary.values().chunks(1 << 16) {
            let (mut tables, mut values) = (UInt32Builder::new(), StringBuilder::new());
            for value in part {
                tables.append_value(u32::try_from(i)?);
                values.append_value(value.to_string());
            }
            let columns: Vec<ArrayRef> = vec![Arc::new(tables.finish()), Arc::new(values.finish())];
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
        }
    }
    writer.close()?;
    Ok(())
}
