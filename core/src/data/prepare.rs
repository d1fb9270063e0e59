//! Source → [`Store`]: every input is read once, encoded some chunks at a time, and written; memory grows only with dictionaries and entities. What
//! was interrupted goes on where it was.

use super::aside::{Aside, sweep};
use super::checkpoint::{Checkpoint, Identity, Kinship};
use super::infer::{Inferred, infer};
use super::layout::Layout;
use super::passage::Passage;
use super::resolve::{claim, resolve, truth_columns};
use super::source::{Input, SharedSource};
use super::store::{FORMAT, Store};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::Graph;
use crate::plugin::registry::{self, Kind};
use crate::plugin::source::OpenSource;
use crate::plugin::{Build, SourceBuild};
use crate::spec::{Spec, Split};
use anyhow::Context;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_128;

/// Between two checkpoints. One waits for the disk to have everything.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// How far [`prepare`] is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrepareProgress {
    /// Rows encoded.
    pub rows: u64,
    /// Bytes read, about.
    pub bytes: u64,
    /// Bytes of all inputs; 0 if unknown.
    pub total_bytes: u64,
    /// Of the rows, those that an earlier process has encoded.
    pub earlier_rows: u64,
    /// Of the bytes, those that an earlier process has read.
    pub earlier_bytes: u64,
    /// What should be told.
    pub note: Option<PrepareNote>,
}

/// What a [`PrepareProgress`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrepareNote {
    /// It goes on where an interrupted one was.
    GoesOn,
    /// It begins anew, though an interrupted one has left something: why.
    BeginsAnew(String),
    /// It was interrupted here, and can be gone on with.
    Interrupted,
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
    /// Called after every few chunks.
    pub progress: &'a dyn Fn(PrepareProgress),
    /// Set to true to stop; [`prepare`] then fails with [`Stopped`], and the next one goes on from there.
    pub stop: &'a AtomicBool,
}

/// The caller asked to stop.
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
/// own are read after them. The columns of the files that `data.beside` names stand beside the source's own; `files` have none such.
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
    if files.is_some() {
        return Ok(source);
    }
    let source = with_other_files(spec, source, open, &graph)?;
    super::beside::beside(spec, source, &graph)
}

/// With `split.kind = "files"`, the files of valid and test that are not among the source's own are read after them.
fn with_other_files(spec: &Spec, source: SharedSource, open: OpenSource, graph: &Graph) -> anyhow::Result<SharedSource> {
    let component = &spec.data.source;
    let Split::Files { valid, test } = &spec.split else { return Ok(source) };
    let mut paths: Vec<PathBuf> = source.inputs()?.into_iter().filter_map(|i| i.path).collect();
    let before = paths.len();
    for pattern in valid.iter().chain(test) {
        for path in super::split::glob_files(pattern)? {
            if !paths.iter().any(|p| super::split::same_file(p, &path)) {
                paths.push(path);
            }
        }
    }
    if paths.len() == before { Ok(source) } else { open(&component.settings, Some(&paths), graph) }
}

/// Encodes the source's rows into a store, or opens the one that is there. What an interrupted call has left is gone on with, if the data are the
/// same: the store is the one that it would have become.
///
/// # Errors
/// [`Diagnostics`] for faults of spec and data (all of them at once); [`Stopped`]; errors of files.
pub fn prepare(spec: &Spec, source: &SharedSource, graph: &Graph, options: &PrepareOptions<'_>) -> anyhow::Result<Prepared> {
    prepare_every(CHECKPOINT_EVERY, spec, source, graph, options)
}

/// [`prepare`] with this time between two checkpoints.
pub(super) fn prepare_every(
    every: Duration,
    spec: &Spec,
    source: &SharedSource,
    graph: &Graph,
    options: &PrepareOptions<'_>,
) -> anyhow::Result<Prepared> {
    let inputs = source.inputs()?;
    let schema = source.schema()?;
    let truth = truth_columns(spec, source.truth());
    let (layout, inferred) = if let Some(layout) = options.layout {
        check_columns(spec, layout, &schema)?;
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
    let passage = Passage::new(source, &inputs, &layout, Identity::of(&inputs, &layout, &fingerprint), options, every)?;
    let aside = build(&passage, options.cache_dir)?;
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
pub(super) fn no_rows<'n>(inputs: impl Iterator<Item = &'n str>) -> anyhow::Error {
    let names: Vec<String> = inputs.map(|name| format!("`{name}`")).collect();
    let message = format!("no rows in {}", names.join(", "));
    Diagnostics::from(Diagnostic::error("no-rows", message).help("a file needs rows below its header")).into()
}

fn check_columns(spec: &Spec, layout: &Layout, schema: &Schema) -> Result<(), Diagnostics> {
    let none = RecordBatch::new_empty(Arc::new(schema.clone()));
    let missing = layout.columns().into_iter().filter_map(|c| super::encode::column(&none, &c).err()).flat_map(|d| d.0);
    let hint = |d: Diagnostic| if spec.data.beside.is_empty() { d } else { d.help(super::BESIDE_HINT) };
    let faults: Vec<Diagnostic> = missing.map(hint).collect();
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

/// Builds the store aside, or goes on with building it.
fn build(passage: &Passage<'_>, cache: &Path) -> anyhow::Result<Aside> {
    let mut note = None;
    let left = sweep(cache, |dir| match Checkpoint::read(dir).map(|c| passage.identity.kinship(&c.identity)) {
        Some(Kinship::Same) => true,
        Some(Kinship::Changed(name)) => {
            note = Some(PrepareNote::BeginsAnew(format!("`{name}`, or how it is read, has changed since")));
            false
        }
        Some(Kinship::Other) | None => false,
    });
    // Should two prepare the same data at once, each has a folder of its own; it goes with this name unless it is renamed.
    let aside = left.map_or_else(|| Aside::reserve(cache, &passage.identity.fingerprint), Ok)?;
    match passage.go(&aside, note) {
        Ok(()) => Ok(aside),
        Err(error) => {
            // Faulty data are to be mended, and are other data then.
            if error.downcast_ref::<Diagnostics>().is_none() && Checkpoint::read(aside.dir()).is_some() {
                aside.leave();
            }
            Err(error)
        }
    }
}
