//! `deepfm`: a factorisation machine beside hidden layers.

use super::first_order::{FirstOrder, OWN_DIM};
use super::mlp::{Activation, Hidden, MlpTower, Norm, Rate, beside, count, gives, onnx_beside};
use burn::prelude::*;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, OnnxInput, OnnxOutput, Value};
use esmm_funnel_core::plugin::input::Part;
use esmm_funnel_core::plugin::{Needs, PartShape, StageInput, StageOutput, StageShape, Tower, TowerSettings};
use esmm_funnel_core::register_tower;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// `DeepFM` (Guo et al., IJCAI 2017): a weight for every id and number, the products of all pairs of embedded fields, and hidden layers, on the
/// same embeddings. The weights of ids stand in tables of the tower's own.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeepFm {
    /// Width of each hidden layer, first to last. Empty means one weight per column.
    hidden: Vec<NonZeroUsize>,
    /// The nonlinearity after each hidden layer.
    activation: Activation,
    /// Share of each hidden layer's outputs that is dropped in training: at least 0, less than 1.
    dropout: Rate,
    /// How each hidden layer is normalised, before the nonlinearity.
    norm: Norm,
}
impl Default for DeepFm {
    fn default() -> Self {
        Self {
            hidden: [360, 200, 80].into_iter().map(count).collect(),
            activation: Activation::default(),
            dropout: Rate::default(),
            norm: Norm::default(),
        }
    }
}

/// `[B, input]` → one logit a row, `[B]`: first order, second order and the hidden layers', added.
#[derive(Module, Debug)]
pub struct DeepFmTower<B: Backend> {
    first: FirstOrder<B>,
    deep: MlpTower<B>,
    #[module(skip)]
    parts: Vec<PartShape>,
}

impl TowerSettings for DeepFm {
    type Tower = DeepFmTower<Bk>;
    fn needs(&self) -> Needs {
        Needs { own_dim: OWN_DIM, ..gives(&self.hidden) }
    }
    fn build(&self, shape: &StageShape, device: &Device) -> anyhow::Result<Self::Tower> {
        let Self { hidden: widths, activation, dropout, norm } = self;
        let hidden = Hidden { widths, activation: *activation, dropout: *dropout, norm: *norm, first_draw: 0 };
        shape.field_dim()?;
        Ok(DeepFmTower { first: FirstOrder::new(shape, device), deep: hidden.with_head(shape, device), parts: shape.parts.clone() })
    }
}
impl Tower for DeepFmTower<Bk> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        beside(self.deep.output(input, input), self.first.forward(input).into_iter().chain(second_order(input, &self.parts)))
    }
    fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<OnnxOutput> {
        let x = input.dense(graph);
        let deep = graph.scope("deep", |graph| self.deep.onnx_output(graph, &x));
        let first = graph.scope("first", |graph| self.first.onnx(graph, input));
        let second = onnx_second_order(graph, input, &self.parts);
        Some(onnx_beside(graph, deep, first.into_iter().chain([second])))
    }
}
register_tower!("deepfm", DeepFm);

/// `Σ_{f<g} ⟨e_f, e_g⟩ = ½·Σ_d[(Σ_f e_fd)² − Σ_f e_fd²]` (Rendle, ICDM 2010, lemma 3.1). What rows share is summed once.
///
/// # Shapes
/// `[B, 1]`; `None` without fields.
fn second_order(input: &StageInput, parts: &[PartShape]) -> Option<Tensor<Bk, 2>> {
    // [B, 2D]: the fields' sum, and the sum of their squares.
    let sums = |(part, s): (&Part, &PartShape)| {
        let n = part.values.dims()[0];
        let fields = part.values.clone().narrow(1, 0, s.fields * s.dim).reshape([n, s.fields, s.dim]);
        let sum = |x: Tensor<Bk, 3>| x.sum_dim(1).reshape([n, s.dim]);
        part.expand(Tensor::cat(vec![sum(fields.clone()), sum(fields.clone() * fields)], 1))
    };
    let with_fields = input.parts.iter().zip(parts).filter(|(_, s)| s.fields > 0);
    let both = with_fields.map(sums).reduce(|a, b| a + b)?;
    let dim = both.dims()[1] / 2;
    let (sum, squares) = (both.clone().narrow(1, 0, dim), both.narrow(1, dim, dim));
    Some((sum.clone() * sum - squares).sum_dim(1) * 0.5)
}
/// The same as nodes.
fn onnx_second_order(graph: &mut Onnx<'_>, input: &OnnxInput, parts: &[PartShape]) -> Value {
    let fields = input.fields(graph, parts);
    let squares = graph.mul(&fields, &fields);
    let (sum, squares) = (graph.sum(&fields, &[1], false), graph.sum(&squares, &[1], false));
    let square = graph.mul(&sum, &sum);
    let pairs = graph.sub(&square, &squares);
    let (twice, half) = (graph.sum(&pairs, &[1], true), graph.number(0.5));
    graph.mul(&twice, &half)
}
