//! `mlp`: linear layers with a nonlinearity between them.

use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::plugin::{StageInput, StageOutput, StageShape, Tower, TowerSettings};
use esmm_funnel_core::register_tower;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// A multi-layer perceptron with `ReLU`, the tower of the ESMM paper (Ma et al., SIGIR 2018).
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mlp {
    /// Width of each hidden layer, first to last. Empty means logistic regression.
    hidden: Vec<NonZeroUsize>,
}
impl Default for Mlp {
    fn default() -> Self {
        Self { hidden: [360, 200, 80].into_iter().filter_map(NonZeroUsize::new).collect() }
    }
}

/// `[B, input]` → one logit a row, `[B]`.
#[derive(Module, Debug)]
pub struct MlpTower<B: Backend> {
    layers: Vec<Linear<B>>,
    head: Linear<B>,
}

impl TowerSettings for Mlp {
    type Tower = MlpTower<Bk>;
    fn build(&self, shape: &StageShape, device: &Device) -> anyhow::Result<Self::Tower> {
        let mut width = shape.width();
        let layers = self
            .hidden
            .iter()
            .map(|hidden| LinearConfig::new(std::mem::replace(&mut width, hidden.get()), hidden.get()).init(device))
            .collect();
        Ok(MlpTower { layers, head: shape.head(width, device) })
    }
}
impl Tower for MlpTower<Bk> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        let Some((first, rest)) = self.layers.split_first() else { return StageOutput::logit(input.project(&self.head)) };
        // What rows share is multiplied once per entity in the first layer.
        let x = rest.iter().fold(relu(input.project(first)), |x, layer| relu(layer.forward(x)));
        StageOutput::logit(self.head.forward(x))
    }
}
register_tower!("mlp", Mlp);
