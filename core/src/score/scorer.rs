//! A finished run, loaded to score.

use super::calibrate::population;
use super::{Values, collect, evaluate};
use crate::calibration::Calibration;
use crate::data::source::SharedSource;
use crate::data::{self, Dataset, Part, PrepareOptions, Preprocessor, RawEncoder, open_source};
use crate::device::Device;
use crate::graph::Graph;
use crate::metrics::{Evaluation, Scores};
use crate::model::Model;
use crate::plugin::Build;
use crate::plugin::registry::{self, Kind};
use crate::plugin::source::kind_of_file;
use crate::run::{Checkpoint, CheckpointIndex, Manifest, RunFolder, Status, names};
use crate::spec::{self, Spec};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// A trained funnel.
#[derive(Debug)]
pub struct Scorer {
    /// The run's spec.
    pub spec: Spec,
    /// The funnel, with the run's calibration; composing by it gives calibrated probabilities.
    pub graph: Graph,
    /// The model, with the run's final weights. Its logits are those of the towers, and its graph is [`Self::graph`].
    pub model: Model,
    /// How raw columns become its input.
    pub preprocessor: Arc<Preprocessor>,
    /// Which weights these are: changes when they do.
    pub version: String,
    /// The run's folder.
    pub run: PathBuf,
    /// The calibration, if the run has one.
    pub calibration: Option<Calibration>,
    /// The name of the checkpoint that it scores with.
    pub checkpoint: String,
    manifest: Manifest,
}

impl Scorer {
    /// Loads a finished run, with its calibration if it has one.
    ///
    /// # Errors
    /// A run that has not finished, or whose files are missing or damaged: the message names the file and what to do.
    pub fn open(folder: &RunFolder, device: &Device) -> Result<Self> {
        let mut scorer = Self::open_uncalibrated(folder, device)?;
        if let Some(calibration) = Calibration::load(folder, &scorer.graph, &scorer.checkpoint)? {
            scorer.graph = scorer.graph.calibrated_by(calibration.corrections(&scorer.model.graph));
            scorer.model.graph = scorer.graph.clone();
            scorer.version = version(folder, true)?;
            scorer.calibration = Some(calibration);
        }
        Ok(scorer)
    }

