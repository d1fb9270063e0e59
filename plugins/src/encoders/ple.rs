//! `ple`: experts of each stage and shared ones, mixed level by level.

use super::mixture::{Experts, expert, mix, onnx_mix, onnx_shared, shared_input};
use crate::towers::mlp::{Activation, Norm, count};
use anyhow::Result;
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, OnnxInput, Value};
use esmm_funnel_core::plugin::input::Part;
use esmm_funnel_core::plugin::{Encoder, EncoderSettings, EncoderShape, PartShape, StageInput};
use esmm_funnel_core::register_encoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// Progressive Layered Extraction (Tang et al., `RecSys` 2020): each stage has experts of its own beside those that all share, in one or more
/// levels. One level is Customized Gate Control (CGC).
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ple {
    /// Number of levels.
    levels: NonZeroUsize,
    /// Experts that all stages share, at each level.
    shared_experts: NonZeroUsize,
    /// Experts of each stage alone, at each level.
    stage_experts: NonZeroUsize,
    /// Width of each layer of an expert, first to last.
    hidden: Vec<NonZeroUsize>,
    /// The nonlinearity after each layer of an expert; `dice` is for towers alone.
    activation: Activation,
    /// How each layer of an expert is normalised, before the nonlinearity; `batch` is for towers alone.
    norm: Norm,
}
impl Default for Ple {
    fn default() -> Self {
        let activation = Activation::default();
        Self {
            levels: count(1),
            shared_experts: count(2),
            stage_experts: count(2),
            hidden: vec![count(128)],
            activation,
            norm: Norm::default(),
        }
    }
}

/// `g_t = softmax(G_t·h_t) · [E_t(h_t); E_s(h_s)]` for each stage t, whose `h_t` at the next level is `g_t`; the shared
/// state `h_s` moves on likewise, by a gate over the experts of all stages.
#[derive(Module, Debug)]
pub struct Level<B: Backend> {
    stages: Vec<Experts<B>>,
    shared: Experts<B>,
    gates: Vec<Linear<B>>,
    /// `None` at the last level, where nothing follows that is shared.
    shared_gate: Option<Linear<B>>,
}
impl Level<Bk> {
    /// The states of the stages, and the shared one where another level follows.
    fn forward(&self, states: &[StageInput], shared: &StageInput) -> (Vec<Tensor<Bk, 2>>, Option<Tensor<Bk, 2>>) {
        let common = self.shared.of_input(shared);
        let own: Vec<Vec<Tensor<Bk, 2>>> = self.stages.iter().zip(states).map(|(experts, state)| experts.of_input(state)).collect();
        let stages = self.gates.iter().zip(states).zip(&own);
        let mixed = stages.map(|((gate, state), own)| mix(state.project(gate), &[own.as_slice(), &common].concat())).collect();
        let shared = self.shared_gate.as_ref().map(|gate| mix(shared.project(gate), &[own.concat(), common].concat()));
        (mixed, shared)
    }
    /// The same as nodes.
    fn onnx(&self, graph: &mut Onnx<'_>, states: &[Value], shared: &Value) -> (Vec<Value>, Option<Value>) {
        let common = graph.scope("shared", |graph| self.shared.onnx(graph, shared));
        let mut own: Vec<Vec<Value>> = Vec::new();
        for (i, (experts, state)) in self.stages.iter().zip(states).enumerate() {
            own.push(graph.scope(&format!("stages.{i}"), |graph| experts.onnx(graph, state)));
        }
        let mut mixed = Vec::new();
        for (i, (gate, state)) in self.gates.iter().zip(states).enumerate() {
            let scores = graph.linear(&format!("gates.{i}"), state, gate);
            mixed.push(onnx_mix(graph, &scores, &[own[i].as_slice(), &common].concat()));
        }
        let next = self.shared_gate.as_ref().map(|gate| {
            let scores = graph.linear("shared_gate", shared, gate);
            onnx_mix(graph, &scores, &[own.concat(), common].concat())
        });
        (mixed, next)
    }
}

/// `[B, input]` → `[B, H]` a stage.
///
/// Where every stage has tables of its own, the shared experts of the first level see the mean of the stages' inputs.
#[derive(Module, Debug)]
pub struct PleEncoder<B: Backend> {
    levels: Vec<Level<B>>,
}

impl EncoderSettings for Ple {
    type Encoder = PleEncoder<Bk>;
    fn build(&self, shape: &EncoderShape, device: &Device) -> Result<(Self::Encoder, Vec<PartShape>)> {
        let (one, out) = expert(&self.hidden, self.activation, self.norm)?;
        let (stages, own, common) = (shape.stages.len(), self.stage_experts.get(), self.shared_experts.get());
        let mut width: usize = shape.parts.iter().map(PartShape::width).sum();
        let levels = (1..=self.levels.get()).map(|level| {
            let width = std::mem::replace(&mut width, out.width());
            let gate = |experts| LinearConfig::new(width, experts).with_bias(false).init(device);
            Level {
                stages: (0..stages).map(|_| Experts::new(own, one, width, device)).collect(),
                shared: Experts::new(common, one, width, device),
                gates: (0..stages).map(|_| gate(own + common)).collect(),
                shared_gate: (level < self.levels.get()).then(|| gate(stages * own + common)),
            }
        });
        Ok((PleEncoder { levels: levels.collect() }, vec![out]))
    }
}
impl Encoder for PleEncoder<Bk> {
    fn forward(&self, inputs: &[StageInput]) -> Vec<StageInput> {
        let state = |values, noise| StageInput { parts: vec![Part { values, index: None }], noise, ..StageInput::default() };
        let (mut states, mut shared) = (inputs.to_vec(), shared_input(inputs));
        for level in &self.levels {
            let (mixed, next) = level.forward(&states, &shared);
            states = mixed.into_iter().zip(inputs).map(|(values, input)| state(values, input.noise)).collect();
            if let Some(next) = next {
                shared = state(next, shared.noise);
            }
        }
        states
    }
    fn onnx(&self, graph: &mut Onnx<'_>, inputs: &[OnnxInput]) -> Option<Vec<OnnxInput>> {
        let mut shared = onnx_shared(graph, inputs);
        let mut states: Vec<Value> = inputs.iter().map(|input| input.dense(graph)).collect();
        for (i, level) in self.levels.iter().enumerate() {
            let (mixed, next) = graph.scope(&format!("levels.{i}"), |graph| level.onnx(graph, &states, &shared));
            states = mixed;
            shared = next.unwrap_or(shared);
        }
        Some(states.into_iter().map(|state| OnnxInput::new(vec![state])).collect())
    }
}
register_encoder!("ple", Ple);
