//! `nise`: the tower's own predictions as soft labels outside of a stage's space, and a weight that follows the losses.

use super::range::Factor;
use super::sum::{
    Recipe, Sum, Summand, Weighting, Words, complement, conditional_stages, error, error_words, full_space, full_space_words, is_entry,
    probability_words, space_letter, space_words,
};
use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use esmm_funnel_core::device::Bk;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::plugin::{Head, ObjectiveSettings, Reading};
use esmm_funnel_core::register_objective;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// NISE (Huang et al., `RecSys` 2024) for any graph: each stage's error over all rows, where a row outside of the stage's space has the
/// tower's own prediction as its soft label; no full-space product. The stage's loss is weighted by how much smaller it is than the
/// loss of the first stage on its path.
///
/// With a stage's label `r` and tower `r̂ = σ(z)`, `e(y, p) = −[ y·ln p + (1 − y)·ln(1 − p) ]`, and `o` = 1 on the rows of its space:
/// - a child of the row: `L = mean( e(r, r̂) )` over all rows;
/// - every other stage: `γ·L`, with `L = mean( o·e(r, r̂) + (1 − o)·e(sg(r̂), r̂) )` over all rows and `γ = α·min( L_first/L, β )`, where
///   `L_first` is the loss of the child of the row that its path begins with; `sg(r̂)` and `γ` are constants to the gradient;
/// - an outcome has no term: its stages' terms train it.
///
/// The gradient of `e(sg(r̂), r̂)` by `z` is 0: soft labels of the same forward pass act through `γ` alone.
///
/// Reading: `<stage>.nise.weight`, which is `γ`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Nise {
    /// `α`, the factor of the weight: 0 or more. The paper's is 1.
    alpha: Factor,
    /// `β`, the largest ratio of the losses that counts: 0 or more. The paper's is 50.
    beta: Factor,
    /// How the terms are weighed against each other; learned weights take the place of `γ`.
    weighting: Weighting,
}
impl Default for Nise {
    fn default() -> Self {
        Self { alpha: Factor(1.0), beta: Factor(50.0), weighting: Weighting::default() }
    }
}

/// The summands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A child of the row.
    First,
    /// Any other stage.
    Later,
}

/// The smallest loss that is divided by.
const LEAST: f32 = 1e-30;

impl Nise {
    /// `[1]`: a later stage's loss, with soft labels outside of its space.
    fn plain(head: &Head<'_>, stage: usize) -> Tensor<Bk, 1> {
        let (z, inside) = (&head.logits[stage], &head.in_space[stage]);
        let soft = Head::cross_entropy(z.clone(), sigmoid(z.clone()).detach());
        head.mean(error(head, stage) * inside.clone() + soft * complement(inside.clone()), 1.0)
    }
    /// `[1]`: its weight `γ`, a constant.
    fn weight(&self, head: &Head<'_>, stage: usize, plain: Tensor<Bk, 1>) -> Tensor<Bk, 1> {
        let first = full_space(head, head.graph.path(stage)[0].stage).detach();
        (first / plain.detach().clamp_min(LEAST)).clamp_max(self.beta.0).mul_scalar(self.alpha.0)
    }
}
impl Recipe for Nise {
    type Part = Part;
    fn weighting(&self) -> Weighting {
        self.weighting
    }
    fn summands(&self, graph: &Graph) -> Vec<Summand<Part>> {
        let of_stage = |s| {
            let (suffix, part) = if is_entry(graph, s) { ("", Part::First) } else { ("nise", Part::Later) };
            Summand::new(graph, s, suffix, part)
        };
        (0..graph.len()).map(of_stage).collect()
    }
    fn value(&self, head: &Head<'_>, stage: usize, part: Part) -> Tensor<Bk, 1> {
        if part == Part::First {
            return full_space(head, stage);
        }
        let plain = Self::plain(head, stage);
        match self.weighting {
            Weighting::Fixed => self.weight(head, stage, plain.clone()) * plain,
            Weighting::Uncertainty => plain,
        }
    }
    fn readings(&self, head: &Head<'_>) -> Vec<Reading> {
        let of_stage = |s: usize| Reading {
            name: format!("{}.nise.weight", head.graph.nodes[s].name),
            value: self.weight(head, s, Self::plain(head, s)),
        };
        let stages = if self.weighting == Weighting::Fixed { conditional_stages(head.graph) } else { Vec::new() };
        stages.into_iter().map(of_stage).collect()
    }
    fn words(&self, graph: &Graph, stage: usize, part: Part) -> Words {
        if part == Part::First {
            return full_space_words(graph, stage);
        }
        let (name, first) = (&graph.nodes[stage].name, &graph.nodes[graph.path(stage)[0].stage].name);
        let plain = "mean[ o·e + (1 − o)·e* ]".to_owned();
        let mut letters = vec![
            space_letter(graph, stage),
            error_words(graph, stage),
            format!("e* = the same with σ(z_{name}), a constant to the gradient, in place of {name}"),
        ];
        let is_weighted = self.weighting == Weighting::Fixed;
        if is_weighted {
            letters.insert(0, format!("L = {plain}"));
            letters.insert(0, format!("γ = {}·min( L_{first}/L, {} ), a constant to the gradient", self.alpha.0, self.beta.0));
        }
        Words {
            words: format!(
                "binary cross-entropy of {} over all rows, its own prediction the label outside of {}",
                probability_words(graph, stage),
                space_words(graph, stage)
            ),
            formula: if is_weighted { "γ·L".into() } else { plain },
            letters,
        }
    }
}
impl ObjectiveSettings for Nise {
    type Objective = Sum<Self>;
    fn build(&self, graph: &Graph) -> anyhow::Result<Sum<Self>> {
        Ok(Sum::of(self, graph))
    }
}
register_objective!("nise", Nise);
