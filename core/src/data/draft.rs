//! What a chunk says by itself, without the chunks before it: its labels, its cells, the hashes of its keys and entities. And, once it is known
//! which of its entities are new, its values. Neither changes anything, so that many chunks are worked at, at once, on all cores.

use super::cells::{Cells, Role};
use super::dictionary::{Dictionary, Lookup};
use super::encode::{GroupCells, cells};
use super::faults::{At, Faults};
use super::given::{Given, Reading, key_hash};
use super::id::{IdValue, Missing};
use super::known::EntityHash;
use super::layout::{Layout, SplitColumn};
use super::source::{BrokenRow, Chunk, Input};
use super::store::{EncodedRows, RowValues};
use crate::expression::Expression;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// How the chunks of an input are read.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub layout: &'a Layout,
    pub input: &'a Input,
    pub reading: &'a Reading,
    pub show_values: bool,
}

/// The cells of a group in a chunk.
pub(super) struct GroupDraft {
    pub group: usize,
    cells: GroupCells,
    /// Of entities, a row each.
    pub hashes: Vec<EntityHash>,
    /// Of members, the names of their keys, a row each; `None`: missing.
    pub keys: Vec<Option<u128>>,
    /// The rows to encode.
    pub rows: Vec<u32>,
}

/// A chunk before its place among the others is known.
pub(super) struct Draft {
    pub chunk: Chunk,
    /// Rows left out when it was read.
    pub broken: Vec<BrokenRow>,
    /// Numbers of the rows left out for want of their members.
    pub unknown: Vec<u64>,
    labels: Vec<u8>,
    faults: Faults,
    /// The groups that are encoded here.
    pub groups: Vec<GroupDraft>,
    /// Per kind of entity the members of the rows: from inputs of their own, or as they are assigned.
    pub of: Vec<Option<Vec<u32>>>,
}

/// A chunk's values. Codes of new values are provisional: see [`Lookup`].
pub(super) struct Values {
    pub rows: EncodedRows,
    pub faults: Faults,
    /// Per dictionary: its last code, and the values that it lacks.
    pub fresh: Vec<(u32, Vec<IdValue>)>,
}

impl Draft {
    /// # Errors
    /// A column of a type that cannot be read.
    pub(super) fn of(mut chunk: Chunk, way: Way<'_>, given: &[Option<Given>]) -> anyhow::Result<Self> {
        let broken = std::mem::take(&mut chunk.broken);
        let mut this =
            Self { chunk, broken, unknown: Vec::new(), labels: Vec::new(), faults: Faults::default(), groups: Vec::new(), of: Vec::new() };
        if let Reading::Members { group, .. } = way.reading {
            let mut members = GroupDraft::of(*group, &this.chunk.records, way.layout)?;
            let keys = cells(&this.chunk.records, way.layout.groups[*group].key.as_deref().unwrap_or_default(), Role::Text)?;
            members.keys = (0..this.chunk.records.num_rows()).map(|row| key_hash(&keys, row)).collect();
            this.groups.push(members);
            return Ok(this);
        }
        this.match_members(way.layout, given)?;
        // Labels first: their faults are told first.
        this.read_labels(way)?;
        for group in 0..way.layout.groups.len() {
            if group.checked_sub(1).is_none_or(|kind| this.of[kind].is_none()) {
                this.groups.push(GroupDraft::of(group, &this.chunk.records, way.layout)?);
            }
        }
        Ok(this)
    }

    /// Finds the rows' members, and leaves the rows without one out.
    fn match_members(&mut self, layout: &Layout, given: &[Option<Given>]) -> anyhow::Result<()> {
        let rows = self.chunk.records.num_rows();
        self.of = vec![None; given.len()];
        let mut missing: Vec<usize> = Vec::new();
        for (i, given) in given.iter().enumerate() {
            let (Some(given), Some(key)) = (given, &layout.groups[i + 1].key) else { continue };
            let found = cells(&self.chunk.records, key, Role::Text)?;
            self.of[i] = Some(given.lookup(&found, rows, &mut missing));
        }
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort_unstable();
        missing.dedup();
        let mut keep = vec![true; rows];
        for &row in &missing {
            keep[row] = false;
            self.unknown.push(self.chunk.numbers.get(row));
        }
        for of in self.of.iter_mut().flatten() {
            *of = of.iter().zip(&keep).filter(|(_, kept)| **kept).map(|(e, _)| *e).collect();
        }
        self.chunk = self.chunk.only(&keep)?;
        Ok(())
    }

