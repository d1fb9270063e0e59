//! `conditional`: each stage on the rows of its own space.

use super::sum::{Recipe, Sum, Summand, Weighting, Words, error, probability_words, space_words};
use burn::prelude::*;
use esmm_funnel_core::device::Bk;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::plugin::{Head, ObjectiveSettings};
use esmm_funnel_core::register_objective;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Each stage on the rows whose parent was reached: the competitor BASE of the ESMM paper (Ma et al., SIGIR 2018, section 3), for any
/// graph. Simple and sharp where the stage is asked about such rows only; biased, and starved of data, over all rows. An outcome has no
/// term: its stages' terms train it.
///
/// `Σ_s w_s · mean_{rows of s's space}( −[ r_s·ln σ(z_s) + (1 − r_s)·ln σ(−z_s) ] )` over the stages s; 0 where a batch has no such row.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Conditional {
    /// How the terms are weighed against each other.
    weighting: Weighting,
}

impl Recipe for Conditional {
    type Part = ();
    fn weighting(&self) -> Weighting {
        self.weighting
    }
    fn summands(&self, graph: &Graph) -> Vec<Summand<()>> {
        (0..graph.len()).map(|s| Summand::new(graph, s, "", ())).collect()
    }
    fn value(&self, head: &Head<'_>, stage: usize, (): ()) -> Tensor<Bk, 1> {
        head.mean_over(error(head, stage), head.in_space[stage].clone(), 1.0)
    }
    fn present(&self, head: &Head<'_>, stage: usize, (): ()) -> Option<Tensor<Bk, 1>> {
        Some(head.in_space[stage].clone().sum().clamp_max(1.0))
    }
    fn words(&self, graph: &Graph, stage: usize, (): ()) -> Words {
        let (name, space) = (&graph.nodes[stage].name, space_words(graph, stage));
        Words {
            words: format!("binary cross-entropy of {} over {space}", probability_words(graph, stage)),
            formula: format!("−mean[ {name}·ln σ(z_{name}) + (1 − {name})·ln σ(−z_{name}) ] over {space}"),
            letters: Vec::new(),
        }
    }
}
impl ObjectiveSettings for Conditional {
    type Objective = Sum<Self>;
    fn build(&self, graph: &Graph) -> anyhow::Result<Sum<Self>> {
        Ok(Sum::of(self, graph))
    }
}
register_objective!("conditional", Conditional);
