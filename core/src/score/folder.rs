//! Predictions as a folder of Parquet parts: a killed try, given again, goes on with the parts that are missing; several machines may fill one
//! folder, each its shard. A part is written aside, synced and renamed, and says in its own metadata what it is, so that a part is
//! whole or not there, whatever the manifest had time to say.

use super::ledger::{PartRecord, Policies, PredictManifest, PredictStatus, Work};
use super::options::{PredictOptions, PredictSummary};
use super::parts::{Plan, Shard, Stretch, is_part};
use super::predict::RowScorer;
use super::writer::Writer;
use super::{Partition, Scorer};
use crate::data::source::SharedSource;
use crate::run::{replace_file, replace_file_by};
use anyhow::{Context, Result, bail};
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::{self, File, TryLockError};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The key of a part's own record in its metadata.
pub(super) const NOTE: &str = "esmm_funnel.part";

/// What [`Scorer::predict_parts`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartsSummary {
    /// This shard's manifest.
    pub manifest: PredictManifest,
    /// Parts that were there already.
    pub reused: usize,
    /// All shards are finished.
    pub complete: bool,
}

impl Scorer {
    /// Scores the rows of `source` into parts in `folder`, or goes on with that. The folder's manifest is `predict.json`; of a shard
    /// `predict-<i>-of-<n>.json`, and `predict.json` when all shards are finished.
    ///
    /// # Errors
    /// As [`Scorer::predict`]; a folder that holds other files, or predictions of other rows or another model. What is whole stays.
    pub fn predict_parts(
        &self,
        source: &SharedSource,
        folder: &Path,
        partition: Partition,
        options: &PredictOptions<'_>,
    ) -> Result<PartsSummary> {
        let rows = RowScorer::new(self, source, *options)?;
        let inputs = source.inputs()?;
        let policies = Policies { unknown_ids: options.unknown_ids, missing_columns: options.missing_columns };
        let mut work = Work::of(self, &inputs, partition, policies);
        work.values = rows.values.texts();
        work.columns = rows.schema().fields().iter().map(|f| f.name().clone()).collect();
        let all_columns = inputs.iter().any(|i| i.entities.is_some());
        let plan = partition.plan(rows.inputs()?.len(), |input| rows.count(input, all_columns))?;
        let mut folder = Folder::open(folder, work, partition.shard, self.run.clone())?;
        folder.adopt(&plan, partition)?;
        let reused = folder.manifest.parts.len();
        folder.save()?;
        Writer { rows: &rows, plan: &plan, most: partition.rows, folder: &mut folder, options }.all(source)?;
        if let Some(why) = folder.manifest.work.changed(&source.inputs()?) {
            bail!(
                "{why} while it was scored; the parts in `{}` are of two states of it: remove the folder, and start anew",
                folder.path.display()
            );
        }
        let complete = folder.finish()?;
        Ok(PartsSummary { manifest: folder.manifest.clone(), reused, complete })
    }
}

/// An output folder, held by this process for its shard.
pub(super) struct Folder {
    pub path: PathBuf,
    shard: Shard,
    /// Of the work, which each part carries.
    pub stamp: String,
    pub manifest: PredictManifest,
    saved: Instant,
    /// Held while this lives; its file goes then.
    _lock: Lock,
}

/// A part says what it is, so the manifest may lag behind.
const SAVE_EVERY: Duration = Duration::from_secs(1);

impl Folder {
    fn open(path: &Path, work: Work, shard: Shard, run: PathBuf) -> Result<Self> {
        if path.is_file() {
            bail!("`{}` is a file; parts are written to a folder, name another one", path.display());
        }
        let made = !path.exists();
        fs::create_dir_all(path).with_context(|| format!("making the folder `{}`", path.display()))?;
        let lock = Lock::take(path, shard).inspect_err(|_| drop(made.then(|| fs::remove_dir(path))))?;
        let (manifests, parts) = contents(path)?;
        if let (true, Some(part)) = (manifests.is_empty(), parts.first()) {
            bail!("`{}` holds `{part}` and no `predict.json` that tells what it is; name an empty folder", path.display());
        }
        let mut left_out = Vec::new();
        for name in manifests {
            let file = path.join(&name);
            let text = fs::read(&file).with_context(|| format!("reading `{}`", file.display()))?;
            let earlier: PredictManifest = serde_json::from_slice(&text)
                .with_context(|| format!("`{}` is damaged; remove it, or name another folder", file.display()))?;
            let own = name == manifest_name(shard);
            if own && earlier.parts.is_empty() && parts.is_empty() {
                continue;
            }
            let differs = work
                .differs(&earlier.work)
                .or_else(|| (earlier.shards != shard.count()).then(|| format!("in {} shards, now {}", earlier.shards, shard.count())));
            if let Some(why) = differs {
                bail!("`{}` was begun {why}; name another folder, or remove this one to start anew", path.display());
            }
            if own {
                left_out = earlier.summary.left_out;
            }
        }
        let stamp = work.stamp(shard.count())?;
        let summary = PredictSummary { left_out, ..PredictSummary::default() };
        let (shards, number) = (shard.count(), (shard.count() > 1).then_some(shard.index()));
        let manifest = PredictManifest { status: PredictStatus::Running, run, shards, shard: number, work, summary, parts: Vec::new() };
        Ok(Self { path: path.to_owned(), shard, stamp, manifest, saved: Instant::now(), _lock: lock })
    }

