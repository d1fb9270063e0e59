//! `mlp`: linear layers with a nonlinearity between them. Other towers and encoders build their hidden layers from it.

mod onnx;

pub(crate) use onnx::onnx_beside;

use super::batch::{BatchNorm, Dice};
use burn::module::Param;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig, PRelu, PReluConfig};
use burn::prelude::*;
use burn::tensor::Distribution;
use burn::tensor::activation::{gelu, relu};
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Layer, Onnx, OnnxInput, OnnxOutput};
use esmm_funnel_core::plugin::{Needs, PlainPerceptron, StageInput, StageOutput, StageShape, Tower, TowerSettings};
use esmm_funnel_core::register_tower;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// Added to the variance of a row (Burn's default).
const LAYER_EPSILON: f64 = 1e-5;

/// The nonlinearity after each hidden layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `max(x, 0) + a·min(x, 0)`, with a learned slope `a` per unit; `mlp` says where it starts.
    Prelu,
    /// `x · Φ(x)`, Φ being the distribution function of the normal distribution.
    Gelu,
    /// Dice (Zhou et al., KDD 2018): `p·x + (1 − p)·a·x`, where `p` is the sigmoid of `x` normalised over the batch and `a` is learned per
    /// unit, from 0. Scoring normalises by running mean and variance.
    Dice,
}

/// How a hidden layer is normalised before its nonlinearity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Not at all.
    #[default]
    None,
    /// Over its units, row by row, with learned scale and shift.
    Layer,
    /// Over the rows of the batch, unit by unit, with learned scale and shift. Scoring uses running mean and variance.
    Batch,
}

/// How the weights of the layers start, for `n` columns of input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Uniform between `−1/√n` and `1/√n`.
    #[default]
    Uniform,
    /// Normal, with standard deviation `1/√n`.
    Normal,
}

/// A share of values to drop: at least 0, less than 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(extend("minimum" = 0.0, "exclusiveMaximum" = 1.0))]
pub struct Rate(f64);
impl TryFrom<f64> for Rate {
    type Error = String;
    fn try_from(rate: f64) -> Result<Self, String> {
        if (0.0..1.0).contains(&rate) { Ok(Self(rate)) } else { Err(format!("{rate} is out of range: at least 0, less than 1")) }
    }
}
impl From<Rate> for f64 {
    fn from(rate: Rate) -> Self {
        rate.0
    }
}

/// A number to start at: from -100 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(extend("minimum" = -100.0, "maximum" = 100.0))]
pub struct Start(f64);
impl TryFrom<f64> for Start {
    type Error = String;
    fn try_from(start: f64) -> Result<Self, String> {
        if (-100.0..=100.0).contains(&start) { Ok(Self(start)) } else { Err(format!("{start} is out of range: from -100 to 100")) }
    }
}
impl From<Start> for f64 {
    fn from(start: Start) -> Self {
        start.0
    }
}
/// Where slopes start that nobody starts elsewhere.
const PRELU_START: f64 = 0.25;

/// A count for a default. Zero counts as one.
pub(crate) const fn count(n: usize) -> NonZeroUsize {
    match NonZeroUsize::new(n) {
        Some(n) => n,
        None => NonZeroUsize::MIN,
    }
}

/// A multi-layer perceptron, the tower of the ESMM paper (Ma et al., SIGIR 2018).
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mlp {
    /// Width of each hidden layer, first to last. Empty means logistic regression.
    hidden: Vec<NonZeroUsize>,
    /// The nonlinearity after each hidden layer.
    activation: Activation,
    /// Share of each hidden layer's outputs that is dropped in training: at least 0, less than 1.
    dropout: Rate,
    /// How each hidden layer is normalised, before the nonlinearity.
    norm: Norm,
    /// How the weights of the hidden layers and of the head start.
    init: Init,
    /// Where the biases of the hidden layers start. Default: drawn as uniform weights are. The head has none; its stage's `init_bias` does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    bias_start: Option<Start>,
    /// Where the slopes of `activation = "prelu"` start.
    prelu_start: Start,
}
impl Default for Mlp {
    fn default() -> Self {
        Self {
            hidden: [360, 200, 80].into_iter().map(count).collect(),
            activation: Activation::default(),
            dropout: Rate::default(),
            norm: Norm::default(),
            init: Init::default(),
            bias_start: None,
            prelu_start: Start(PRELU_START),
        }
    }
}

