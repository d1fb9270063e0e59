//! `dcmt`: a counterfactual head that learns from the rows outside of a stage's space.

use super::escm2_ips::base_terms;
use super::propensity::{Clip, MAX_WEIGHT, MIN_PROPENSITY};
use super::range::{Factor, MaxWeight, Propensity};
use super::sum::{
    Recipe, Sum, Summand, Weighting, Words, complement, conditional_stages, error, error_words, extra, full_space, full_space_words,
    probability_words, space_letter, space_words,
};
use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use esmm_funnel_core::device::Bk;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::plugin::{ExtraHead, Head, ObjectiveSettings, Reading, Start};
use esmm_funnel_core::register_objective;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// DCMT (Zhu et al., ICDE 2023) for any graph: the terms of `entire_space`, and for each stage its error inside *and* outside of its space,
/// each weighted by inverse propensity. Outside, a counterfactual head beside the stage's tower learns the complement; a soft constraint ties
/// both heads together.
///
/// With a stage's label `r` and tower `r̂ = σ(z)`, the counterfactual head `r̂* = σ(z*)`, which starts at the complement of the stage's base
/// rate, `e(y, p) = −[ y·ln p + (1 − y)·ln(1 − p) ]`, `o` = 1 on the rows of its space, and the propensity
/// `ô` = P(parent reached and `unless` not), full space and a constant to the gradient:
/// - a child of the row: `mean( e(r, r̂) )` over all rows;
/// - every other stage: `mean( o·e(r, r̂)·w + (1 − o)·e(1 − r, r̂*)·w* )` over all rows, with `w = min( 1/max(ô, min_propensity), max_weight )`
///   and `w*` the same of `1 − ô`; and `λ · mean( |1 − (r̂ + r̂*)| )`;
/// - every outcome, and every stage in none that is not a child of the row: `mean( −[ r·ln P + (1 − r)·ln(1 − P) ] )`.
///
/// The constraint is no likelihood: with learned uncertainty it keeps `λ` as its factor.
///
/// Readings, for `factual` (the rows in the space) and `counterfactual` (the others): `<stage>.factual.effective_sample_size`, the
/// share `(Σw)²/(n·Σw²)` of those n rows, and `<stage>.factual.clipped`, the share of them whose weight was clipped.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dcmt {
    /// `λ`, the factor of the constraint that both heads sum to 1: 0 or more. The paper's is 0.001.
    constraint_weight: Factor,
    /// No row weighs more than this: 1 or more.
    max_weight: MaxWeight,
    /// No propensity counts as less than this: more than 0, at most 1.
    min_propensity: Propensity,
    /// How the terms are weighed against each other.
    weighting: Weighting,
}
impl Default for Dcmt {
    fn default() -> Self {
        Self { constraint_weight: Factor(1e-3), max_weight: MAX_WEIGHT, min_propensity: MIN_PROPENSITY, weighting: Weighting::default() }
    }
}

/// The summands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Over all rows, full space.
    FullSpace,
    /// The stage's tower inside its space, the counterfactual head outside.
    TwoSided,
    /// Both heads sum to 1.
    Constraint,
}

/// Where the counterfactual head starts: `σ(z*)` is the complement of the base rate.
fn start(rate: f64) -> f64 {
    ((1.0 - rate) / rate).ln()
}

impl Dcmt {
    fn clip(&self) -> Clip {
        Clip::new(self.max_weight, self.min_propensity)
    }
    fn two_sided(&self, head: &Head<'_>, stage: usize) -> Tensor<Bk, 1> {
        let (inside, outside) = (self.clip().inside(head, stage), self.clip().outside(head, stage));
        let counterfactual = Head::cross_entropy(extra(head, stage), complement(head.reached[stage].clone()));
        head.mean(error(head, stage) * inside.weights + counterfactual * outside.weights, 1.0)
    }
}
impl Recipe for Dcmt {
    type Part = Part;
    fn weighting(&self) -> Weighting {
        self.weighting
    }
    fn summands(&self, graph: &Graph) -> Vec<Summand<Part>> {
        let two_sided = |s| Summand::new(graph, s, "dcmt", Part::TwoSided);
        let constraint = |s| Summand::new(graph, s, "constraint", Part::Constraint).times(self.constraint_weight.0).stated();
        let of_stage = |s| [two_sided(s), constraint(s)];
        let base = base_terms(graph, Factor(1.0), Part::FullSpace);
        base.into_iter().chain(conditional_stages(graph).into_iter().flat_map(of_stage)).collect()
    }
    fn extra_heads(&self, graph: &Graph) -> Vec<ExtraHead> {
        let of_stage = |stage| ExtraHead { name: "counterfactual".into(), stage, start: Start::OfRate(start) };
        conditional_stages(graph).into_iter().map(of_stage).collect()
    }
    fn value(&self, head: &Head<'_>, target: usize, part: Part) -> Tensor<Bk, 1> {
        match part {
            Part::FullSpace => full_space(head, target),
            Part::TwoSided => self.two_sided(head, target),
            // 1 − σ(z) − σ(z*), without the complement of a rounded number.
            Part::Constraint => head.mean((sigmoid(head.logits[target].clone().neg()) - sigmoid(extra(head, target))).abs(), 1.0),
        }
    }
    fn readings(&self, head: &Head<'_>) -> Vec<Reading> {
        let of_stage = |s: usize| {
            let name = &head.graph.nodes[s].name;
            let factual = self.clip().inside(head, s).readings(&format!("{name}.factual"));
            factual.into_iter().chain(self.clip().outside(head, s).readings(&format!("{name}.counterfactual")))
        };
        conditional_stages(head.graph).into_iter().flat_map(of_stage).collect()
    }
    fn words(&self, graph: &Graph, target: usize, part: Part) -> Words {
        if part == Part::FullSpace {
            return full_space_words(graph, target);
        }
        let (name, of) = (&graph.nodes[target].name, probability_words(graph, target));
        if part == Part::Constraint {
            return Words {
                words: format!("{of} and its counterfactual head sum to 1, over all rows"),
                formula: format!("mean| 1 − σ(z_{name}) − σ(z*_{name}) |"),
                letters: Vec::new(),
            };
        }
        let space = space_words(graph, target);
        Words {
            words: format!(
                "binary cross-entropy of {of} on {space}, of the counterfactual head elsewhere, weighted by inverse propensity, over all rows"
            ),
            formula: "mean[ o·e/ô + (1 − o)·e*/ô* ]".into(),
            letters: vec![
                space_letter(graph, target),
                error_words(graph, target),
                format!("e* = −[ (1 − {name})·ln σ(z*_{name}) + {name}·ln σ(−z*_{name}) ]"),
                self.clip().letter(graph, target, true),
                self.clip().letter(graph, target, false),
            ],
        }
    }
}
impl ObjectiveSettings for Dcmt {
    type Objective = Sum<Self>;
    fn build(&self, graph: &Graph) -> anyhow::Result<Sum<Self>> {
        Ok(Sum::of(self, graph))
    }
}
register_objective!("dcmt", Dcmt);

#[cfg(test)]
mod tests {
    use super::start;

    #[test]
    fn the_counterfactual_head_starts_at_the_complement_of_the_base_rate() {
        for rate in [1e-6, 0.003, 0.5, 0.8] {
            let counterfactual = 1.0 / (1.0 + (-start(rate)).exp());
            assert!((counterfactual - (1.0 - rate)).abs() < 1e-12, "{rate}: {counterfactual}");
        }
    }
}
