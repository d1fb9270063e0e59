//! The ids that own table rows, a file a table.

use super::names;
use crate::data::FIRST_ID;
use crate::data::store::parquet_writer;
use crate::score::Scorer;
use anyhow::Result;
use arrow::array::{ArrayRef, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use std::path::Path;
use std::sync::Arc;

/// The path, within the export, of a table's ids: its number keeps apart what looks alike as a file's name. `None` for a table whose rows do
/// not depend on the data.
pub(super) fn file(scorer: &Scorer, table: usize) -> Option<String> {
    let of = &scorer.preprocessor.layout().tables[table];
    let learned = of.range.is_none() && of.vocabulary == crate::spec::Vocabulary::Learned;
    let plain: String = of.name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    let twin = scorer.preprocessor.layout().tables[..table].iter().any(|t| t.name.eq_ignore_ascii_case(&of.name)) || plain != of.name;
    let plain = if twin { format!("{table}-{plain}") } else { plain };
    learned.then(|| format!("{}/{plain}.parquet", names::VOCABULARY))
}

/// Writes `id` and `row` of a table; gives the file's path and bytes.
pub(super) fn write(scorer: &Scorer, table: usize, folder: &Path) -> Result<Option<(String, u64)>> {
    let Some(name) = file(scorer, table) else { return Ok(None) };
    let (ids, _) = scorer.preprocessor.vocabulary(table);
    let fields = vec![Field::new("id", DataType::Utf8, false), Field::new("row", DataType::UInt32, false)];
    let schema = Arc::new(Schema::new(fields));
    let path = folder.join(&name);
    let mut writer = parquet_writer(&path, Arc::clone(&schema))?;
    let mut row = FIRST_ID;
    for ids in ids.chunks(1 << 16) {
        let next = row + u32::try_from(ids.len())?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(ids.iter().map(ToString::to_string))),
            Arc::new(UInt32Array::from_iter_values(row..next)),
        ];
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
        row = next;
    }
    writer.close()?;
    Ok(Some((name, std::fs::metadata(&path)?.len())))
}
