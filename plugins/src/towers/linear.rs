//! `linear`: a weighted sum of the input's columns.

use burn::nn::Linear;
use burn::prelude::*;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Layer, Onnx, OnnxInput, OnnxOutput};
use esmm_funnel_core::plugin::{StageInput, StageOutput, StageShape, Tower, TowerSettings};
use esmm_funnel_core::register_tower;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Logistic regression on the shared representation: one weight per column. With `embedding.dim = 1` it is the classical one on one-hot
/// ids.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinearModel {}

/// `[B, input]` → one logit a row, `[B]`.
#[derive(Module, Debug)]
pub struct LinearTower<B: Backend> {
    head: Linear<B>,
}

impl TowerSettings for LinearModel {
    type Tower = LinearTower<Bk>;
    fn build(&self, shape: &StageShape, device: &Device) -> anyhow::Result<Self::Tower> {
        Ok(LinearTower { head: shape.head(shape.width(), device) })
    }
}
impl Tower for LinearTower<Bk> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        StageOutput::logit(input.project(&self.head))
    }
    fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<OnnxOutput> {
        let x = input.dense(graph);
        Some(OnnxOutput::logit(graph.linear("head", &x, &self.head)))
    }
    fn layers(&self) -> Vec<Layer> {
        vec![Layer { linear: "head".into(), norm: None, activation: None }]
    }
}
register_tower!("linear", LinearModel);
