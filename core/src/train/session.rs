//! A run from its data to its result: what `run` and `resume` share.

use super::events::{Event, Observer};
use super::fit::{Ended, Fit};
use super::journal::JournalWriter;
use super::trainer::Trainer;
use crate::data::{self, Dataset, LintReport, Part, PrepareOptions, PrepareProgress, Prepared};
use crate::device::Chosen;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::Graph;
use crate::metrics::{Evaluation, Scores};
use crate::model::Model;
use crate::run::{
    Checkpoint, CheckpointIndex, CheckpointState, DataManifest, Durations, InputManifest, Manifest, RunFolder, Status, card, names,
    replace_file,
};
use crate::score;
use crate::spec::Spec;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// What a session needs besides the spec.
pub struct SessionOptions<'a> {
    /// The command line, for the record.
    pub argv: Vec<String>,
    /// Where networks compute.
    pub device: Chosen,
    /// Folder of encoded stores.
    pub store: &'a Path,
    /// Messages may show values of the data.
    pub show_values: bool,
    /// Compare every file of an encoded store with its checksum before it is used again.
    pub verify: bool,
    /// Set to stop.
    pub stop: &'a AtomicBool,
    /// Called while data are encoded.
    pub progress: &'a dyn Fn(PrepareProgress),
    /// Write the test part's predictions; a run that is resumed does what it was started for.
    pub predictions: bool,
}

/// A spec's data, encoded and looked at.
pub struct LoadedData {
    /// The funnel.
    pub graph: Graph,
    /// The store, and what was inferred.
    pub prepared: Prepared,
    /// Its rows in parts.
    pub dataset: Dataset,
    /// What the lint found.
    pub lint: LintReport,
    /// Seconds it took.
    pub seconds: f64,
}

impl LoadedData {
    /// Per part: its rows, and how many of them reached each stage.
    #[must_use]
    pub fn parts(&self) -> serde_json::Map<String, Value> {
        let reached = |part| -> serde_json::Map<String, Value> {
            let counts = &self.dataset.counts(part).space_positives;
            self.graph.nodes.iter().zip(counts).map(|(n, count)| (n.name.clone(), json!(count))).collect()
        };
        let of = |part: Part| (part.name().to_owned(), json!({ "rows": self.dataset.rows(part), "reached": reached(part) }));
        Part::ALL.into_iter().map(of).collect()
    }
}

/// Encodes (or finds) the data of a spec, and lints them.
///
/// # Errors
/// Faults of the data, as [`crate::diagnostic::Diagnostics`].
pub fn load_data(spec: &Spec, options: &SessionOptions<'_>) -> Result<LoadedData> {
    let started = Instant::now();
    let graph = Graph::of(spec);
    // An objective that cannot work on this funnel is told before any work.
    Model::losses(spec, &graph)?;
    let source = data::open_source(spec, None).map_err(|e| placed(spec, e))?;
    let prepare = PrepareOptions {
        cache_dir: options.store,
        show_values: options.show_values,
        verify: options.verify,
        layout: None,
        progress: options.progress,
        stop: options.stop,
    };
    let prepared = data::prepare(spec, &source, &graph, &prepare).map_err(|e| placed(spec, e))?;
    let (dataset, mut lint) = Dataset::open(spec, &graph, &prepared)?;
    let members = |at: usize| source.inputs().is_ok_and(|inputs| inputs.get(at).is_some_and(|i| i.entities.is_some()));
    let inputs = prepared.store.meta().inputs.iter().enumerate().filter(|(at, _)| !members(*at)).map(|(_, input)| input);
    let without_rows: Vec<String> = inputs.filter(|i| i.rows == 0).map(|i| format!("`{}`", i.name)).collect();
    if !without_rows.is_empty() {
        for finding in lint.diagnostics.iter_mut().filter(|d| d.id == "empty-part") {
            finding.help.push(format!("no rows in {}", without_rows.join(", ")));
        }
    }
    lint.check()?;
    Ok(LoadedData { graph, prepared, dataset, lint, seconds: started.elapsed().as_secs_f64() })
}

/// Findings about the source that have no place in the spec yet are shown where the spec states its files.
fn placed(spec: &Spec, error: anyhow::Error) -> anyhow::Error {
    let Some(Diagnostics(found)) = error.downcast_ref::<Diagnostics>() else { return error };
    let place = || spec.place("data.source.files").or_else(|| spec.place("data.source"));
    let about_files = |d: &Diagnostic| d.annotations.is_empty() && SOURCE_FINDINGS.contains(&d.id);
    let found = found.iter().map(|d| if about_files(d) { d.clone().at(place(), "stated here") } else { d.clone() });
    Diagnostics(found.collect()).into()
}
/// Findings that are about which files the spec names.
const SOURCE_FINDINGS: [&str; 5] = ["no-files", "folder-as-file", "bad-glob", "no-rows", "different-columns"];

