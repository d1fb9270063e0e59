//! Objectives: how stages become one loss.
//!
//! The head is small, `[B]` per stage, so an objective works on plain tensors with autodiff; its graph ends at the logits.

use super::input::Noise;
use super::registry::{self, Settings};
use crate::device::Bk;
use crate::graph::{Event, Graph, Step};
use burn::prelude::*;
use burn::tensor::activation::sigmoid;

/// What an objective sees of a batch.
#[derive(Debug)]
pub struct Head<'a> {
    /// The funnel.
    pub graph: &'a Graph,
    /// Per stage `[B]`: conditional logits, with autodiff.
    pub logits: &'a [Tensor<Bk, 1>],
    /// Per head that [`Objective::extra_heads`] asked for `[B]`: its logits, with autodiff.
    pub extra: &'a [Tensor<Bk, 1>],
    /// Per number that [`Objective::parameters`] asked for `[1]`: its value, with autodiff.
    pub parameters: &'a [Tensor<Bk, 1>],
    /// Per target (stages, then outcomes) `[B]`: 1 where it was reached.
    pub reached: &'a [Tensor<Bk, 1>],
    /// Per stage `[B]`: 1 where the row is in its conditional space (parent reached, `unless` not).
    pub in_space: &'a [Tensor<Bk, 1>],
    /// Per target: factor of its loss term.
    pub target_weights: &'a [f64],
    /// `[B]`: row weights.
    pub row_weights: Option<&'a Tensor<Bk, 1>>,
    /// Per stage `[B]`: what weighs its loss term, where it has a `loss_weight`; see [`Head::weighed`].
    pub stage_weights: &'a [Option<Tensor<Bk, 1>>],
    /// What is drawn at random depends on it: the run's seed and the step.
    pub noise: Noise,
}

/// What an objective makes of a batch.
#[derive(Debug, Clone, Default)]
pub struct Loss {
    /// Its summands.
    pub terms: Vec<Term>,
    /// What it tells besides, for the journal.
    pub readings: Vec<Reading>,
}
impl From<Vec<Term>> for Loss {
    fn from(terms: Vec<Term>) -> Self {
        Self { terms, readings: Vec::new() }
    }
}

/// A number that is not in the loss, such as the share of weights that were clipped.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Name, the target's first: `purchase.clipped`.
    pub name: String,
    /// `[1]`.
    pub value: Tensor<Bk, 1>,
}

/// A network that an objective trains beside a stage's tower: of the same kind and settings, on the same input. Scoring leaves it out.
#[derive(Debug, Clone)]
pub struct ExtraHead {
    /// What it is for, in one word: `imputation`.
    pub name: String,
    /// The stage.
    pub stage: usize,
    /// Where its bias starts.
    pub start: Start,
}
/// Where the bias of an extra head starts.
#[derive(Debug, Clone, Copy)]
pub enum Start {
    /// At a logit.
    Value(f64),
    /// At a function of the stage's conditional rate on the training rows, which is inside 0..1.
    OfRate(fn(f64) -> f64),
}

/// One summand of the loss.
#[derive(Debug, Clone)]
pub struct Term {
    /// Name, the target's first: `purchase`, or `purchase.ips`.
    pub name: String,
    /// `[1]`, weighted.
    pub value: Tensor<Bk, 1>,
}

/// `ln σ(z)`, elementwise, exact to rounding for any logit.
///
/// The value is `min(z, 0) − ln(1 + exp(−|z|))`. Its gradient is given in closed form, `σ(−z)`, through a term that is zero in value: the
/// kinks of `min` and `abs` cancel in mathematics, but not in their subgradients at 0.
#[must_use]
pub fn log_sigmoid(z: Tensor<Bk, 1>) -> Tensor<Bk, 1> {
    let fixed = z.clone().detach();
    let value = fixed.clone().clamp_max(0.0) - fixed.clone().abs().neg().exp().log1p();
    value + (z - fixed.clone()) * sigmoid(fixed.neg())
}

