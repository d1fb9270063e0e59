//! `calibration.json` of a run folder: one entry per calibrated stage, what it was fitted on, and what it did to held-out rows.

use super::{Correction, Map};
use crate::graph::Graph;
use crate::run::{RunFolder, names, replace_file};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const FORMAT: u32 = 1;

/// Which rows a correction was fitted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FittedOn {
    /// `valid`, or the names of files.
    pub data: Vec<String>,
    /// Their fingerprint.
    pub fingerprint: String,
    /// Rows of the stage's space.
    pub rows: u64,
    /// Those of them with label 1.
    pub positives: u64,
}

/// The correction of one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageCalibration {
    /// What is done to the logit.
    pub map: Map,
    /// Share of the stage's negatives that the rows hold; `None`: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_rate: Option<f64>,
    /// Where the map is from; `None` if nothing was fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted_on: Option<FittedOn>,
}
impl StageCalibration {
    /// What [`Graph::calibrated_by`] takes.
    #[must_use]
    pub fn correction(&self) -> Correction {
        Correction { map: self.map.clone(), log_keep_rate: self.keep_rate.map_or(0.0, f64::ln) }
    }
}

/// What the corrections did to rows that they were not fitted on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    /// Which rows, in words.
    pub on: String,
    /// Metrics of the towers as trained, in the shape of `metrics.json`'s parts.
    pub before: serde_json::Value,
    /// Metrics with the corrections.
    pub after: serde_json::Value,
}

/// `calibration.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    format: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// When, UTC.
    pub created: String,
    /// The checkpoint whose logits it corrects.
    pub checkpoint: String,
    /// By stage; a stage that is not here stays as it was trained.
    pub stages: BTreeMap<String, StageCalibration>,
    /// `None` where there were no rows to check it on.
    pub checked: Option<Checked>,
}

impl Calibration {
    /// Made now, with these stages.
    #[must_use]
    pub fn new(checkpoint: String, stages: BTreeMap<String, StageCalibration>) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            checkpoint,
            stages,
            checked: None,
        }
    }

    /// Reads that of a run; `None` if it has none. `checkpoint` is the one that the run scores with.
    ///
    /// # Errors
    /// A file that is damaged, of another version, or of another checkpoint or other stages than the run's.
    pub fn load(folder: &RunFolder, graph: &Graph, checkpoint: &str) -> Result<Option<Self>> {
        let path = folder.file(names::CALIBRATION);
        if !path.exists() {
            return Ok(None);
        }
        let read = || -> Result<Self> {
            let text = std::fs::read_to_string(&path)?;
            let found: serde_json::Value = serde_json::from_str(&text).context("it is not JSON")?;
            if let Some(format) = found["format"].as_u64().filter(|f| *f != u64::from(FORMAT)) {
                bail!("it has format {format}, this version reads {FORMAT}");
            }
            let this: Self = serde_json::from_value(found)?;
            this.check(graph, checkpoint)?;
            Ok(this)
        };
        let run = folder.path.display();
        Ok(Some(read().with_context(|| {
            format!(
                "the calibration `{}` cannot be used; fit it again with `esmm-funnel calibrate {run}`, or take it away with `esmm-funnel \
                 calibrate {run} --method none`",
                path.display()
            )
        })?))
    }

    fn check(&self, graph: &Graph, checkpoint: &str) -> Result<()> {
        if self.checkpoint != checkpoint {
            bail!("it was fitted to checkpoint `{}`, and the run scores with `{checkpoint}`", self.checkpoint);
        }
        for (name, stage) in &self.stages {
            if !graph.nodes.iter().any(|n| n.name == *name) {
                bail!("it is of a stage `{name}`, which the run does not have");
            }
            if let Some(fault) = stage.map.fault() {
                bail!("stage `{name}`: {fault}");
            }
            if stage.keep_rate.is_some_and(|r| !(r > 0.0 && r <= 1.0)) {
                bail!("stage `{name}`: `keep_rate` must be above 0 and at most 1");
            }
        }
        Ok(())
    }

    /// Writes it beside the run's files: aside, then renamed.
    ///
    /// # Errors
    /// The file system.
    pub fn save(&self, folder: &RunFolder) -> Result<()> {
        replace_file(&folder.file(names::CALIBRATION), |w| Ok(serde_json::to_writer_pretty(w, self)?))
    }

    /// Takes away that of a run; tells whether there was one.
    ///
    /// # Errors
    /// The file system.
    pub fn remove(folder: &RunFolder) -> Result<bool> {
        let path = folder.file(names::CALIBRATION);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e).with_context(|| format!("removing `{}`", path.display())),
        }
    }

    /// The share of its negatives that the run's rows hold, one a stage of the graph; `None`: all.
    #[must_use]
    pub fn keep_rates(&self, graph: &Graph) -> Vec<Option<f64>> {
        graph.nodes.iter().map(|n| self.stages.get(&n.name)?.keep_rate).collect()
    }

    /// The corrections, one a stage of the graph.
    #[must_use]
    pub fn corrections(&self, graph: &Graph) -> Vec<Option<Correction>> {
        graph.nodes.iter().map(|n| self.stages.get(&n.name).map(StageCalibration::correction)).collect()
    }
}
