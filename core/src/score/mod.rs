//! Scoring: what `eval`, `predict` and training's own evaluations share. One path: rows → encoded batch → logits → composition.

mod predict;
mod scorer;
mod sink;

pub use predict::PredictSummary;
pub use scorer::Scorer;
pub use sink::Sink;

use crate::data::{BatchPlan, Dataset, Order, Part};
use crate::graph::Graph;
use crate::metrics::{self, Evaluation, Scores};
use crate::model::Model;
use crate::spec::Spec;
use anyhow::Result;

/// Rows of a scoring batch.
pub const SCORE_ROWS: usize = 8192;

/// Scores all rows of a part.
///
/// # Errors
/// Rows that cannot be read.
pub fn collect(model: &Model, data: &Dataset, part: Part) -> Result<Scores> {
    let scorer = model.scorer();
    let mut scores = Scores::default();
    let plan = BatchPlan { batch_rows: SCORE_ROWS, order: Order::Sequential, start: 0, oov_rate: 0.0 };
    for next in data.batches(part, plan)? {
        let (batch, _) = next?;
        scores.append(&batch, &scorer.logits(&batch)?);
    }
    Ok(scores)
}

/// Metrics of scored rows.
#[must_use]
pub fn evaluate(spec: &Spec, graph: &Graph, data: &Dataset, scores: &Scores) -> Evaluation {
    metrics::evaluate(graph, scores, &spec.metrics, &data.fields().aux, &|column, code| data.aux_value(column, code))
}