    /// Loads a finished run as it was trained.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_uncalibrated(folder: &RunFolder, device: &Device) -> Result<Self> {
        let manifest = Manifest::load(folder)?;
        if manifest.status != Status::Finished {
            bail!(
                "the run `{0}` is not finished (step {1} of {2}); `esmm-funnel resume {0}` goes on",
                folder.path.display(),
                manifest.steps,
                manifest.total_steps
            );
        }
        let spec = spec::load(&folder.file(names::RESOLVED), &[])?.spec;
        let graph = Graph::of(&spec);
        let preprocessor = Preprocessor::load(&folder.file(names::FEATURES))?;
        let index = CheckpointIndex::load(&folder.checkpoints())?;
        let name = index.last.with_context(|| format!("the run `{}` has no final checkpoint", folder.path.display()))?;
        let checkpoint = Checkpoint::at(&folder.checkpoints(), &name);
        checkpoint.state()?;
        let version = version(folder, false)?;
        // The biases are in the checkpoint; any rate will do here.
        let rates = vec![0.5; graph.len()];
        let mut model = Model::build(&spec, graph.clone(), preprocessor.fields().clone(), &rates, device, false)?;
        model.load(checkpoint.model()?).with_context(|| format!("loading checkpoint `{name}` of `{}`", folder.path.display()))?;
        let (preprocessor, run) = (Arc::new(preprocessor), folder.path.clone());
        Ok(Self { spec, graph, model, preprocessor, version, run, calibration: None, checkpoint: name, manifest })
    }

    /// The run's program, its making and its data, for what leaves the run.
    pub(crate) fn origin(&self) -> serde_json::Value {
        let Manifest { version, created, seed, steps, data, .. } = &self.manifest;
        serde_json::json!({ "version": version, "created": created, "seed": seed, "steps": steps, "data": data.fingerprint })
    }

    /// Opens other files to score: with the run's source where its kind fits, else with the source for their ending.
    ///
    /// # Errors
    /// Files that are missing, of unknown or of mixed kinds.
    pub fn open_source(&self, files: &[PathBuf]) -> Result<SharedSource> {
        let own = registry::find(Kind::Source, &self.spec.data.source.kind).map(|p| p.build);
        if let Some(Build::Source(own)) = own
            && files.iter().all(|file| (own.reads)(file))
        {
            return open_source(&self.spec, Some(files));
        }
        let mut kinds = Vec::new();
        for file in files {
            let kind = kind_of_file(file)
                .with_context(|| format!("`{}`: rows are read from .csv, .tsv (also .gz) and .parquet files", file.display()))?;
            kinds.push(kind);
        }
        kinds.dedup();
        let [kind] = kinds[..] else { bail!("the files are of several kinds ({}); give one kind at a time", kinds.join(", ")) };
        if self.spec.data.source.kind == kind {
            return open_source(&self.spec, Some(files));
        }
        let Some(Build::Source(source)) = registry::find(Kind::Source, kind).map(|p| p.build) else {
            bail!("no source `{kind}` in this build");
        };
        (source.open)(&toml::Table::new(), Some(files), &Graph::of(&self.spec))
    }

    /// The run's rows in their parts, or all rows of other files (which need labels) as a test part.
    ///
    /// # Errors
    /// Data that are missing, have changed since the run, or lack a column.
    pub fn rows(&self, files: Option<&[PathBuf]>, options: &PrepareOptions<'_>) -> Result<Dataset> {
        self.rows_of(&self.source_of(files)?, files.is_some(), options)
    }

    fn source_of(&self, files: Option<&[PathBuf]>) -> Result<SharedSource> {
        files.map_or_else(|| open_source(&self.spec, None), |files| self.open_source(files))
    }

    /// The rows of a source: the run's own, or others.
    fn rows_of(&self, source: &SharedSource, others: bool, options: &PrepareOptions<'_>) -> Result<Dataset> {
        let (own, other) = (self.preprocessor.layout(), self.preprocessor.layout().for_other_rows());
        let layout = Some(if others { &other } else { own });
        let prepared = data::prepare(&self.spec, source, &self.graph, &PrepareOptions { layout, ..*options })?;
        let preprocessor = (*self.preprocessor).clone();
        let (dataset, lint) = if others {
            Dataset::for_evaluation(&self.spec, &self.graph, &prepared, preprocessor)?
        } else {
            Dataset::reopen(&self.spec, &self.graph, &prepared, preprocessor)?
        };
        if !others && prepared.store.meta().fingerprint != self.manifest.data.fingerprint {
            bail!("the run's data have changed since it was trained; name the files to evaluate with `--data`");
        }
        lint.check()?;
        Ok(dataset)
    }

    /// The test part, or all rows of other files (which need labels), and its scores.
    ///
    /// # Errors
    /// As [`Self::rows`]; there are no such rows.
    pub fn score(&self, files: Option<&[PathBuf]>, options: &PrepareOptions<'_>) -> Result<(Dataset, Scores)> {
        let dataset = self.rows(files, options)?;
        let scores = self.scores_of(&dataset, files.is_some())?;
        Ok((dataset, scores))
    }

    /// Scores of the test part: the run's own, or that of other files.
    fn scores_of(&self, dataset: &Dataset, others: bool) -> Result<Scores> {
        if dataset.rows(Part::Test) == 0 {
            bail!("there are no rows to evaluate: the run's test part is empty; name files with `--data`");
        }
        let scores = collect(&self.model, dataset, Part::Test)?;
        Ok(match &self.calibration {
            Some(calibration) if !others => population(&self.graph, scores, &calibration.keep_rates(&self.graph)),
            _ => scores,
        })
    }

    /// Metrics on the test part, or on all rows of other files (which need labels). If the run's calibration says that its rows hold a share of
    /// the negatives only, those of the test part count for all; other files count as they are. With the metrics of the `NAME=EXPR` texts of `values`.
    ///
    /// # Errors
    /// As [`Self::rows`]; there are no such rows; a value that cannot be computed.
    pub fn evaluate(&self, files: Option<&[PathBuf]>, values: &[String], options: &PrepareOptions<'_>) -> Result<Evaluation> {
        let source = self.source_of(files)?;
        let reserved = self.graph.targets.iter().any(|t| t.name == "value");
        if reserved && !values.is_empty() {
            bail!(
                "the funnel has a stage or an outcome called `value`, under which the metrics of `--value` would stand; it cannot be evaluated here"
            );
        }
        let values = Values::parse(values, &self.graph, source.schema()?.as_ref(), &[])?;
        let dataset = self.rows_of(&source, files.is_some(), options)?;
        let scores = self.scores_of(&dataset, files.is_some())?;
        let mut evaluation = evaluate(&self.spec, &self.graph, &dataset, &scores);
        let mut encoder = RawEncoder::new(Arc::clone(&self.preprocessor));
        encoder.show_values = options.show_values;
        evaluation.values = values.evaluate(&self.graph, &scores, &values.read(&source, &dataset, Part::Test, &encoder)?);
        Ok(evaluation)
    }
}

/// Tells models apart: a hash of the final checkpoint, of vocabularies and transforms, and of the calibration if it counts.
///
/// # Errors
/// Files that are missing.
pub fn version(folder: &RunFolder, calibrated: bool) -> Result<String> {
    let index = CheckpointIndex::load(&folder.checkpoints())?;
    let name = index.last.with_context(|| format!("the run `{}` has no final checkpoint", folder.path.display()))?;
    let features = folder.file(names::FEATURES);
    // The state holds the hashes of the weights' files.
    let mut files =
        vec![folder.checkpoints().join(name).join("state.json"), features.join(data::FEATURES), features.join(data::VOCABULARY)];
    files.extend(Some(folder.file(names::CALIBRATION)).filter(|file| calibrated && file.is_file()));
    let mut hash = Xxh3::new();
    for file in files {
        hash.update(&std::fs::read(&file).with_context(|| format!("reading `{}`", file.display()))?);
    }
    Ok(format!("{:016x}", hash.digest()))
}
