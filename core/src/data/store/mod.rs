//! The encoded rows on disk: built once, memory-mapped, reused while data and features match.
//!
//! A folder `<cache>/<fingerprint>/` of plain matrices. What belongs to one row stands together (`[N, F]`, row-major), so that a shuffled
//! row touches few cache lines. Entities are stored once; a row holds their index. The folder is written aside and renamed when complete.

mod checksum;
mod file;
mod group;
mod keys;
mod map;
mod meta;
mod parquet;
mod write;

pub(crate) use self::parquet::parquet_writer;
pub(crate) use meta::FORMAT;
pub use meta::{Meta, StoredEntities, StoredInput};
pub(crate) use write::{EncodedRows, RowValues, StoreWriter, WriterState};

use super::dictionary::Dictionary;
use super::id::IdValue;
use super::layout::{Layout, SplitColumn};
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use anyhow::Context;
use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;
use arrow::record_batch::RecordBatch;
use map::Mapped;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The bags of one column.
#[derive(Debug)]
pub(crate) struct StoredBag {
    offsets: Mapped<u64>,
    codes: Mapped<u32>,
    weights: Option<Mapped<f32>>,
}
impl StoredBag {
    /// Codes and weights (empty: none) of the bag at `at`.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> (&[u32], &[f32]) {
        let offsets = self.offsets.all();
        #[allow(clippy::cast_possible_truncation)]
        let range = offsets[at] as usize..offsets[at + 1] as usize;
        (&self.codes.all()[range.clone()], self.weights.as_ref().map_or(&[], |w| &w.all()[range]))
    }
}

/// The members of one group.
#[derive(Debug)]
pub(crate) struct StoredGroup {
    /// Number of members.
    pub size: usize,
    codes: Mapped<u32>,
    numbers: Mapped<f32>,
    ids: usize,
    width: usize,
    pub bags: Vec<StoredBag>,
}
impl StoredGroup {
    /// `[F]` codes of a member.
    #[inline]
    pub(crate) fn codes(&self, at: usize) -> &[u32] {
        &self.codes.all()[at * self.ids..(at + 1) * self.ids]
    }
    /// `[K]` raw numbers of a member; NaN is missing.
    #[inline]
    pub(crate) fn numbers(&self, at: usize) -> &[f32] {
        &self.numbers.all()[at * self.width..(at + 1) * self.width]
    }
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    meta: Meta,
    pub(crate) groups: Vec<StoredGroup>,
    entities: Mapped<u32>,
    labels: Mapped<u8>,
    weights: Mapped<f32>,
    loss_weights: Option<Mapped<f32>>,
    aux: Mapped<u32>,
    split_hashes: Option<Mapped<u64>>,
    order: Option<(Mapped<u64>, Mapped<u8>)>,
    truth: Mapped<f32>,
    counterfactual: Mapped<u8>,
    numbers: Mapped<u64>,
    /// Of the tables, then of the metric columns.
    dictionaries: Vec<Vec<IdValue>>,
    first_rows: Vec<u64>,
}

