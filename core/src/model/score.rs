//! The forward pass without autodiff: what evaluation, prediction and serving share.

use super::{Model, group_width, masked};
use crate::data::Batch;
use crate::device::{Bk, Device};
use crate::embedding::{Tables, gather};
use crate::plugin::encoder::DynEncoder;
use crate::plugin::input::{Part, StageInput};
use crate::plugin::tower::DynTower;
use anyhow::{Context, Result};
use burn::prelude::*;
use rayon::prelude::*;

/// A view of a model that scores.
pub struct ScoreModel<'a> {
    model: &'a Model,
    encoder: Box<dyn DynEncoder>,
    towers: Vec<Box<dyn DynTower>>,
}

impl Model {
    /// A view that scores, on the parameters as they are now.
    #[must_use]
    pub fn scorer(&self) -> ScoreModel<'_> {
        ScoreModel { model: self, encoder: self.encoder.inner(), towers: self.towers.iter().map(|t| t.inner()).collect() }
    }

    /// The embedded input of each stage (the same for all unless tables are per stage), on the inner device.
    pub(super) fn embed(&self, batch: &Batch) -> Vec<StageInput> {
        self.embeddings.iter().map(|tables| self.embed_with(tables, batch)).collect()
    }
    fn embed_with(&self, tables: &Tables, batch: &Batch) -> StageInput {
        let parts = (0..self.fields.groups.len())
            .filter_map(|g| {
                let width = group_width(&self.fields, g, tables.dim());
                let members = &batch.groups[g];
                let x = gather(tables, &self.fields.groups[g], members);
                // A group without columns is not an input; the first stays, for the number of rows.
                (width > 0).then(|| Part {
                    values: Tensor::from_data(TensorData::new(x, [members.size, width]), &self.device),
                    index: (g > 0).then(|| int_tensor(&members.index, &self.device)),
                })
            })
            .collect();
        StageInput::new(parts)
    }
}

#[allow(clippy::cast_possible_wrap)]
fn int_tensor(values: &[u32], device: &Device) -> Tensor<Bk, 1, Int> {
    Tensor::from_data(TensorData::new(values.iter().map(|v| *v as i32).collect::<Vec<i32>>(), [values.len()]), device)
}

impl ScoreModel<'_> {
    /// The model it views.
    #[must_use]
    pub fn model(&self) -> &Model {
        self.model
    }

    /// Per stage `[B]`: conditional logits, the stage's bias included.
    ///
    /// # Errors
    /// A tower that gives another number of logits than rows.
    pub fn logits(&self, batch: &Batch) -> Result<Vec<Vec<f32>>> {
        let stages = self.towers.len();
        let mut inputs = self.model.embed(batch);
        if inputs.len() < stages {
            inputs = vec![inputs.remove(0); stages];
        }
        let inputs = self.encoder.forward(&inputs);
        self.towers
            .par_iter()
            .zip(inputs)
            .zip(&self.model.masks)
            .enumerate()
            .map(|(s, ((tower, input), mask))| {
                let z = tower.forward(&masked(input, mask.as_ref(), |m| m)).logit;
                let mut z: Vec<f32> = z.into_data().to_vec().map_err(|e| anyhow::anyhow!("{e:?}"))?;
                let name = &self.model.graph.nodes[s].name;
                (z.len() == batch.size)
                    .then_some(())
                    .with_context(|| format!("stage `{name}`: the tower gave {} logits for {} rows", z.len(), batch.size))?;
                for z in &mut z {
                    *z += self.model.biases[s];
                }
                Ok(z)
            })
            .collect()
    }
}
