//! Rows as they arrive → [`Batch`], with a saved [`Preprocessor`]: the way of `predict` and `serve`. Labels are not needed.

use super::batch::{BagBatch, Batch, GroupBatch};
use super::cells::{Cells, Role};
use super::draft::broken_label;
use super::encode::{BagValues, GroupCells, GroupValues, cells};
use super::faults::{At, Faults};
use super::id::Missing;
use super::layout::{BagColumn, GroupLayout, Layout};
use super::preprocess::{OUT_OF_VOCABULARY, Preprocessor};
use super::source::{Chunk, Input};
use arrow::record_batch::RecordBatch;
use hashbrown::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Encodes raw rows for a trained model.
#[derive(Debug, Clone)]
pub struct RawEncoder {
    preprocessor: Arc<Preprocessor>,
    /// Messages may show values of features.
    pub show_values: bool,
}

/// What [`RawEncoder::encode`] gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Encoded {
    /// The rows, in order; what equal entities share stands once.
    pub batch: Batch,
    /// Per id or bag column, in the layout's order: ids without a table row, on all rows. Columns without any are left out.
    pub unknown_ids: Vec<(String, u64)>,
}

impl RawEncoder {
    /// For the preprocessor of a run.
    #[must_use]
    pub fn new(preprocessor: Arc<Preprocessor>) -> Self {
        Self { preprocessor, show_values: false }
    }

    /// The columns that a chunk must have.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        self.preprocessor.layout().feature_columns()
    }

    /// Encodes the rows of a chunk. Columns beyond those needed are ignored.
    ///
    /// # Errors
    /// [`crate::diagnostic::Diagnostics`]: a column is missing or of a wrong type, or a cell is no number. They name input, row and column.
    pub fn encode(&self, chunk: &Chunk, input: &Input) -> anyhow::Result<Encoded> {
        let mut out = Encoded { batch: self.encode_batch(chunk, input)?, unknown_ids: Vec::new() };
        self.each_unknown(&out.batch, 0..out.batch.size, |_, column| match out.unknown_ids.iter_mut().find(|(c, _)| c == column) {
            Some((_, n)) => *n += 1,
            None => out.unknown_ids.push((column.to_owned(), 1)),
        });
        Ok(out)
    }

    /// As [`Self::encode`], without looking for unknown ids.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_batch(&self, chunk: &Chunk, input: &Input) -> anyhow::Result<Batch> {
        let at = At { input, numbers: &chunk.numbers, show_values: self.show_values };
        let mut faults = Faults::default();
        let mut batch = Batch { size: chunk.records.num_rows(), ..Batch::default() };
        for g in 0..self.layout().groups.len() {
            batch.groups.push(self.encode_group(g, &chunk.records, at, &mut faults)?);
        }
        faults.check()?;
        Ok(batch)
    }

    pub(super) fn layout(&self) -> &Layout {
        self.preprocessor.layout()
    }

    /// The group `g` of these rows.
    pub(super) fn encode_group(&self, g: usize, records: &RecordBatch, at: At<'_>, faults: &mut Faults) -> anyhow::Result<GroupBatch> {
        let rows = u32::try_from(records.num_rows())?;
        let group = &self.layout().groups[g];
        let found = GroupCells::of(group, records)?;
        let every = 0..rows;
        let (members, index) = if g == 0 { (every.collect(), Vec::new()) } else { distinct(&found, rows) };
        let values = self.values(&found, group, &members, at, faults);
        Ok(self.group(g, members.len(), index, &values))
    }

    /// Table rows and raw numbers of the members at `members`.
    pub(super) fn values(&self, found: &GroupCells, group: &GroupLayout, members: &[u32], at: At<'_>, faults: &mut Faults) -> GroupValues {
        found.encode(group, members, at, faults, |column, id| self.preprocessor.row_of(column, id))
    }

    /// Calls `f` with row and column of every id without a table row, on these rows of an encoded batch, column by column.
    pub(crate) fn each_unknown(&self, batch: &Batch, rows: Range<usize>, mut f: impl FnMut(usize, &str)) {
        for (group, values) in self.preprocessor.layout().groups.iter().zip(&batch.groups) {
            let width = values.singles.len() / values.size.max(1);
            let member = |row: usize| values.index.get(row).map_or(row, |at| *at as usize);
            for (i, id) in group.ids.iter().enumerate() {
                for row in rows.clone().filter(|row| values.singles[member(*row) * width + i] == OUT_OF_VOCABULARY) {
                    f(row, &id.column);
                }
            }
            for (bag, column) in values.bags.iter().zip(&group.bags) {
                for row in rows.clone() {
                    let (from, to) = (bag.offsets[member(row)] as usize, bag.offsets[member(row) + 1] as usize);
                    bag.rows[from..to].iter().filter(|id| **id == OUT_OF_VOCABULARY).for_each(|_| f(row, &column.id.column));
                }
            }
        }
    }

    /// Columns as numbers, each `[B]`, NaN where a cell is missing.
    ///
    /// # Errors
    /// A column is missing or of a type that holds no numbers, or a cell is no number.
    pub fn encode_numbers(&self, chunk: &Chunk, input: &Input, columns: &[String]) -> anyhow::Result<Vec<Vec<f64>>> {
        let at = At { input, numbers: &chunk.numbers, show_values: self.show_values };
        let (mut faults, none, mut all) = (Faults::default(), Missing::default(), Vec::new());
        for column in columns {
            let found = cells(&chunk.records, column, Role::Number)?;
            let mut number = |row| {
                if let Ok(number) = found.number(row, &none) {
                    return number.unwrap_or(f64::NAN);
                }
                let kind = ("number-cell", "a number", "a value is computed from numbers; an empty cell is a missing one");
                faults.add(kind, column, || at.place(row), || at.describe(&found.display(row)));
                f64::NAN
            };
            all.push((0..chunk.records.num_rows()).map(&mut number).collect());
        }
        faults.check()?;
        Ok(all)
    }

    /// The labels of a chunk, per stage `[B]`, as they stand in the data.
    ///
    /// # Errors
    /// A label column is missing, or a cell is neither 0 nor 1.
    pub fn encode_labels(&self, chunk: &Chunk, input: &Input) -> anyhow::Result<Vec<Vec<u8>>> {
        let at = At { input, numbers: &chunk.numbers, show_values: self.show_values };
        let mut faults = Faults::default();
        let mut all = Vec::new();
        for (_, column) in &self.preprocessor.layout().labels {
            let found = cells(&chunk.records, column, Role::Text)?;
            let mut label = |row| {
                found.label(row).unwrap_or_else(|| {
                    broken_label(&mut faults, column, &found, row, at);
                    0
                })
            };
            all.push((0..chunk.records.num_rows()).map(&mut label).collect());
        }
        faults.check()?;
        Ok(all)
    }

    pub(super) fn group(&self, group: usize, size: usize, index: Vec<u32>, values: &GroupValues) -> GroupBatch {
        let layout = &self.preprocessor.layout().groups[group];
        let (ids, width) = (layout.ids.len(), layout.numbers.len());
        let (mut singles, mut numbers) = (Vec::new(), Vec::new());
        for member in 0..size {
            singles.extend_from_slice(&values.ids[member * ids..(member + 1) * ids]);
            self.preprocessor.push_numbers(group, &values.numbers[member * width..(member + 1) * width], &mut singles, &mut numbers);
        }
        let bags = values.bags.iter().zip(&layout.bags).map(|(bag, column)| bag_batch(bag, column));
        GroupBatch { size, index, singles, bags: bags.collect(), numbers }
    }
}

