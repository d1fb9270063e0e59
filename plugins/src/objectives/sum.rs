//! What objectives share: a sum of named terms, weighed by factors that are stated or learned.

use burn::prelude::*;
use esmm_funnel_core::device::Bk;
use esmm_funnel_core::graph::{Graph, words};
use esmm_funnel_core::plugin::{ExtraHead, Head, Loss, LossWords, Objective, Reading, Settings, Term};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// How the terms of a loss are weighed against each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// By the `weight` of stages and outcomes and the objective's own factors.
    #[default]
    Fixed,
    /// By learned uncertainty besides (Kendall et al., CVPR 2018, equation 10, its part for classification): `exp(−s)·L + s/2` in place
    /// of each term `L`, with a learned `s = ln σ²` that starts at 0.
    Uncertainty,
}

/// One summand of an objective, before there is a batch.
#[derive(Debug, Clone)]
pub struct Summand<P> {
    /// Name, the target's first: `purchase`, or `purchase.ips`.
    pub name: String,
    /// The stage or outcome.
    pub target: usize,
    /// Which part of the objective it is.
    pub part: P,
    /// Its factor by the objective's settings; the target's `weight` comes on top.
    pub factor: f64,
    /// Whether its weight can be learned. What is no negative log likelihood, or can fall below 0, has a stated one only.
    pub learnable: bool,
}
impl<P> Summand<P> {
    /// A summand that is a negative log likelihood; named after the target, then `suffix` where it is not empty.
    pub(crate) fn new(graph: &Graph, target: usize, suffix: &str, part: P) -> Self {
        let name = &graph.targets[target].name;
        let name = if suffix.is_empty() { name.clone() } else { format!("{name}.{suffix}") };
        Self { name, target, part, factor: 1.0, learnable: true }
    }
    /// With a factor.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { factor, ..self }
    }
    /// With a stated weight only.
    pub(crate) fn stated(self) -> Self {
        Self { learnable: false, ..self }
    }
}

/// What a summand is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// In words.
    pub words: String,
    /// As a formula.
    pub formula: String,
    /// What its letters stand for, one each.
    pub letters: Vec<String>,
}

