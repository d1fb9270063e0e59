//! Experts and the weighing of them, which `mmoe` and `ple` share.

use crate::towers::mlp::{Activation, Hidden, MlpTower, Norm, Rate};
use anyhow::{Result, bail};
use burn::prelude::*;
use burn::tensor::activation::softmax;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, OnnxInput, Value};
use esmm_funnel_core::plugin::input::Part;
use esmm_funnel_core::plugin::{PartShape, StageInput};
use std::num::NonZeroUsize;

/// Layers of one expert, and what a tower sees of a mixture of such.
pub(super) fn expert(widths: &[NonZeroUsize], activation: Activation, norm: Norm) -> Result<(Hidden<'_>, PartShape)> {
    let Some(last) = widths.last() else { bail!("`hidden` is empty: an expert needs at least one layer") };
    // An encoder is not told whether it trains.
    if activation == Activation::Dice {
        bail!("`activation = \"dice\"` keeps statistics of batches, which only towers do");
    }
    if norm == Norm::Batch {
        bail!("`norm = \"batch\"` keeps statistics of batches, which only towers do; `norm = \"layer\"` needs none");
    }
    let hidden = Hidden { widths, activation, dropout: Rate::default(), norm, first_draw: 0 };
    Ok((hidden, PartShape { fields: 0, dim: 0, numbers: last.get() }))
}

/// Perceptrons of the same shape.
#[derive(Module, Debug)]
pub struct Experts<B: Backend> {
    experts: Vec<MlpTower<B>>,
}
impl Experts<Bk> {
    /// `count` experts on `width` columns.
    pub(super) fn new(count: usize, expert: Hidden<'_>, width: usize, device: &Device) -> Self {
        Self { experts: (0..count).map(|_| expert.build(width, device)).collect() }
    }
    /// # Shapes
    /// `[B, H]` an expert.
    pub(super) fn of_input(&self, input: &StageInput) -> Vec<Tensor<Bk, 2>> {
        self.experts.iter().map(|e| e.hidden(input, input)).collect()
    }
    /// The same as nodes.
    pub(super) fn onnx(&self, graph: &mut Onnx<'_>, x: &Value) -> Vec<Value> {
        let experts = self.experts.iter().enumerate();
        experts.map(|(i, expert)| graph.scope(&format!("experts.{i}"), |graph| expert.onnx_hidden(graph, x))).collect()
    }
}

/// `Σ_i softmax(scores)_i · E_i`.
///
/// # Shapes
/// `scores` is `[B, n]` for n experts of `[B, H]`, as is the result.
pub(super) fn mix(scores: Tensor<Bk, 2>, experts: &[Tensor<Bk, 2>]) -> Tensor<Bk, 2> {
    let [rows, n] = scores.dims();
    let weights = softmax(scores, 1).reshape([rows, 1, n]);
    let experts: Tensor<Bk, 3> = Tensor::stack(experts.to_vec(), 1);
    weights.matmul(experts).squeeze_dim(1)
}
/// The same as nodes.
pub(super) fn onnx_mix(graph: &mut Onnx<'_>, scores: &Value, experts: &[Value]) -> Value {
    let weights = graph.softmax(scores, 1);
    let weights = graph.unsqueeze(&weights, 1);
    let experts: Vec<Value> = experts.iter().map(|e| graph.unsqueeze(e, 1)).collect();
    let experts = graph.concat(&experts, 1);
    let mixed = graph.matmul(&weights, &experts);
    graph.squeeze(&mixed, 1)
}

/// What experts shared by all stages see: the mean of the stages' inputs, which is the input itself unless every stage has tables of its own.
///
/// The inputs have the same parts, of the same shapes and rows.
pub(super) fn shared_input(inputs: &[StageInput]) -> StageInput {
    let (first, rest) = (&inputs[0], &inputs[1..]);
    let mean = |(i, part): (usize, &Part)| {
        let sum = rest.iter().fold(part.values.clone(), |sum, input| sum + input.parts[i].values.clone());
        Part { values: sum / inputs.len() as f64, index: part.index.clone() }
    };
    StageInput { parts: first.parts.iter().enumerate().map(mean).collect(), noise: first.noise, ..StageInput::default() }
}
/// The same as nodes, everything side by side.
pub(super) fn onnx_shared(graph: &mut Onnx<'_>, inputs: &[OnnxInput]) -> Value {
    let all: Vec<Value> = inputs.iter().map(|input| input.dense(graph)).collect();
    if all.iter().all(|x| *x == all[0]) {
        return all[0].clone();
    }
    #[allow(clippy::cast_possible_truncation)]
    let count = graph.number(inputs.len() as f32);
    let first = all[0].clone();
    let sum = all.into_iter().skip(1).fold(first, |sum, x| graph.add(&sum, &x));
    graph.div(&sum, &count)
}
