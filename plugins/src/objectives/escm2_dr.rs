//! `escm2_dr`: ESMM with a doubly robust term for each stage.

use super::escm2_ips::base_terms;
use super::propensity::{Clip, Inverse, MAX_WEIGHT, MIN_PROPENSITY};
use super::range::{Factor, MaxWeight, Propensity};
use super::sum::{
    Recipe, Sum, Summand, Weighting, Words, conditional_stages, error, error_words, extra, full_space, full_space_words, probability_words,
    space_letter, space_words,
};
use burn::prelude::*;
use esmm_funnel_core::device::Bk;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::plugin::objective::log_sigmoid;
use esmm_funnel_core::plugin::{ExtraHead, Head, ObjectiveSettings, Reading, Start};
use esmm_funnel_core::register_objective;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which network learns from which term of the doubly robust loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// Both terms train both networks, only the propensity is a constant: the loss as published code computes it. The square also draws the
    /// true error towards the imputed one, up as well as down, so probabilities of rare events come out too high: look at PCOC.
    #[default]
    Joint,
    /// The doubly robust term trains the stage's tower alone (ê is a constant in it), the imputation's loss the imputation head alone (e is
    /// a constant in it). The tower's gradient is then that of `escm2_ips`; the imputation changes it through shared tables only.
    Separate,
}

/// ESCM²-DR (Wang et al., SIGIR 2022) for any graph: the terms of `entire_space`, and for each stage a doubly robust estimate of its
/// error over all rows, with an imputation head beside the stage's tower that learns what the error is where it cannot be seen.
///
/// With a stage's error `e = −[ r·ln σ(z) + (1 − r)·ln σ(−z) ]`, the imputed error `ê = ln(1 + exp(z_imputation))`, which is never
/// below 0 and starts at the entropy of the stage's base rate, `o` = 1 on the rows of its space, and the propensity
/// `ô` = P(parent reached and `unless` not), full space and a constant to the gradient; `w = min( 1/max(ô, min_propensity), max_weight )`:
/// - a child of the row: `mean( e )` over all rows;
/// - every other stage: `λ_c · mean( ê + o·(e − ê)·w )`, and `λ_c · mean( o·(e − ê)²·w )`, over all rows;
/// - every outcome, and every stage in none that is not a child of the row: `λ_g · mean( −[ r·ln P + (1 − r)·ln(1 − P) ] )`.
///
/// `routing` says what `e` and `ê` are constants in. The doubly robust term can be negative, so with learned uncertainty it and the
/// imputation's loss keep `λ_c` as their factor.
///
/// Readings: `<stage>.dr.effective_sample_size`, the share `(Σw)²/(n·Σw²)` of the n rows in the space, and `<stage>.dr.clipped`, the share of
/// them whose weight was clipped.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Escm2Dr {
    /// `λ_c`, the factor of the doubly robust terms and the imputation's losses: 0 or more. The paper searches 0.01 to 0.5.
    counterfactual_weight: Factor,
    /// `λ_g`, the factor of the full-space terms: 0 or more. The paper searches 0.5 to 1.
    global_weight: Factor,
    /// No row weighs more than this: 1 or more.
    max_weight: MaxWeight,
    /// No propensity counts as less than this: more than 0, at most 1.
    min_propensity: Propensity,
    /// Which network learns from which term.
    routing: Routing,
    /// How the terms are weighed against each other.
    weighting: Weighting,
}
impl Default for Escm2Dr {
    fn default() -> Self {
        Self {
            counterfactual_weight: Factor(0.1),
            global_weight: Factor(1.0),
            max_weight: MAX_WEIGHT,
            min_propensity: MIN_PROPENSITY,
            routing: Routing::default(),
            weighting: Weighting::default(),
        }
    }
}

/// The summands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Over all rows, full space.
    FullSpace,
    /// The doubly robust estimate.
    DoublyRobust,
    /// The loss of the imputation head.
    Imputation,
}

/// Name of the extra head, and of its loss.
const IMPUTATION: &str = "imputation";

/// Where the imputation starts: `ê` is the entropy of the base rate, so `z = ln(exp(H) − 1)`.
fn start(rate: f64) -> f64 {
    let entropy = -(rate * rate.ln() + (1.0 - rate) * (-rate).ln_1p());
    entropy.exp_m1().ln()
}

