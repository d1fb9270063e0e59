//! `autoint`: fields that attend to each other.

use super::mlp::{Activation, Hidden, MlpTower, Norm, Rate, beside, count, gives, onnx_beside};
use anyhow::Result;
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::{relu, softmax};
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, OnnxInput, OnnxOutput, Value};
use esmm_funnel_core::plugin::{Needs, PartShape, StageInput, StageOutput, StageShape, Tower, TowerSettings};
use esmm_funnel_core::register_tower;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// `AutoInt` (Song et al., CIKM 2019): layers in which every embedded field attends to every other. Beside them stands a perceptron on all
/// columns, plain numbers among them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AutoInt {
    /// Number of attention layers.
    layers: NonZeroUsize,
    /// Attention heads of each layer.
    heads: NonZeroUsize,
    /// Width of each head.
    head_dim: NonZeroUsize,
    /// Width of each hidden layer of the perceptron beside the attention, first to last. Empty means one weight per column.
    hidden: Vec<NonZeroUsize>,
    /// The nonlinearity after each hidden layer.
    activation: Activation,
    /// Share of each hidden layer's outputs that is dropped in training: at least 0, less than 1.
    dropout: Rate,
    /// How each hidden layer is normalised, before the nonlinearity.
    norm: Norm,
}
impl Default for AutoInt {
    fn default() -> Self {
        Self {
            layers: count(3),
            heads: count(2),
            head_dim: count(16),
            hidden: Vec::new(),
            activation: Activation::default(),
            dropout: Rate::default(),
            norm: Norm::default(),
        }
    }
}

/// `e_m ← relu(‖_h Σ_k softmax_k(⟨Q_h·e_m, K_h·e_k⟩)·V_h·e_k + W_res·e_m)` for each field m.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    residual: Linear<B>,
    #[module(skip)]
    heads: usize,
}
impl Attention<Bk> {
    fn new(dim: usize, heads: usize, head_dim: usize, device: &Device) -> Self {
        let linear = || LinearConfig::new(dim, heads * head_dim).with_bias(false).init(device);
        Self { query: linear(), key: linear(), value: linear(), residual: linear(), heads }
    }
    /// # Shapes
    /// `[B, F, D]` → `[B, F, heads · head_dim]`.
    fn forward(&self, fields: Tensor<Bk, 3>) -> Tensor<Bk, 3> {
        let [rows, count, dim] = fields.dims();
        let flat = fields.reshape([rows * count, dim]);
        let out = self.query.weight.dims()[1];
        // [B, heads, F, head_dim].
        let split = |layer: &Linear<Bk>| layer.forward(flat.clone()).reshape([rows, count, self.heads, out / self.heads]).swap_dims(1, 2);
        let weights = softmax(split(&self.query).matmul(split(&self.key).swap_dims(2, 3)), 3);
        let seen = weights.matmul(split(&self.value)).swap_dims(1, 2).reshape([rows * count, out]);
        relu(seen + self.residual.forward(flat)).reshape([rows, count, out])
    }
    /// As [`Self::forward`], on `count` fields.
    #[allow(clippy::cast_possible_wrap)]
    fn onnx(&self, graph: &mut Onnx<'_>, fields: &Value, count: usize) -> Value {
        let out = self.query.weight.dims()[1];
        let (fields_count, heads, head_dim) = (count as i64, self.heads as i64, (out / self.heads) as i64);
        let mut split = |name: &str, layer: &Linear<Bk>, order: &[i64]| {
            let all = graph.linear(name, fields, layer);
            let apart = graph.reshape(&all, &[0, fields_count, heads, head_dim]);
            graph.transpose(&apart, order)
        };
        let query = split("query", &self.query, &[0, 2, 1, 3]);
        let key = split("key", &self.key, &[0, 2, 3, 1]);
        let value = split("value", &self.value, &[0, 2, 1, 3]);
        let scores = graph.matmul(&query, &key);
        let weights = graph.softmax(&scores, -1);
        let seen = graph.matmul(&weights, &value);
        let together = graph.transpose(&seen, &[0, 2, 1, 3]);
        let seen = graph.reshape(&together, &[0, fields_count, heads * head_dim]);
        let residual = graph.linear("residual", fields, &self.residual);
        let sum = graph.add(&seen, &residual);
        graph.relu(&sum)
    }
}

/// `[B, input]` → one logit a row, `[B]`: the attention's head and the perceptron's, added.
#[derive(Module, Debug)]
pub struct AutoIntTower<B: Backend> {
    attention: Vec<Attention<B>>,
    head: Linear<B>,
    deep: MlpTower<B>,
    #[module(skip)]
    parts: Vec<PartShape>,
}

impl TowerSettings for AutoInt {
    type Tower = AutoIntTower<Bk>;
    fn needs(&self) -> Needs {
        gives(&self.hidden)
    }
    fn build(&self, shape: &StageShape, device: &Device) -> Result<Self::Tower> {
        let Self { hidden: widths, activation, dropout, norm, .. } = self;
        let hidden = Hidden { widths, activation: *activation, dropout: *dropout, norm: *norm, first_draw: 0 };
        let (dim, fields) = (shape.field_dim()?, shape.fields());
        let (heads, head_dim) = (self.heads.get(), self.head_dim.get());
        let width = |layer| if layer == 0 { dim } else { heads * head_dim };
        Ok(AutoIntTower {
            attention: (0..self.layers.get()).map(|layer| Attention::new(width(layer), heads, head_dim, device)).collect(),
            head: shape.head(fields * heads * head_dim, device),
            deep: hidden.with_head(shape, device),
            parts: shape.parts.clone(),
        })
    }
}
impl Tower for AutoIntTower<Bk> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        let fields = self.attention.iter().fold(input.fields(&self.parts), |x, layer| layer.forward(x));
        beside(self.deep.output(input, input), [self.head.forward(fields.flatten(1, 2))])
    }
    fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<OnnxOutput> {
        let count = self.parts.iter().map(|p| p.fields).sum();
        let (x, mut fields) = (input.dense(graph), input.fields(graph, &self.parts));
        for (i, layer) in self.attention.iter().enumerate() {
            fields = graph.scope(&format!("attention.{i}"), |graph| layer.onnx(graph, &fields, count));
        }
        let flat = graph.reshape(&fields, &[0, -1]);
        let attended = graph.linear("head", &flat, &self.head);
        let deep = graph.scope("deep", |graph| self.deep.onnx_output(graph, &x));
        Some(onnx_beside(graph, deep, [attended]))
    }
}
register_tower!("autoint", AutoInt);
