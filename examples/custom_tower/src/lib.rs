//! `gated`: a tower of its own. Settings, network, forward pass, one line to register; nothing else is needed.

use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::{relu, sigmoid};
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, OnnxInput, OnnxOutput};
use esmm_funnel_core::plugin::{StageInput, StageOutput, StageShape, Tower, TowerSettings};
use esmm_funnel_core::register_tower;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// One hidden layer on the input's columns, each multiplied by a gate that is learned from all of them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gated {
    /// Width of the hidden layer.
    hidden: NonZeroUsize,
    /// Width that the input is squeezed to before its gates are computed.
    squeeze: NonZeroUsize,
    /// Share of the hidden units left out in training, at least 0 and less than 1.
    dropout: f64,
}
impl Default for Gated {
    fn default() -> Self {
        Self { hidden: NonZeroUsize::MIN.saturating_add(63), squeeze: NonZeroUsize::MIN.saturating_add(7), dropout: 0.0 }
    }
}

/// `[B, input]` → one logit a row, `[B]`.
#[derive(Module, Debug)]
pub struct GatedTower<B: Backend> {
    squeeze: Linear<B>,
    gates: Linear<B>,
    hidden: Linear<B>,
    head: Linear<B>,
    dropout: f64,
}

impl TowerSettings for Gated {
    type Tower = GatedTower<Bk>;
    fn build(&self, shape: &StageShape, device: &Device) -> anyhow::Result<Self::Tower> {
        anyhow::ensure!((0.0..1.0).contains(&self.dropout), "`dropout` is {}, and must be at least 0 and less than 1", self.dropout);
        let (width, hidden, squeeze) = (shape.width(), self.hidden.get(), self.squeeze.get());
        Ok(GatedTower {
            squeeze: LinearConfig::new(width, squeeze).init(device),
            gates: LinearConfig::new(squeeze, width).init(device),
            hidden: LinearConfig::new(width, hidden).init(device),
            head: shape.head(hidden, device),
            dropout: self.dropout,
        })
    }
}
impl Tower for GatedTower<Bk> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        // What rows share is multiplied once per entity.
        let squeezed = relu(input.project(&self.squeeze));
        let gates = sigmoid(self.gates.forward(squeezed)).mul_scalar(2.0);
        let hidden = relu(self.hidden.forward(input.dense() * gates));
        StageOutput::logit(self.head.forward(input.dropout(hidden, self.dropout, 0)))
    }
    // For `export`; the conformance kit compares it with `forward`.
    fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<OnnxOutput> {
        let (x, two) = (input.dense(graph), graph.number(2.0));
        let squeezed = graph.linear("squeeze", &x, &self.squeeze);
        let squeezed = graph.relu(&squeezed);
        let gates = graph.linear("gates", &squeezed, &self.gates);
        let gates = graph.sigmoid(&gates);
        let gates = graph.mul(&gates, &two);
        let gated = graph.mul(&x, &gates);
        let hidden = graph.linear("hidden", &gated, &self.hidden);
        let hidden = graph.relu(&hidden);
        Some(OnnxOutput::logit(graph.linear("head", &hidden, &self.head)))
    }
}
register_tower!("gated", Gated);
