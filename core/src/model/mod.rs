//! Embeddings, encoder and towers, put together for a funnel.

mod build;
mod inputs;
mod onnx;
mod persist;
mod plain;
mod score;
mod step;

pub use build::ModelPlan;
pub use onnx::GroupValues;
pub(crate) use plain::{on_host, registered};
pub use score::{ScoreModel, ScoreNetworks};
pub use step::{Gradients, StepInput, TermValue};

use crate::data::Fields;
use crate::device::{Bk, Device};
use crate::embedding::Tables;
use crate::graph::Graph;
use crate::kernel::Pool;
use crate::plugin::Needs;
use crate::plugin::encoder::DynEncoder;
use crate::plugin::objective::Objective;
use crate::plugin::tower::DynTower;
use burn::prelude::*;

/// A funnel's model.
pub struct Model {
    /// The funnel.
    pub graph: Graph,
    /// What its inputs are.
    pub fields: Fields,
    /// The embedding tables: one set shared by all stages, or one a stage; then those of towers that have their own. All have the same rows.
    pub embeddings: Vec<TableSet>,
    /// The shared network.
    pub encoder: Box<dyn DynEncoder>,
    /// The network of each stage, in order; then the objective's extra heads.
    pub towers: Vec<StageTower>,
    /// `[towers]`: added to each tower's logit; a stage's starts at its conditional base rate.
    pub biases: Vec<f32>,
    /// What the objective learns.
    pub objective_parameters: Vec<f32>,
    /// Factor of each target's loss term.
    pub target_weights: Vec<f64>,
    objective: Box<dyn Objective>,
    /// Towers that can run side by side, those that others read first.
    levels: Vec<Vec<usize>>,
    /// Where the networks compute, without autodiff.
    device: Device,
    /// Whether all towers are plain perceptrons on the embedded input, and the CPU computes: then `kernel` runs them.
    plain: bool,
    workspaces: Pool,
}

/// Tables, and whom they serve.
#[derive(Debug)]
pub struct TableSet {
    /// The rows.
    pub tables: Tables,
    /// Whom they serve.
    pub owner: Owner,
}
/// Whom tables serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Every stage.
    Funnel,
    /// One stage.
    Stage(usize),
    /// One tower, besides the embeddings that it shares.
    Tower(usize),
}

/// A network of a stage.
pub struct StageTower {
    /// The network.
    pub network: Box<dyn DynTower>,
    /// The stage it is of.
    pub stage: usize,
    /// What it asked for.
    pub needs: Needs,
    /// Prefix of its parameters' names: `tower.<stage>.`, or `head.<stage>.<name>.`.
    prefix: String,
    /// Index into [`Model::embeddings`] of the tables that it shares, and of its own.
    tables: (usize, Option<usize>),
    mask: Option<Mask>,
}

/// Hides what a stage does without: 0 for what it does not see.
#[derive(Debug, Clone)]
struct Mask {
    /// Per part `[1, W]`.
    parts: Vec<Tensor<Bk, 2>>,
    /// Per part of its own tables `[1, W]`.
    own: Vec<Tensor<Bk, 2>>,
    /// Per sequence.
    sequences: Vec<f32>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("stages", &self.graph.len()).field("tables", &self.fields.tables).finish_non_exhaustive()
    }
}

impl Model {
    /// Number of dense weights: encoder, towers, biases, what the objective learns.
    #[must_use]
    pub fn dense_params(&self) -> usize {
        let towers: usize = self.towers.iter().map(|t| t.network.num_params()).sum();
        self.encoder.num_params() + towers + self.biases.len() + self.objective_parameters.len()
    }
}
