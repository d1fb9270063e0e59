//! Scoring: what `eval`, `predict` and training's own evaluations share. One path: rows → encoded batch → logits → composition.

mod calibrate;
mod folder;
pub mod importance;
mod ledger;
pub mod online;
mod options;
mod parts;
mod predict;
mod rows;
mod scorer;
mod sink;
mod values;
mod writer;

pub use crate::expression::Expression;
pub use calibrate::{CalibrateOptions, Calibrated};
pub use folder::PartsSummary;
pub use ledger::{InputRecord, PartRecord, Policies, PredictManifest, PredictStatus, Work};
pub use options::{MissingColumns, PredictOptions, PredictSummary, UnknownIds};
pub use parts::{Partition, Shard};
pub use predict::{probabilities, write_predictions};
pub use scorer::{Scorer, version};
pub use sink::Sink;
pub use values::Values;

use crate::data::{BatchPlan, Dataset, Part, Stopped};
use crate::graph::Graph;
use crate::metrics::{self, Evaluation, Scores};
use crate::model::Model;
use crate::spec::Spec;
use anyhow::Result;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows of a scoring batch.
pub const SCORE_ROWS: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

/// Scores all rows of a part.
///
/// # Errors
/// Rows that cannot be read.
pub fn collect(model: &Model, data: &Dataset, part: Part) -> Result<Scores> {
    collect_watched(model, data, part, &|_| (), &AtomicBool::new(false))
}

/// As [`collect`], telling how many rows are done.
///
/// # Errors
/// As [`collect`], and [`Stopped`] when `stop` is set.
pub fn collect_watched(model: &Model, data: &Dataset, part: Part, progress: &dyn Fn(u64), stop: &AtomicBool) -> Result<Scores> {
    let scorer = model.scorer();
    let mut scores = Scores::default();
    for next in data.batches(part, BatchPlan::sequential(SCORE_ROWS)) {
        if stop.load(Ordering::Relaxed) {
            return Err(Stopped.into());
        }
        let (batch, _) = next?;
        scores.append(&batch, &scorer.logits(&batch)?);
        progress(scores.len() as u64);
    }
    Ok(scores)
}

/// Metrics of scored rows.
#[must_use]
pub fn evaluate(spec: &Spec, graph: &Graph, data: &Dataset, scores: &Scores) -> Evaluation {
    metrics::evaluate(graph, scores, &spec.metrics, &data.fields().aux, &|column, code| aux_name(data, column, code))
}

/// What a code of a metric column stands for.
fn aux_name(data: &Dataset, column: usize, code: u32) -> String {
    match (code as usize).checked_sub(1).and_then(|at| data.store().aux_values(column).get(at)) {
        Some(value) => value.to_string(),
        None => "(missing)".into(),
    }
}
