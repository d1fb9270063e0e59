//! The runs of a sweep: trained, gone on with, or read where they are finished.

use super::kept;
use super::plan::{Method, Plan};
use super::rows::Bootstrap;
use super::table::Figure;
use crate::cli::Global;
use crate::commands::compare::resamples::{Draw, Progress, measure_run};
use crate::commands::compare::sides::clusters;
use crate::commands::run::finished;
use crate::commands::{encoding, load, session};
use crate::progress::{RowProgress, TrainProgress};
use crate::ui::{Ui, count};
use anyhow::{Context, Result, bail};
use esmm_funnel_core::data::Part;
use esmm_funnel_core::device::{Chosen, cpu};
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::metrics::{Member, Scores, columns, shared_auc, shared_columns};
use esmm_funnel_core::run::{Manifest, RunFolder, Status, names, replace_file};
use esmm_funnel_core::score::{self, Scorer};
use esmm_funnel_core::spec::{self, Spec, diff};
use esmm_funnel_core::train::session::{LoadedData, Session};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Added to each run of a sweep: its AUC under the first method's stages before.
const SHARED: &str = "shared.json";
/// Added too, with `--bootstrap`: its metrics on resampled test rows.
const RESAMPLED: &str = "resampled.json";

/// A finished run.
pub struct Done {
    pub folder: PathBuf,
    /// `metrics.json`.
    pub metrics: Value,
    /// Rows of train, valid and test.
    pub rows: [u64; 3],
    spec: Spec,
}

/// What a run came to on test.
pub struct Tested {
    pub seed: u64,
    pub run: PathBuf,
    pub rows: [u64; 3],
    /// `metrics.json`'s `test`, with `shared` beside the spaces of each stage.
    pub test: Value,
    pub train_seconds: f64,
}
impl Tested {
    pub fn of(seed: u64, run: Done, shared: &Value) -> Self {
        let mut test = run.metrics["test"].clone();
        for (stage, value) in shared["stages"].as_object().into_iter().flatten() {
            test[stage]["shared"] = value.clone();
        }
        let train_seconds = run.metrics["timing"]["train_seconds"].as_f64().unwrap_or(0.0);
        Self { seed, run: run.folder, rows: run.rows, test, train_seconds }
    }
}

/// Runs specs, each in its folder.
pub struct Runner<'a> {
    plan: &'a Plan,
    device: Chosen,
    store: &'a Path,
    global: &'a Global,
    ui: &'a Ui,
    /// The data read last, with the settings that they depend on.
    data: Option<(Spec, LoadedData)>,
    /// The first method's test scores of one seed, by its run: every other method is composed with them.
    first: Option<(PathBuf, Scored)>,
}

/// A model's graph, and its scores of the test rows.
type Scored = (Graph, Scores);

impl<'a> Runner<'a> {
    pub fn new(plan: &'a Plan, device: Chosen, store: &'a Path, global: &'a Global, ui: &'a Ui) -> Self {
        Self { plan, device, store, global, ui, data: None, first: None }
    }

    /// Trains a method with a seed at a point of the axis, unless that is done. `None`: interrupted.
    pub fn run(&mut self, method: &Method, value: Option<&str>, point: Option<&str>, seed: u64) -> Result<Option<Done>> {
        let spec = self.plan.spec(method, value, point, seed)?;
        // A point where the spec is what it is anyway is no run of its own.
        let point = match point {
            Some(point) if !diff(&self.plan.spec(method, value, None, seed)?, &spec).is_empty() => Some(point),
            _ => None,
        };
        let mut path = self.plan.out.join(&method.name);
        if let (Some(search), Some(value)) = (&method.search, value) {
            path.push(format!("{}={value}", search.key));
        }
        if let (Some(axis), Some(point)) = (&self.plan.axis, point) {
            path.push(format!("{}={point}", axis.key));
        }
        path.push(format!("seed-{seed}"));
        let begun = begun(&path, &spec)?;
        if !matches!(begun, Some(Status::Finished)) {
            self.ui.story(&format!("{} {}", path.display(), if begun.is_some() { "goes on" } else { "starts" }));
            if !self.train(&path, &spec, &method.path, begun.is_some())? {
                return Ok(None);
            }
        }
        Self::read(&path, spec).map(Some)
    }

