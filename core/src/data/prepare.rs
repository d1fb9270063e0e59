//! Source → [`Store`]: every input is read once, encoded chunk by chunk, and written; memory grows only with dictionaries and entities.

use super::aside::{Aside, sweep};
use super::cells::{Cells, Role};
use super::dictionary::Dictionary;
use super::encode::{GroupCells, cells};
use super::faults::{At, Faults};
use super::given::{Given, Reading, plan};
use super::infer::{Inferred, infer};
use super::layout::{Layout, SplitColumn};
use super::left_out::LeftOut;
use super::resolve::{claim, resolve};
use super::source::{Chunk, Input, SharedSource};
use super::store::{FORMAT, RowValues, Store, StoreWriter, StoredEntities, StoredInput};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::Graph;
use crate::plugin::registry::{self, Kind};
use crate::plugin::{Build, SourceBuild};
use crate::spec::{Spec, Split};
use anyhow::Context;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use hashbrown::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// How far [`prepare`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepareProgress {
    /// Rows encoded.
    pub rows: u64,
    /// Bytes read, about.
    pub bytes: u64,
    /// Bytes of all inputs; 0 if unknown.
    pub total_bytes: u64,
}

/// How to prepare.
pub struct PrepareOptions<'a> {
    /// Folder of the stores.
    pub cache_dir: &'a Path,
    /// Messages may show values of features.
    pub show_values: bool,
    /// Compare every file of a store that is there with its checksum, large ones too; if one differs, the store is built anew.
    pub verify: bool,
    /// A layout to keep (other rows for a trained model) instead of resolving the spec's features.
    pub layout: Option<&'a Layout>,
    /// Called after every chunk.
    pub progress: &'a dyn Fn(PrepareProgress),
    /// Set to true to stop; [`prepare`] then fails with [`Stopped`].
    pub stop: &'a AtomicBool,
}

/// The caller asked to stop, and nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Stopped;

/// Data ready to be trained on.
#[derive(Debug)]
pub struct Prepared {
    /// The encoded rows.
    pub store: Arc<Store>,
    /// What was read; equals the store's but for what does not change the encoded form (transforms, `min_count` …).
    pub layout: Layout,
    /// What `features = "infer"` decided.
    pub inferred: Vec<Inferred>,
    /// True if the store was there already.
    pub reused: bool,
    /// What was wrong with the store that was there, so that it was built anew.
    pub damage: Option<String>,
}

/// Opens the spec's source. `files` replace its files. With `split.kind = "files"`, files of valid and test that stand beside the source's
/// own are read after them.
///
/// # Errors
/// The source's kind is unknown, or its files are missing.
pub fn open_source(spec: &Spec, files: Option<&[PathBuf]>) -> anyhow::Result<SharedSource> {
    let component = &spec.data.source;
    let plugin = registry::find(Kind::Source, &component.kind);
    let Some(Build::Source(SourceBuild { open, .. })) = plugin.map(|p| p.build) else {
        let message = format!("unknown source `{}`", component.kind);
        let help = format!("sources in this build: {}", registry::names(Kind::Source).join(", "));
        return Err(Diagnostics::from(Diagnostic::error("unknown-plugin", message).at(spec.place(&component.path), "").help(help)).into());
    };
    let graph = Graph::of(spec);
    let source = open(&component.settings, files, &graph)?;
    let (None, Split::Files { valid, test }) = (files, &spec.split) else { return Ok(source) };
    let mut paths: Vec<PathBuf> = source.inputs()?.into_iter().filter_map(|i| i.path).collect();
    let before = paths.len();
    for pattern in valid.iter().chain(test) {
        for path in super::split::glob_files(pattern)? {
            if !paths.iter().any(|p| super::split::same_file(p, &path)) {
                paths.push(path);
            }
        }
    }
    if paths.len() == before { Ok(source) } else { open(&component.settings, Some(&paths), &graph) }
}