impl Escm2Dr {
    fn clip(&self) -> Clip {
        Clip::new(self.max_weight, self.min_propensity)
    }
    /// `[B]`: the imputed error, and how far the true one is from it; constants as `routing` says.
    fn errors(&self, head: &Head<'_>, stage: usize, part: Part) -> (Tensor<Bk, 1>, Tensor<Bk, 1>) {
        let (mut true_error, mut imputed) = (error(head, stage), log_sigmoid(extra(head, stage).neg()).neg());
        match (self.routing, part) {
            (Routing::Separate, Part::DoublyRobust) => imputed = imputed.detach(),
            (Routing::Separate, Part::Imputation) => true_error = true_error.detach(),
            _ => {}
        }
        (imputed.clone(), true_error - imputed)
    }
}
impl Recipe for Escm2Dr {
    type Part = Part;
    fn weighting(&self) -> Weighting {
        self.weighting
    }
    fn summands(&self, graph: &Graph) -> Vec<Summand<Part>> {
        let of = |s, suffix, part| Summand::new(graph, s, suffix, part).times(self.counterfactual_weight.0).stated();
        let of_stage = |s| [of(s, "dr", Part::DoublyRobust), of(s, IMPUTATION, Part::Imputation)];
        let base = base_terms(graph, self.global_weight, Part::FullSpace);
        base.into_iter().chain(conditional_stages(graph).into_iter().flat_map(of_stage)).collect()
    }
    fn extra_heads(&self, graph: &Graph) -> Vec<ExtraHead> {
        let of_stage = |stage| ExtraHead { name: IMPUTATION.into(), stage, start: Start::OfRate(start) };
        conditional_stages(graph).into_iter().map(of_stage).collect()
    }
    fn value(&self, head: &Head<'_>, target: usize, part: Part) -> Tensor<Bk, 1> {
        if part == Part::FullSpace {
            return full_space(head, target);
        }
        let Inverse { weights, .. } = self.clip().inside(head, target);
        let (imputed, off) = self.errors(head, target, part);
        let values = if part == Part::DoublyRobust { imputed + off * weights } else { off.square() * weights };
        head.mean(values, 1.0)
    }
    fn readings(&self, head: &Head<'_>) -> Vec<Reading> {
        let of_stage = |s: usize| self.clip().inside(head, s).readings(&format!("{}.dr", head.graph.nodes[s].name));
        conditional_stages(head.graph).into_iter().flat_map(of_stage).collect()
    }
    fn words(&self, graph: &Graph, target: usize, part: Part) -> Words {
        if part == Part::FullSpace {
            return full_space_words(graph, target);
        }
        let (name, separate) = (&graph.nodes[target].name, self.routing == Routing::Separate);
        let constant = |when: bool| if when { ", a constant to the gradient" } else { "" };
        let doubly_robust = part == Part::DoublyRobust;
        let (words, formula) = if doubly_robust {
            (
                format!("doubly robust estimate of the binary cross-entropy of {} over all rows", probability_words(graph, target)),
                "mean[ ê + o·(e − ê)/ô ]",
            )
        } else {
            (
                format!(
                    "squared distance of the imputed error on {}, weighted by inverse propensity, over all rows",
                    space_words(graph, target)
                ),
                "mean[ o·(e − ê)²/ô ]",
            )
        };
        let letters = vec![
            space_letter(graph, target),
            format!("{}{}", error_words(graph, target), constant(separate && !doubly_robust)),
            format!("ê = ln(1 + exp(z_{name}_imputation)){}", constant(separate && doubly_robust)),
            self.clip().letter(graph, target, true),
        ];
        Words { words, formula: formula.into(), letters }
    }
}
impl ObjectiveSettings for Escm2Dr {
    type Objective = Sum<Self>;
    fn build(&self, graph: &Graph) -> anyhow::Result<Sum<Self>> {
        Ok(Sum::of(self, graph))
    }
}
register_objective!("escm2_dr", Escm2Dr);

#[cfg(test)]
mod tests {
    use super::start;

    #[test]
    fn the_imputed_error_starts_at_the_entropy_of_the_base_rate() {
        for rate in [1e-6, 0.003, 0.5, 0.8, 1.0 - 1e-6] {
            let entropy = -(rate * f64::ln(rate) + (1.0 - rate) * f64::ln(1.0 - rate));
            let imputed = (1.0 + start(rate).exp()).ln();
            assert!((imputed - entropy).abs() < 1e-9 * (1.0 + entropy), "{rate}: {imputed} against {entropy}");
        }
    }
}
