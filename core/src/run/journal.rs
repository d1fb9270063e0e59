//! `metrics.jsonl`: a JSON object a line, as training goes.

use super::{RunFolder, names};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::Write;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Steps done.
    pub step: u64,
    /// Epoch, from 1.
    pub epoch: u64,
    /// `train`, `valid` or `test`.
    pub part: String,
    /// Stage or outcome.
    pub stage: String,
    /// `conditional`, `full` or `entire`; of a training line the loss term's name.
    pub space: String,
    /// Rows.
    pub rows: Option<u64>,
    /// Rows with label 1.
    pub positives: Option<u64>,
    /// Mean of the loss term since the last training line.
    pub loss: Option<f64>,
    /// Area under the ROC curve.
    pub auc: Option<f64>,
    /// Log loss.
    pub logloss: Option<f64>,
    /// Normalised entropy.
    pub ne: Option<f64>,
    /// Sum of predictions over positives.
    pub pcoc: Option<f64>,
    /// Expected calibration error.
    pub ece: Option<f64>,
    /// Of a training line that is no loss term: what the objective read, such as a share of clipped weights; mean since the last such line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// The open file.
#[derive(Debug)]
pub struct Journal {
    file: File,
}
impl Journal {
    /// Opens it to go on after `step`: lines beyond it, from before an interruption, are taken out, and those of test, which end a run.
    ///
    /// # Errors
    /// The file system.
    pub fn open(folder: &RunFolder, step: u64) -> Result<Self> {
        let path = folder.file(names::JOURNAL);
        let kept: String = fs::read_to_string(&path)
            .unwrap_or_default()
            .lines()
            .filter(|l| serde_json::from_str::<Line>(l).is_ok_and(|l| l.step <= step && l.part != "test"))
            .flat_map(|l| [l, "\n"])
            .collect();
        super::replace_file(&path, |w| Ok(w.write_all(kept.as_bytes())?))?;
        let file = OpenOptions::new().append(true).open(&path).with_context(|| format!("opening `{}`", path.display()))?;
        Ok(Self { file })
    }
    /// Adds lines.
    ///
    /// # Errors
    /// The file system.
    pub fn write(&mut self, lines: &[Line]) -> Result<()> {
        let mut text = String::new();
        for line in lines {
            text.push_str(&serde_json::to_string(line)?);
            text.push('\n');
        }
        self.file.write_all(text.as_bytes()).with_context(|| format!("writing `{}`", names::JOURNAL))
    }
}
