//! Writes a store row group by row group; memory does not grow with rows.

use super::checksum::{Checksums, digits, seal};
use super::meta::{FORMAT, Meta, StoredEntities, StoredInput};
use crate::data::dictionary::Dictionary;
use crate::data::encode::GroupValues;
use crate::data::layout::{GroupLayout, Layout, SplitColumn};
use anyhow::Context;
use arrow::array::{ArrayRef, StringBuilder, UInt32Builder};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use bytemuck::Pod;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// A file of plain values.
struct Column {
    path: PathBuf,
    file: BufWriter<File>,
    hash: Xxh3,
}
impl Column {
    fn create(dir: &Path, name: &str) -> anyhow::Result<Self> {
        let path = dir.join(name);
        let file = File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(Self { path, file: BufWriter::with_capacity(1 << 18, file), hash: Xxh3::new() })
    }
    fn push<T: Pod>(&mut self, values: &[T]) -> anyhow::Result<()> {
        let bytes = bytemuck::cast_slice(values);
        self.hash.update(bytes);
        self.file.write_all(bytes).with_context(|| format!("cannot write `{}`", self.path.display()))
    }
    /// Brings it to the disk and notes its checksum.
    fn close(mut self, checksums: &mut Checksums) -> anyhow::Result<()> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        checksums.insert(name, digits(&self.hash));
        self.file.flush().and_then(|()| self.file.get_ref().sync_all()).with_context(|| format!("cannot write `{}`", self.path.display()))
    }
}

struct BagWriter {
    offsets: Column,
    codes: Column,
    weights: Option<Column>,
    values: u64,
}

/// The files of one group.
pub(crate) struct GroupWriter {
    codes: Column,
    numbers: Column,
    bags: Vec<BagWriter>,
}
impl GroupWriter {
    fn create(dir: &Path, at: usize, group: &GroupLayout) -> anyhow::Result<Self> {
        let prefix = format!("group{at}");
        let mut bags = Vec::new();
        for (i, bag) in group.bags.iter().enumerate() {
            let mut offsets = Column::create(dir, &format!("{prefix}.bag{i}.offsets.u64"))?;
            offsets.push(&[0_u64])?;
            let codes = Column::create(dir, &format!("{prefix}.bag{i}.codes.u32"))?;
            let weights = bag.weights.is_some().then(|| Column::create(dir, &format!("{prefix}.bag{i}.weights.f32"))).transpose()?;
            bags.push(BagWriter { offsets, codes, weights, values: 0 });
        }
        let codes = Column::create(dir, &format!("{prefix}.codes.u32"))?;
        Ok(Self { codes, numbers: Column::create(dir, &format!("{prefix}.numbers.f32"))?, bags })
    }

    fn push(&mut self, values: &GroupValues) -> anyhow::Result<()> {
        self.codes.push(&values.ids)?;
        self.numbers.push(&values.numbers)?;
        for (writer, bag) in self.bags.iter_mut().zip(&values.bags) {
            for &length in &bag.lengths {
                writer.values += u64::from(length);
                writer.offsets.push(&[writer.values])?;
            }
            writer.codes.push(&bag.codes)?;
            if let Some(weights) = &mut writer.weights {
                weights.push(&bag.weights)?;
            }
        }
        Ok(())
    }

    fn close(self, checksums: &mut Checksums) -> anyhow::Result<Vec<u64>> {
        self.codes.close(checksums)?;
        self.numbers.close(checksums)?;
        let mut values = Vec::new();
        for bag in self.bags {
            bag.offsets.close(checksums)?;
            bag.codes.close(checksums)?;
            bag.weights.map(|w| w.close(checksums)).transpose()?;
            values.push(bag.values);
        }
        Ok(values)
    }
}

/// Everything of some rows but their groups.
#[derive(Debug, Default)]
pub(crate) struct RowValues {
    /// `[N, E]`.
    pub entities: Vec<u32>,
    /// `[N, S]`.
    pub labels: Vec<u8>,
    pub weights: Vec<f32>,
    /// `[N, A]`.
    pub aux: Vec<u32>,
    pub split_hashes: Vec<u64>,
    pub split_texts: Vec<String>,
    /// `[N, T]`, in order of the layout's truth.
    pub truth: Vec<f32>,
    pub counterfactual: Vec<u8>,
    pub keys: Option<RecordBatch>,
}

/// The files of a store that is being built.
pub(crate) struct StoreWriter {
    dir: PathBuf,
    groups: Vec<GroupWriter>,
    entities: Column,
    labels: Column,
    weights: Column,
    aux: Column,
    split: Column,
    order: Column,
    order_bytes: u64,
    truth: Column,
    counterfactual: Column,
    numbers: Column,
    number_runs: u64,
    next_number: Option<u64>,
    keys: Option<ArrowWriter<File>>,
    rows: u64,
}

