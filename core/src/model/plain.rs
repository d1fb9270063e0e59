//! Models whose towers are plain perceptrons on the embedded input, on the CPU: `kernel` runs them, without tensors.

use super::step::{HeadGradients, host};
use super::{Gradients, Model, StageTower, StepInput};
use crate::data::Batch;
use crate::device::{Bk, Device, is_host};
use crate::embedding::gather_into;
use crate::kernel::{self, Layer, Part, Perceptron, Rows, Workspace};
use crate::plugin::encoder::DynEncoder;
use crate::plugin::input::Noise;
use crate::plugin::tower::PlainPerceptron;
use anyhow::{Context, Result};
use burn::nn::Linear;
use burn::optim::GradientsParams;
use burn::prelude::*;

/// Whether all towers are perceptrons that read the embedded input, whole, and nothing else.
pub(super) fn is_plain(encoder: &dyn DynEncoder, towers: &[StageTower], device: &Device) -> bool {
    let plain = |t: &StageTower| {
        let alone = t.mask.is_none() && t.tables.1.is_none() && !t.needs.upstream && !t.needs.sequences;
        alone && t.network.perceptron().is_some()
    };
    encoder.is_identity() && is_host(device) && towers.iter().all(plain)
}

fn layer(linear: &Linear<Bk>) -> Option<Layer> {
    let values = |data: TensorData| data.into_vec::<f32>().ok();
    let outputs = linear.weight.val().dims()[1];
    let bias = match &linear.bias {
        None => Vec::new(),
        Some(bias) => values(bias.val().into_data())?,
    };
    Some(Layer { weight: values(linear.weight.val().into_data())?, bias, outputs })
}

/// Copies of its weights.
pub(crate) fn on_host(plain: &PlainPerceptron<'_>) -> Option<Perceptron> {
    Some(Perceptron { hidden: plain.hidden.iter().map(|l| layer(l)).collect::<Option<_>>()?, head: layer(plain.head)? })
}

/// The embedded input of each set of tables: per group `[N, W]`.
type Embedded = Vec<Vec<Vec<f32>>>;

impl Model {
    /// Copies of the weights of the first `towers`, if this is a plain model.
    pub(super) fn perceptrons(&self, towers: usize) -> Option<Vec<Perceptron>> {
        let copy = |t: &StageTower| on_host(&t.network.perceptron()?);
        if self.plain { self.towers[..towers].iter().map(copy).collect() } else { None }
    }

    /// Per stage `[B]`: conditional logits, the bias included.
    pub(super) fn plain_logits(&self, perceptrons: &[Perceptron], batch: &Batch) -> Vec<Vec<f32>> {
        let mut workspace = self.workspaces.take();
        let embedded = self.embed_on_host(batch, &mut workspace);
        let mut logits = kernel::forward(&self.rows(perceptrons, batch, &embedded), &mut workspace);
        for (z, bias) in logits.iter_mut().zip(&self.biases) {
            for z in z.iter_mut() {
                *z += bias;
            }
        }
        give_back(embedded, &mut workspace);
        logits
    }