    /// Trains to the end. False: interrupted.
    fn train(&mut self, path: &Path, spec: &Spec, file: &Path, begun: bool) -> Result<bool> {
        self.load(spec)?;
        let Some((_, data)) = &self.data else { bail!("there are no data") };
        let folder = if begun { RunFolder::open(path)? } else { RunFolder::create(path)? };
        let options = session(self.device.clone(), self.store, self.global, &|_| ());
        let session = Session { spec, folder: &folder, data, options: &options };
        let mut progress = TrainProgress::new(self.ui);
        let end = if begun {
            session.resume(&mut [&mut progress])?
        } else {
            let text = fs::read(file).with_context(|| format!("reading `{}`", file.display()))?;
            session.start(&text, &mut [&mut progress])?
        };
        Ok(finished(end, &folder, self.ui).is_some())
    }

    /// Reads a finished run.
    fn read(path: &Path, spec: Spec) -> Result<Done> {
        let folder = RunFolder::open(path)?;
        let file = folder.file(names::METRICS);
        let text = fs::read_to_string(&file).with_context(|| format!("reading `{}`", file.display()))?;
        let metrics = serde_json::from_str(&text).with_context(|| format!("`{}` is no result of a run", file.display()))?;
        let parts = Manifest::load(&folder)?.data.parts;
        let rows = Part::ALL.map(|part| parts.get(part.name()).and_then(|p| p["rows"].as_u64()).unwrap_or(0));
        Ok(Done { folder: path.to_owned(), metrics, rows, spec })
    }

    /// The data of a spec; read anew only where they could be others than before.
    fn load(&mut self, spec: &Spec) -> Result<()> {
        if self.data.as_ref().is_some_and(|(of, _)| same_data(of, spec)) {
            return Ok(());
        }
        self.data = None;
        let encoding = encoding(self.ui);
        let progress = |p| encoding.prepare(p);
        let (data, _) = load(spec, &session(self.device.clone(), self.store, self.global, &progress), self.ui)?;
        encoding.done();
        self.ui.story(&format!(
            "{} train, {} valid, {} test rows",
            count(data.dataset.rows(Part::Train)),
            count(data.dataset.rows(Part::Valid)),
            count(data.dataset.rows(Part::Test))
        ));
        self.data = Some((spec.clone(), data));
        Ok(())
    }

    /// A run's test AUC with the stages before a stage as the run `first` has them: `{"with": …, "stages": {"<stage>": {"auc", …}}}`. Kept in the
    /// run's folder. `None`: interrupted.
    pub fn shared(&mut self, run: &Done, first: &Path) -> Result<Option<Value>> {
        let with = first.strip_prefix(&self.plan.out).unwrap_or(first).display().to_string();
        let file = run.folder.join(SHARED);
        if let Some(known) = fs::read(&file).ok().and_then(|b| serde_json::from_slice::<Value>(&b).ok())
            && known["with"] == with
        {
            return Ok(Some(known));
        }
        if crate::STOP.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let stages = if run.rows[2] > 0 { self.shared_stages(run, first)? } else { Map::new() };
        let value = json!({ "with": with, "stages": stages });
        replace_file(&file, |w| Ok(serde_json::to_writer_pretty(w, &value)?))?;
        Ok(Some(value))
    }

    /// Per stage that is no child of the row: its shared AUC.
    fn shared_stages(&mut self, run: &Done, first: &Path) -> Result<Map<String, Value>> {
        self.load_first(first)?;
        let own = if first == run.folder { None } else { Some(self.test(&run.folder, &run.spec)?) };
        let Some((_, others)) = &self.first else { bail!("the first method has no scores") };
        let (graph, scores) = own.as_ref().unwrap_or(others);
        Ok(match shared_auc((graph, scores), (&others.0, &others.1)) {
            Ok(found) => found.into_iter().map(|(stage, auc)| (stage, entry(auc))).collect(),
            Err(why) => graph.nodes.iter().filter(|n| n.parent.is_some()).map(|n| (n.name.clone(), entry(Err(why)))).collect(),
        })
    }

    /// Has the first method's scores of a seed at hand.
    fn load_first(&mut self, first: &Path) -> Result<()> {
        if self.first.as_ref().is_none_or(|(of, _)| of != first) {
            let spec = spec::load(&first.join(names::RESOLVED), &[])?.spec;
            self.first = Some((first.to_owned(), self.test(first, &spec)?));
        }
        Ok(())
    }