impl Store {
    /// Opens a folder.
    ///
    /// # Errors
    /// A file is missing, or its size or checksum (unless it is large: see [`Self::verify`]) is not what `meta.json` says: the store is damaged,
    /// or of another format.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(dir.join("meta.json")).with_context(|| format!("no store in `{}`", dir.display()))?;
        let meta: Meta = serde_json::from_str(&text)?;
        anyhow::ensure!(meta.format == FORMAT, "store of format {}, not {FORMAT}", meta.format);
        checksum::verify(dir, &meta.checksums, false)?;
        let layout = &meta.layout;
        let rows = meta.rows;
        let groups = layout.groups.iter().enumerate().map(|(i, g)| {
            let size = if i == 0 { rows } else { meta.entities.get(i - 1).context("`meta.json` lacks an entity")?.entities };
            let prefix = format!("group{i}");
            let bags = g.bags.iter().enumerate().map(|(b, bag)| {
                let values = *meta.bag_values.get(i).and_then(|v| v.get(b)).context("`meta.json` lacks a bag")?;
                let prefix = format!("{prefix}.bag{b}");
                let weights = bag.weights.is_some().then(|| Mapped::open(&dir.join(format!("{prefix}.weights.f32")), values));
                Ok(StoredBag {
                    offsets: Mapped::open(&dir.join(format!("{prefix}.offsets.u64")), size + 1)?,
                    codes: Mapped::open(&dir.join(format!("{prefix}.codes.u32")), values)?,
                    weights: weights.transpose()?,
                })
            });
            Ok(StoredGroup {
                size: usize::try_from(size)?,
                codes: Mapped::open(&dir.join(format!("{prefix}.codes.u32")), size * g.ids.len() as u64)?,
                numbers: Mapped::open(&dir.join(format!("{prefix}.numbers.f32")), size * g.numbers.len() as u64)?,
                ids: g.ids.len(),
                width: g.numbers.len(),
                bags: bags.collect::<anyhow::Result<_>>()?,
            })
        });
        let groups = groups.collect::<anyhow::Result<Vec<_>>>()?;
        let wide = |width: usize| rows * width as u64;
        let dictionaries = read_dictionaries(&dir.join("dictionaries.parquet"), &meta.dictionary_values)?;
        let (hashes, order) = match layout.split {
            SplitColumn::None => (None, None),
            SplitColumn::Group(_) => (Some(Mapped::open(&dir.join("split.bin"), rows)?), None),
            SplitColumn::Order(_) => {
                let offsets = Mapped::open(&dir.join("order.offsets.u64"), rows + 1)?;
                (None, Some((offsets, Mapped::open(&dir.join("split.bin"), meta.order_bytes)?)))
            }
        };
        let mut first = 0;
        let mut first_rows = Vec::new();
        for input in &meta.inputs {
            first_rows.push(first);
            first += input.rows;
        }
        anyhow::ensure!(first == rows, "`meta.json` counts {first} rows of the inputs and {rows} in all");
        anyhow::ensure!(rows == 0 || layout.keys.is_empty() || dir.join("keys.parquet").is_file(), "`keys.parquet` is missing");
        Ok(Self {
            groups,
            entities: Mapped::open(&dir.join("entities.u32"), wide(layout.groups.len() - 1))?,
            labels: Mapped::open(&dir.join("labels.u8"), wide(layout.labels.len()))?,
            weights: Mapped::open(&dir.join("weights.f32"), wide(usize::from(layout.weight.is_some())))?,
            loss_weights: match layout.loss_weights.len() {
                0 => None,
                n => Some(Mapped::open(&dir.join(write::LOSS_WEIGHTS), wide(n))?),
            },
            aux: Mapped::open(&dir.join("aux.u32"), wide(layout.aux.len()))?,
            split_hashes: hashes,
            order,
            truth: Mapped::open(&dir.join("truth.f32"), wide(layout.truth.len()))?,
            counterfactual: Mapped::open(&dir.join("counterfactual.u8"), wide(layout.truth.len()))?,
            numbers: Mapped::open(&dir.join("numbers.u64"), meta.number_runs * 2)?,
            dictionaries,
            first_rows,
            dir: dir.to_owned(),
            meta,
        })
    }

    /// Compares all files with their checksums, large ones too, which opening leaves out.
    ///
    /// # Errors
    /// A file is another than was written.
    pub fn verify(&self) -> anyhow::Result<()> {
        checksum::verify(&self.dir, &self.meta.checksums, true)
    }

    /// What the store says of itself.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }
    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// What was read.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.meta.layout
    }
    /// N.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.groups[0].size
    }

    /// `[E]` entities of a row.
    #[inline]
    pub(crate) fn entities(&self, row: usize) -> &[u32] {
        slice(self.entities.all(), row, self.groups.len() - 1)
    }
    /// `[S]` labels of a row as they stand in the data.
    #[inline]
    pub(crate) fn labels(&self, row: usize) -> &[u8] {
        slice(self.labels.all(), row, self.meta.layout.labels.len())
    }
    /// Weight of a row; `None` without a weight column.
    #[inline]
    pub(crate) fn weight(&self, row: usize) -> Option<f32> {
        self.weights.all().get(row).copied()
    }
    /// `[W]` loss weights of a row, in order of the layout's; empty without.
    #[inline]
    pub(crate) fn loss_weights(&self, row: usize) -> &[f32] {
        self.loss_weights.as_ref().map_or(&[], |w| slice(w.all(), row, self.meta.layout.loss_weights.len()))
    }
    /// `[A]` codes of the metric columns.
    #[inline]
    pub(crate) fn aux(&self, row: usize) -> &[u32] {
        slice(self.aux.all(), row, self.meta.layout.aux.len())
    }
    /// `[T]` true probabilities and outcomes, in order of the layout's truth.
    #[inline]
    pub(crate) fn truth(&self, row: usize) -> (&[f32], &[u8]) {
        let width = self.meta.layout.truth.len();
        (slice(self.truth.all(), row, width), slice(self.counterfactual.all(), row, width))
    }
    /// Hash of the split column's value.
    pub(crate) fn split_hash(&self, row: usize) -> u64 {
        self.split_hashes.as_ref().map_or(0, |h| h.all()[row])
    }
    /// Text of the split column's value.
    pub(crate) fn split_text(&self, row: usize) -> &str {
        let Some((offsets, bytes)) = &self.order else { return "" };
        let offsets = offsets.all();
        #[allow(clippy::cast_possible_truncation)]
        std::str::from_utf8(&bytes.all()[offsets[row] as usize..offsets[row + 1] as usize]).unwrap_or("")
    }

    /// The values of a table's dictionary; code `c` is at `c - 1`.
    #[must_use]
    pub fn table_values(&self, table: usize) -> &[IdValue] {
        &self.dictionaries[table]
    }
    /// The values of a metric column (see [`super::Fields::aux`]); code `c` is at `c - 1`, 0 is missing.
    #[must_use]
    pub fn aux_values(&self, column: usize) -> &[IdValue] {
        &self.dictionaries[self.meta.layout.tables.len() + column]
    }

    /// The input that a row is from.
    #[must_use]
    pub fn input_of(&self, row: usize) -> usize {
        // Inputs without rows share their first row with the next one: the row is of the last that starts at or before it.
        self.first_rows.partition_point(|&first| first <= row as u64).saturating_sub(1)
    }
    /// Where a row stands: `data/train.csv:1041`.
    #[must_use]
    pub fn place(&self, row: usize) -> String {
        let input = &self.meta.inputs[self.input_of(row)];
        super::faults::place(&input.name, &input.unit, self.number(row))
    }
    /// Number of a row in its input.
    #[must_use]
    pub fn number(&self, row: usize) -> u64 {
        let runs: &[[u64; 2]] = bytemuck::cast_slice(self.numbers.all());
        let run = runs.partition_point(|r| r[0] <= row as u64);
        runs.get(run.wrapping_sub(1)).map_or(0, |r| r[1] + (row as u64 - r[0]))
    }

    /// The key columns of all rows in order; `None` without keys.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn keys(&self) -> anyhow::Result<Option<ParquetRecordBatchReader>> {
        if self.meta.layout.keys.is_empty() || self.rows() == 0 {
            return Ok(None);
        }
        let path = self.dir.join("keys.parquet");
        let file = File::open(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok(Some(ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(1 << 14).build()?))
    }
}