impl Head<'_> {
    /// ln P(event), `[B]`: the sum of `ln σ(±z)` over its decisions; 0 for none.
    #[must_use]
    pub fn event(&self, event: &[Step]) -> Tensor<Bk, 1> {
        let mut decisions = event.iter().map(|d| {
            let z = self.logits[d.stage].clone();
            log_sigmoid(if d.reached { z } else { z.neg() })
        });
        let first = decisions.next().unwrap_or_else(|| self.logits[0].clone().zeros_like());
        decisions.fold(first, |sum, term| sum + term)
    }
    /// ln of the sum of disjoint events, `[B]`.
    fn any(&self, events: &[Event]) -> Tensor<Bk, 1> {
        let terms: Vec<_> = events.iter().map(|e| self.event(e)).collect();
        let [first, rest @ ..] = terms.as_slice() else { return self.logits[0].zeros_like().add_scalar(f32::NEG_INFINITY) };
        if rest.is_empty() {
            return first.clone();
        }
        let largest = rest.iter().fold(first.clone().detach(), |m, t| m.max_pair(t.clone().detach()));
        let sum = rest.iter().fold((first.clone() - largest.clone()).exp(), |s, t| s + (t.clone() - largest.clone()).exp());
        sum.log() + largest
    }
    /// ln P(target | row), `[B]`, full space.
    #[must_use]
    pub fn log_p(&self, target: usize) -> Tensor<Bk, 1> {
        self.any(&self.graph.targets[target].yes)
    }
    /// ln(1 − P(target | row)), `[B]`: a sum over the disjoint ways not to get there, never the complement of a rounded number.
    #[must_use]
    pub fn log_not_p(&self, target: usize) -> Tensor<Bk, 1> {
        self.any(&self.graph.targets[target].no)
    }
    /// ln P(a row is in the stage's conditional space), `[B]`: of its parent reached and `unless` not, full space. What inverse-propensity
    /// estimators divide by; its complement is [`Self::log_not_in_space`].
    #[must_use]
    pub fn log_in_space(&self, stage: usize) -> Tensor<Bk, 1> {
        let path = self.graph.path(stage);
        self.event(&path[..path.len() - 1])
    }
    /// ln(1 − P(a row is in the stage's conditional space)), `[B]`, as a sum over the disjoint ways to fall out of it; −∞ for a
    /// child of the row, whose space is every row.
    #[must_use]
    pub fn log_not_in_space(&self, stage: usize) -> Tensor<Bk, 1> {
        let path = self.graph.path(stage);
        let ways = (0..path.len() - 1).map(|i| {
            let mut way = path[..=i].to_vec();
            way[i].reached = !way[i].reached;
            way
        });
        self.any(&ways.collect::<Vec<_>>())
    }
    /// `−[ y·ln σ(z) + (1 − y)·ln σ(−z) ]`, `[B]`: binary cross-entropy of a logit.
    #[must_use]
    pub fn cross_entropy(z: Tensor<Bk, 1>, y: Tensor<Bk, 1>) -> Tensor<Bk, 1> {
        (y.clone() * log_sigmoid(z.clone()) + y.neg().add_scalar(1.0) * log_sigmoid(z.neg())).neg()
    }
    /// Binary cross-entropy of a target's full-space probability, `[B]`.
    #[must_use]
    pub fn full_space_cross_entropy(&self, target: usize) -> Tensor<Bk, 1> {
        let y = self.reached[target].clone();
        (y.clone() * self.log_p(target) + y.neg().add_scalar(1.0) * self.log_not_p(target)).neg()
    }
    /// `Σ c·value·row weight / Σ c`, `[1]`, where a row counts `c` times, 0 or at least once; 0 where no row counts.
    ///
    /// # Shapes
    /// `values` and `counts` are `[B]`.
    #[must_use]
    pub fn mean_of_counted(&self, values: Tensor<Bk, 1>, counts: Tensor<Bk, 1>) -> Tensor<Bk, 1> {
        let total = counts.clone().sum().clamp_min(1.0);
        let values = match self.row_weights {
            None => values * counts,
            Some(w) => values * w.clone() * counts,
        };
        values.sum() / total
    }
    /// `[B]`: 1 for each row that is drawn, else 0. A row is drawn with probability `rate`, by its place in the batch, the step, the run's seed
    /// and `stream`, and by nothing else: what is drawn at one rate is also drawn at a higher one.
    #[must_use]
    pub fn draw(&self, stream: usize, rate: f64) -> Tensor<Bk, 1> {
        let (rows, device) = (self.logits[0].dims()[0], self.logits[0].clone().inner().device());
        let drawn: Vec<f32> = (0..rows).map(|row| f32::from(u8::from(self.noise.draws(stream, row, rate)))).collect();
        Tensor::from_inner(Tensor::from_data(TensorData::new(drawn, [rows]), &device))
    }
    /// `values` of a target's rows, each times the weight that `stage.NAME.loss_weight` gives the row; as they are for a target without, and for an
    /// outcome. Row weights come on top, in [`Head::mean`] and [`Head::mean_of_counted`]. An objective that calls it for a stage says so in
    /// [`Objective::weighs`].
    ///
    /// # Shapes
    /// `[B]`.
    #[must_use]
    pub fn weighed(&self, target: usize, values: Tensor<Bk, 1>) -> Tensor<Bk, 1> {
        match self.stage_weights.get(target) {
            Some(Some(weights)) => values * weights.clone(),
            _ => values,
        }
    }
    /// Mean over all rows of `values · row weight`, times `weight`; `[1]`.
    #[must_use]
    pub fn mean(&self, values: Tensor<Bk, 1>, weight: f64) -> Tensor<Bk, 1> {
        let values = match self.row_weights {
            None => values,
            Some(w) => values * w.clone(),
        };
        values.mean().mul_scalar(weight)
    }
}

