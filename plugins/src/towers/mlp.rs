//! `mlp`: linear layers with a nonlinearity between them. Other towers and encoders build their hidden layers from it.

use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig, PRelu, PReluConfig};
use burn::prelude::*;
use burn::tensor::activation::{gelu, relu};
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::plugin::{StageInput, StageOutput, StageShape, Tower, TowerSettings};
use esmm_funnel_core::register_tower;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// The nonlinearity after each hidden layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `max(x, 0) + a·min(x, 0)`, with a learned slope `a` per unit that starts at 0.25.
    Prelu,
    /// `x · Φ(x)`, Φ being the distribution function of the normal distribution.
    Gelu,
}

/// A share of values to drop: at least 0, less than 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
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
    /// Whether each hidden layer is normalised over its units, before the nonlinearity.
    layer_norm: bool,
}
impl Default for Mlp {
    fn default() -> Self {
        Self {
            hidden: [360, 200, 80].into_iter().map(count).collect(),
            activation: Activation::default(),
            dropout: Rate::default(),
            layer_norm: false,
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
    /// As the setting `layer_norm` of [`Mlp`].
    pub layer_norm: bool,
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
        let widths = self.widths.iter().map(|w| w.get());
        let layers = widths.clone().map(|hidden| LinearConfig::new(std::mem::replace(&mut width, hidden), hidden).init(device)).collect();
        let norms = widths.clone().filter(|_| self.layer_norm).map(|w| LayerNormConfig::new(w).init(device)).collect();
        let slopes = widths.filter(|_| self.activation == Activation::Prelu);
        MlpTower {
            layers,
            norms,
            slopes: slopes.map(|w| PReluConfig::new().with_num_parameters(w).init(device)).collect(),
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

/// `x ← dropout(f(norm(x·W + b)))` for each hidden layer, then the head: `[B, input]` → one logit a row, `[B]`.
#[derive(Module, Debug)]
pub struct MlpTower<B: Backend> {
    layers: Vec<Linear<B>>,
    norms: Vec<LayerNorm<B>>,
    slopes: Vec<PRelu<B>>,
    head: Option<Linear<B>>,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    dropout: f64,
    #[module(skip)]
    first_draw: usize,
}

impl MlpTower<Bk> {
    fn first(&self) -> Option<&Linear<Bk>> {
        self.layers.first().or(self.head.as_ref())
    }
    /// What the head gives, or without one the last hidden layer.
    ///
    /// # Shapes
    /// `[B, 1]`, or without a head `[B, H]`. What rows share is multiplied once per entity in the first layer.
    pub(crate) fn of_input(&self, input: &StageInput) -> Tensor<Bk, 2> {
        match self.first() {
            None => input.dense(),
            Some(first) => self.after_first(input.project(first), input),
        }
    }
    /// The same of rows that have been through other layers; `input` serves for dropout alone.
    ///
    /// # Shapes
    /// `x` is `[B, W]`; gives `[B, 1]`, or without a head `[B, H]`.
    pub(crate) fn of_rows(&self, x: Tensor<Bk, 2>, input: &StageInput) -> Tensor<Bk, 2> {
        match self.first() {
            None => x,
            Some(first) => self.after_first(first.forward(x), input),
        }
    }
    fn after_first(&self, mut x: Tensor<Bk, 2>, input: &StageInput) -> Tensor<Bk, 2> {
        for layer in 0..self.layers.len() {
            if let Some(norm) = self.norms.get(layer) {
                x = norm.forward(x);
            }
            x = match (self.activation, self.slopes.get(layer)) {
                (Activation::Gelu, _) => gelu(x),
                (Activation::Prelu, Some(slopes)) => slopes.forward(x),
                _ => relu(x),
            };
            x = input.dropout(x, self.dropout, self.first_draw + layer);
            if let Some(next) = self.layers.get(layer + 1).or(self.head.as_ref()) {
                x = next.forward(x);
            }
        }
        x
    }
}

impl TowerSettings for Mlp {
    type Tower = MlpTower<Bk>;
    fn build(&self, shape: &StageShape, device: &Device) -> anyhow::Result<Self::Tower> {
        let Self { hidden: widths, activation, dropout, layer_norm } = self;
        let hidden = Hidden { widths, activation: *activation, dropout: *dropout, layer_norm: *layer_norm, first_draw: 0 };
        Ok(hidden.with_head(shape, device))
    }
}
impl Tower for MlpTower<Bk> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        StageOutput::logit(self.of_input(input))
    }
}
register_tower!("mlp", Mlp);
