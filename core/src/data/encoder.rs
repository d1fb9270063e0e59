//! Chunks → the rows of a store: labels, entities, codes and numbers, with what is wrong with them.

use super::cells::{Cells, Role};
use super::dictionary::Dictionary;
use super::encode::{GroupCells, cells};
use super::faults::{At, Faults};
use super::given::{Given, Reading};
use super::layout::{Layout, SplitColumn};
use super::left_out::LeftOut;
use super::prepare::no_rows;
use super::source::{Chunk, Input, Tolerance};
use super::store::{RowValues, StoreWriter, StoredEntities, StoredInput};
use anyhow::Context;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use hashbrown::HashMap;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// The entities of one kind seen so far.
#[derive(Default)]
struct Entities {
    index: HashMap<u128, u32>,
    /// Per key (by hash): how many entities it owns, 2 meaning several.
    keys: HashMap<u64, u8>,
    keys_with_several: u64,
}
impl Entities {
    /// Entities of the chunk's rows, and the rows that brought a new one.
    fn assign(&mut self, cells: &GroupCells, key: &Cells, rows: &[u32]) -> anyhow::Result<(Vec<u32>, Vec<u32>)> {
        let (mut of, mut new, mut buffer) = (Vec::with_capacity(rows.len()), Vec::new(), Vec::new());
        for &row in rows {
            let hash = cells.hash(row as usize, key, &mut buffer);
            let next = u32::try_from(self.index.len()).context("more than 2³² entities")?;
            let entity = *self.index.entry(hash).or_insert(next);
            if entity == next {
                new.push(row);
                buffer.clear();
                key.bytes(row as usize, &mut buffer);
                let owned = self.keys.entry(xxh3_64(&buffer)).or_default();
                self.keys_with_several += u64::from(*owned == 1);
                *owned = (*owned + 1).min(2);
            }
            of.push(entity);
        }
        Ok((of, new))
    }
}

/// Chunks → the store's writer.
pub(super) struct Encoder<'a> {
    layout: &'a Layout,
    writer: StoreWriter,
    /// Of the tables, then of the metric columns.
    dictionaries: Vec<Dictionary>,
    entities: Vec<Entities>,
    /// Per kind of entity: the members read from inputs of their own.
    given: Vec<Option<Given>>,
    left_out: LeftOut,
    faults: Faults,
    show_values: bool,
    key_schema: Option<Arc<Schema>>,
}

impl<'a> Encoder<'a> {
    /// With nothing written yet, into `dir`.
    pub(super) fn create(dir: &Path, layout: &'a Layout, tolerance: Tolerance, show_values: bool) -> anyhow::Result<Self> {
        Ok(Self {
            layout,
            writer: StoreWriter::create(dir, layout)?,
            dictionaries: (0..layout.tables.len() + layout.aux.len()).map(|_| Dictionary::default()).collect(),
            entities: layout.groups[1..].iter().map(|_| Entities::default()).collect(),
            given: layout.groups[1..].iter().map(|_| None).collect(),
            left_out: LeftOut::new(tolerance),
            faults: Faults::default(),
            show_values,
            key_schema: None,
        })
    }

    /// Completes the store.
    ///
    /// # Errors
    /// Cells that could not be read, all of them at once; the file system.
    pub(super) fn finish(self, fingerprint: &str, inputs: Vec<StoredInput>) -> anyhow::Result<()> {
        self.faults.check()?;
        if inputs.iter().all(|i| i.rows == 0) {
            return Err(no_rows(inputs.iter().map(|i| i.name.as_str())));
        }
        let entities = self.layout.groups[1..].iter().zip(&self.entities).map(|(g, e)| StoredEntities {
            name: g.name.clone(),
            entities: e.index.len() as u64,
            keys: e.keys.len() as u64,
            keys_with_several: e.keys_with_several,
        });
        let entities = entities.collect();
        self.writer.finish(fingerprint, self.layout, inputs, (entities, self.left_out.messages()), &self.dictionaries)
    }

