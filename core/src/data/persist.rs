//! Saves a [`Preprocessor`] with its run: `features.json` (layout and transforms) and `vocabulary.parquet` (table, row, id, count).

use super::dictionary::Dictionary;
use super::id::IdValue;
use super::layout::Layout;
use super::preprocess::{FIRST_ID, NumberFit, Preprocessor, TableVocabulary};
use super::store::parquet_writer;
use anyhow::Context;
use arrow::array::{ArrayRef, AsArray, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, UInt32Type, UInt64Type};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Changes whenever the files do.
const FORMAT: u32 = 1;
/// File with layout and transforms.
pub const FEATURES: &str = "features.json";
/// File with the ids that own table rows.
pub const VOCABULARY: &str = "vocabulary.parquet";

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    layout: Layout,
    /// Per group and number column.
    numbers: Vec<Vec<NumberFit>>,
}

impl Layout {
    /// Reads the layout alone of what [`Preprocessor::save`] wrote.
    ///
    /// # Errors
    /// The file is missing, broken or of another format; the error names it.
    pub fn load(dir: &Path) -> anyhow::Result<Self> {
        Ok(Saved::read(dir)?.layout)
    }
}
impl Saved {
    fn read(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FEATURES);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let saved: Self = serde_json::from_str(&text).with_context(|| format!("`{}` is broken", path.display()))?;
        anyhow::ensure!(saved.format == FORMAT, "`{}` has format {}, and this version reads {FORMAT}", path.display(), saved.format);
        Ok(saved)
    }
}

impl Preprocessor {
    /// Writes both files into a folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let saved = Saved { format: FORMAT, layout: self.layout.clone(), numbers: self.numbers.clone() };
        let path = dir.join(FEATURES);
        std::fs::write(&path, serde_json::to_string_pretty(&saved)? + "\n")
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        let fields = vec![
            Field::new("table", DataType::Utf8, false),
            Field::new("row", DataType::UInt32, false),
            Field::new("id", DataType::Utf8, false),
            Field::new("count", DataType::UInt64, false),
        ];
        let schema = Arc::new(Schema::new(fields));
        let mut writer = parquet_writer(&dir.join(VOCABULARY), Arc::clone(&schema))?;
        for (t, table) in self.layout.tables.iter().enumerate() {
            let (ids, counts) = self.vocabulary(t);
            let mut row = FIRST_ID;
            for (ids, counts) in ids.chunks(1 << 16).zip(counts.chunks(1 << 16)) {
                let next = row + u32::try_from(ids.len())?;
                let columns: Vec<ArrayRef> = vec![
                    Arc::new(StringArray::from_iter_values(ids.iter().map(|_| &table.name))),
                    Arc::new(UInt32Array::from_iter_values(row..next)),
                    Arc::new(StringArray::from_iter_values(ids.iter().map(ToString::to_string))),
                    Arc::new(UInt64Array::from_iter_values(counts.iter().copied())),
                ];
                writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
                row = next;
            }
        }
        writer.close()?;
        Ok(())
    }

    /// Reads both files of a folder.
    ///
    /// # Errors
    /// A file is missing, broken or of another format; the error names it.
    pub fn load(dir: &Path) -> anyhow::Result<Self> {
        let saved = Saved::read(dir)?;
        let layout = saved.layout;
        let path = dir.join(VOCABULARY);
        let mut ids = read_vocabulary(&path, &layout).with_context(|| format!("cannot read `{}`", path.display()))?;
        let tables = layout.tables.iter().enumerate().map(|(t, table)| {
            TableVocabulary::in_advance(t, table).unwrap_or_else(|| {
                let (ids, counts) = std::mem::take(&mut ids[t]);
                TableVocabulary::Learned { ids: Dictionary::of_values(ids), counts }
            })
        });
        let tables = tables.collect();
        Ok(Self::new(layout, saved.numbers, tables))
    }
}

type Ids = (Vec<IdValue>, Vec<u64>);

fn read_vocabulary(path: &Path, layout: &Layout) -> anyhow::Result<Vec<Ids>> {
    let mut all: Vec<Ids> = layout.tables.iter().map(|_| Ids::default()).collect();
    for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.with_batch_size(1 << 16).build()? {
        let batch = batch?;
        let column = |name: &str| batch.column_by_name(name).with_context(|| format!("no column `{name}`"));
        let tables = column("table")?.as_string_opt::<i32>().context("column `table` is no text")?;
        let rows = column("row")?.as_primitive_opt::<UInt32Type>().context("column `row` is no number")?;
        let ids = column("id")?.as_string_opt::<i32>().context("column `id` is no text")?;
        let counts = column("count")?.as_primitive_opt::<UInt64Type>().context("column `count` is no number")?;
        for i in 0..batch.num_rows() {
            let name = tables.value(i);
            let table = layout.tables.iter().position(|t| t.name == name).with_context(|| format!("no table `{name}`"))?;
            let (known, seen) = &mut all[table];
            anyhow::ensure!(rows.value(i) as usize == known.len() + FIRST_ID as usize, "table `{name}`: rows are not in order");
            known.push(IdValue::of_text(ids.value(i)));
            seen.push(counts.value(i));
        }
    }
    Ok(all)
}
