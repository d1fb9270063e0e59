//! `escm2_ips`: ESMM with an inverse-propensity term for each stage.

use super::propensity::{Clip, MAX_WEIGHT, MIN_PROPENSITY};
use super::range::{Factor, MaxWeight, Propensity};
use super::sum::{
    Recipe, Sum, Summand, Weighting, Words, conditional_stages, error, error_words, full_space, full_space_targets, full_space_words,
    is_entry, probability_words, space_letter, space_words,
};
use burn::prelude::*;
use esmm_funnel_core::device::Bk;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::plugin::{Head, ObjectiveSettings, Reading};
use esmm_funnel_core::register_objective;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// ESCM²-IPS (Wang et al., SIGIR 2022) for any graph: the terms of `entire_space`, and for each stage its error on the rows of its
/// space, each weighted by the inverse of the probability to be there.
///
/// With a stage's error `e = −[ r·ln σ(z) + (1 − r)·ln σ(−z) ]`, `o` = 1 on the rows of its space, and the propensity
/// `ô` = P(parent reached and `unless` not), full space and a constant to the gradient:
/// - a child of the row: `mean( e )` over all rows;
/// - every other stage: `λ_c · mean( o·e·w )` over all rows, `w = min( 1/max(ô, min_propensity), max_weight )`;
/// - every outcome, and every stage in none that is not a child of the row: `λ_g · mean( −[ r·ln P + (1 − r)·ln(1 − P) ] )`.
///
/// Readings: `<stage>.ips.effective_sample_size`, the share `(Σw)²/(n·Σw²)` of the n rows in the space, and `<stage>.ips.clipped`, the
/// share of them whose weight was clipped.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Escm2Ips {
    /// `λ_c`, the factor of the inverse-propensity terms: 0 or more. The paper searches 0.01 to 0.5.
    counterfactual_weight: Factor,
    /// `λ_g`, the factor of the full-space terms: 0 or more. The paper searches 0.5 to 1.
    global_weight: Factor,
    /// No row weighs more than this: 1 or more.
    max_weight: MaxWeight,
    /// No propensity counts as less than this: more than 0, at most 1.
    min_propensity: Propensity,
    /// How the terms are weighed against each other.
    weighting: Weighting,
}
impl Default for Escm2Ips {
    fn default() -> Self {
        Self {
            counterfactual_weight: Factor(0.1),
            global_weight: Factor(1.0),
            max_weight: MAX_WEIGHT,
            min_propensity: MIN_PROPENSITY,
            weighting: Weighting::default(),
        }
    }
}

/// The summands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Over all rows, full space.
    FullSpace,
    /// On the rows of the stage's space, weighted.
    Counterfactual,
}

impl Escm2Ips {
    fn clip(&self) -> Clip {
        Clip::new(self.max_weight, self.min_propensity)
    }
}
impl Recipe for Escm2Ips {
    type Part = Part;
    fn weighting(&self) -> Weighting {
        self.weighting
    }
    fn summands(&self, graph: &Graph) -> Vec<Summand<Part>> {
        let ips = |s| Summand::new(graph, s, "ips", Part::Counterfactual).times(self.counterfactual_weight.0);
        base_terms(graph, self.global_weight, Part::FullSpace).into_iter().chain(conditional_stages(graph).into_iter().map(ips)).collect()
    }
    fn value(&self, head: &Head<'_>, target: usize, part: Part) -> Tensor<Bk, 1> {
        match part {
            Part::FullSpace => full_space(head, target),
            Part::Counterfactual => head.mean(error(head, target) * self.clip().inside(head, target).weights, 1.0),
        }
    }
    fn readings(&self, head: &Head<'_>) -> Vec<Reading> {
        let of_stage = |s: usize| self.clip().inside(head, s).readings(&format!("{}.ips", head.graph.nodes[s].name));
        conditional_stages(head.graph).into_iter().flat_map(of_stage).collect()
    }
    fn words(&self, graph: &Graph, target: usize, part: Part) -> Words {
        match part {
            Part::FullSpace => full_space_words(graph, target),
            Part::Counterfactual => Words {
                words: format!(
                    "binary cross-entropy of {} on {}, weighted by inverse propensity, over all rows",
                    probability_words(graph, target),
                    space_words(graph, target)
                ),
                formula: "mean[ o·e/ô ]".into(),
                letters: vec![space_letter(graph, target), error_words(graph, target), self.clip().letter(graph, target, true)],
            },
        }
    }
}
/// What inverse-propensity objectives share with `entire_space`: children of the row, then the global terms with their factor.
pub(crate) fn base_terms<P: Copy>(graph: &Graph, global: Factor, part: P) -> Vec<Summand<P>> {
    let entry = (0..graph.len()).filter(|s| is_entry(graph, *s)).map(|s| Summand::new(graph, s, "", part));
    let rest = full_space_targets(graph).into_iter().filter(|t| *t >= graph.len() || !is_entry(graph, *t));
    entry.chain(rest.map(|t| Summand::new(graph, t, "", part).times(global.0))).collect()
}

impl ObjectiveSettings for Escm2Ips {
    type Objective = Sum<Self>;
    fn build(&self, graph: &Graph) -> anyhow::Result<Sum<Self>> {
        Ok(Sum::of(self, graph))
    }
}
register_objective!("escm2_ips", Escm2Ips);