/// The bags of all members, of a sequence only the values that count.
#[allow(clippy::cast_possible_truncation)]
fn bag_batch(bag: &BagValues, column: &BagColumn) -> BagBatch {
    let (mut first, mut out) = (0, BagBatch { offsets: vec![0], ..BagBatch::default() });
    for &length in &bag.lengths {
        let kept = column.kept(length as usize);
        let range = first + kept.start..first + kept.end;
        out.rows.extend_from_slice(&bag.codes[range.clone()]);
        out.weights.extend_from_slice(bag.weights.get(range).unwrap_or_default());
        out.offsets.push(out.rows.len() as u32);
        first += length as usize;
    }
    out
}

/// The first row of each distinct content, and for each row which of them it equals.
fn distinct(cells: &GroupCells, rows: u32) -> (Vec<u32>, Vec<u32>) {
    let (mut seen, mut buffer): (HashMap<u128, u32>, _) = (HashMap::new(), Vec::new());
    let (mut members, mut index) = (Vec::new(), Vec::new());
    // Content says it all: the key tells nothing that scoring needs, and may be absent.
    let no_key = Cells::Null(rows as usize);
    for row in 0..rows {
        #[allow(clippy::cast_possible_truncation)]
        let next = members.len() as u32;
        let at = *seen.entry(cells.hash(row as usize, &no_key, &mut buffer)).or_insert(next);
        if at == next {
            members.push(row);
        }
        index.push(at);
    }
    (members, index)
}