    /// Takes over the parts of this plan that are there and whole.
    fn adopt(&mut self, plan: &Plan, partition: Partition) -> Result<()> {
        let (_, files) = contents(&self.path)?;
        for file in files {
            let path = self.path.join(&file);
            // Unreadable: not written by a try of ours, or damaged since; it is written anew.
            let Some((stamp, part)) = read_note(&path) else { continue };
            let mine = |s: &&Stretch| {
                let most = partition.rows.map_or(u64::MAX, NonZeroU64::get);
                let inside = s.input == part.input && s.from <= part.first_row && s.to.is_none_or(|to| part.first_row < to);
                inside && (part.first_row - s.from).is_multiple_of(most)
            };
            if stamp == self.stamp
                && part.file == file
                && plan.file(part.input, part.first_row) == file
                && plan.stretches.iter().any(|s| mine(&s))
            {
                self.manifest.parts.push(part);
            }
        }
        self.manifest.tally();
        Ok(())
    }

    fn save(&self) -> Result<()> {
        let path = self.path.join(manifest_name(self.shard));
        replace_file(&path, |w| Ok(serde_json::to_writer_pretty(w, &self.manifest)?))
    }

    pub(super) fn add(&mut self, part: PartRecord) -> Result<()> {
        self.manifest.summary.add(&part.summary);
        self.manifest.parts.push(part);
        if self.saved.elapsed() < SAVE_EVERY {
            return Ok(());
        }
        self.saved = Instant::now();
        self.save()
    }

    /// Gives whether all shards are finished; the last one writes the manifest of the whole.
    fn finish(&mut self) -> Result<bool> {
        self.manifest.status = PredictStatus::Finished;
        self.manifest.tally();
        self.save()?;
        if self.shard.count() == 1 {
            return Ok(true);
        }
        let mut all = Vec::new();
        for shard in self.shard.all() {
            let text = fs::read(self.path.join(manifest_name(shard)));
            match text.ok().and_then(|text| serde_json::from_slice::<PredictManifest>(&text).ok()) {
                Some(manifest) if manifest.status == PredictStatus::Finished => all.push(manifest),
                _ => return Ok(false),
            }
        }
        let Some(whole) = PredictManifest::merge(all) else { return Ok(false) };
        // Two shards may be the last at once.
        let by = format!("-{}", self.shard.index());
        replace_file_by(&by, &self.path.join(manifest_name(Shard::WHOLE)), |w| Ok(serde_json::to_writer_pretty(w, &whole)?))?;
        Ok(true)
    }
}

fn manifest_name(shard: Shard) -> String {
    if shard.count() == 1 { "predict.json".into() } else { format!("predict-{}-of-{}.json", shard.index(), shard.count()) }
}

fn is_shard_manifest(name: &str) -> bool {
    let middle = name.strip_prefix("predict-").and_then(|n| n.strip_suffix(".json"));
    middle.and_then(|m| m.split_once("-of-")).is_some_and(|(i, n)| format!("{i}/{n}").parse::<Shard>().is_ok())
}

/// Manifests and parts of a folder, sorted; hidden files are left alone.
fn contents(path: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let (mut manifests, mut parts, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for entry in fs::read_dir(path).with_context(|| format!("reading `{}`", path.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let list = match name.as_str() {
            n if n.starts_with('.') => continue,
            n if is_part(n) => &mut parts,
            n if n == "predict.json" || is_shard_manifest(n) => &mut manifests,
            _ => &mut others,
        };
        list.push(name);
    }
    for list in [&mut manifests, &mut parts, &mut others] {
        list.sort();
    }
    match others.first() {
        None => Ok((manifests, parts)),
        Some(other) => bail!("`{}` holds `{other}`, which predictions did not write; name an empty folder", path.display()),
    }
}

/// What a part says of itself.
fn read_note(path: &Path) -> Option<(String, PartRecord)> {
    let reader = SerializedFileReader::new(File::open(path).ok()?).ok()?;
    let notes = reader.metadata().file_metadata().key_value_metadata()?;
    let (stamp, part): (String, PartRecord) = serde_json::from_str(notes.iter().find(|n| n.key == NOTE)?.value.as_deref()?).ok()?;
    (u64::try_from(reader.metadata().file_metadata().num_rows()) == Ok(part.summary.rows)).then_some((stamp, part))
}

/// A file that one process at a time holds.
struct Lock(PathBuf, Option<File>);
impl Lock {
    fn take(folder: &Path, shard: Shard) -> Result<Self> {
        let path = folder.join(format!(".{}.lock", manifest_name(shard)));
        let file = File::create(&path).with_context(|| format!("writing to the folder `{}`", folder.display()))?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            bail!("another process is writing to `{}`, the same shard; wait for it, or end it", folder.display());
        }
        Ok(Self(path, Some(file)))
    }
}
impl Drop for Lock {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
        self.1 = None;
    }
}
