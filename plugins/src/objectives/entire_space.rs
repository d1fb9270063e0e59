//! `entire_space`: the ESMM loss, for any graph of stages.

use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::plugin::{Head, Loss, LossWords, Objective, ObjectiveSettings, Term};
use esmm_funnel_core::register_objective;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The loss of the ESMM paper (Ma et al., SIGIR 2018, equation 6) for any graph: for each stage, the binary cross-entropy of its
/// *full-space* probability (the product along its path) over *all* rows; no term on the rows of the parent alone. Stages of an outcome are
/// trained through the outcome's sum.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EntireSpace {}

/// `Σ_t w_t · mean_rows( −[ r_t·ln P_t + (1 − r_t)·ln(1 − P_t) ] )` over the targets t: outcomes, and stages that are in no outcome.
#[derive(Debug)]
pub struct EntireSpaceLoss {
    targets: Vec<usize>,
}

impl ObjectiveSettings for EntireSpace {
    type Objective = EntireSpaceLoss;
    fn build(&self, graph: &Graph) -> anyhow::Result<Self::Objective> {
        let outcomes = &graph.targets[graph.len()..];
        let targets = (0..graph.targets.len()).filter(|t| *t >= graph.len() || !outcomes.iter().any(|o| o.stages.contains(t))).collect();
        Ok(EntireSpaceLoss { targets })
    }
}
impl Objective for EntireSpaceLoss {
    fn loss(&self, head: &Head<'_>) -> Loss {
        let term = |t: usize| Term {
            name: head.graph.targets[t].name.clone(),
            value: head.mean(head.full_space_cross_entropy(t), head.target_weights[t]),
        };
        self.targets.iter().map(|t| term(*t)).collect::<Vec<_>>().into()
    }
    fn describe(&self, graph: &Graph) -> Vec<LossWords> {
        self.targets
            .iter()
            .map(|&t| {
                let (name, row) = (&graph.targets[t].name, &graph.row);
                LossWords {
                    target: name.clone(),
                    words: format!("binary cross-entropy of P({name} | {row}) over all rows"),
                    equation: format!("−mean[ {name}·ln P({name}) + (1 − {name})·ln(1 − P({name})) ]"),
                }
            })
            .collect()
    }
}
register_objective!("entire_space", EntireSpace);
