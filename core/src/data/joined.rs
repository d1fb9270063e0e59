//! Rows with the columns of their entities beside them, for what needs whole rows: scoring of raw data. The columns asked for of all members of
//! an input are held in memory.

use super::cells::{Cells, Role};
use super::encode::cells;
use super::given::Given;
use super::source::{BrokenRow, Chunk, ChunkStream, EntityColumns, Input, SharedSource, Source, Tolerance, TruthColumns};
use anyhow::Context;
use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::sync::Arc;

/// The source itself if none of its inputs holds entities, else one without such inputs, whose rows have all columns.
///
/// # Errors
/// Inputs missing.
pub fn joined(source: &SharedSource) -> anyhow::Result<SharedSource> {
    let all = source.inputs()?;
    if all.iter().all(|i| i.entities.is_none()) {
        return Ok(Arc::clone(source));
    }
    Ok(Arc::new(Joined { source: Arc::clone(source), all }))
}

struct Joined {
    source: SharedSource,
    /// Those of the source.
    all: Vec<Input>,
}

/// The members that the rows of an input may name.
struct Members {
    key: String,
    given: Given,
    columns: Vec<String>,
    records: Vec<RecordBatch>,
    broken: Vec<BrokenRow>,
}

impl Joined {
    /// Where an input of rows stands among all.
    fn place(&self, input: usize) -> anyhow::Result<usize> {
        let mut rows = self.all.iter().enumerate().filter(|(_, i)| i.entities.is_none());
        rows.nth(input).map(|(at, _)| at).with_context(|| format!("no input {input}"))
    }

    /// The entity inputs whose members the rows of an input may name.
    fn serving(&self, place: usize) -> Vec<(usize, &EntityColumns)> {
        let end = self.all[..place].iter().rposition(|i| i.entities.is_some()).map_or(0, |last| last + 1);
        let start = self.all[..end].iter().rposition(|i| i.entities.is_none()).map_or(0, |rows| rows + 1);
        (start..end).filter_map(|at| Some((at, self.all[at].entities.as_ref()?))).collect()
    }

    /// Reads the members of one kind.
    fn members(&self, key: &str, inputs: &[(usize, &EntityColumns)], wanted: &[String]) -> anyhow::Result<Members> {
        let of: Vec<_> = inputs.iter().filter(|(_, e)| e.key == key).collect();
        let columns: Vec<String> = wanted.iter().filter(|c| of.iter().any(|(_, e)| e.columns.contains(c))).cloned().collect();
        let mut all = Members { key: key.to_owned(), given: Given::default(), columns, records: Vec::new(), broken: Vec::new() };
        let mut known = 0_u32;
        for (at, _) in of {
            let asked: Vec<String> = std::iter::once(key.to_owned()).chain(all.columns.iter().cloned()).collect();
            for chunk in self.source.read(*at, &asked)? {
                let chunk = chunk?;
                let rows = chunk.records.num_rows();
                let (mut keep, mut twice) = (vec![true; rows], Vec::new());
                let keys = cells(&chunk.records, key, Role::Text)?;
                let fresh = all.given.fresh(&keys, rows, |row, expected, found| {
                    keep[row] = false;
                    twice.push(BrokenRow { number: chunk.numbers.get(row), expected, found: found.into() });
                })?;
                let last = known + u32::try_from(fresh.len())?;
                all.given.know(&(known..last).collect::<Vec<_>>());
                known = last;
                all.broken.extend(chunk.broken.iter().cloned().chain(twice));
                let kept = if fresh.len() == rows { chunk.records } else { chunk.only(&keep)?.records };
                all.records.push(kept);
            }
        }
        if let Some(first) = all.records.first() {
            all.records = vec![concat_batches(&first.schema(), &all.records)?];
        }
        Ok(all)
    }
}

