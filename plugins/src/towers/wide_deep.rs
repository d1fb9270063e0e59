//! `wide_deep`: a weight for every id and number, beside hidden layers.

use super::first_order::{FirstOrder, OWN_DIM};
use super::mlp::{Activation, Hidden, MlpTower, Norm, Rate, beside, count, gives, onnx_beside};
use burn::prelude::*;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, OnnxInput, OnnxOutput};
use esmm_funnel_core::plugin::{Needs, StageInput, StageOutput, StageShape, Tower, TowerSettings};
use esmm_funnel_core::register_tower;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// Wide & Deep (Cheng et al., DLRS 2016): a linear model on ids and numbers, which remembers, and hidden layers on the embeddings, which
/// generalise. Every id has a weight of its own in tables of the tower's; what the wide side should know of pairs is a feature of
/// `kind = "cross"`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WideDeep {
    /// Width of each hidden layer of the deep side, first to last. Empty means one weight per column.
    hidden: Vec<NonZeroUsize>,
    /// The nonlinearity after each hidden layer.
    activation: Activation,
    /// Share of each hidden layer's outputs that is dropped in training: at least 0, less than 1.
    dropout: Rate,
    /// How each hidden layer is normalised, before the nonlinearity.
    norm: Norm,
}
impl Default for WideDeep {
    fn default() -> Self {
        Self {
            hidden: [360, 200, 80].into_iter().map(count).collect(),
            activation: Activation::default(),
            dropout: Rate::default(),
            norm: Norm::default(),
        }
    }
}

/// `[B, input]` → one logit a row, `[B]`: both sides', added.
#[derive(Module, Debug)]
pub struct WideDeepTower<B: Backend> {
    wide: FirstOrder<B>,
    deep: MlpTower<B>,
}

impl TowerSettings for WideDeep {
    type Tower = WideDeepTower<Bk>;
    fn needs(&self) -> Needs {
        Needs { own_dim: OWN_DIM, ..gives(&self.hidden) }
    }
    fn build(&self, shape: &StageShape, device: &Device) -> anyhow::Result<Self::Tower> {
        let Self { hidden: widths, activation, dropout, norm } = self;
        let hidden = Hidden { widths, activation: *activation, dropout: *dropout, norm: *norm, first_draw: 0 };
        Ok(WideDeepTower { wide: FirstOrder::new(shape, device), deep: hidden.with_head(shape, device) })
    }
}
impl Tower for WideDeepTower<Bk> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        beside(self.deep.output(input, input), self.wide.forward(input))
    }
    fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<OnnxOutput> {
        let x = input.dense(graph);
        let deep = graph.scope("deep", |graph| self.deep.onnx_output(graph, &x));
        let wide = graph.scope("wide", |graph| self.wide.onnx(graph, input));
        Some(onnx_beside(graph, deep, wide))
    }
}
register_tower!("wide_deep", WideDeep);
