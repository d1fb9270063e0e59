//! Writes a store row group by row group; memory does not grow with rows.

use super::checksum::{Checksums, seal};
use super::file::{Column, Folder, Lengths};
use super::group::{GroupWriter, starting_with_zero};
use super::keys::{Keys, SPOOL};
use super::meta::{FORMAT, Meta, StoredEntities, StoredInput};
use super::parquet::write_dictionaries;
use crate::data::dictionary::Dictionary;
use crate::data::encode::GroupValues;
use crate::data::layout::{Layout, SplitColumn};
use crate::data::source::RowNumbers;
use anyhow::Context;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// What was learnt on the way, frame by frame; see [`StoreWriter::push_learnt`].
const LEARNT: &str = "learnt.log";

/// Values of loss weights, where there are any.
pub(super) const LOSS_WEIGHTS: &str = "loss_weights.f32";

/// Everything of some rows but their groups.
#[derive(Debug, Default)]
pub(crate) struct RowValues {
    /// `[N, E]`.
    pub entities: Vec<u32>,
    /// `[N, S]`.
    pub labels: Vec<u8>,
    pub weights: Vec<f32>,
    /// `[N, W]`, in order of the layout's loss weights.
    pub loss_weights: Vec<f32>,
    /// `[N, A]`.
    pub aux: Vec<u32>,
    pub split_hashes: Vec<u64>,
    pub split_texts: Vec<String>,
    /// `[N, T]`, in order of the layout's truth.
    pub truth: Vec<f32>,
    pub counterfactual: Vec<u8>,
    pub keys: Option<RecordBatch>,
}

/// Some rows, or some members of a group.
#[derive(Debug, Default)]
pub(crate) struct EncodedRows {
    /// Members of groups, by the group's place: rows, or entities that are new.
    pub groups: Vec<(usize, GroupValues)>,
    /// `None` if there are no rows, but members alone.
    pub values: Option<RowValues>,
    /// Rows.
    pub count: usize,
    /// Their numbers in the input.
    pub numbers: Option<RowNumbers>,
}

/// How far a store is written: what is needed to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WriterState {
    files: Lengths,
    rows: u64,
    number_runs: u64,
    next_number: Option<u64>,
    order_bytes: u64,
    bag_values: Vec<Vec<u64>>,
}

/// The files of a store that is being built.
pub(crate) struct StoreWriter {
    dir: PathBuf,
    groups: Vec<GroupWriter>,
    entities: Column,
    labels: Column,
    weights: Column,
    /// `None` without loss weights.
    loss_weights: Option<Column>,
    aux: Column,
    split: Column,
    order: Column,
    order_bytes: u64,
    truth: Column,
    counterfactual: Column,
    numbers: Column,
    number_runs: u64,
    next_number: Option<u64>,
    keys: Keys,
    rows: u64,
    learnt: Column,
}

impl StoreWriter {
    /// Opens the files in `dir`, empty ones or those that an earlier process has left.
    ///
    /// # Errors
    /// A file cannot be written, or is not what was left.
    pub(crate) fn open(dir: &Path, layout: &Layout, left: Option<&WriterState>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder `{}`", dir.display()))?;
        let folder = Folder { dir, left: left.map(|l| &l.files) };
        let mut order = folder.column("order.offsets.u64")?;
        if matches!(layout.split, SplitColumn::Order(_)) {
            order = starting_with_zero(order)?;
        }
        let group = |(i, g)| GroupWriter::open(&folder, i, g, left.and_then(|l| l.bag_values.get(i)));
        Ok(Self {
            groups: layout.groups.iter().enumerate().map(group).collect::<anyhow::Result<_>>()?,
            entities: folder.column("entities.u32")?,
            labels: folder.column("labels.u8")?,
            weights: folder.column("weights.f32")?,
            loss_weights: (!layout.loss_weights.is_empty()).then(|| folder.column(LOSS_WEIGHTS)).transpose()?,
            aux: folder.column("aux.u32")?,
            split: folder.column("split.bin")?,
            order,
            order_bytes: left.map_or(0, |l| l.order_bytes),
            truth: folder.column("truth.f32")?,
            counterfactual: folder.column("counterfactual.u8")?,
            numbers: folder.column("numbers.u64")?,
            number_runs: left.map_or(0, |l| l.number_runs),
            next_number: left.and_then(|l| l.next_number),
            keys: Keys::open(&folder)?,
            rows: left.map_or(0, |l| l.rows),
            learnt: folder.column(LEARNT)?,
            dir: dir.to_owned(),
        })
    }