    /// [`Model::gradients`] of a plain model.
    pub(super) fn plain_gradients(&self, input: &StepInput<'_>, noise: Noise) -> Result<Gradients> {
        let perceptrons = self.perceptrons(self.towers.len()).context("a tower is no perceptron any more")?;
        let mut workspace = self.workspaces.take();
        let embedded = self.embed_on_host(input.batch, &mut workspace);
        let rows = self.rows(&perceptrons, input.batch, &embedded);
        let logits = kernel::forward(&rows, &mut workspace);
        let logits = logits.into_iter().map(|z| self.vector(z)).collect();
        let HeadGradients { terms, readings, logits, dz, objective_parameters } = self.head(input, logits, noise)?;
        let dz: Vec<Vec<f32>> = dz.into_iter().map(host).collect::<Result<_>>()?;
        let found = kernel::backward(&rows, &dz, &mut workspace);
        let parameters = self.towers.iter().zip(found.parameters);
        let register = |(tower, found): (&StageTower, _)| tower.network.perceptron().map(|plain| registered(&plain, found, &self.device));
        let towers = parameters.map(register).collect::<Option<_>>().context("a tower is no perceptron any more")?;
        let mut of_set = found.inputs.into_iter();
        let inputs = self.embeddings.iter().map(|set| {
            let mut parts = of_set.next().unwrap_or_default().into_iter();
            let groups = self.fields.groups.iter();
            groups.map(|g| if set.columns().width(g) == 0 { Vec::new() } else { parts.next().unwrap_or_default() }).collect()
        });
        let inputs = inputs.collect();
        give_back(embedded, &mut workspace);
        Ok(Gradients {
            terms,
            readings,
            logits,
            encoder: None,
            biases: dz.iter().map(|d| d.iter().sum()).collect(),
            towers,
            objective_parameters,
            inputs,
        })
    }

    /// Takes back the buffers of [`Gradients::inputs`] that are of no use any more.
    pub(crate) fn recycle(&self, inputs: Vec<Vec<Vec<f32>>>) {
        if self.plain {
            give_back(inputs, &mut self.workspaces.take());
        }
    }

    fn embed_on_host(&self, batch: &Batch, workspace: &mut Workspace) -> Embedded {
        let of_set = |set: &super::TableSet| {
            let groups = self.fields.groups.iter().zip(&batch.groups);
            let embedded = groups.map(|(fields, members)| {
                let mut x = workspace.take(members.size * set.columns().width(fields));
                gather_into(&mut x, &set.tables, set.columns(), fields, members);
                x
            });
            embedded.collect()
        };
        self.embeddings.iter().map(of_set).collect()
    }

    fn rows<'a>(&self, perceptrons: &'a [Perceptron], batch: &'a Batch, embedded: &'a Embedded) -> Rows<'a> {
        let of_set = |(set, embedded): (&super::TableSet, &'a Vec<Vec<f32>>)| {
            let groups = self.fields.groups.iter().zip(&batch.groups).zip(embedded).enumerate();
            let part = |(g, ((fields, members), values))| {
                let width = set.columns().width(fields);
                let members: &'a crate::data::GroupBatch = members;
                let values: &'a Vec<f32> = values;
                (width > 0).then(|| Part { values, width, index: (g > 0).then_some(members.index.as_slice()) })
            };
            groups.filter_map(part).collect()
        };
        Rows {
            size: batch.size,
            inputs: self.embeddings.iter().zip(embedded).map(of_set).collect(),
            towers: perceptrons.iter().zip(&self.towers).map(|(p, tower)| (p, tower.tables.0)).collect(),
        }
    }

    fn vector(&self, values: Vec<f32>) -> Tensor<Bk, 1> {
        let n = values.len();
        Tensor::from_data(TensorData::new(values, [n]), &self.device)
    }
}

/// Gradients of a perceptron's parameters, each layer's weight and bias, as its optimiser takes them.
pub(crate) fn registered(plain: &PlainPerceptron<'_>, found: Vec<[Vec<f32>; 2]>, device: &Device) -> GradientsParams {
    let mut gradients = GradientsParams::new();
    for (linear, [weight, bias]) in plain.hidden.iter().copied().chain([plain.head]).zip(found) {
        let shape = linear.weight.val().dims();
        gradients.register::<Bk, 2>(linear.weight.id, Tensor::from_data(TensorData::new(weight, shape), device));
        if let Some(own) = &linear.bias {
            let n = bias.len();
            gradients.register::<Bk, 1>(own.id, Tensor::from_data(TensorData::new(bias, [n]), device));
        }
    }
    gradients
}

fn give_back(buffers: Embedded, workspace: &mut Workspace) {
    buffers.into_iter().flatten().for_each(|b| workspace.give(b));
}
