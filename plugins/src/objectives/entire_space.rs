//! `entire_space`: the ESMM loss, for any graph of stages.

use super::sum::{Recipe, Sum, Summand, Weighting, Words, full_space_targets, full_space_words};
use burn::prelude::*;
use esmm_funnel_core::device::Bk;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::plugin::{Head, ObjectiveSettings};
use esmm_funnel_core::register_objective;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The loss of the ESMM paper (Ma et al., SIGIR 2018, equation 6) for any graph: for each stage, the binary cross-entropy of its
/// *full-space* probability (the product along its path) over *all* rows; no term on the rows of the parent alone. Stages of an outcome are
/// trained through the outcome's sum.
///
/// `Σ_t w_t · mean_rows( −[ r_t·ln P_t + (1 − r_t)·ln(1 − P_t) ] )` over the targets t: outcomes, and stages that are in no outcome.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EntireSpace {
    /// How the terms are weighed against each other.
    weighting: Weighting,
}

impl Recipe for EntireSpace {
    type Part = ();
    fn weighting(&self) -> Weighting {
        self.weighting
    }
    fn summands(&self, graph: &Graph) -> Vec<Summand<()>> {
        full_space_targets(graph).into_iter().map(|t| Summand::new(graph, t, "", ())).collect()
    }
    fn value(&self, head: &Head<'_>, target: usize, (): ()) -> Tensor<Bk, 1> {
        head.mean(head.weighed(target, head.full_space_cross_entropy(target)), 1.0)
    }
    fn is_full_space(&self) -> bool {
        true
    }
    fn weighs(&self, graph: &Graph, stage: usize) -> bool {
        full_space_targets(graph).contains(&stage)
    }
    fn words(&self, graph: &Graph, target: usize, (): ()) -> Words {
        full_space_words(graph, target)
    }
}
impl ObjectiveSettings for EntireSpace {
    type Objective = Sum<Self>;
    fn build(&self, graph: &Graph) -> anyhow::Result<Sum<Self>> {
        Ok(Sum::of(self, graph))
    }
}
register_objective!("entire_space", EntireSpace);