/// What hidden layers are built from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hidden<'a> {
    /// Width of each layer.
    pub widths: &'a [NonZeroUsize],
    /// As the setting `activation` of [`Mlp`].
    pub activation: Activation,
    /// As the setting `dropout` of [`Mlp`].
    pub dropout: Rate,
    /// As the setting `norm` of [`Mlp`].
    pub norm: Norm,
    /// Number of the first layer's dropout; those of one tower must differ.
    pub first_draw: usize,
}
impl Hidden<'_> {
    /// Columns of the last layer, for `width` columns of input.
    pub fn width(&self, width: usize) -> usize {
        self.widths.last().map_or(width, |w| w.get())
    }
    /// The layers, without a head.
    pub fn build(&self, mut width: usize, device: &Device) -> MlpTower<Bk> {
        let widths = || self.widths.iter().map(|w| w.get());
        // What batch norm takes away again is not learned.
        let linear = |from, to| LinearConfig::new(from, to).with_bias(self.norm != Norm::Batch).init(device);
        let of_norm = |norm| widths().filter(move |_| self.norm == norm);
        let of_activation = |activation| widths().filter(move |_| self.activation == activation);
        MlpTower {
            layers: widths().map(|hidden| linear(std::mem::replace(&mut width, hidden), hidden)).collect(),
            norms: of_norm(Norm::Layer).map(|w| LayerNormConfig::new(w).with_epsilon(LAYER_EPSILON).init(device)).collect(),
            batch_norms: of_norm(Norm::Batch).map(|w| BatchNorm::new(w, device)).collect(),
            slopes: of_activation(Activation::Prelu).map(|w| PReluConfig::new().with_num_parameters(w).init(device)).collect(),
            dices: of_activation(Activation::Dice).map(|w| Dice::new(w, device)).collect(),
            head: None,
            activation: self.activation,
            dropout: self.dropout.0,
            first_draw: self.first_draw,
        }
    }
    /// The layers and a head that gives one logit a row.
    pub fn with_head(&self, shape: &StageShape, device: &Device) -> MlpTower<Bk> {
        let width = shape.width();
        MlpTower { head: Some(shape.head(self.width(width), device)), ..self.build(width, device) }
    }
}

/// What a tower with these hidden layers has for later stages: the last of them.
pub(crate) fn gives(widths: &[NonZeroUsize]) -> Needs {
    Needs { hidden: widths.last().map_or(0, |w| w.get()), ..Needs::default() }
}

/// What the first layer of a perceptron sees.
pub(crate) trait Columns {
    /// # Shapes
    /// `[B, W]`.
    fn dense(&self) -> Tensor<Bk, 2>;
    /// `dense() · W + b`.
    ///
    /// # Shapes
    /// `[B, H]`.
    fn project(&self, layer: &Linear<Bk>) -> Tensor<Bk, 2>;
}
/// What rows share is multiplied once per entity.
impl Columns for StageInput {
    fn dense(&self) -> Tensor<Bk, 2> {
        self.dense()
    }
    fn project(&self, layer: &Linear<Bk>) -> Tensor<Bk, 2> {
        self.project(layer)
    }
}
/// Rows that have been through other layers.
impl Columns for Tensor<Bk, 2> {
    fn dense(&self) -> Tensor<Bk, 2> {
        self.clone()
    }
    fn project(&self, layer: &Linear<Bk>) -> Tensor<Bk, 2> {
        layer.forward(self.clone())
    }
}

/// `x ← dropout(f(norm(x·W + b)))` for each hidden layer, then the head: `[B, input]` → one logit a row, `[B]`.
#[derive(Module, Debug)]
pub struct MlpTower<B: Backend> {
    layers: Vec<Linear<B>>,
    norms: Vec<LayerNorm<B>>,
    batch_norms: Vec<BatchNorm<B>>,
    slopes: Vec<PRelu<B>>,
    dices: Vec<Dice<B>>,
    head: Option<Linear<B>>,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    dropout: f64,
    #[module(skip)]
    first_draw: usize,
}