    /// Appends rows, or members of a group.
    pub(crate) fn push(&mut self, rows: &EncodedRows) -> anyhow::Result<()> {
        for (group, values) in &rows.groups {
            self.groups[*group].push(values)?;
        }
        if let Some(numbers) = &rows.numbers {
            (0..rows.count).try_for_each(|row| self.push_number(numbers.get(row)))?;
        }
        rows.values.as_ref().map_or(Ok(()), |values| self.push_values(values))
    }

    /// Notes the number of the next row in its input; called once a row, in order.
    fn push_number(&mut self, number: u64) -> anyhow::Result<()> {
        if self.next_number != Some(number) {
            self.numbers.push(&[self.rows, number])?;
            self.number_runs += 1;
        }
        self.next_number = Some(number + 1);
        self.rows += 1;
        Ok(())
    }

    fn push_values(&mut self, values: &RowValues) -> anyhow::Result<()> {
        self.entities.push(&values.entities)?;
        self.labels.push(&values.labels)?;
        self.weights.push(&values.weights)?;
        self.loss_weights.as_mut().map_or(Ok(()), |w| w.push(&values.loss_weights))?;
        self.aux.push(&values.aux)?;
        self.split.push(&values.split_hashes)?;
        for text in &values.split_texts {
            self.order_bytes += text.len() as u64;
            self.order.push(&[self.order_bytes])?;
            self.split.push(text.as_bytes())?;
        }
        self.truth.push(&values.truth)?;
        self.counterfactual.push(&values.counterfactual)?;
        values.keys.as_ref().map_or(Ok(()), |keys| self.keys.push(keys))
    }

    /// Appends what was learnt from the rows pushed last.
    pub(crate) fn push_learnt(&mut self, records: &[u8]) -> anyhow::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.learnt.push(&[records.len() as u64])?;
        self.learnt.push(records)
    }

    /// Gives what was learnt, a frame at a time.
    ///
    /// # Errors
    /// It cannot be read; what `learn` answers.
    pub(crate) fn learnt(&self, mut learn: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut read = || {
            let mut file = BufReader::new(File::open(self.learnt.path())?);
            let (mut left, mut frame) = (self.learnt.bytes(), Vec::new());
            while left > 0 {
                let mut length = [0; 8];
                file.read_exact(&mut length)?;
                let length = u64::from_le_bytes(length);
                left = left.checked_sub(8).and_then(|l| l.checked_sub(length)).context("a frame is longer than its file")?;
                frame.resize(usize::try_from(length)?, 0);
                file.read_exact(&mut frame)?;
                learn(&frame)?;
            }
            Ok::<_, anyhow::Error>(())
        };
        read().with_context(|| format!("cannot read `{}`", self.learnt.path().display()))
    }

    /// Brings everything so far to the disk.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn save(&mut self) -> anyhow::Result<WriterState> {
        let mut files = Lengths::new();
        let own = [
            &mut self.entities,
            &mut self.labels,
            &mut self.weights,
            &mut self.aux,
            &mut self.split,
            &mut self.order,
            &mut self.truth,
            &mut self.counterfactual,
            &mut self.numbers,
            &mut self.learnt,
        ];
        for column in
            self.groups.iter_mut().flat_map(GroupWriter::columns).chain(own).chain(&mut self.loss_weights).chain(self.keys.column())
        {
            column.save(&mut files)?;
        }
        Ok(WriterState {
            files,
            rows: self.rows,
            number_runs: self.number_runs,
            next_number: self.next_number,
            order_bytes: self.order_bytes,
            bag_values: self.groups.iter().map(GroupWriter::bag_values).collect(),
        })
    }

    /// Closes every file, writes `meta.json`, and removes what was there for going on alone.
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
        let own =
            [self.entities, self.labels, self.weights, self.aux, self.split, self.order, self.truth, self.counterfactual, self.numbers];
        for column in own.into_iter().chain(self.loss_weights) {
            column.close(&mut checksums)?;
        }
        let path = |name: &str| self.dir.join(name);
        let (keys, values) =
            rayon::join(|| self.keys.finish(&path("keys.parquet")), || write_dictionaries(&path("dictionaries.parquet"), dictionaries));
        if keys? {
            seal(&self.dir, "keys.parquet", &mut checksums)?;
        }
        values?;
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
        let mut file = Column::create(path("meta.json"))?;
        file.push(serde_json::to_string_pretty(&meta)?.as_bytes())?;
        file.close(&mut Checksums::new())?;
        drop(self.learnt);
        for name in [SPOOL, LEARNT] {
            std::fs::remove_file(path(name)).with_context(|| format!("cannot remove `{}`", path(name).display()))?;
        }
        Ok(())
    }
}
