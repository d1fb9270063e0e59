//! `run.json`: what ran, on what, and how it ended.

use super::files::replace_file;
use super::{RunFolder, names};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Under way, or killed.
    Running,
    /// Stopped on request, with a checkpoint.
    Interrupted,
    /// Ended with an error.
    Failed,
    /// Done.
    Finished,
}

/// One input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputManifest {
    /// As given.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Changes with the content.
    pub fingerprint: String,
}

/// What the data was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataManifest {
    /// Of the inputs and of what is read from them.
    pub fingerprint: String,
    /// The inputs.
    pub inputs: Vec<InputManifest>,
    /// Rows of all inputs.
    pub rows: u64,
    /// Per part: rows, and rows that reached each stage.
    pub parts: serde_json::Map<String, serde_json::Value>,
}

/// Seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// Reading and encoding; about 0 if the store was there.
    pub prepare_seconds: f64,
    /// Training steps, over all times the run was resumed.
    pub train_seconds: f64,
    /// Evaluations on valid.
    pub valid_seconds: f64,
    /// The evaluation on test.
    pub test_seconds: f64,
}

/// `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the program.
    pub version: String,
    /// The command line.
    pub argv: Vec<String>,
    /// The funnel's name.
    pub funnel: String,
    /// When it was made, UTC.
    pub created: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Threads.
    pub threads: usize,
    /// Seed of training.
    pub seed: u64,
    /// Why it ended badly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How it stands.
    pub status: Status,
    /// Steps done.
    pub steps: u64,
    /// Steps planned.
    pub total_steps: u64,
    /// Weights of encoder and towers.
    pub dense_params: usize,
    /// Rows of all tables.
    pub table_rows: usize,
    /// Whether the test part's predictions were asked for.
    #[serde(default)]
    pub predictions: bool,
    /// The data.
    pub data: DataManifest,
    /// How long it took.
    pub durations: Durations,
    /// Times it was resumed.
    #[serde(default)]
    pub resumed: u32,
    /// Alarms that training raised.
    #[serde(default)]
    pub alarms: Vec<String>,
}

impl Manifest {
    /// Writes it.
    ///
    /// # Errors
    /// The file system.
    pub fn save(&self, folder: &RunFolder) -> Result<()> {
        replace_file(&folder.file(names::MANIFEST), |w| Ok(serde_json::to_writer_pretty(w, self)?))
    }
    /// Reads it.
    ///
    /// # Errors
    /// Not there or not readable.
    pub fn load(folder: &RunFolder) -> Result<Self> {
        let path = folder.file(names::MANIFEST);
        let text = fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("`{}` is not a run's manifest", path.display()))
    }
}