    /// `[N, S]`.
    fn read_labels(&mut self, way: Way<'_>) -> anyhow::Result<()> {
        let stages = &way.layout.labels;
        let (records, numbers) = (&self.chunk.records, &self.chunk.numbers);
        let at = At { input: way.input, numbers, show_values: way.show_values };
        self.labels = vec![0; records.num_rows() * stages.len()];
        for (stage, (_, column)) in stages.iter().enumerate() {
            let seen = stages[..stage].iter().any(|(_, c)| c == column);
            let found = cells(records, column, Role::Text)?;
            for row in 0..records.num_rows() {
                if let Some(label) = found.label(row) {
                    self.labels[row * stages.len() + stage] = label;
                } else if !seen {
                    broken_label(&mut self.faults, column, &found, row, at);
                }
            }
        }
        Ok(())
    }

    /// Encodes what is to be encoded, while the dictionaries stand still.
    ///
    /// # Errors
    /// A column of a type that cannot be read.
    pub(super) fn encode(self, way: Way<'_>, dictionaries: &[Dictionary]) -> anyhow::Result<Values> {
        let Self { chunk, labels, mut faults, groups, of, .. } = self;
        let at = At { input: way.input, numbers: &chunk.numbers, show_values: way.show_values };
        let mut lookups: Vec<Lookup> = dictionaries.iter().map(Lookup::new).collect();
        let mut rows = EncodedRows::default();
        for draft in groups {
            let layout = &way.layout.groups[draft.group];
            let code =
                |column: &super::layout::IdColumn, id: Option<super::id::IdRef<'_>>| id.map_or(0, |id| lookups[column.table].code(id));
            rows.groups.push((draft.group, draft.cells.encode(layout, &draft.rows, at, &mut faults, code)));
        }
        if !matches!(way.reading, Reading::Members { .. }) {
            let aux = &mut lookups[way.layout.tables.len()..];
            rows.values = Some(row_values(&chunk.records, labels, &of, way.layout, at, &mut faults, aux)?);
            rows.count = chunk.records.num_rows();
            rows.numbers = Some(chunk.numbers);
        }
        Ok(Values { rows, faults, fresh: lookups.into_iter().map(Lookup::fresh).collect() })
    }
}

impl GroupDraft {
    fn of(group: usize, records: &RecordBatch, layout: &Layout) -> anyhow::Result<Self> {
        let layout = &layout.groups[group];
        let cells_here = GroupCells::of(layout, records)?;
        let rows = u32::try_from(records.num_rows())?;
        let mut hashes = Vec::new();
        if let Some(key) = &layout.key {
            let (key, mut buffer) = (cells(records, key, Role::Text)?, Vec::new());
            hashes.reserve(rows as usize);
            for row in 0..rows as usize {
                let content = cells_here.hash(row, &key, &mut buffer);
                buffer.clear();
                key.bytes(row, &mut buffer);
                hashes.push((content, xxh3_64(&buffer)));
            }
        }
        Ok(Self { group, cells: cells_here, hashes, keys: Vec::new(), rows: (0..rows).collect() })
    }
}