#[inline]
fn slice<T>(all: &[T], row: usize, width: usize) -> &[T] {
    &all[row * width..(row + 1) * width]
}

fn read_dictionaries(path: &Path, sizes: &[u64]) -> anyhow::Result<Vec<Vec<IdValue>>> {
    let file = File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut all: Vec<Vec<IdValue>> = sizes.iter().map(|_| Vec::new()).collect();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(1 << 16).build()? {
        let batch: RecordBatch = batch?;
        let tables = batch.column(0).as_primitive_opt::<UInt32Type>().context("`dictionaries.parquet` has another layout")?;
        let values = batch.column(1).as_string_opt::<i32>().context("`dictionaries.parquet` has another layout")?;
        for i in 0..batch.num_rows() {
            let table = all.get_mut(tables.value(i) as usize).context("`dictionaries.parquet` has another layout")?;
            table.push(IdValue::of_text(values.value(i)));
        }
    }
    let right = all.iter().zip(sizes).all(|(values, &size)| values.len() as u64 == size);
    anyhow::ensure!(right, "`dictionaries.parquet` is incomplete");
    Ok(all)
}

/// The dictionary of these values, to look values up.
#[must_use]
pub fn dictionary(values: &[IdValue]) -> Dictionary {
    Dictionary::of_values(values.to_vec())
}