impl MlpTower<Bk> {
    /// The last hidden layer; `input` serves for training or not, and dropout.
    ///
    /// # Shapes
    /// `[B, H]`: without hidden layers x itself.
    pub(crate) fn hidden(&self, x: &impl Columns, input: &StageInput) -> Tensor<Bk, 2> {
        let Some((first, rest)) = self.layers.split_first() else { return x.dense() };
        let first = self.after(0, x.project(first), input);
        rest.iter().enumerate().fold(first, |x, (i, layer)| self.after(i + 1, layer.forward(x), input))
    }
    /// Whether there are no hidden layers.
    pub(crate) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
    /// The head's logits, and the last hidden layer for later stages if there is one.
    pub(crate) fn output(&self, x: &impl Columns, input: &StageInput) -> StageOutput {
        match &self.head {
            Some(head) if self.layers.is_empty() => StageOutput::logit(x.project(head)),
            Some(head) => {
                let hidden = self.hidden(x, input);
                StageOutput::logit(head.forward(hidden.clone())).with_hidden(hidden)
            }
            None => StageOutput::logit(self.hidden(x, input)),
        }
    }
    /// What follows the multiplication of a layer.
    fn after(&self, layer: usize, x: Tensor<Bk, 2>, input: &StageInput) -> Tensor<Bk, 2> {
        let x = match (self.norms.get(layer), self.batch_norms.get(layer)) {
            (Some(norm), _) => norm.forward(x),
            (_, Some(norm)) => norm.forward(x, input.in_training()),
            _ => x,
        };
        let x = match (self.slopes.get(layer), self.dices.get(layer)) {
            (Some(slopes), _) => slopes.forward(x),
            (_, Some(dice)) => dice.forward(x, input.in_training()),
            _ if self.activation == Activation::Gelu => gelu(x),
            _ => relu(x),
        };
        input.dropout(x, self.dropout, self.first_draw + layer)
    }
}

/// The output with further logits added, `[B, 1]` each.
pub(crate) fn beside(output: StageOutput, terms: impl IntoIterator<Item = Tensor<Bk, 2>>) -> StageOutput {
    let logit = terms.into_iter().fold(output.logit, |sum, term| sum + term.squeeze_dim(1));
    StageOutput { logit, ..output }
}
impl Mlp {
    /// The tower with its parameters where the settings start them.
    fn started(&self, mut tower: MlpTower<Bk>, device: &Device) -> MlpTower<Bk> {
        for layer in &mut tower.layers {
            if self.init == Init::Normal {
                layer.weight = normal(layer, device);
            }
            if let (Some(Start(bias)), Some(old)) = (self.bias_start, &layer.bias) {
                layer.bias = Some(Param::from_tensor(Tensor::full(old.dims(), bias, device)));
            }
        }
        if let (Init::Normal, Some(head)) = (self.init, &mut tower.head) {
            head.weight = normal(head, device);
        }
        if self.prelu_start.0 != PRELU_START {
            for slopes in &mut tower.slopes {
                slopes.alpha = Param::from_tensor(Tensor::full(slopes.alpha.dims(), self.prelu_start.0, device));
            }
        }
        tower
    }
}
/// A layer's weights `[n, H]`, drawn from N(0, 1/n).
fn normal(layer: &Linear<Bk>, device: &Device) -> Param<Tensor<Bk, 2>> {
    let [n, h] = layer.weight.dims();
    #[allow(clippy::cast_precision_loss)]
    let std = 1.0 / (n.max(1) as f64).sqrt();
    Param::from_tensor(Tensor::random([n, h], Distribution::Normal(0.0, std), device))
}
impl TowerSettings for Mlp {
    type Tower = MlpTower<Bk>;
    fn needs(&self) -> Needs {
        gives(&self.hidden)
    }
    fn build(&self, shape: &StageShape, device: &Device) -> anyhow::Result<Self::Tower> {
        let Self { hidden: widths, activation, dropout, norm, .. } = self;
        let hidden = Hidden { widths, activation: *activation, dropout: *dropout, norm: *norm, first_draw: 0 };
        Ok(self.started(hidden.with_head(shape, device), device))
    }
}
impl Tower for MlpTower<Bk> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        self.output(input, input)
    }
    fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<OnnxOutput> {
        let x = input.dense(graph);
        Some(self.onnx_output(graph, &x))
    }
    fn layers(&self) -> Vec<Layer> {
        self.stack()
    }
    fn perceptron(&self) -> Option<PlainPerceptron<'_>> {
        let plain = self.activation == Activation::Relu && self.dropout == 0.0 && self.norms.is_empty() && self.batch_norms.is_empty();
        let head = self.head.as_ref().filter(|_| plain)?;
        Some(PlainPerceptron { hidden: self.layers.iter().collect(), head })
    }
}
register_tower!("mlp", Mlp);
