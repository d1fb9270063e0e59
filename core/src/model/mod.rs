//! Embeddings, encoder and towers, put together for a funnel.

mod build;
mod persist;
mod score;
mod step;

pub use build::ModelPlan;
pub use score::ScoreModel;
pub use step::{Gradients, StepInput, TermValue};

use crate::data::Fields;
use crate::device::{Bk, Device};
use crate::embedding::Tables;
use crate::graph::Graph;
use crate::plugin::encoder::DynEncoder;
use crate::plugin::input::{Part, StageInput};
use crate::plugin::objective::Objective;
use crate::plugin::tower::DynTower;
use burn::prelude::*;

/// A funnel's model.
pub struct Model {
    /// The funnel.
    pub graph: Graph,
    /// What its inputs are.
    pub fields: Fields,
    /// The embedding tables: one set shared by all stages, or one a stage.
    pub embeddings: Vec<Tables>,
    /// The shared network.
    pub encoder: Box<dyn DynEncoder>,
    /// The network of each stage.
    pub towers: Vec<Box<dyn DynTower>>,
    /// `[S]`: added to each tower's logit; starts at the stage's conditional base rate.
    pub biases: Vec<f32>,
    /// Factor of each target's loss term.
    pub target_weights: Vec<f64>,
    objective: Box<dyn Objective>,
    /// Per stage and part `[1, W]`: 0 for columns that the stage does without. `None`: it sees all.
    masks: Vec<Option<Vec<Tensor<Bk, 2>>>>,
    /// Where the networks compute, without autodiff.
    device: Device,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("stages", &self.graph.len()).field("tables", &self.fields.tables).finish_non_exhaustive()
    }
}

impl Model {
    /// Number of dense weights: encoder, towers, biases.
    #[must_use]
    pub fn dense_params(&self) -> usize {
        self.encoder.num_params() + self.towers.iter().map(|t| t.num_params()).sum::<usize>() + self.biases.len()
    }
}

/// Columns of a group's input.
#[must_use]
pub(crate) fn group_width(fields: &Fields, group: usize, dim: usize) -> usize {
    let g = &fields.groups[group];
    (g.singles.len() + g.bags.len()) * dim + g.numbers.len()
}

/// Hides from a stage what it does without.
fn masked(mut input: StageInput, masks: Option<&Vec<Tensor<Bk, 2>>>, wrap: impl Fn(Tensor<Bk, 2>) -> Tensor<Bk, 2>) -> StageInput {
    if let Some(masks) = masks {
        for (Part { values, .. }, mask) in input.parts.iter_mut().zip(masks) {
            *values = values.clone() * wrap(mask.clone());
        }
    }
    input
}
