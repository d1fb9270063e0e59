//! Run folders: everything that a run leaves behind, under names that stand here and nowhere else.
//!
//! A folder is made before the first step. What is in it is only ever added to: files that change are written aside, synced and renamed,
//! so that a crash or a full disk leaves the previous state whole.

pub mod card;
mod checkpoint;
mod files;
mod folder;
mod journal;
mod manifest;
mod tensorboard;

pub(crate) use checkpoint::write_tensors;
pub use checkpoint::{Checkpoint, CheckpointIndex, CheckpointState, Loaded, Tensors};
pub(crate) use files::put;
pub use files::{replace_file, replace_file_by, write_aside};
pub use folder::{RunFolder, find_run};
pub use journal::{Journal, Line};
pub use manifest::{DataManifest, Durations, InputManifest, Manifest, Status};
pub use tensorboard::EventFile;

/// Names of the files of a run folder.
pub mod names {
    /// The bytes of the spec as given.
    pub const SPEC: &str = "spec.toml";
    /// Every key with where it came from.
    pub const RESOLVED: &str = "resolved.toml";
    /// What ran, on what, and how it ended.
    pub const MANIFEST: &str = "run.json";
    /// A JSON object a line.
    pub const JOURNAL: &str = "metrics.jsonl";
    /// How the names of TensorBoard's event files start.
    pub const EVENTS: &str = "events.out.tfevents";
    /// The result.
    pub const METRICS: &str = "metrics.json";
    /// The test part's predictions.
    pub const PREDICTIONS: &str = "predictions.parquet";
    /// Vocabularies and transforms.
    pub const FEATURES: &str = "features";
    /// Checkpoints.
    pub const CHECKPOINTS: &str = "checkpoints";
    /// Corrections of the stages' logits, fitted after training.
    pub const CALIBRATION: &str = "calibration.json";
    /// What the run is, for people.
    pub const CARD: &str = "model-card.md";
    /// What a person looks at.
    pub const REPORT: &str = "report.html";
    /// What each field is worth.
    pub const IMPORTANCE: &str = "importance.json";
    /// Lint findings of the data.
    pub const LINT: &str = "lint.json";
}
