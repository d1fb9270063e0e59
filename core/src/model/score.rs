//! The forward pass without autodiff: what evaluation, prediction and serving share.

use super::Model;
use crate::data::Batch;
use crate::kernel::Perceptron;
use crate::plugin::encoder::DynEncoder;
use crate::plugin::tower::DynTower;
use anyhow::Result;

/// A view of a model that scores.
pub struct ScoreModel<'a> {
    model: &'a Model,
    encoder: Box<dyn DynEncoder>,
    /// Of the stages; extra heads do not score.
    towers: Vec<Box<dyn DynTower>>,
    /// Their weights, where `kernel` runs them.
    plain: Option<Vec<Perceptron>>,
}

impl Model {
    /// A view that scores, on the parameters as they are now.
    #[must_use]
    pub fn scorer(&self) -> ScoreModel<'_> {
        let towers = self.towers[..self.graph.len()].iter().map(|t| t.network.inner()).collect();
        ScoreModel { model: self, encoder: self.encoder.inner(), towers, plain: self.perceptrons(self.graph.len()) }
    }
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
        let model = self.model;
        if let Some(perceptrons) = &self.plain {
            return Ok(model.plain_logits(perceptrons, batch));
        }
        let embedded = model.embed(batch, self.towers.len());
        let encoded = self.encoder.forward(&model.per_stage(&embedded));
        let towers = model.towers.iter().zip(&encoded);
        let mut inputs: Vec<_> = towers.map(|(tower, encoded)| tower.input(encoded, &embedded)).collect();
        let networks: Vec<&dyn DynTower> = self.towers.iter().map(|t| &**t).collect();
        let outputs = model.run_towers(&networks, &mut inputs, batch.size, |hidden| hidden, |mask| mask)?;
        let add_bias = |(output, bias): (crate::plugin::StageOutput, &f32)| {
            let mut z: Vec<f32> = output.logit.into_data().to_vec().map_err(|e| anyhow::anyhow!("reading logits: {e:?}"))?;
            for z in &mut z {
                *z += bias;
            }
            Ok(z)
        };
        outputs.into_iter().zip(&model.biases).map(add_bias).collect()
    }
}
