//! More columns of the same rows, from files beside the data: what another run predicted, say. Row by row both are read as one, in constant memory;
//! that they are of the same rows is checked as far as it can be: as many files as inputs, as many rows in each, and the same keys.

use super::cells::Role;
use super::encode::cells;
use super::faults::place;
use super::source::{Chunk, ChunkStream, Input, SharedSource, Source, Tolerance, TruthColumns};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::Graph;
use crate::plugin::registry::{self, Kind};
use crate::plugin::source::kind_of_file;
use crate::plugin::{Build, SourceBuild};
use crate::spec::Spec;
use anyhow::Context;
use arrow::array::ArrayRef;
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::path::Path;
use std::sync::Arc;

const KEY: &str = "data.beside";
const HELP: &str = "the files beside the data hold the same rows in the same order, one file for each input: as `esmm-funnel predict RUN \
                    --data … --out DIR` writes them";

/// The source with the columns of the files that `data.beside` names; the source itself if it names none.
///
/// # Errors
/// Files that are missing, of unknown or of mixed kinds, or not as many as inputs; a column of both that is no key.
pub(super) fn beside(spec: &Spec, source: SharedSource, graph: &Graph) -> anyhow::Result<SharedSource> {
    if spec.data.beside.is_empty() {
        return Ok(source);
    }
    let placed = |error: anyhow::Error| match error.downcast::<Diagnostics>() {
        Ok(found) => {
            let here = |d: Diagnostic| if d.annotations.is_empty() { d.at(spec.place(KEY), "stated here") } else { d };
            Diagnostics(found.0.into_iter().map(here).collect()).into()
        }
        Err(error) => error,
    };
    let files = open(&spec.data.beside, graph).map_err(placed)?;
    Beside::new(source, files, &spec.data.keys).map(|b| Arc::new(b) as SharedSource).map_err(placed)
}

fn fault(message: impl Into<String>, help: impl Into<String>) -> anyhow::Error {
    Diagnostics::from(Diagnostic::error("beside", message).help(help)).into()
}