    /// Makes ready for an input.
    pub(super) fn begin(&mut self, reading: &Reading) {
        match reading {
            Reading::Members { group, .. } => self.given[group - 1].get_or_insert_default().begin(),
            Reading::Rows(_) => self.given.iter_mut().flatten().for_each(Given::close),
            Reading::Nothing => {}
        }
    }

    /// Encodes a chunk; gives its number of rows.
    pub(super) fn take(&mut self, chunk: &Chunk, input: &Input, reading: &Reading) -> anyhow::Result<usize> {
        chunk.broken.iter().for_each(|row| self.left_out.note(input, row.number, row.expected, || row.found.clone()));
        let rows = match reading {
            Reading::Members { group, .. } => {
                self.members(chunk, input, *group)?;
                0
            }
            _ => self.matched(chunk, input)?,
        };
        self.left_out.check()?;
        Ok(rows)
    }

    /// Encodes members of an entity input.
    fn members(&mut self, chunk: &Chunk, input: &Input, group: usize) -> anyhow::Result<()> {
        let (layout, records) = (&self.layout.groups[group], &chunk.records);
        let at = At { input, numbers: &chunk.numbers, show_values: self.show_values };
        let found = GroupCells::of(layout, records)?;
        let key = cells(records, layout.key.as_deref().unwrap_or_default(), Role::Text)?;
        let given = self.given[group - 1].get_or_insert_default();
        let fresh = given.fresh(&key, records.num_rows(), |row, expected, found| {
            self.left_out.note(input, chunk.numbers.get(row), expected, || found.into());
        })?;
        let (of, new) = self.entities[group - 1].assign(&found, &key, &fresh)?;
        given.know(&of);
        let dictionaries = &mut self.dictionaries;
        let values =
            found.encode(layout, &new, at, &mut self.faults, |column, id| id.map_or(0, |id| dictionaries[column.table].intern(id)));
        self.writer.push_group(group, &values)
    }

    /// Encodes the rows that have their members; gives how many.
    fn matched(&mut self, chunk: &Chunk, input: &Input) -> anyhow::Result<usize> {
        let rows = chunk.records.num_rows();
        let mut of: Vec<Option<Vec<u32>>> = vec![None; self.given.len()];
        let mut missing: Vec<usize> = Vec::new();
        for (i, given) in self.given.iter().enumerate() {
            let (Some(given), Some(key)) = (given, &self.layout.groups[i + 1].key) else { continue };
            let found = cells(&chunk.records, key, Role::Text)?;
            of[i] = Some(given.lookup(&found, rows, &mut missing));
        }
        if missing.is_empty() {
            return self.push(chunk, input, &of).map(|()| rows);
        }
        missing.sort_unstable();
        missing.dedup();
        for &row in &missing {
            self.left_out.note(input, chunk.numbers.get(row), "a key that an entity input holds", || "another".into());
        }
        let mut keep = vec![true; rows];
        for &row in &missing {
            keep[row] = false;
        }
        let of: Vec<Option<Vec<u32>>> =
            of.into_iter().map(|of| Some(of?.into_iter().zip(&keep).filter(|(_, kept)| **kept).map(|(e, _)| e).collect())).collect();
        let kept = chunk.only(&keep)?;
        self.push(&kept, input, &of)?;
        Ok(kept.records.num_rows())
    }

