//! Signs that a stage has gone wrong, told by name: a prediction that collapsed to a constant, or a mean far off the label rate.

use crate::graph::Graph;
use crate::metrics::{Evaluation, Scores};

/// How far a mean may be off the label rate, as a factor.
const OFF: f64 = 5.0;

/// Alarms of an evaluation.
#[must_use]
pub fn alarms(graph: &Graph, scores: &Scores, evaluation: &Evaluation, part: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (s, node) in graph.nodes.iter().enumerate() {
        let name = &node.name;
        let (low, high) = scores.logits[s].iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), z| (l.min(*z), h.max(*z)));
        if scores.logits[s].len() > 1 && high - low < 1e-6 {
            found.push(format!("stage `{name}` predicts the same for every row of {part}: its tower has collapsed"));
        }
        let Some(pcoc) = evaluation.get(&format!("{name}.conditional.pcoc")) else { continue };
        if !(1.0 / OFF..=OFF).contains(&pcoc) {
            found.push(format!(
                "stage `{name}` predicts {pcoc:.2} times its label rate on {part} (rows whose parent was reached): more than {OFF:.0}-fold off"
            ));
        }
    }
    found
}
