//! Inverse propensities: how much a row of a space stands for, so that the rows of the space stand for all rows.

use super::range::{MaxWeight, Propensity};
use super::sum::complement;
use burn::prelude::*;
use esmm_funnel_core::device::Bk;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::plugin::{Head, Reading};

/// The usual clips.
pub(crate) const MAX_WEIGHT: MaxWeight = MaxWeight(15.0);
pub(crate) const MIN_PROPENSITY: Propensity = Propensity(1e-6);

/// How weights are clipped: `w = min( 1/max(ô, least), most )`, which is `1/max(ô, floor)` with the larger of both bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clip {
    most: f64,
    least: f64,
}
impl Clip {
    pub fn new(most: MaxWeight, least: Propensity) -> Self {
        Self { most: most.0, least: least.0 }
    }
    fn floor(self) -> f64 {
        self.least.max(1.0 / self.most)
    }
    /// Weights of the rows in a stage's space, by the propensity to be there.
    pub fn inside(self, head: &Head<'_>, stage: usize) -> Inverse {
        self.inverse(head.log_in_space(stage), head.in_space[stage].clone())
    }
    /// Weights of the rows outside of a stage's space, by the propensity not to be there.
    pub fn outside(self, head: &Head<'_>, stage: usize) -> Inverse {
        self.inverse(head.log_not_in_space(stage), complement(head.in_space[stage].clone()))
    }
    fn inverse(self, log_propensity: Tensor<Bk, 1>, rows: Tensor<Bk, 1>) -> Inverse {
        let (log_propensity, floor) = (log_propensity.detach(), self.floor().ln());
        Inverse {
            weights: log_propensity.clone().clamp_min(floor).neg().exp() * rows.clone(),
            clipped: log_propensity.neg().add_scalar(floor).clamp_min(0.0).sign() * rows.clone(),
            rows,
        }
    }
    /// What the letter of the propensity stands for: to be `inside` the space, or outside.
    pub fn letter(self, graph: &Graph, stage: usize, inside: bool) -> String {
        let path = graph.path(stage);
        let factor = |s: &esmm_funnel_core::graph::Step| {
            let name = &graph.nodes[s.stage].name;
            if s.reached { format!("σ(z_{name})") } else { format!("(1 − σ(z_{name}))") }
        };
        let product = path[..path.len() - 1].iter().map(factor).collect::<Vec<_>>().join("·");
        let propensity = if inside { format!("ô = max( {product}") } else { format!("ô* = max( 1 − {product}") };
        let floor = if self.least * self.most > 1.0 { self.least.to_string() } else { format!("1/{}", self.most) };
        format!("{propensity}, {floor} ), a constant to the gradient")
    }
}

/// Weights of rows; constants to the gradient.
#[derive(Debug)]
pub(crate) struct Inverse {
    /// `[B]`: 0 for rows that are not weighted.
    pub weights: Tensor<Bk, 1>,
    /// `[B]`: 1 where the weight was clipped.
    clipped: Tensor<Bk, 1>,
    /// `[B]`: 1 for the rows that are weighted.
    rows: Tensor<Bk, 1>,
}
impl Inverse {
    /// How trustworthy the weights are, of the n rows that are weighted: the effective sample size as a share, `(Σw)²/(n·Σw²)`, and the share of
    /// weights that were clipped. 1 and 0 where there is no such row.
    pub fn readings(self, name: &str) -> Vec<Reading> {
        let n = self.rows.sum();
        let none = complement(n.clone().clamp_max(1.0));
        let (sum, squares) = (self.weights.clone().sum(), self.weights.square().sum());
        let size = (sum.square() + none.clone()) / (n.clone() * squares + none);
        let reading = |what: &str, value| Reading { name: format!("{name}.{what}"), value };
        vec![reading("effective_sample_size", size), reading("clipped", self.clipped.sum() / n.clamp_min(1.0))]
    }
}