impl Source for Joined {
    fn schema(&self) -> anyhow::Result<SchemaRef> {
        self.source.schema()
    }
    fn inputs(&self) -> anyhow::Result<Vec<Input>> {
        Ok(self.all.iter().filter(|i| i.entities.is_none()).cloned().collect())
    }
    fn tolerance(&self) -> Tolerance {
        self.source.tolerance()
    }
    fn bytes_read(&self) -> u64 {
        self.source.bytes_read()
    }
    fn truth(&self) -> Vec<TruthColumns> {
        self.source.truth()
    }

    fn read(&self, input: usize, columns: &[String]) -> anyhow::Result<ChunkStream> {
        let place = self.place(input)?;
        let serving = self.serving(place);
        let mut keys: Vec<&str> = serving.iter().map(|(_, e)| e.key.as_str()).collect();
        keys.dedup();
        let members = keys.into_iter().map(|key| self.members(key, &serving, columns)).collect::<anyhow::Result<Vec<_>>>()?;
        let members: Vec<Members> = members.into_iter().filter(|m| !m.columns.is_empty()).collect();
        let beside = |c: &&String| members.iter().any(|m| m.columns.contains(c));
        let mut own: Vec<String> = columns.iter().filter(|c| !beside(c)).cloned().collect();
        for m in &members {
            if !own.contains(&m.key) {
                own.push(m.key.clone());
            }
        }
        let schema = self.source.schema()?;
        let fields: Vec<Field> = columns.iter().map(|c| Ok(schema.field_with_name(c)?.clone())).collect::<anyhow::Result<_>>()?;
        let schema = Arc::new(Schema::new(fields));
        // Members are told to be broken with the first rows.
        let mut broken: Vec<BrokenRow> = members.iter().flat_map(|m| m.broken.clone()).collect();
        let rows = self.source.read(place, &own)?;
        Ok(Box::new(rows.map(move |chunk| {
            let mut chunk = join(chunk?, &members, &schema)?;
            chunk.input = input;
            chunk.broken.splice(0..0, broken.drain(..));
            Ok(chunk)
        })))
    }
}

/// The rows that have their members, with these columns.
fn join(chunk: Chunk, members: &[Members], schema: &SchemaRef) -> anyhow::Result<Chunk> {
    let rows = chunk.records.num_rows();
    let mut missing = Vec::new();
    for m in members {
        let keys: Cells = cells(&chunk.records, &m.key, Role::Text)?;
        m.given.lookup(&keys, rows, &mut missing);
    }
    let mut broken = chunk.broken.clone();
    let mut chunk = chunk;
    if !missing.is_empty() {
        missing.sort_unstable();
        missing.dedup();
        let mut keep = vec![true; rows];
        for row in missing {
            keep[row] = false;
            let expected = "a key that an entity input holds";
            broken.push(BrokenRow { number: chunk.numbers.get(row), expected, found: "another".into() });
        }
        chunk = chunk.only(&keep)?;
    }
    let rows = chunk.records.num_rows();
    let mut beside: Vec<(&str, ArrayRef)> = Vec::new();
    for m in members {
        let keys = cells(&chunk.records, &m.key, Role::Text)?;
        let at = UInt32Array::from(m.given.lookup(&keys, rows, &mut Vec::new()));
        for column in m.columns.iter().filter(|_| rows > 0) {
            let all = m.records.first().and_then(|r| r.column_by_name(column)).context("an entity without its column")?;
            beside.push((column, take(all, &at, None)?));
        }
    }
    let one = |field: &Arc<Field>| {
        let name = field.name().as_str();
        let found = beside.iter().find(|(c, _)| *c == name).map(|(_, array)| array).or_else(|| chunk.records.column_by_name(name));
        found.map_or_else(|| arrow::array::new_empty_array(field.data_type()), Arc::clone)
    };
    let columns: Vec<ArrayRef> = schema.fields().iter().map(one).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let records = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
    Ok(Chunk { records, broken, ..chunk })
}