    /// A run's metrics on resampled test rows, in the spaces of the figures. Kept in the run's folder. `None`: interrupted.
    pub fn resampled(
        &mut self,
        run: &Tested,
        first: &Tested,
        bootstrap: &Bootstrap,
        figures: &[Figure],
        (done, runs): (usize, usize),
    ) -> Result<Option<Member>> {
        let with = first.run.strip_prefix(&self.plan.out).unwrap_or(&first.run);
        let key = json!({ "with": with, "replicates": bootstrap.replicates, "by": bootstrap.by, "seed": Bootstrap::SEED });
        let file = run.run.join(RESAMPLED);
        if let Some(known) = fs::read(&file).ok().and_then(|b| kept::read(&b, &key)) {
            return Ok(Some(Member { seed: run.seed, spaces: known }));
        }
        let spec = spec::load(&run.run.join(names::RESOLVED), &[])?.spec;
        self.load_first(&first.run)?;
        let own = if first.run == run.run { None } else { Some(self.test(&run.run, &spec)?) };
        let Some((_, others)) = &self.first else { bail!("the first method has no scores") };
        let (graph, scores) = own.as_ref().unwrap_or(others);
        let mut spaces = columns(graph, scores);
        spaces.extend(shared_columns((graph, scores), (&others.0, &others.1)).unwrap_or_default());
        spaces.retain(|s| figures.iter().any(|f| f.compared && f.path == format!("{}.{}.auc", s.target, s.space)));
        let Some((_, data)) = &self.data else { bail!("there are no data") };
        let clusters = bootstrap.by.as_ref().map(|by| clusters(&data.dataset, by, "--bootstrap-by")).transpose()?;
        let draw = Draw {
            clusters,
            rows: scores.len(),
            replicates: bootstrap.replicates,
            seed: Bootstrap::SEED,
            ece_bins: spec.metrics.ece_bins.get(),
        };
        let line = RowProgress::new(self.ui, "resampling");
        let weights = (!scores.weights.is_empty()).then_some(scores.weights.as_slice());
        let Some(member) = measure_run(run.seed, &spaces, weights, &draw, &Progress { line: &line, done, runs }) else { return Ok(None) };
        let value = kept::write(&key, &member.spaces);
        replace_file(&file, |w| Ok(serde_json::to_writer(w, &value)?))?;
        Ok(Some(member))
    }

    /// The scores of a run's test rows.
    fn test(&mut self, folder: &Path, spec: &Spec) -> Result<Scored> {
        let scorer = Scorer::open_uncalibrated(&RunFolder::open(folder)?, &cpu())?;
        self.load(spec)?;
        let Some((_, data)) = &self.data else { bail!("there are no data") };
        let scores = score::collect(&scorer.model, &data.dataset, Part::Test)?;
        Ok((scorer.graph, scores))
    }
}

/// `{"auc": …}`, or null with the reason.
fn entry(auc: Result<f64, impl std::fmt::Display>) -> Value {
    match auc {
        Ok(auc) => json!({ "auc": auc }),
        Err(why) => json!({ "auc": null, "auc_reason": why.to_string() }),
    }
}

/// Whether two specs read the same rows in the same way: they differ in what comes after the data alone.
fn same_data(a: &Spec, b: &Spec) -> bool {
    const AFTER: [&str; 5] = ["objective.", "train.", "embedding.", "encoder.", "defaults."];
    diff(a, b).iter().all(|(key, _, _)| AFTER.iter().any(|p| key.starts_with(p)) && !key.starts_with("train.share_"))
}

/// How the run in a folder stands; `None` if it has not begun.
fn begun(path: &Path, spec: &Spec) -> Result<Option<Status>> {
    if !path.join(names::MANIFEST).is_file() {
        discard_unbegun(path)?;
        return Ok(None);
    }
    let folder = RunFolder::open(path)?;
    let read = |text: &str| spec::load_text(names::RESOLVED, text, path, &[]);
    let text = fs::read_to_string(folder.file(names::RESOLVED)).with_context(|| format!("reading the spec of `{}`", path.display()))?;
    let changes = diff(&read(&text)?.spec, &read(&spec.resolved())?.spec);
    if let Some((key, old, new)) = changes.first() {
        let show = |v: &Option<toml::Value>| v.as_ref().map_or_else(|| "nothing".into(), |v| format!("`{v}`"));
        bail!(
            "the run `{}` was made with other settings: `{key}` was {}, and is {} now; name another folder with `--out`",
            path.display(),
            show(old),
            show(new)
        );
    }
    Ok(Some(Manifest::load(&folder)?.status))
}

/// Takes away what a killed process leaves of a run that had not begun; anything else in the way stays, and is an error.
fn discard_unbegun(path: &Path) -> Result<()> {
    let own = [names::SPEC, names::RESOLVED, names::LINT, names::FEATURES, names::CHECKPOINTS];
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    for entry in entries {
        let name = entry.with_context(|| format!("reading `{}`", path.display()))?.file_name();
        if !own.iter().any(|o| name.to_string_lossy().trim_start_matches('.').starts_with(o)) {
            return Ok(());
        }
    }
    fs::remove_dir_all(path).with_context(|| format!("removing `{}`, which holds no run", path.display()))
}
