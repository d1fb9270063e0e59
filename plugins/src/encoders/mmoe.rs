//! `mmoe`: shared experts, mixed by a gate of each stage.

use super::mixture::{Experts, mix, onnx_mix, onnx_shared, shared_input};
use crate::towers::mlp::{Activation, Norm, count};
use anyhow::Result;
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, OnnxInput};
use esmm_funnel_core::plugin::input::Part;
use esmm_funnel_core::plugin::{Encoder, EncoderSettings, EncoderShape, PartShape, StageInput};
use esmm_funnel_core::register_encoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// Multi-gate Mixture-of-Experts (Ma et al., KDD 2018): perceptrons that all stages share, and for each stage a gate that weighs them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mmoe {
    /// Number of experts.
    experts: NonZeroUsize,
    /// Width of each layer of an expert, first to last.
    hidden: Vec<NonZeroUsize>,
    /// The nonlinearity after each layer of an expert; `dice` is for towers alone.
    activation: Activation,
    /// How each layer of an expert is normalised, before the nonlinearity; `batch` is for towers alone.
    norm: Norm,
}
impl Default for Mmoe {
    fn default() -> Self {
        Self { experts: count(4), hidden: vec![count(128)], activation: Activation::default(), norm: Norm::default() }
    }
}

/// `f_t(x) = Σ_i softmax(G_t·x)_i · E_i(x)` for each stage t: `[B, input]` → `[B, H]` a stage.
///
/// Where every stage has tables of its own, the experts see the mean of the stages' inputs, and each gate its stage's own.
#[derive(Module, Debug)]
pub struct MmoeEncoder<B: Backend> {
    experts: Experts<B>,
    gates: Vec<Linear<B>>,
}

impl EncoderSettings for Mmoe {
    type Encoder = MmoeEncoder<Bk>;
    fn build(&self, shape: &EncoderShape, device: &Device) -> Result<(Self::Encoder, Vec<PartShape>)> {
        let width = shape.parts.iter().map(PartShape::width).sum();
        let experts = self.experts.get();
        let (one, out) = super::mixture::expert(&self.hidden, self.activation, self.norm)?;
        let gate = |_: &String| LinearConfig::new(width, experts).with_bias(false).init(device);
        let encoder = MmoeEncoder { experts: Experts::new(experts, one, width, device), gates: shape.stages.iter().map(gate).collect() };
        Ok((encoder, vec![out]))
    }
}
impl Encoder for MmoeEncoder<Bk> {
    fn forward(&self, inputs: &[StageInput]) -> Vec<StageInput> {
        let experts = self.experts.of_input(&shared_input(inputs));
        let mixed = inputs.iter().zip(&self.gates).map(|(input, gate)| (input, mix(input.project(gate), &experts)));
        mixed
            .map(|(input, values)| StageInput { parts: vec![Part { values, index: None }], noise: input.noise, ..StageInput::default() })
            .collect()
    }
    fn onnx(&self, graph: &mut Onnx<'_>, inputs: &[OnnxInput]) -> Option<Vec<OnnxInput>> {
        let shared = onnx_shared(graph, inputs);
        let experts = graph.scope("experts", |graph| self.experts.onnx(graph, &shared));
        let stages = inputs.iter().zip(&self.gates).enumerate();
        let mixed = stages.map(|(i, (input, gate))| {
            let x = input.dense(graph);
            let scores = graph.linear(&format!("gates.{i}"), &x, gate);
            OnnxInput::new(vec![onnx_mix(graph, &scores, &experts)])
        });
        Some(mixed.collect())
    }
}
register_encoder!("mmoe", Mmoe);
