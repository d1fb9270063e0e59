//! The forward pass without autodiff: what evaluation, prediction and serving share.

use super::Model;
use crate::data::Batch;
use crate::kernel::Perceptron;
use crate::plugin::encoder::DynEncoder;
use crate::plugin::tower::DynTower;
use anyhow::Result;

/// The networks of a model without autodiff, on its parameters as they were.
pub struct ScoreNetworks {
    encoder: Box<dyn DynEncoder>,
    /// Of the stages; extra heads do not score.
    towers: Vec<Box<dyn DynTower>>,
    /// Their weights, where `kernel` runs them.
    plain: Option<Vec<Perceptron>>,
}

/// A view of a model that scores.
pub struct ScoreModel<'a> {
    model: &'a Model,
    networks: ScoreNetworks,
}

impl Model {
    /// Its networks, to score with.
    #[must_use]
    pub fn networks(&self) -> ScoreNetworks {
        let towers = self.towers[..self.graph.len()].iter().map(|t| t.network.inner()).collect();
        ScoreNetworks { encoder: self.encoder.inner(), towers, plain: self.perceptrons(self.graph.len()) }
    }

    /// A view that scores, on the parameters as they are now.
    #[must_use]
    pub fn scorer(&self) -> ScoreModel<'_> {
        ScoreModel { model: self, networks: self.networks() }
    }

    /// Per stage `[B]`: conditional logits, the stage's bias included. `networks` are the model's own.
    ///
    /// # Errors
    /// A tower that gives another number of logits than rows.
    pub fn logits(&self, networks: &ScoreNetworks, batch: &Batch) -> Result<Vec<Vec<f32>>> {
        if let Some(perceptrons) = &networks.plain {
            return Ok(self.plain_logits(perceptrons, batch));
        }
        let embedded = self.embed(batch, networks.towers.len());
        let encoded = networks.encoder.forward(&self.per_stage(&embedded));
        let towers = self.towers.iter().zip(&encoded);
        let mut inputs: Vec<_> = towers.map(|(tower, encoded)| tower.input(encoded, &embedded)).collect();
        let towers: Vec<&dyn DynTower> = networks.towers.iter().map(|t| &**t).collect();
        let outputs = self.run_towers(&towers, &mut inputs, batch.size, |hidden| hidden, |mask| mask)?;
        let add_bias = |(output, bias): (crate::plugin::StageOutput, &f32)| {
            let mut z: Vec<f32> = output.logit.into_data().to_vec().map_err(|e| anyhow::anyhow!("reading logits: {e:?}"))?;
            for z in &mut z {
                *z += bias;
            }
            Ok(z)
        };
        outputs.into_iter().zip(&self.biases).map(add_bias).collect()
    }
}

impl ScoreModel<'_> {
    /// The model it views.
    #[must_use]
    pub fn model(&self) -> &Model {
        self.model
    }

    /// As [`Model::logits`].
    ///
    /// # Errors
    /// A tower that gives another number of logits than rows.
    pub fn logits(&self, batch: &Batch) -> Result<Vec<Vec<f32>>> {
        self.model.logits(&self.networks, batch)
    }
}