/// What one loss term is, for `check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossWords {
    /// Name of the stage or outcome.
    pub target: String,
    /// In words.
    pub words: String,
    /// As an equation; what its letters stand for on lines of their own.
    pub equation: String,
}

impl LossWords {
    /// The same with a loss weight `u` on each row.
    #[must_use]
    pub fn weighed(self, expression: &str) -> Self {
        let (first, letters) = self.equation.split_once('\n').unwrap_or((&self.equation, ""));
        let first = if first.contains("mean[") { first.replacen("mean[", "mean u·[", 1) } else { first.replacen("·[", "·u·[", 1) };
        let letters = if letters.is_empty() { String::new() } else { format!("\n{letters}") };
        Self {
            words: format!("{}, each row weighted by `loss_weight`", self.words),
            equation: format!("{first}{letters}\nu = {expression}"),
            ..self
        }
    }
}

/// Logits and labels → named loss terms.
pub trait Objective: Send + Sync {
    /// Networks that it needs besides the stages' towers.
    fn extra_heads(&self, _graph: &Graph) -> Vec<ExtraHead> {
        Vec::new()
    }
    /// Numbers that it learns, each with its name and where it starts.
    fn parameters(&self, _graph: &Graph) -> Vec<(String, f32)> {
        Vec::new()
    }
    /// The loss of a batch.
    fn loss(&self, head: &Head<'_>) -> Loss;
    /// Whether its loss is of the targets' full-space probabilities alone, so that towers whose logit is that probability's can be trained by
    /// it (`funnel.composition = "quotient"`).
    fn is_full_space(&self) -> bool {
        false
    }
    /// Whether it has a term of a stage that it weighs by [`Head::weighed`]: `stage.NAME.loss_weight` is refused where it has none.
    fn weighs(&self, _graph: &Graph, _stage: usize) -> bool {
        false
    }
    /// What they are, for `check`, in the same order.
    fn describe(&self, graph: &Graph) -> Vec<LossWords>;
}

/// Settings of an objective, which make it.
pub trait ObjectiveSettings: Settings {
    /// The objective.
    type Objective: Objective + 'static;
    /// Makes it for a funnel.
    ///
    /// # Errors
    /// A funnel it cannot work on.
    fn build(&self, graph: &Graph) -> anyhow::Result<Self::Objective>;
}

/// What the registry keeps of an objective.
#[derive(Debug, Clone, Copy)]
pub struct ObjectiveBuild {
    /// Decodes the settings and makes it.
    pub build: fn(&toml::Table, &Graph) -> anyhow::Result<Box<dyn Objective>>,
}
impl ObjectiveBuild {
    /// Of these settings.
    #[must_use]
    pub const fn of<S: ObjectiveSettings>() -> Self {
        Self { build: |settings, graph| Ok(Box::new(registry::decode::<S>(settings)?.build(graph)?)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Device, cpu};
    use crate::graph::Node;

    fn leaf(values: &[f32]) -> Tensor<Bk, 1> {
        Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &Device::autodiff(cpu())).require_grad()
    }

    #[test]
    fn log_sigmoid_is_exact_and_smooth() {
        let z = leaf(&[-80.0, -17.5, -1.0, 0.0, 1.0, 17.5, 80.0]);
        let y = log_sigmoid(z.clone());
        let values: Vec<f32> = y.clone().into_data().to_vec().unwrap();
        let gradient: Vec<f32> = z.grad(&y.sum().backward()).unwrap().into_data().to_vec().unwrap();
        for ((z, value), gradient) in [-80.0f64, -17.5, -1.0, 0.0, 1.0, 17.5, 80.0].iter().zip(values).zip(gradient) {
            let exact = z.min(0.0) - (-z.abs()).exp().ln_1p();
            assert!((f64::from(value) - exact).abs() <= 1e-6 * exact.abs() + 1e-37, "{z}: {value} against {exact}");
            let slope = 1.0 / (1.0 + z.exp());
            assert!((f64::from(gradient) - slope).abs() <= 1e-6 * slope + 1e-37, "slope at {z}: {gradient} against {slope}");
        }
    }

    /// The tensor composition agrees with central differences of the host composition, on a branching graph with an outcome.
    #[test]
    fn composition_has_the_right_value_and_gradient() {
        let node = |name: &str, parent, unless| Node { name: name.into(), label: name.into(), parent, unless };
        let graph = Graph::new(
            "row".into(),
            vec![node("a", None, None), node("b", Some(0), None), node("c", Some(1), None), node("d", Some(0), Some(1))],
            vec![("any".into(), vec![2, 3])],
        );
        let z0 = [0.3f64, -1.2, 2.0, -0.4];
        let value = |z: &[f64], events: &[Event]| -> f64 {
            let p = |s: &crate::graph::Step| 1.0 / (1.0 + (if s.reached { -z[s.stage] } else { z[s.stage] }).exp());
            events.iter().map(|e| e.iter().map(p).product::<f64>()).sum::<f64>().ln()
        };
        for (i, target) in graph.targets.iter().enumerate() {
            for events in [&target.yes, &target.no] {
                #[allow(clippy::cast_possible_truncation)]
                let logits: Vec<_> = z0.iter().map(|z| leaf(&[*z as f32])).collect();
                let head = Head {
                    graph: &graph,
                    logits: &logits,
                    reached: &[],
                    in_space: &[],
                    target_weights: &[],
                    row_weights: None,
                    stage_weights: &[],
                    extra: &[],
                    parameters: &[],
                    noise: Noise(0),
                };
                let y = if std::ptr::eq(events, &raw const target.yes) { head.log_p(i) } else { head.log_not_p(i) };
                let found: Vec<f32> = y.clone().into_data().to_vec().unwrap();
                assert!((f64::from(found[0]) - value(&z0, events)).abs() < 1e-6);
                let grads = y.sum().backward();
                for (s, z) in logits.iter().enumerate() {
                    let slope = z.grad(&grads).map_or(0.0, |g| f64::from(g.into_scalar()));
                    let mut moved = [z0, z0];
                    moved[0][s] += 1e-5;
                    moved[1][s] -= 1e-5;
                    let expected = (value(&moved[0], events) - value(&moved[1], events)) / 2e-5;
                    assert!((slope - expected).abs() < 1e-5, "target {i} stage {s}: {slope} against {expected}");
                }
            }
        }
    }

    #[test]
    fn extreme_logits_stay_finite() {
        let node = |name: &str, parent| Node { name: name.into(), label: name.into(), parent, unless: None };
        let graph = Graph::new("row".into(), vec![node("a", None), node("b", Some(0))], vec![]);
        for a in [-80.0f32, 80.0] {
            for b in [-80.0f32, 80.0] {
                let logits = [leaf(&[a]), leaf(&[b])];
                let head = Head {
                    graph: &graph,
                    logits: &logits,
                    reached: &[],
                    in_space: &[],
                    target_weights: &[],
                    row_weights: None,
                    stage_weights: &[],
                    extra: &[],
                    parameters: &[],
                    noise: Noise(0),
                };
                for y in [head.log_p(1), head.log_not_p(1)] {
                    assert!(y.clone().into_scalar().is_finite());
                    let grads = y.sum().backward();
                    assert!(logits.iter().all(|z| z.grad(&grads).is_none_or(|g| g.into_scalar().is_finite())));
                }
            }
        }
    }
}