/// Opens the files with the source for their ending.
fn open(patterns: &[String], graph: &Graph) -> anyhow::Result<SharedSource> {
    let mut kinds = Vec::new();
    for pattern in patterns {
        let kind = kind_of_file(Path::new(pattern)).ok_or_else(|| {
            let message = format!("`{KEY}`: `{pattern}` names no .parquet, .csv or .tsv files (nor .gz of these)");
            fault(message, "name the files of a folder by a glob, as in `scores/part-*.parquet`")
        })?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let [kind] = kinds[..] else { return Err(fault(format!("`{KEY}`: the files are of several kinds: {}", kinds.join(", ")), "take one")) };
    let plugin = registry::find(Kind::Source, kind).map(|p| p.build);
    let Some(Build::Source(SourceBuild { open, .. })) = plugin else { anyhow::bail!("`{KEY}`: no source `{kind}` in this build") };
    let settings = toml::Table::from_iter([("files".to_owned(), toml::Value::from(patterns.to_vec()))]);
    open(&settings, None, graph)
}

/// A source, and files of the same rows.
pub(super) struct Beside {
    source: SharedSource,
    files: SharedSource,
    /// Columns that only the files have.
    columns: Vec<String>,
    /// Columns that both have.
    shared: Vec<String>,
    schema: SchemaRef,
}

impl Beside {
    /// # Errors
    /// As [`beside`].
    pub(super) fn new(source: SharedSource, files: SharedSource, keys: &[String]) -> anyhow::Result<Self> {
        let (own, more) = (source.schema()?, files.schema()?);
        let names = |schema: &Schema| schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
        let (shared, columns): (Vec<String>, Vec<String>) = names(&more).into_iter().partition(|c| own.index_of(c).is_ok());
        let twice: Vec<String> = shared.iter().filter(|c| !keys.contains(c)).map(|c| format!("`{c}`")).collect();
        if !twice.is_empty() {
            let (what, verb) = if twice.len() == 1 { ("column", "stands") } else { ("columns", "stand") };
            let message = format!("`{KEY}`: {what} {} {verb} in the data and beside them", twice.join(", "));
            return Err(fault(message, "leave one out; or, if it tells rows apart, list it in `data.keys`, and the two are compared"));
        }
        let (inputs, beside) = (source.inputs()?, files.inputs()?);
        let rows = inputs.iter().filter(|i| i.entities.is_none()).count();
        if rows != beside.len() {
            let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
            let message = format!("`{KEY}` names {}, and the data have {}", plural(beside.len(), "file"), plural(rows, "input"));
            let list = |of: &mut dyn Iterator<Item = &Input>| of.map(|i| format!("`{}`", i.name)).collect::<Vec<_>>().join(", ");
            let own = list(&mut inputs.iter().filter(|i| i.entities.is_none()));
            return Err(fault(message, format!("{HELP}\nbeside: {}\ninputs: {own}", list(&mut beside.iter()))));
        }
        let added = columns.iter().map(|c| Ok(Arc::new(more.field_with_name(c)?.clone())));
        let fields = own.fields().iter().cloned().map(Ok).chain(added).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { source, files, columns, shared, schema: Arc::new(Schema::new(fields)) })
    }

    fn is_beside(&self, column: &str) -> bool {
        self.columns.iter().any(|c| c == column)
    }
    fn stream(&self, input: usize, columns: &[String], first: u64) -> anyhow::Result<ChunkStream> {
        let inputs = self.inputs()?;
        let wanted: Vec<String> = columns.iter().filter(|c| self.is_beside(c)).cloned().collect();
        let file = file_of(&inputs, input).filter(|_| !wanted.is_empty());
        let Some(file) = file else { return self.source.read_from(input, columns, first) };
        let mut own: Vec<String> = columns.iter().filter(|c| !self.is_beside(c)).cloned().collect();
        own.extend(self.shared.iter().filter(|c| !columns.contains(c)).cloned());
        let more: Vec<String> = wanted.into_iter().chain(self.shared.iter().cloned()).collect();
        let fields = columns.iter().map(|c| Ok(self.schema.field_with_name(c)?.clone())).collect::<anyhow::Result<Vec<Field>>>()?;
        let file_input = self.files.inputs()?.swap_remove(file);
        let mut rows = self.source.read_from(input, &own, first)?;
        let mut pairs = Pairs {
            beside: self.files.read_from(file, &more, first)?,
            held: None,
            behind: first,
            shared: self.shared.clone(),
            input: inputs[input].clone(),
            file: file_input,
            schema: Arc::new(Schema::new(fields)),
        };
        let mut over = false;
        Ok(Box::new(std::iter::from_fn(move || {
            if over {
                return None;
            }
            let next = match rows.next() {
                Some(chunk) => Some(chunk.and_then(|chunk| pairs.join(chunk, &mut rows))),
                None => pairs.end().err().map(Err),
            };
            over = !matches!(next, Some(Ok(_)));
            next
        })))
    }
}

/// The file of an input of rows; `None` for entities.
fn file_of(inputs: &[Input], input: usize) -> Option<usize> {
    inputs.get(input)?.entities.is_none().then(|| inputs[..input].iter().filter(|i| i.entities.is_none()).count())
}

impl Source for Beside {
    fn schema(&self) -> anyhow::Result<SchemaRef> {
        Ok(Arc::clone(&self.schema))
    }
    fn inputs(&self) -> anyhow::Result<Vec<Input>> {
        let mut inputs = self.source.inputs()?;
        let rows = inputs.iter_mut().filter(|i| i.entities.is_none());
        for (input, file) in rows.zip(self.files.inputs()?) {
            let path = file.path.as_ref().map(|p| p.canonicalize().unwrap_or_else(|_| p.clone()));
            input.fingerprint = format!("{}; beside {path:?} of {}", input.fingerprint, file.fingerprint);
        }
        Ok(inputs)
    }
    fn read(&self, input: usize, columns: &[String]) -> anyhow::Result<ChunkStream> {
        self.stream(input, columns, 0)
    }
    fn read_from(&self, input: usize, columns: &[String], first: u64) -> anyhow::Result<ChunkStream> {
        self.stream(input, columns, first)
    }
    fn tolerance(&self) -> Tolerance {
        self.source.tolerance()
    }
    fn beside(&self) -> Vec<String> {
        self.columns.clone()
    }
    fn bytes_read(&self) -> u64 {
        self.source.bytes_read()
    }
    fn truth(&self) -> Vec<TruthColumns> {
        self.source.truth()
    }
}

