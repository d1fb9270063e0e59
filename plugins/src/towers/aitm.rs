//! `aitm`: what the stage before has found out, weighed against the stage's own view.

use super::mlp::{Activation, Hidden, MlpTower, Norm, Rate, count, gives};
use anyhow::{Context, Result};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::softmax;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, OnnxInput, OnnxOutput, Value};
use esmm_funnel_core::plugin::{Needs, StageInput, StageOutput, StageShape, Tower, TowerSettings};
use esmm_funnel_core::register_tower;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// Widths of hidden layers, of which there must be one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<NonZeroUsize>", into = "Vec<NonZeroUsize>")]
struct Widths(Vec<NonZeroUsize>);
impl TryFrom<Vec<NonZeroUsize>> for Widths {
    type Error = &'static str;
    fn try_from(widths: Vec<NonZeroUsize>) -> Result<Self, Self::Error> {
        if widths.is_empty() { Err("at least one width is needed") } else { Ok(Self(widths)) }
    }
}
impl From<Widths> for Vec<NonZeroUsize> {
    fn from(widths: Widths) -> Self {
        widths.0
    }
}

/// Adaptive Information Transfer (AITM, Xi et al., KDD 2021): attention between the last hidden layer of the stage before and the stage's own.
/// For every stage but the first; the stage before needs a tower that gives its hidden layer, such as `mlp`. The paper's penalty for a later
/// stage that is likelier than an earlier one has no place here: in a funnel of conditional probabilities it is always 0.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Aitm {
    /// Width of each hidden layer, first to last, at least one. What comes from the stage before is brought to the last width.
    hidden: Widths,
    /// The nonlinearity after each hidden layer, and after the layer on the stage before.
    activation: Activation,
    /// Share of each such layer's outputs that is dropped in training: at least 0, less than 1.
    dropout: Rate,
    /// How each such layer is normalised, before the nonlinearity.
    norm: Norm,
}
impl Default for Aitm {
    fn default() -> Self {
        Self {
            hidden: Widths([360, 200, 80].into_iter().map(count).collect()),
            activation: Activation::default(),
            dropout: Rate::default(),
            norm: Norm::default(),
        }
    }
}

/// With `p = g(z_{t−1})` and `q = hidden(x)`: `z_t = Σ_{u ∈ {p, q}} softmax_u(⟨Q·u, K·u⟩ / √k) · V·u` (the paper's equations 3 to 6), then the
/// head. `[B, input]` → one logit a row, `[B]`.
#[derive(Module, Debug)]
pub struct AitmTower<B: Backend> {
    /// g.
    transfer: MlpTower<B>,
    deep: MlpTower<B>,
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    head: Linear<B>,
}

impl TowerSettings for Aitm {
    type Tower = AitmTower<Bk>;
    fn needs(&self) -> Needs {
        Needs { upstream: true, ..gives(&self.hidden.0) }
    }
    fn build(&self, shape: &StageShape, device: &Device) -> Result<Self::Tower> {
        let Self { hidden: Widths(widths), activation, dropout, norm } = self;
        let layers = |widths, first_draw| Hidden { widths, activation: *activation, dropout: *dropout, norm: *norm, first_draw };
        let upstream = shape.upstream.context("reads the hidden layer of the stage before, and there is none")?;
        let deep = layers(widths, 0);
        let k = deep.width(shape.width());
        let square = || LinearConfig::new(k, k).with_bias(false).init(device);
        Ok(AitmTower {
            transfer: layers(&widths[widths.len() - 1..], widths.len()).build(upstream, device),
            deep: deep.build(shape.width(), device),
            query: square(),
            key: square(),
            value: square(),
            head: shape.head(k, device),
        })
    }
}
impl AitmTower<Bk> {
    /// `⟨Q·u, K·u⟩ / √k`.
    ///
    /// # Shapes
    /// `u` is `[B, k]`; gives `[B, 1]`.
    #[allow(clippy::cast_precision_loss)]
    fn score(&self, u: &Tensor<Bk, 2>) -> Tensor<Bk, 2> {
        let k = u.dims()[1] as f64;
        (self.query.forward(u.clone()) * self.key.forward(u.clone())).sum_dim(1) / k.sqrt()
    }
    /// `Σ_u softmax_u(score) · V·u`.
    ///
    /// # Shapes
    /// `p` and `q` are `[B, k]`, as is the result.
    fn attend(&self, p: Tensor<Bk, 2>, q: Tensor<Bk, 2>) -> Tensor<Bk, 2> {
        let weights = softmax(Tensor::cat(vec![self.score(&p), self.score(&q)], 1), 1);
        let weight = |u| weights.clone().narrow(1, u, 1);
        self.value.forward(p) * weight(0) + self.value.forward(q) * weight(1)
    }
    /// As [`Self::score`].
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    fn onnx_score(&self, graph: &mut Onnx<'_>, u: &Value) -> Value {
        let root = graph.number((self.query.weight.dims()[1] as f64).sqrt() as f32);
        let (query, key) = (graph.linear("query", u, &self.query), graph.linear("key", u, &self.key));
        let products = graph.mul(&query, &key);
        let product = graph.sum(&products, &[1], true);
        graph.div(&product, &root)
    }
    /// As [`Self::attend`].
    fn onnx_attend(&self, graph: &mut Onnx<'_>, p: &Value, q: &Value) -> Value {
        let scores = [self.onnx_score(graph, p), self.onnx_score(graph, q)];
        let scores = graph.concat(&scores, 1);
        let weights = graph.softmax(&scores, 1);
        let mut weighted = |u: &Value, at: usize| {
            let (value, weight) = (graph.linear("value", u, &self.value), graph.slice(&weights, 1, at, at + 1));
            graph.mul(&value, &weight)
        };
        let (p, q) = (weighted(p, 0), weighted(q, 1));
        graph.add(&p, &q)
    }
}
impl Tower for AitmTower<Bk> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        let q = self.deep.hidden(input, input);
        let z = match &input.upstream {
            Some(upstream) => self.attend(self.transfer.hidden(upstream, input), q),
            None => self.value.forward(q),
        };
        StageOutput::logit(self.head.forward(z.clone())).with_hidden(z)
    }
    fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<OnnxOutput> {
        let x = input.dense(graph);
        let q = graph.scope("deep", |graph| self.deep.onnx_hidden(graph, &x));
        let z = match &input.upstream {
            Some(upstream) => {
                let p = graph.scope("transfer", |graph| self.transfer.onnx_hidden(graph, upstream));
                self.onnx_attend(graph, &p, &q)
            }
            None => graph.linear("value", &q, &self.value),
        };
        Some(OnnxOutput::logit(graph.linear("head", &z, &self.head)).with_hidden(z))
    }
}
register_tower!("aitm", Aitm);