impl StoreWriter {
    pub(crate) fn create(dir: &Path, layout: &Layout) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder `{}`", dir.display()))?;
        let mut order = Column::create(dir, "order.offsets.u64")?;
        if matches!(layout.split, SplitColumn::Order(_)) {
            order.push(&[0_u64])?;
        }
        let groups = layout.groups.iter().enumerate().map(|(i, g)| GroupWriter::create(dir, i, g)).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            groups,
            entities: Column::create(dir, "entities.u32")?,
            labels: Column::create(dir, "labels.u8")?,
            weights: Column::create(dir, "weights.f32")?,
            aux: Column::create(dir, "aux.u32")?,
            split: Column::create(dir, "split.bin")?,
            order,
            order_bytes: 0,
            truth: Column::create(dir, "truth.f32")?,
            counterfactual: Column::create(dir, "counterfactual.u8")?,
            numbers: Column::create(dir, "numbers.u64")?,
            number_runs: 0,
            next_number: None,
            keys: None,
            rows: 0,
            dir: dir.to_owned(),
        })
    }

    /// Appends members of a group: rows, or entities that are new.
    pub(crate) fn push_group(&mut self, group: usize, values: &GroupValues) -> anyhow::Result<()> {
        self.groups[group].push(values)
    }

    /// Notes the number of the next row in its input; call once a row, in order.
    pub(crate) fn push_number(&mut self, number: u64) -> anyhow::Result<()> {
        if self.next_number != Some(number) {
            self.numbers.push(&[self.rows, number])?;
            self.number_runs += 1;
        }
        self.next_number = Some(number + 1);
        self.rows += 1;
        Ok(())
    }

    pub(crate) fn push_rows(&mut self, values: &RowValues) -> anyhow::Result<()> {
        self.entities.push(&values.entities)?;
        self.labels.push(&values.labels)?;
        self.weights.push(&values.weights)?;
        self.aux.push(&values.aux)?;
        self.split.push(&values.split_hashes)?;
        for text in &values.split_texts {
            self.order_bytes += text.len() as u64;
            self.order.push(&[self.order_bytes])?;
            self.split.push(text.as_bytes())?;
        }
        self.truth.push(&values.truth)?;
        self.counterfactual.push(&values.counterfactual)?;
        if let Some(keys) = &values.keys {
            let writer = match &mut self.keys {
                Some(writer) => writer,
                empty => empty.insert(parquet_writer(&self.dir.join("keys.parquet"), keys.schema())?),
            };
            writer.write(keys)?;
        }
        Ok(())
    }

    /// Closes every file and writes `meta.json`.
    pub(crate) fn finish(
        self,
        fingerprint: &str,
        layout: &Layout,
        inputs: Vec<StoredInput>,
        (entities, left_out): (Vec<StoredEntities>, Vec<String>),
        dictionaries: &[Dictionary],
    ) -> anyhow::Result<()> {
        let mut checksums = Checksums::new();
        let bag_values = self.groups.into_iter().map(|g| g.close(&mut checksums)).collect::<anyhow::Result<_>>()?;
        for column in
            [self.entities, self.labels, self.weights, self.aux, self.split, self.order, self.truth, self.counterfactual, self.numbers]
        {
            column.close(&mut checksums)?;
        }
        if let Some(keys) = self.keys {
            keys.close()?;
            seal(&self.dir, "keys.parquet", &mut checksums)?;
        }
        write_dictionaries(&self.dir.join("dictionaries.parquet"), dictionaries)?;
        seal(&self.dir, "dictionaries.parquet", &mut checksums)?;
        let meta = Meta {
            format: FORMAT,
            fingerprint: fingerprint.to_owned(),
            rows: self.rows,
            number_runs: self.number_runs,
            inputs,
            entities,
            left_out,
            bag_values,
            order_bytes: self.order_bytes,
            dictionary_values: dictionaries.iter().map(|d| d.values().len() as u64).collect(),
            checksums,
            layout: layout.clone(),
        };
        let mut file = Column::create(&self.dir, "meta.json")?;
        file.push(serde_json::to_string_pretty(&meta)?.as_bytes())?;
        file.close(&mut Checksums::new())
    }
}

/// A Parquet file with zstd.
pub(crate) fn parquet_writer(path: &Path, schema: Arc<Schema>) -> anyhow::Result<ArrowWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    Ok(ArrowWriter::try_new(file, schema, Some(properties))?)
}

fn write_dictionaries(path: &Path, dictionaries: &[Dictionary]) -> anyhow::Result<()> {
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
