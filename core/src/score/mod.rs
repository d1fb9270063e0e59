//! Scoring: what `eval`, `predict` and training's own evaluations share. One path: rows → encoded batch → logits → composition.

pub mod importance;
mod predict;
mod scorer;
mod sink;

pub use predict::{PredictSummary, probabilities, write_predictions};
pub use scorer::Scorer;
pub use sink::Sink;

use crate::data::{BatchPlan, Dataset, Part};
use crate::graph::Graph;
use crate::metrics::{self, Evaluation, Scores};
use crate::model::Model;
use crate::spec::Spec;
use anyhow::Result;
use std::num::NonZeroUsize;

/// Rows of a scoring batch.
pub const SCORE_ROWS: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

/// Scores all rows of a part.
///
/// # Errors
/// Rows that cannot be read.
pub fn collect(model: &Model, data: &Dataset, part: Part) -> Result<Scores> {
    let scorer = model.scorer();
    let mut scores = Scores::default();
    for next in data.batches(part, BatchPlan::sequential(SCORE_ROWS)) {
        let (batch, _) = next?;
        scores.append(&batch, &scorer.logits(&batch)?);
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
