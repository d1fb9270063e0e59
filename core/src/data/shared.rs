//! Rows that have columns in common: what a request says once of all its candidates is read and encoded once. The batch is, value for value,
//! the one that rows spelled out would give.

use super::Batch;
use super::encode::{BagValues, GroupCells, GroupValues};
use super::faults::{At, Faults};
use super::layout::{GroupLayout, IdColumn, Layout};
use super::raw::RawEncoder;
use super::source::{Chunk, Input, RowNumbers};
use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{FieldRef, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::sync::Arc;

/// Which columns all rows have in common.
#[derive(Debug, Clone)]
pub struct SharedColumns {
    /// Per group where its columns stand; `None`: so mixed that the rows have to be spelled out.
    groups: Option<Vec<Place>>,
}

#[derive(Debug, Clone)]
enum Place {
    /// All with the rows.
    Rows,
    /// All in common: an entity that is the same for every row.
    Shared,
    /// Of the rows' own group: some here, some there.
    Both(Box<Both>),
}

/// The rows' own group, taken apart; per column whether it is in common.
#[derive(Debug, Clone)]
struct Both {
    shared: GroupLayout,
    own: GroupLayout,
    ids: Vec<bool>,
    bags: Vec<bool>,
    numbers: Vec<bool>,
}

impl SharedColumns {
    /// Of a layout, for the columns that `is_shared` says are in common.
    pub fn of(layout: &Layout, is_shared: impl Fn(&str) -> bool) -> Self {
        let place = |(g, group): (usize, &GroupLayout)| {
            let (mut shared, mut own) = (0, 0);
            group.columns().for_each(|c| if is_shared(c) { shared += 1 } else { own += 1 });
            match (shared, own) {
                (0, _) => Some(Place::Rows),
                (_, 0) if g > 0 => Some(Place::Shared),
                _ if g == 0 => Both::of(group, &is_shared).map(|both| Place::Both(Box::new(both))),
                // An entity's members are told apart by all their columns.
                _ => None,
            }
        };
        Self { groups: layout.groups.iter().enumerate().map(place).collect() }
    }
}

impl Both {
    /// `None` if one field is made of columns of both sides.
    fn of(group: &GroupLayout, is_shared: &impl Fn(&str) -> bool) -> Option<Self> {
        let id = |c: &IdColumn| {
            let mut sides = c.sources().map(is_shared);
            let first = sides.next()?;
            sides.all(|s| s == first).then_some(first)
        };
        let ids = group.ids.iter().map(id).collect::<Option<Vec<_>>>()?;
        let bag = |b: &super::layout::BagColumn| {
            let side = is_shared(&b.id.column);
            b.weights.as_deref().is_none_or(|w| is_shared(w) == side).then_some(side)
        };
        let bags = group.bags.iter().map(bag).collect::<Option<Vec<_>>>()?;
        let numbers: Vec<bool> = group.numbers.iter().map(|n| is_shared(&n.column)).collect();
        let side = |wanted: bool| GroupLayout {
            name: group.name.clone(),
            key: None,
            ids: picked(&group.ids, &ids, wanted),
            bags: picked(&group.bags, &bags, wanted),
            numbers: picked(&group.numbers, &numbers, wanted),
        };
        Some(Self { shared: side(true), own: side(false), ids, bags, numbers })
    }

    /// The values of `rows` rows, each with what they have in common.
    fn merged(&self, shared: &GroupValues, own: &GroupValues, rows: usize) -> GroupValues {
        let mut bags = (shared.bags.iter(), own.bags.iter());
        let bag = |is_shared: &bool| {
            if *is_shared { bags.0.next().map(|b| repeated(b, rows)) } else { bags.1.next().map(clone_of) }
        };
        GroupValues {
            ids: interleaved(&self.ids, &shared.ids, &own.ids, rows),
            numbers: interleaved(&self.numbers, &shared.numbers, &own.numbers, rows),
            bags: self.bags.iter().filter_map(bag).collect(),
        }
    }
}

fn picked<T: Clone>(all: &[T], sides: &[bool], wanted: bool) -> Vec<T> {
    all.iter().zip(sides).filter(|(_, side)| **side == wanted).map(|(c, _)| c.clone()).collect()
}

/// `[rows, sides]`: from `shared` `[1, shared]` and `own` `[rows, own]`.
fn interleaved<T: Copy>(sides: &[bool], shared: &[T], own: &[T], rows: usize) -> Vec<T> {
    let width = sides.iter().filter(|s| !**s).count();
    let mut out = Vec::with_capacity(rows * sides.len());
    for row in 0..rows {
        let mut from = (shared.iter(), own[row * width..(row + 1) * width].iter());
        out.extend(sides.iter().filter_map(|s| if *s { from.0.next() } else { from.1.next() }).copied());
    }
    out
}

fn repeated(bag: &BagValues, rows: usize) -> BagValues {
    BagValues { lengths: bag.lengths.repeat(rows), codes: bag.codes.repeat(rows), weights: bag.weights.repeat(rows) }
}
fn clone_of(bag: &BagValues) -> BagValues {
    BagValues { lengths: bag.lengths.clone(), codes: bag.codes.clone(), weights: bag.weights.clone() }
}

/// The rows with the columns that they have in common: `shared` is one row.
///
/// # Errors
/// Columns of different lengths.
pub fn spread(shared: &RecordBatch, rows: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let n = rows.num_rows();
    let zeros = UInt32Array::from(vec![0; n]);
    let fields: Vec<FieldRef> = shared.schema().fields().iter().chain(rows.schema().fields()).cloned().collect();
    let mut columns = shared.columns().iter().map(|c| take(c, &zeros, None)).collect::<Result<Vec<ArrayRef>, _>>()?;
    columns.extend(rows.columns().iter().cloned());
    let schema = Arc::new(Schema::new(fields));
    Ok(RecordBatch::try_new_with_options(schema, columns, &RecordBatchOptions::new().with_row_count(Some(n)))?)
}

impl RawEncoder {
    /// Encodes the rows of `rows`, of which the one row of `shared` holds the columns that they have in common.
    ///
    /// # Errors
    /// As [`RawEncoder::encode_batch`]; of a cell in common, the message names `inputs[0]`, else `inputs[1]`.
    pub fn encode_shared(
        &self,
        split: &SharedColumns,
        shared: &RecordBatch,
        rows: &RecordBatch,
        inputs: [&Input; 2],
    ) -> anyhow::Result<Batch> {
        let numbers = RowNumbers::From(0);
        let Some(places) = &split.groups else {
            let records = spread(shared, rows)?;
            return self.encode_batch(&Chunk { records, input: 0, numbers, broken: Vec::new() }, inputs[1]);
        };
        let n = rows.num_rows();
        let at = |input: usize| At { input: inputs[input], numbers: &numbers, show_values: self.show_values };
        let every: Vec<u32> = (0..u32::try_from(n)?).collect();
        let mut faults = Faults::default();
        let mut batch = Batch { size: n, ..Batch::default() };
        for (g, (group, place)) in self.layout().groups.iter().zip(places).enumerate() {
            batch.groups.push(match place {
                Place::Rows => self.encode_group(g, rows, at(1), &mut faults)?,
                Place::Shared => {
                    let found = GroupCells::of(group, shared)?;
                    self.group(g, 1, vec![0; n], &self.values(&found, group, &[0], at(0), &mut faults))
                }
                Place::Both(both) => {
                    let once = self.values(&GroupCells::of(&both.shared, shared)?, &both.shared, &[0], at(0), &mut faults);
                    let each = self.values(&GroupCells::of(&both.own, rows)?, &both.own, &every, at(1), &mut faults);
                    self.group(g, n, Vec::new(), &both.merged(&once, &each, n))
                }
            });
        }
        faults.check()?;
        Ok(batch)
    }
}
