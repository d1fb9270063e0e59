//! `dcn_v2`: products of columns of bounded degree, beside or below hidden layers.

use super::mlp::{Activation, Hidden, MlpTower, Norm, Rate, count, gives};
use anyhow::Result;
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, OnnxInput, OnnxOutput, Value};
use esmm_funnel_core::plugin::{Needs, StageInput, StageOutput, StageShape, Tower, TowerSettings};
use esmm_funnel_core::register_tower;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// Where the hidden layers stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Structure {
    /// Beside the cross layers, both on the input; the head sees both.
    #[default]
    Parallel,
    /// On top of the cross layers.
    Stacked,
}

/// Deep & Cross Network V2 (Wang et al., WWW 2021): cross layers that multiply the input with itself, and hidden layers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DcnV2 {
    /// Number of cross layers: L of them give products of up to L + 1 columns.
    cross_layers: NonZeroUsize,
    /// Rank of the cross layers' matrices, to save weights and time. Not set: full matrices.
    rank: Option<NonZeroUsize>,
    /// Whether the hidden layers stand beside the cross layers or on top of them.
    structure: Structure,
    /// Width of each hidden layer, first to last.
    hidden: Vec<NonZeroUsize>,
    /// The nonlinearity after each hidden layer.
    activation: Activation,
    /// Share of each hidden layer's outputs that is dropped in training: at least 0, less than 1.
    dropout: Rate,
    /// How each hidden layer is normalised, before the nonlinearity.
    norm: Norm,
}
impl Default for DcnV2 {
    fn default() -> Self {
        Self {
            cross_layers: count(3),
            rank: None,
            structure: Structure::default(),
            hidden: [360, 200, 80].into_iter().map(count).collect(),
            activation: Activation::default(),
            dropout: Rate::default(),
            norm: Norm::default(),
        }
    }
}

/// `x_{l+1} = x_0 ⊙ (W·x_l + b) + x_l`, or with `W = U·Vᵀ`.
#[derive(Module, Debug)]
pub struct CrossLayer<B: Backend> {
    /// V, `[W, rank]`; `None` where the matrix is full.
    down: Option<Linear<B>>,
    /// U, `[rank, W]`, or the full matrix, with the bias.
    up: Linear<B>,
}
impl CrossLayer<Bk> {
    fn new(width: usize, rank: Option<usize>, device: &Device) -> Self {
        Self {
            down: rank.map(|rank| LinearConfig::new(width, rank).with_bias(false).init(device)),
            up: LinearConfig::new(rank.unwrap_or(width), width).init(device),
        }
    }
    /// `W·x + b`, where `first` multiplies x.
    fn product(&self, first: impl FnOnce(&Linear<Bk>) -> Tensor<Bk, 2>) -> Tensor<Bk, 2> {
        match &self.down {
            None => first(&self.up),
            Some(down) => self.up.forward(first(down)),
        }
    }
    /// `x_0 ⊙ (W·x + b) + x`.
    fn onnx(&self, graph: &mut Onnx<'_>, x0: &Value, x: &Value) -> Value {
        let low = self.down.as_ref().map_or_else(|| x.clone(), |down| graph.linear("down", x, down));
        let product = graph.linear("up", &low, &self.up);
        let crossed = graph.mul(x0, &product);
        graph.add(&crossed, x)
    }
}

/// `[B, input]` → one logit a row, `[B]`.
#[derive(Module, Debug)]
pub struct DcnV2Tower<B: Backend> {
    cross: Vec<CrossLayer<B>>,
    deep: MlpTower<B>,
    head: Linear<B>,
    #[module(skip)]
    structure: Structure,
}

impl TowerSettings for DcnV2 {
    type Tower = DcnV2Tower<Bk>;
    fn needs(&self) -> Needs {
        gives(&self.hidden)
    }
    fn build(&self, shape: &StageShape, device: &Device) -> Result<Self::Tower> {
        let Self { hidden: widths, activation, dropout, norm, structure, .. } = self;
        let hidden = Hidden { widths, activation: *activation, dropout: *dropout, norm: *norm, first_draw: 0 };
        let width = shape.width();
        let out = match structure {
            // Without hidden layers there is nothing beside the cross layers.
            Structure::Parallel if widths.is_empty() => width,
            Structure::Parallel => width + hidden.width(width),
            Structure::Stacked => hidden.width(width),
        };
        let rank = self.rank.map(NonZeroUsize::get);
        Ok(DcnV2Tower {
            cross: (0..self.cross_layers.get()).map(|_| CrossLayer::new(width, rank, device)).collect(),
            deep: hidden.build(width, device),
            head: shape.head(out, device),
            structure: if widths.is_empty() { Structure::Stacked } else { *structure },
        })
    }
}
impl Tower for DcnV2Tower<Bk> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        let x0 = input.dense();
        let crossed = self.cross.iter().enumerate().fold(x0.clone(), |x, (layer, cross)| {
            let product = cross.product(|first| if layer == 0 { input.project(first) } else { first.forward(x.clone()) });
            x0.clone() * product + x
        });
        let (hidden, out) = match self.structure {
            Structure::Parallel => {
                let hidden = self.deep.hidden(input, input);
                (hidden.clone(), Tensor::cat(vec![crossed, hidden], 1))
            }
            Structure::Stacked => {
                let hidden = self.deep.hidden(&crossed, input);
                (hidden.clone(), hidden)
            }
        };
        let output = StageOutput::logit(self.head.forward(out));
        if self.deep.is_empty() { output } else { output.with_hidden(hidden) }
    }
    fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<OnnxOutput> {
        let x0 = input.dense(graph);
        let layers = self.cross.iter().enumerate();
        let crossed = layers.fold(x0.clone(), |x, (i, layer)| graph.scope(&format!("cross.{i}"), |graph| layer.onnx(graph, &x0, &x)));
        let below = if self.structure == Structure::Parallel { &x0 } else { &crossed };
        let hidden = graph.scope("deep", |graph| self.deep.onnx_hidden(graph, below));
        let out = match self.structure {
            Structure::Parallel => graph.concat(&[crossed, hidden.clone()], 1),
            Structure::Stacked => hidden.clone(),
        };
        let output = OnnxOutput::logit(graph.linear("head", &out, &self.head));
        Some(if self.deep.is_empty() { output } else { output.with_hidden(hidden) })
    }
}
register_tower!("dcn_v2", DcnV2);