    /// `given`: per kind of entity the members of the rows, where these have been read from an input of their own.
    fn push(&mut self, chunk: &Chunk, input: &Input, given: &[Option<Vec<u32>>]) -> anyhow::Result<()> {
        let records = &chunk.records;
        let rows = records.num_rows();
        let at = At { input, numbers: &chunk.numbers, show_values: self.show_values };
        let every: Vec<u32> = (0..u32::try_from(rows)?).collect();
        let layout = self.layout;
        // Labels first: their faults are told first.
        let mut out = RowValues { labels: self.labels(records, at)?, ..RowValues::default() };
        let mut of_entity = Vec::new();
        for (i, group) in layout.groups.iter().enumerate() {
            if let Some(of) = i.checked_sub(1).and_then(|e| given[e].as_ref()) {
                of_entity.push(of.clone());
                continue;
            }
            let found = GroupCells::of(group, records)?;
            let new = match &group.key {
                None => None,
                Some(key) => {
                    let key = cells(records, key, Role::Text)?;
                    let (of, new) = self.entities[i - 1].assign(&found, &key, &every)?;
                    of_entity.push(of);
                    Some(new)
                }
            };
            let dictionaries = &mut self.dictionaries;
            let values = found.encode(group, new.as_deref().unwrap_or(&every), at, &mut self.faults, |column, id| {
                id.map_or(0, |id| dictionaries[column.table].intern(id))
            });
            self.writer.push_group(i, &values)?;
        }
        out.entities = interleave(&of_entity, rows);
        out.weights = self.weights(records, at)?;
        let mut aux = Vec::new();
        for (column, dictionary) in layout.aux.iter().zip(&mut self.dictionaries[layout.tables.len()..]) {
            let found = cells(records, column, Role::Text)?;
            aux.push((0..rows).map(|row| found.value(row, |v| v.map_or(0, |v| dictionary.intern(v)))).collect::<Vec<u32>>());
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
        self.truth(records, at, &mut out)?;
        if !layout.keys.is_empty() {
            out.keys = Some(self.keys(records)?);
        }
        for row in 0..rows {
            self.writer.push_number(chunk.numbers.get(row))?;
        }
        self.writer.push_rows(&out)
    }

    /// `[N, S]`.
    fn labels(&mut self, records: &RecordBatch, at: At<'_>) -> anyhow::Result<Vec<u8>> {
        let stages = &self.layout.labels;
        let mut out = vec![0; records.num_rows() * stages.len()];
        for (stage, (_, column)) in stages.iter().enumerate() {
            let seen = stages[..stage].iter().any(|(_, c)| c == column);
            let found = cells(records, column, Role::Text)?;
            for row in 0..records.num_rows() {
                if let Some(label) = found.label(row) {
                    out[row * stages.len() + stage] = label;
                } else if !seen {
                    broken_label(&mut self.faults, column, &found, row, at);
                }
            }
        }
        Ok(out)
    }

    fn weights(&mut self, records: &RecordBatch, at: At<'_>) -> anyhow::Result<Vec<f32>> {
        let Some(column) = &self.layout.weight else { return Ok(Vec::new()) };
        let found = cells(records, column, Role::Number)?;
        let none = super::id::Missing::default();
        let mut weight = |row| match found.number(row, &none) {
            #[allow(clippy::cast_possible_truncation)]
            Ok(Some(w)) if w >= 0.0 => w as f32,
            other => {
                let missing = matches!(other, Ok(None));
                let describe = || if missing { "an empty cell".into() } else { at.describe(&found.display(row)) };
                self.faults.add(("weight-cell", "a finite weight of 0 or more", ""), column, || at.place(row), describe);
                0.0
            }
        };
        Ok((0..records.num_rows()).map(&mut weight).collect())
    }

    fn truth(&mut self, records: &RecordBatch, at: At<'_>, out: &mut RowValues) -> anyhow::Result<()> {
        let none = super::id::Missing::default();
        let (mut probabilities, mut outcomes) = (Vec::new(), Vec::new());
        for truth in &self.layout.truth {
            let p = cells(records, &truth.probability, Role::Number)?;
            let y = cells(records, &truth.outcome, Role::Text)?;
            let faults = &mut self.faults;
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

    fn keys(&mut self, records: &RecordBatch) -> anyhow::Result<RecordBatch> {
        let columns = self.layout.keys.iter().map(|k| super::encode::column(records, k).cloned());
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let fields = self.layout.keys.iter().zip(&columns).map(|(name, c)| Field::new(name, c.data_type().clone(), true));
        let schema = self.key_schema.get_or_insert_with(|| Arc::new(Schema::new(fields.collect::<Vec<_>>())));
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
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
fn interleave<T: Copy>(columns: &[Vec<T>], rows: usize) -> Vec<T> {
    (0..rows).flat_map(|row| columns.iter().map(move |c| c[row])).collect()
}