/// What an objective is made of: settings that say which summands there are and what they are worth on a batch.
pub trait Recipe: Settings + Clone + Debug {
    /// The kinds of summands.
    type Part: Copy + Debug + Send + Sync + 'static;
    /// How they are weighed.
    fn weighting(&self) -> Weighting;
    /// The summands for a graph.
    fn summands(&self, graph: &Graph) -> Vec<Summand<Self::Part>>;
    /// As [`Objective::extra_heads`].
    fn extra_heads(&self, _graph: &Graph) -> Vec<ExtraHead> {
        Vec::new()
    }
    /// A summand's value, without any factor. `[1]`.
    fn value(&self, head: &Head<'_>, target: usize, part: Self::Part) -> Tensor<Bk, 1>;
    /// `[1]`: 1 if the batch has rows of a summand, else 0; `None` for one that is over all rows. Without rows nothing is learned of its
    /// uncertainty.
    fn present(&self, _head: &Head<'_>, _target: usize, _part: Self::Part) -> Option<Tensor<Bk, 1>> {
        None
    }
    /// What it tells besides.
    fn readings(&self, _head: &Head<'_>) -> Vec<Reading> {
        Vec::new()
    }
    /// As [`Objective::is_full_space`].
    fn is_full_space(&self) -> bool {
        false
    }
    /// As [`Objective::weighs`].
    fn weighs(&self, _graph: &Graph, _stage: usize) -> bool {
        false
    }
    /// A summand in words and as a formula, without any factor.
    fn words(&self, graph: &Graph, target: usize, part: Self::Part) -> Words;
}

/// `Σ_k w_k·λ_k·L_k`, with the target's weight `w` and the settings' factor `λ`; with learned uncertainty
/// `Σ_k w_k·λ_k·( exp(−s_k)·L_k + s_k/2 )`.
#[derive(Debug)]
pub struct Sum<R: Recipe> {
    recipe: R,
    summands: Vec<Summand<R::Part>>,
}
impl<R: Recipe> Sum<R> {
    /// The objective of these settings for a graph.
    #[must_use]
    pub fn of(recipe: &R, graph: &Graph) -> Self {
        Self { recipe: recipe.clone(), summands: recipe.summands(graph) }
    }
    fn is_learned(&self, summand: &Summand<R::Part>) -> bool {
        self.recipe.weighting() == Weighting::Uncertainty && summand.learnable
    }
}
impl<R: Recipe> Objective for Sum<R> {
    fn extra_heads(&self, graph: &Graph) -> Vec<ExtraHead> {
        self.recipe.extra_heads(graph)
    }
    fn parameters(&self, _graph: &Graph) -> Vec<(String, f32)> {
        self.summands.iter().filter(|s| self.is_learned(s)).map(|s| (format!("{}.log_variance", s.name), 0.0)).collect()
    }
    fn loss(&self, head: &Head<'_>) -> Loss {
        let mut parameters = head.parameters.iter();
        let term = |summand: &Summand<R::Part>| {
            let mut value = self.recipe.value(head, summand.target, summand.part);
            let learned = if self.is_learned(summand) { parameters.next() } else { None };
            if let Some(s) = learned {
                value = uncertain(value, s, self.recipe.present(head, summand.target, summand.part));
            }
            Term { name: summand.name.clone(), value: value.mul_scalar(summand.factor * head.target_weights[summand.target]) }
        };
        Loss { terms: self.summands.iter().map(term).collect(), readings: self.recipe.readings(head) }
    }
    fn is_full_space(&self) -> bool {
        self.recipe.is_full_space()
    }
    fn weighs(&self, graph: &Graph, stage: usize) -> bool {
        self.recipe.weighs(graph, stage)
    }
    fn describe(&self, graph: &Graph) -> Vec<LossWords> {
        let describe = |summand: &Summand<R::Part>| {
            let Words { mut words, formula: mut equation, letters } = self.recipe.words(graph, summand.target, summand.part);
            if self.is_learned(summand) {
                words += ", its weight learned";
                equation = format!("exp(−s)·( {equation} ) + s/2");
            }
            if summand.factor != 1.0 {
                let one = equation.starts_with("mean");
                equation = if one { format!("{}·{equation}", summand.factor) } else { format!("{}·( {equation} )", summand.factor) };
            }
            let equation = letters.into_iter().fold(equation, |equation, letter| format!("{equation}\n{letter}"));
            LossWords { target: graph.targets[summand.target].name.clone(), words, equation }
        };
        self.summands.iter().map(describe).collect()
    }
}

/// `exp(−s)·L + s/2`, `[1]`: a loss under its uncertainty `s = ln σ²`.
fn uncertain(loss: Tensor<Bk, 1>, s: &Tensor<Bk, 1>, present: Option<Tensor<Bk, 1>>) -> Tensor<Bk, 1> {
    let half = s.clone().mul_scalar(0.5);
    loss * s.clone().neg().exp() + present.map_or_else(|| half.clone(), |p| half.clone() * p)
}

/// Whether a stage is a child of the row, so that its space is every row.
pub(crate) fn is_entry(graph: &Graph, stage: usize) -> bool {
    graph.path(stage).len() == 1
}
/// The stages whose space is a part of the rows, in order; an objective's extra heads are one for each.
pub(crate) fn conditional_stages(graph: &Graph) -> Vec<usize> {
    (0..graph.len()).filter(|s| !is_entry(graph, *s)).collect()
}
/// `[B]`: the logits of a stage's extra head.
pub(crate) fn extra(head: &Head<'_>, stage: usize) -> Tensor<Bk, 1> {
    let before = (0..stage).filter(|s| !is_entry(head.graph, *s)).count();
    head.extra[before].clone()
}
/// The targets that have a full-space term: outcomes, and stages that are in no outcome.
pub(crate) fn full_space_targets(graph: &Graph) -> Vec<usize> {
    let outcomes = &graph.targets[graph.len()..];
    (0..graph.targets.len()).filter(|t| *t >= graph.len() || !outcomes.iter().any(|o| o.stages.contains(t))).collect()
}

/// `[1]`: mean over all rows of the binary cross-entropy of a target's full-space probability.
pub(crate) fn full_space(head: &Head<'_>, target: usize) -> Tensor<Bk, 1> {
    head.mean(head.full_space_cross_entropy(target), 1.0)
}
pub(crate) fn full_space_words(graph: &Graph, target: usize) -> Words {
    let (name, row) = (&graph.targets[target].name, &graph.row);
    Words {
        words: format!("binary cross-entropy of P({name} | {row}) over all rows"),
        formula: format!("−mean[ {name}·ln P({name}) + (1 − {name})·ln(1 − P({name})) ]"),
        letters: Vec::new(),
    }
}
/// `[B]`: binary cross-entropy of a stage's conditional probability, on every row as if it were in the stage's space.
pub(crate) fn error(head: &Head<'_>, stage: usize) -> Tensor<Bk, 1> {
    Head::cross_entropy(head.logits[stage].clone(), head.reached[stage].clone())
}
/// What the letter of [`error`] stands for.
pub(crate) fn error_words(graph: &Graph, stage: usize) -> String {
    let name = &graph.nodes[stage].name;
    format!("e = −[ {name}·ln σ(z_{name}) + (1 − {name})·ln σ(−z_{name}) ]")
}
/// `P(purchase | click)`.
pub(crate) fn probability_words(graph: &Graph, stage: usize) -> String {
    format!("P({} | {})", graph.nodes[stage].name, graph.given(stage))
}
/// What the letter of a stage's space stands for.
pub(crate) fn space_letter(graph: &Graph, stage: usize) -> String {
    format!("o = 1 on {}, else 0", space_words(graph, stage))
}
/// The rows of a stage's space, in words.
pub(crate) fn space_words(graph: &Graph, stage: usize) -> String {
    words::describe(graph).swap_remove(stage).space
}
/// `1 − x`, elementwise.
pub(crate) fn complement(x: Tensor<Bk, 1>) -> Tensor<Bk, 1> {
    x.neg().add_scalar(1.0)
}
