//! A finished run, loaded to score.

use super::{collect, evaluate};
use crate::data::source::SharedSource;
use crate::data::{self, Dataset, Part, PrepareOptions, Preprocessor, open_source};
use crate::device::Device;
use crate::graph::Graph;
use crate::metrics::Evaluation;
use crate::model::Model;
use crate::plugin::Build;
use crate::plugin::registry::{self, Kind};
use crate::plugin::source::kind_of_file;
use crate::run::{Checkpoint, CheckpointIndex, Manifest, RunFolder, Status, names};
use crate::spec::{self, Spec};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::sync::Arc;

/// A trained funnel.
#[derive(Debug)]
pub struct Scorer {
    /// The run's spec.
    pub spec: Spec,
    /// The funnel.
    pub graph: Graph,
    /// The model, with the run's final weights.
    pub model: Model,
    /// How raw columns become its input.
    pub preprocessor: Arc<Preprocessor>,
    manifest: Manifest,
}

impl Scorer {
    /// Loads a finished run.
    ///
    /// # Errors
    /// A run that has not finished, or whose files are missing or damaged: the message names the file and what to do.
    pub fn open(folder: &RunFolder, device: &Device) -> Result<Self> {
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
        // The biases are in the checkpoint; any rate will do here.
        let rates = vec![0.5; graph.len()];
        let mut model = Model::build(&spec, graph.clone(), preprocessor.fields().clone(), &rates, device, false)?;
        model.load(checkpoint.model()?).with_context(|| format!("loading checkpoint `{name}` of `{}`", folder.path.display()))?;
        Ok(Self { spec, graph, model, preprocessor: Arc::new(preprocessor), manifest })
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

    /// Metrics on the test part, or on all rows of other files (which need labels).
    ///
    /// # Errors
    /// Data that are missing, have changed since the run, or lack a column.
    pub fn evaluate(&self, files: Option<&[PathBuf]>, options: &PrepareOptions<'_>) -> Result<Evaluation> {
        let source = match files {
            None => open_source(&self.spec, None)?,
            Some(files) => self.open_source(files)?,
        };
        let layout = self.preprocessor.layout();
        let others = layout.for_other_rows();
        let layout = Some(if files.is_some() { &others } else { layout });
        let prepared = data::prepare(&self.spec, &source, &self.graph, &PrepareOptions { layout, ..*options })?;
        let preprocessor = (*self.preprocessor).clone();
        let (dataset, lint) = match files {
            None => Dataset::reopen(&self.spec, &self.graph, &prepared, preprocessor)?,
            Some(_) => Dataset::for_evaluation(&self.spec, &self.graph, &prepared, preprocessor)?,
        };
        if files.is_none() && prepared.store.meta().fingerprint != self.manifest.data.fingerprint {
            bail!("the run's data have changed since it was trained; name the files to evaluate with `--data`");
        }
        lint.check()?;
        if dataset.rows(Part::Test) == 0 {
            bail!("there are no rows to evaluate: the run's test part is empty; name files with `--data`");
        }
        let scores = collect(&self.model, &dataset, Part::Test)?;
        Ok(evaluate(&self.spec, &self.graph, &dataset, &scores))
    }
}