/// Everything of the rows but their groups.
fn row_values(
    records: &RecordBatch,
    labels: Vec<u8>,
    of: &[Option<Vec<u32>>],
    layout: &Layout,
    at: At<'_>,
    faults: &mut Faults,
    lookups: &mut [Lookup<'_>],
) -> anyhow::Result<RowValues> {
    let rows = records.num_rows();
    let of: Vec<&[u32]> = of.iter().flatten().map(Vec::as_slice).collect();
    let mut out =
        RowValues { labels, entities: interleave(&of, rows), weights: weights(records, layout, at, faults)?, ..RowValues::default() };
    out.loss_weights = loss_weights(records, layout, at, faults)?;
    let mut aux = Vec::new();
    for (column, lookup) in layout.aux.iter().zip(lookups) {
        let found = cells(records, column, Role::Text)?;
        aux.push((0..rows).map(|row| found.value(row, |v| v.map_or(0, |v| lookup.code(v)))).collect::<Vec<u32>>());
    }
    out.aux = interleave(&aux, rows);
    match &layout.split {
        SplitColumn::None => {}
        SplitColumn::Group(column) => {
            let found = cells(records, column, Role::Text)?;
            out.split_hashes = (0..rows).map(|row| found.value(row, |v| v.map_or(0, |v| v.stable_hash(0)))).collect();
        }
        SplitColumn::Order(column) => {
            let found = cells(records, column, Role::Text)?;
            out.split_texts = (0..rows).map(|row| found.display(row)).collect();
        }
    }
    truth(records, layout, at, faults, &mut out)?;
    if !layout.keys.is_empty() {
        out.keys = Some(keys(records, layout)?);
    }
    Ok(out)
}

fn weights(records: &RecordBatch, layout: &Layout, at: At<'_>, faults: &mut Faults) -> anyhow::Result<Vec<f32>> {
    let Some(column) = &layout.weight else { return Ok(Vec::new()) };
    let found = cells(records, column, Role::Number)?;
    let none = Missing::default();
    let mut weight = |row| match found.number(row, &none) {
        #[allow(clippy::cast_possible_truncation)]
        Ok(Some(w)) if w >= 0.0 => w as f32,
        other => {
            let missing = matches!(other, Ok(None));
            let describe = || if missing { "an empty cell".into() } else { at.describe(&found.display(row)) };
            faults.add(("weight-cell", "a finite weight of 0 or more", ""), column, || at.place(row), describe);
            0.0
        }
    };
    Ok((0..records.num_rows()).map(&mut weight).collect())
}

/// `[N, W]`.
fn loss_weights(records: &RecordBatch, layout: &Layout, at: At<'_>, faults: &mut Faults) -> anyhow::Result<Vec<f32>> {
    let (rows, none) = (records.num_rows(), Missing::default());
    let mut all: Vec<Vec<f32>> = Vec::with_capacity(layout.loss_weights.len());
    for weight in &layout.loss_weights {
        let expression = Expression::parse_open("loss_weight", &weight.expression)?;
        let mut columns: Vec<Vec<f64>> = Vec::with_capacity(weight.columns.len());
        for column in expression.variables() {
            let found = cells(records, column, Role::Number)?;
            // What is no number has no value, as a missing one.
            columns.push((0..rows).map(|row| found.number(row, &none).ok().flatten().unwrap_or(f64::NAN)).collect());
        }
        let values = expression.eval_rows(&columns.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let key = format!("stage.{}.loss_weight", layout.labels[weight.stage].0);
        let mut one = |(row, value): (usize, f64)| {
            #[allow(clippy::cast_possible_truncation)]
            let weight = value as f32;
            if weight.is_finite() && weight >= 0.0 {
                return weight;
            }
            let found = || if value < 0.0 { "a negative number" } else { "no finite number" }.to_owned();
            let help =
                "clip what may grow without bound, as in `min(1 / p_click, 100)`; a missing cell, or one that is no number, has no value";
            faults.add_to(("loss-weight", "a finite weight of 0 or more", help), "the weight by", &key, || at.place(row), found);
            0.0
        };
        all.push(values.into_iter().enumerate().map(&mut one).collect());
    }
    Ok(if all.is_empty() { Vec::new() } else { interleave(&all, rows) })
}

fn truth(records: &RecordBatch, layout: &Layout, at: At<'_>, faults: &mut Faults, out: &mut RowValues) -> anyhow::Result<()> {
    let none = Missing::default();
    let (mut probabilities, mut outcomes) = (Vec::new(), Vec::new());
    for truth in &layout.truth {
        let p = cells(records, &truth.probability, Role::Number)?;
        let y = cells(records, &truth.outcome, Role::Text)?;
        let mut broken = |found: &Cells, fault, column: &str, row| {
            let text = found.display(row);
            let describe = || if text.is_empty() { "an empty cell".into() } else { at.describe(&text) };
            faults.add(fault, column, || at.place(row), describe);
        };
        let (mut of_p, mut of_y) = (Vec::with_capacity(records.num_rows()), Vec::with_capacity(records.num_rows()));
        for row in 0..records.num_rows() {
            #[allow(clippy::cast_possible_truncation)]
            if let Some(p) = p.number(row, &none).ok().flatten().filter(|p| (0.0..=1.0).contains(p)) {
                of_p.push(p as f32);
            } else {
                broken(&p, ("truth-cell", "a probability, 0 to 1", ""), &truth.probability, row);
                of_p.push(0.0);
            }
            if let Some(y) = y.label(row) {
                of_y.push(y);
            } else {
                broken(&y, ("truth-cell", "0 or 1", "it is what would have come of the row, reached or not"), &truth.outcome, row);
                of_y.push(0);
            }
        }
        probabilities.push(of_p);
        outcomes.push(of_y);
    }
    out.truth = interleave(&probabilities, records.num_rows());
    out.counterfactual = interleave(&outcomes, records.num_rows());
    Ok(())
}

fn keys(records: &RecordBatch, layout: &Layout) -> anyhow::Result<RecordBatch> {
    let columns = layout.keys.iter().map(|k| super::encode::column(records, k).cloned());
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let fields = layout.keys.iter().zip(&columns).map(|(name, c)| Field::new(name, c.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// Notes a label that is neither 0 nor 1. Its value is shown: labels are no secret.
pub(crate) fn broken_label(faults: &mut Faults, column: &str, cells: &Cells, row: usize, at: At<'_>) {
    let text = cells.display(row);
    let found = || if text.is_empty() { "an empty cell".into() } else { format!("{text:?}") };
    faults.add(
        ("label-cell", "0 or 1", "write a label as 0 or 1; a row whose outcome is unknown cannot be trained on"),
        column,
        || at.place(row),
        found,
    );
}

/// Columns of equal length → one matrix, row-major.
fn interleave<T: Copy, C: AsRef<[T]>>(columns: &[C], rows: usize) -> Vec<T> {
    match columns {
        [one] => one.as_ref().to_vec(),
        _ => (0..rows).flat_map(|row| columns.iter().map(move |c| c.as_ref()[row])).collect(),
    }
}
