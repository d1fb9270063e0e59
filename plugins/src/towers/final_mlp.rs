//! `final_mlp`: two perceptrons whose outputs are multiplied with each other.

use super::mlp::{Activation, Hidden, MlpTower, Norm, Rate, count, gives};
use anyhow::{Result, bail};
use burn::module::{Initializer, Param};
use burn::prelude::*;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, OnnxInput, OnnxOutput};
use esmm_funnel_core::plugin::{Needs, StageInput, StageOutput, StageShape, Tower, TowerSettings};
use esmm_funnel_core::register_tower;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// `FinalMLP` (Mao et al., AAAI 2023): two perceptrons on the input, fused by a bilinear form with several heads. Both see the whole input:
/// the paper's gates on features are left out.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FinalMlp {
    /// Width of each hidden layer of the first perceptron, first to last.
    first: Vec<NonZeroUsize>,
    /// Width of each hidden layer of the second perceptron, first to last.
    second: Vec<NonZeroUsize>,
    /// Heads of the fusion; their number must divide the last width of both perceptrons.
    heads: NonZeroUsize,
    /// The nonlinearity after each hidden layer.
    activation: Activation,
    /// Share of each hidden layer's outputs that is dropped in training: at least 0, less than 1.
    dropout: Rate,
    /// How each hidden layer is normalised, before the nonlinearity.
    norm: Norm,
}
impl Default for FinalMlp {
    fn default() -> Self {
        Self {
            first: [360, 200, 80].into_iter().map(count).collect(),
            second: [360, 80].into_iter().map(count).collect(),
            heads: count(2),
            activation: Activation::default(),
            dropout: Rate::default(),
            norm: Norm::default(),
        }
    }
}

/// `w_1ᵀo_1 + w_2ᵀo_2 + Σ_h o_1hᵀ·W_h·o_2h` (the paper's two-stream fusion with k sub-spaces h; its bias is the stage's): `[B, input]` → one
/// logit a row, `[B]`.
#[derive(Module, Debug)]
pub struct FinalMlpTower<B: Backend> {
    first: MlpTower<B>,
    second: MlpTower<B>,
    /// w₁ and w₂ side by side.
    head: burn::nn::Linear<B>,
    /// `[heads, H₁ / heads, H₂ / heads]`.
    fusion: Param<Tensor<B, 3>>,
}

impl TowerSettings for FinalMlp {
    type Tower = FinalMlpTower<Bk>;
    fn needs(&self) -> Needs {
        let (first, second) = (gives(&self.first).hidden, gives(&self.second).hidden);
        Needs { hidden: if first > 0 && second > 0 { first + second } else { 0 }, ..Needs::default() }
    }
    fn build(&self, shape: &StageShape, device: &Device) -> Result<Self::Tower> {
        let Self { activation, dropout, norm, .. } = *self;
        let (first, second) = (&self.first, &self.second);
        let hidden = |widths, first_draw| Hidden { widths, activation, dropout, norm, first_draw };
        let (first, second) = (hidden(first, 0), hidden(second, first.len()));
        let (width, heads) = (shape.width(), self.heads.get());
        let (one, two) = (first.width(width), second.width(width));
        if one % heads != 0 || two % heads != 0 {
            bail!("`heads` is {heads}, which must divide the last width of both perceptrons, {one} and {two}");
        }
        let (a, b) = (one / heads, two / heads);
        Ok(FinalMlpTower {
            first: first.build(width, device),
            second: second.build(width, device),
            head: shape.head(one + two, device),
            fusion: Initializer::XavierNormal { gain: 1.0 }.init_with([heads, a, b], Some(a), Some(b), device),
        })
    }
}
impl Tower for FinalMlpTower<Bk> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        let (one, two) = (self.first.hidden(input, input), self.second.hidden(input, input));
        let fusion = self.fusion.val();
        let [heads, a, b] = fusion.dims();
        let rows = one.dims()[0];
        // [B, heads·W] → [heads, B, W].
        let split = |x: Tensor<Bk, 2>, width| x.reshape([rows, heads, width]).swap_dims(0, 1);
        let products = split(one.clone(), a).matmul(fusion) * split(two.clone(), b);
        let bilinear = products.sum_dim(2).sum_dim(0).reshape([rows, 1]);
        let both = Tensor::cat(vec![one, two], 1);
        let output = StageOutput::logit(self.head.forward(both.clone()) + bilinear);
        if self.first.is_empty() || self.second.is_empty() { output } else { output.with_hidden(both) }
    }
    #[allow(clippy::cast_possible_wrap)]
    fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<OnnxOutput> {
        let x = input.dense(graph);
        let one = graph.scope("first", |graph| self.first.onnx_hidden(graph, &x));
        let two = graph.scope("second", |graph| self.second.onnx_hidden(graph, &x));
        let [heads, a, b] = self.fusion.dims().map(|n| n as i64);
        // [B, heads·W] → [B, heads, 1, W].
        let (left, right) = (graph.reshape(&one, &[0, heads, 1, a]), graph.reshape(&two, &[0, heads, 1, b]));
        let fusion = graph.parameter("fusion", &self.fusion.val());
        let turned = graph.matmul(&left, &fusion);
        let products = graph.mul(&turned, &right);
        let sum = graph.sum(&products, &[2, 3], false);
        let bilinear = graph.sum(&sum, &[1], true);
        let both = graph.concat(&[one, two], 1);
        let linear = graph.linear("head", &both, &self.head);
        let output = OnnxOutput::logit(graph.add(&linear, &bilinear));
        Some(if self.first.is_empty() || self.second.is_empty() { output } else { output.with_hidden(both) })
    }
}
register_tower!("final_mlp", FinalMlp);