/// The rows of a file on their way to those of an input.
struct Pairs {
    beside: ChunkStream,
    /// Rows read and not used yet.
    held: Option<RecordBatch>,
    /// Rows of the file that have been used.
    behind: u64,
    shared: Vec<String>,
    input: Input,
    file: Input,
    /// Of what is asked for.
    schema: SchemaRef,
}

impl Pairs {
    /// A chunk with the columns beside it. `rest`: the chunks after it, to be counted if the file is at its end.
    fn join(&mut self, chunk: Chunk, rest: &mut ChunkStream) -> anyhow::Result<Chunk> {
        let rows = chunk.records.num_rows();
        let beside = self.take(rows)?;
        let found = beside.as_ref().map_or(0, RecordBatch::num_rows);
        if found < rows {
            let mut all = self.behind + rows as u64;
            for chunk in rest {
                all += chunk?.records.num_rows() as u64;
            }
            return Err(self.other_count(self.behind + found as u64, all));
        }
        if let Some(beside) = &beside {
            self.compare(&chunk, beside)?;
        }
        self.behind += rows as u64;
        let one = |field: &Arc<Field>| -> ArrayRef {
            let name = field.name();
            let found = beside.as_ref().and_then(|b| b.column_by_name(name)).filter(|_| !self.shared.contains(name));
            let found = found.or_else(|| chunk.records.column_by_name(name));
            found.map_or_else(|| arrow::array::new_empty_array(field.data_type()), Arc::clone)
        };
        let columns: Vec<ArrayRef> = self.schema.fields().iter().map(one).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let records = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(Chunk { records, ..chunk })
    }

    /// The next rows of the file, as many as there are up to `rows`; `None`: no rows.
    fn take(&mut self, rows: usize) -> anyhow::Result<Option<RecordBatch>> {
        let (mut parts, mut wanted) = (Vec::new(), rows);
        while wanted > 0 {
            let Some(held) = self.held.take().map_or_else(|| self.next(), |held| Ok(Some(held)))? else { break };
            let used = held.num_rows().min(wanted);
            parts.push(held.slice(0, used));
            self.held = (used < held.num_rows()).then(|| held.slice(used, held.num_rows() - used));
            wanted -= used;
        }
        Ok(match parts.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            [first, ..] => Some(concat_batches(&first.schema(), &parts)?),
        })
    }
    fn next(&mut self) -> anyhow::Result<Option<RecordBatch>> {
        let chunk = self.beside.next().transpose().with_context(|| format!("`{}`", self.file.name))?;
        if let Some(broken) = chunk.as_ref().and_then(|c| c.broken.first()) {
            let at = place(&self.file.name, self.file.unit, broken.number);
            return Err(fault(format!("{at}: expected {}, found {}", broken.expected, broken.found), HELP));
        }
        Ok(chunk.map(|c| c.records))
    }

    /// Refuses rows whose keys differ.
    fn compare(&self, chunk: &Chunk, beside: &RecordBatch) -> anyhow::Result<()> {
        for key in &self.shared {
            let same = chunk.records.column_by_name(key).zip(beside.column_by_name(key)).is_some_and(|(a, b)| a.as_ref() == b.as_ref());
            if same {
                continue;
            }
            let (own, other) = (cells(&chunk.records, key, Role::Text)?, cells(beside, key, Role::Text)?);
            if let Some(row) = (0..beside.num_rows()).find(|row| own.display(*row) != other.display(*row)) {
                let own = place(&self.input.name, self.input.unit, chunk.numbers.get(row));
                let there = place(&self.file.name, "row", self.behind + row as u64 + 1);
                return Err(fault(format!("{there}: `{key}` is another than at {own}"), HELP));
            }
        }
        Ok(())
    }

    /// The input is at its end: so must be the file.
    fn end(&mut self) -> anyhow::Result<()> {
        let mut more = self.held.take().map_or(0, |h| h.num_rows() as u64);
        while let Some(records) = self.next()? {
            more += records.num_rows() as u64;
        }
        if more == 0 { Ok(()) } else { Err(self.other_count(self.behind + more, self.behind)) }
    }
    fn other_count(&self, beside: u64, own: u64) -> anyhow::Error {
        let message = format!("`{}` has {beside} rows, and `{}`, which it stands beside, has {own}", self.file.name, self.input.name);
        fault(message, format!("{HELP}; rows that are left out count on neither side"))
    }
}