/// Encodes the source's rows into a store, or opens the one that is there.
///
/// # Errors
/// [`Diagnostics`] for faults of spec and data (all of them at once); [`Stopped`]; errors of files.
pub fn prepare(spec: &Spec, source: &SharedSource, graph: &Graph, options: &PrepareOptions<'_>) -> anyhow::Result<Prepared> {
    let inputs = source.inputs()?;
    let schema = source.schema()?;
    let truth = source.truth();
    let (layout, inferred) = if let Some(layout) = options.layout {
        check_columns(layout, &schema)?;
        (layout.clone(), Vec::new())
    } else {
        let mut claimed = claim(spec, &schema, &truth)?;
        let mut inferred = Vec::new();
        if spec.features.infer {
            let (decided, more) = infer(spec, graph, source.as_ref(), &schema, &truth, &claimed)?;
            inferred = decided;
            claimed.extend(more);
        }
        (resolve(spec, &schema, &truth, &claimed)?, inferred)
    };
    if layout.groups.iter().all(super::layout::GroupLayout::is_empty) {
        let fault = Diagnostic::error("no-features", "the spec names no features");
        return Err(Diagnostics::from(fault.help("add `features = \"infer\"` at the top, or a `[feature.NAME]` table")).into());
    }
    let fingerprint = fingerprint(&inputs, &layout);
    let dir = options.cache_dir.join(&fingerprint);
    let there = || usable(&dir, &fingerprint, &layout, options.verify);
    let damage = match there() {
        Ok(store) => return Ok(Prepared { store: Arc::new(store), layout, inferred, reused: true, damage: None }),
        Err(e) => dir.exists().then(|| format!("{e:#}")),
    };
    sweep(options.cache_dir);
    // Should two prepare the same data at once, each has a folder of its own; it goes with this name unless it is renamed.
    let aside = Aside::reserve(options.cache_dir, &fingerprint)?;
    build(source, &inputs, &layout, &fingerprint, aside.dir(), options)?;
    // In the way may be a damaged store, or one that another process has just built.
    if std::fs::rename(aside.dir(), &dir).is_err() && there().is_err() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove the damaged store `{}`", dir.display()))?;
        std::fs::rename(aside.dir(), &dir).with_context(|| format!("cannot write the store `{}`", dir.display()))?;
    }
    Ok(Prepared { store: Arc::new(Store::open(&dir)?), layout, inferred, reused: false, damage })
}

/// The store of a folder, if it is whole and of this data.
fn usable(dir: &Path, fingerprint: &str, layout: &Layout, verify: bool) -> anyhow::Result<Store> {
    let store = Store::open(dir)?;
    let same = store.meta().fingerprint == fingerprint && store.layout().encoded_form() == layout.encoded_form();
    anyhow::ensure!(same, "`meta.json` is of other data");
    if verify {
        store.verify()?;
    }
    Ok(store)
}

/// The error for inputs without rows.
pub(super) fn no_rows(inputs: &[Input]) -> anyhow::Error {
    let names: Vec<String> = inputs.iter().map(|i| format!("`{}`", i.name)).collect();
    let message = format!("no rows in {}", names.join(", "));
    Diagnostics::from(Diagnostic::error("no-rows", message).help("a file needs rows below its header")).into()
}

fn check_columns(layout: &Layout, schema: &Schema) -> Result<(), Diagnostics> {
    let none = RecordBatch::new_empty(Arc::new(schema.clone()));
    let faults: Vec<Diagnostic> = layout.columns().iter().filter_map(|c| super::encode::column(&none, c).err()).flat_map(|d| d.0).collect();
    if faults.is_empty() { Ok(()) } else { Err(Diagnostics(faults)) }
}

fn fingerprint(inputs: &[Input], layout: &Layout) -> String {
    let mut text = format!("format {FORMAT}\n");
    for input in inputs {
        // However its path is spelled, it is the same file.
        let file = input.path.as_ref().map(|p| p.canonicalize().unwrap_or_else(|_| p.clone()));
        let key = input.entities.as_ref().map_or(String::new(), |e| format!(" entities {:?}", e.key));
        text = format!("{text}{file:?} {:?} {}{key}\n", input.fingerprint, input.bytes);
    }
    text += &layout.encoded_form();
    format!("{:032x}", xxh3_128(text.as_bytes()))
}

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

struct Encoder<'a> {
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