/// A finished run's result.
#[derive(Debug)]
pub struct Finished {
    /// On valid, with the final weights; `None` if valid is empty.
    pub valid: Option<Evaluation>,
    /// On test.
    pub test: Option<Evaluation>,
    /// The scored rows of test; of valid if test is empty.
    pub scored: Option<(Part, Scores)>,
    /// `metrics.json`.
    pub metrics: Value,
    /// The manifest.
    pub manifest: Manifest,
}

/// How a session ended.
#[derive(Debug)]
pub enum SessionEnd {
    /// Trained and evaluated.
    Finished(Box<Finished>),
    /// Stopped at this step; `resume` goes on.
    Interrupted {
        /// Steps done.
        step: u64,
    },
}

/// A run: what it trains, on what, and where its record is kept.
pub struct Session<'a> {
    /// The spec.
    pub spec: &'a Spec,
    /// The run's folder.
    pub folder: &'a RunFolder,
    /// The data.
    pub data: &'a LoadedData,
    /// Device, stop flag and the like.
    pub options: &'a SessionOptions<'a>,
}

impl Session<'_> {
    /// Starts the run in its fresh folder: its record first (`spec_text` are the bytes of the spec as given), then training.
    ///
    /// # Errors
    /// Whatever stops it; `run.json` says so too.
    pub fn start(&self, spec_text: &[u8], observers: &mut [&mut dyn Observer]) -> Result<SessionEnd> {
        let Self { spec, folder, data, options } = *self;
        let write = |name: &str, bytes: &[u8]| replace_file(&folder.file(name), |w| Ok(w.write_all(bytes)?));
        write(names::SPEC, spec_text)?;
        write(names::RESOLVED, spec.resolved().as_bytes())?;
        write(names::LINT, serde_json::to_string_pretty(&crate::diagnostic::render::json(&data.lint.diagnostics))?.as_bytes())?;
        std::fs::create_dir_all(folder.file(names::FEATURES)).context("making the folder of features")?;
        data.dataset.preprocessor().save(&folder.file(names::FEATURES))?;
        let trainer = self.trainer()?;
        let (_, total_steps) = Fit::steps(spec, &data.dataset);
        let manifest = Manifest {
            version: env!("CARGO_PKG_VERSION").into(),
            argv: options.argv.clone(),
            funnel: spec.funnel.name.clone(),
            created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            device: options.device.name.clone(),
            threads: rayon::current_num_threads(),
            seed: spec.train.seed,
            error: None,
            status: Status::Running,
            steps: 0,
            total_steps,
            dense_params: trainer.model.dense_params(),
            table_rows: trainer.model.embeddings.iter().map(|set| set.tables.rows()).sum(),
            predictions: options.predictions,
            data: describe(data),
            durations: Durations { prepare_seconds: data.seconds, ..Durations::default() },
            resumed: 0,
            alarms: Vec::new(),
        };
        let state = CheckpointState::start(manifest.data.fingerprint.clone());
        self.guarded(manifest, |manifest| self.train(trainer, state, manifest, observers))
    }

    /// Goes on from the run's latest checkpoint, or from the start if there is none yet.
    ///
    /// # Errors
    /// A run that is finished; data that have changed; whatever stops it.
    pub fn resume(&self, observers: &mut [&mut dyn Observer]) -> Result<SessionEnd> {
        let folder = self.folder;
        let mut manifest = Manifest::load(folder)?;
        if manifest.status == Status::Finished {
            bail!("the run `{}` is finished; there is nothing to resume", folder.path.display());
        }
        let now = describe(self.data);
        if now.fingerprint != manifest.data.fingerprint {
            bail!(
                "the data of the run `{}` have changed since it began (fingerprint {} then, {} now); start a new run",
                folder.path.display(),
                manifest.data.fingerprint,
                now.fingerprint
            );
        }
        let mut trainer = self.trainer()?;
        let mut state = CheckpointState::start(now.fingerprint);
        if let Some(name) = CheckpointIndex::load(&folder.checkpoints())?.latest {
            let checkpoint = Checkpoint::at(&folder.checkpoints(), &name);
            state = checkpoint.state()?;
            let loaded = trainer.restore(state.step, checkpoint.model()?, checkpoint.optimizer()?);
            loaded.with_context(|| format!("loading checkpoint `{name}`"))?;
        }
        (manifest.status, manifest.error, manifest.resumed) = (Status::Running, None, manifest.resumed + 1);
        self.guarded(manifest, |manifest| self.train(trainer, state, manifest, observers))
    }

    /// A model at its start.
    fn trainer(&self) -> Result<Trainer> {
        let Self { spec, data, options, .. } = *self;
        let (_, total_steps) = Fit::steps(spec, &data.dataset);
        let base_rates: Vec<f64> = (0..data.graph.len()).map(|s| data.dataset.base_rate(s).unwrap_or(0.5)).collect();
        let fields = data.dataset.fields().clone();
        let model = Model::build(spec, data.graph.clone(), fields, &base_rates, &options.device.device, true)?;
        Ok(Trainer::new(model, spec, total_steps))
    }

    /// Keeps `run.json` in step with what happens.
    fn guarded(&self, mut manifest: Manifest, work: impl FnOnce(&mut Manifest) -> Result<SessionEnd>) -> Result<SessionEnd> {
        manifest.save(self.folder)?;
        let result = work(&mut manifest);
        manifest.status = match &result {
            Ok(SessionEnd::Finished(_)) => Status::Finished,
            Ok(SessionEnd::Interrupted { .. }) => Status::Interrupted,
            Err(error) => {
                manifest.error = Some(format!("{error:#}"));
                Status::Failed
            }
        };
        let saved = manifest.save(self.folder);
        let mut end = result?;
        saved?;
        if let SessionEnd::Finished(finished) = &mut end {
            finished.manifest = manifest;
            card::write(self.folder)?;
        }
        Ok(end)
    }

    fn train(
        &self,
        trainer: Trainer,
        state: CheckpointState,
        manifest: &mut Manifest,
        observers: &mut [&mut dyn Observer],
    ) -> Result<SessionEnd> {
        let Self { spec, folder, data, options } = *self;
        let mut journal = JournalWriter::open(folder, state.step)?;
        let mut watching: Vec<&mut dyn Observer> = vec![&mut journal];
        for o in observers.iter_mut() {
            watching.push(&mut **o);
        }
        let mut fit = Fit {
            spec,
            data: &data.dataset,
            folder,
            stop: options.stop,
            trainer,
            state,
            alarms: std::mem::take(&mut manifest.alarms),
            wait_seconds: 0.0,
            valid_seconds: 0.0,
            valid: None,
        };
        let ended = fit.run(&mut watching);
        manifest.steps = fit.state.step;
        manifest.durations.train_seconds = fit.state.train_seconds;
        manifest.durations.valid_seconds += fit.valid_seconds;
        manifest.alarms = std::mem::take(&mut fit.alarms);
        if ended? == Ended::Interrupted {
            return Ok(SessionEnd::Interrupted { step: fit.state.step });
        }
        let finished = self.evaluate(&mut fit, manifest, &mut watching)?;
        Ok(SessionEnd::Finished(Box::new(finished)))
    }

    /// Evaluates valid and test with the final weights, and writes the result. The only place that looks at test: all that selects is done.
    fn evaluate(&self, fit: &mut Fit<'_>, manifest: &mut Manifest, watching: &mut [&mut dyn Observer]) -> Result<Finished> {
        let Self { spec, folder, data, .. } = *self;
        let part = |part: Part| -> Result<Option<(Evaluation, Scores)>> {
            if data.dataset.rows(part) == 0 {
                return Ok(None);
            }
            let scores = score::collect(&fit.trainer.model, &data.dataset, part)?;
            if part == Part::Test && manifest.predictions {
                let out = folder.file(names::PREDICTIONS);
                if out.exists() {
                    // From just before a crash: this run has not finished.
                    std::fs::remove_file(&out).with_context(|| format!("removing `{}`", out.display()))?;
                }
                score::write_predictions(&data.dataset, &data.graph, part, &scores.logits, &out)?;
            }
            Ok(Some((score::evaluate(spec, &data.graph, &data.dataset, &scores), scores)))
        };
        // The last evaluation stands, unless it was of other weights.
        let without_test = data.dataset.rows(Part::Test) == 0;
        let (valid, of_valid) = match fit.valid.take() {
            Some(valid) if !without_test => (Some(valid), None),
            _ => part(Part::Valid)?.unzip(),
        };
        let started = Instant::now();
        let (test, of_test) = part(Part::Test)?.unzip();
        let scored = of_test.map(|s| (Part::Test, s)).or_else(|| of_valid.map(|s| (Part::Valid, s)).filter(|_| without_test));
        manifest.durations.test_seconds = started.elapsed().as_secs_f64();
        if let Some(evaluation) = &test {
            let epoch = fit.state.epoch + u64::from(fit.state.position > 0);
            let event = Event::Evaluated { step: fit.state.step, epoch, part: "test", evaluation };
            watching.iter_mut().try_for_each(|o| o.on(&event))?;
        }
        let rate = fit.rows_trained() as f64 / manifest.durations.train_seconds.max(1e-9);
        let metrics = json!({
            "valid": valid,
            "test": test,
            "timing": { "rows_per_second": rate, "train_seconds": manifest.durations.train_seconds, "wait_seconds": fit.wait_seconds, "valid_seconds": manifest.durations.valid_seconds, "test_seconds": manifest.durations.test_seconds, "prepare_seconds": manifest.durations.prepare_seconds },
        });
        replace_file(&folder.file(names::METRICS), |w| Ok(serde_json::to_writer_pretty(w, &metrics)?))?;
        Ok(Finished { valid, test, scored, metrics, manifest: manifest.clone() })
    }
}

fn describe(data: &LoadedData) -> DataManifest {
    let meta = data.prepared.store.meta();
    let inputs = meta.inputs.iter().map(|i| InputManifest { name: i.name.clone(), bytes: i.bytes, fingerprint: i.fingerprint.clone() });
    DataManifest {
        fingerprint: meta.fingerprint.clone(),
        inputs: inputs.collect(),
        rows: data.dataset.store().rows() as u64,
        parts: data.parts(),
    }
}