fn build(
    source: &SharedSource,
    inputs: &[Input],
    layout: &Layout,
    fingerprint: &str,
    dir: &Path,
    options: &PrepareOptions<'_>,
) -> anyhow::Result<()> {
    drop(std::fs::remove_dir_all(dir));
    let plan = plan(inputs, layout)?;
    let mut encoder = Encoder {
        layout,
        writer: StoreWriter::create(dir, layout)?,
        dictionaries: (0..layout.tables.len() + layout.aux.len()).map(|_| Dictionary::default()).collect(),
        entities: layout.groups[1..].iter().map(|_| Entities::default()).collect(),
        given: layout.groups[1..].iter().map(|_| None).collect(),
        left_out: LeftOut::new(source.tolerance()),
        faults: Faults::default(),
        show_values: options.show_values,
        key_schema: None,
    };
    let mut progress = PrepareProgress { rows: 0, bytes: 0, total_bytes: inputs.iter().map(|i| i.bytes).sum() };
    let (mut stored, mut bytes) = (Vec::new(), 0);
    for (i, input) in inputs.iter().enumerate() {
        let before = progress.rows;
        encoder.begin(&plan[i]);
        for chunk in read_ahead(source, i, &plan[i])? {
            if options.stop.load(Ordering::Relaxed) {
                return Err(Stopped.into());
            }
            let rows = encoder.take(&chunk?, input, &plan[i]).with_context(|| format!("`{}`", input.name)).map_err(bare_diagnostics)?;
            progress.rows += rows as u64;
            progress.bytes = bytes + source.bytes_read().min(input.bytes);
            (options.progress)(progress);
        }
        bytes += input.bytes;
        progress.bytes = bytes;
        (options.progress)(progress);
        stored.push(StoredInput {
            name: input.name.clone(),
            path: input.path.clone(),
            fingerprint: input.fingerprint.clone(),
            bytes: input.bytes,
            unit: input.unit.to_owned(),
            rows: progress.rows - before,
        });
    }
    encoder.faults.check()?;
    if progress.rows == 0 {
        return Err(no_rows(inputs));
    }
    let entities = layout.groups[1..].iter().zip(&encoder.entities).map(|(g, e)| StoredEntities {
        name: g.name.clone(),
        entities: e.index.len() as u64,
        keys: e.keys.len() as u64,
        keys_with_several: e.keys_with_several,
    });
    let entities = entities.collect();
    encoder.writer.finish(fingerprint, layout, stored, (entities, encoder.left_out.messages()), &encoder.dictionaries)
}

/// Findings are shown as they are; other errors keep the input's name before them.
fn bare_diagnostics(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Diagnostics>() {
        Some(findings) => findings.clone().into(),
        None => error,
    }
}

/// Reads an input on a thread of its own, a few chunks ahead.
fn read_ahead(source: &SharedSource, input: usize, reading: &Reading) -> anyhow::Result<Receiver<anyhow::Result<Chunk>>> {
    let (send, receive) = sync_channel(3);
    let Some(columns) = reading.columns().map(<[String]>::to_vec) else { return Ok(receive) };
    let source = Arc::clone(source);
    let read = move || {
        let chunks = match source.read(input, &columns) {
            Ok(chunks) => chunks,
            Err(e) => {
                drop(send.send(Err(e)));
                return;
            }
        };
        for chunk in chunks {
            let failed = chunk.is_err();
            if send.send(chunk).is_err() || failed {
                return;
            }
        }
    };
    std::thread::Builder::new().name("read".into()).spawn(read).context("cannot start a thread to read")?;
    Ok(receive)
}

impl Encoder<'_> {
    fn begin(&mut self, reading: &Reading) {
        match reading {
            Reading::Members { group, .. } => self.given[group - 1].get_or_insert_default().begin(),
            Reading::Rows(_) => self.given.iter_mut().flatten().for_each(Given::close),
            Reading::Nothing => {}
        }
    }

    /// Encodes a chunk; gives its number of rows.
    fn take(&mut self, chunk: &Chunk, input: &Input, reading: &Reading) -> anyhow::Result<usize> {
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
        self.truth(records, &mut out)?;
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

    fn truth(&self, records: &RecordBatch, out: &mut RowValues) -> anyhow::Result<()> {
        let none = super::id::Missing::default();
        let (mut probabilities, mut outcomes) = (Vec::new(), Vec::new());
        for truth in &self.layout.truth {
            let p = cells(records, &truth.probability, Role::Number)?;
            #[allow(clippy::cast_possible_truncation)]
            let number = |row| p.number(row, &none).ok().flatten().map_or(f32::NAN, |n| n as f32);
            probabilities.push((0..records.num_rows()).map(number).collect::<Vec<f32>>());
            let y = cells(records, &truth.outcome, Role::Text)?;
            outcomes.push((0..records.num_rows()).map(|row| y.label(row).unwrap_or(0)).collect::<Vec<u8>>());
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
