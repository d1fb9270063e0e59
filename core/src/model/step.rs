//! Forward and backward of one batch.
//!
//! Autodiff locks each connected graph, so the step is cut into graphs that can run side by side: encoder → (cut) → one graph a tower →
//! (cut at the logits) → the head. Backward goes the other way: the head gives each tower its `dz`, each tower gives its input's gradient,
//! their sum goes through the encoder, and what arrives at the embedded input goes to the tables.

use super::{Model, group_width, masked};
use crate::data::Batch;
use crate::device::{Bk, Grads};
use crate::graph::{Graph, LabelFlags};
use crate::plugin::input::{Noise, Part, StageInput};
use crate::plugin::objective::Head;
use crate::random::mix;
use anyhow::{Result, anyhow};
use burn::optim::GradientsParams;
use burn::prelude::*;
use rayon::prelude::*;

/// A batch with what the loss needs of it.
#[derive(Debug, Clone)]
pub struct StepInput<'a> {
    /// The rows.
    pub batch: &'a Batch,
    /// What its labels say.
    pub flags: LabelFlags,
}
impl<'a> StepInput<'a> {
    /// Reads the labels along the graph.
    #[must_use]
    pub fn new(graph: &Graph, batch: &'a Batch) -> Self {
        Self { batch, flags: graph.flags(&batch.labels) }
    }
}

/// Value of one loss term.
#[derive(Debug, Clone, PartialEq)]
pub struct TermValue {
    /// The target's name first: `purchase`, or `purchase.ips`.
    pub name: String,
    /// Weighted value.
    pub value: f64,
}

/// What one backward pass gives.
#[derive(Debug)]
pub struct Gradients {
    /// The loss, summand by summand.
    pub terms: Vec<TermValue>,
    /// Per stage `[B]`: the logits of the forward pass.
    pub logits: Vec<Vec<f32>>,
    /// Of the encoder's parameters, unless it has none.
    pub encoder: Option<GradientsParams>,
    /// Of each tower's parameters.
    pub towers: Vec<GradientsParams>,
    /// `[S]`: of the stages' biases.
    pub biases: Vec<f32>,
    /// Per set of tables, per group `[N, W]`: of the embedded input (empty for a group without columns).
    pub inputs: Vec<Vec<Vec<f32>>>,
}

/// A copy that starts a graph of its own.
fn cut<const D: usize>(t: Tensor<Bk, D>) -> Tensor<Bk, D> {
    Tensor::from_inner(t).require_grad()
}
fn vector(values: Vec<f32>, model: &Model) -> Tensor<Bk, 1> {
    let n = values.len();
    Tensor::from_inner(Tensor::from_data(TensorData::new(values, [n]), &model.device))
}
fn host<const D: usize>(t: Tensor<Bk, D>) -> Result<Vec<f32>> {
    t.into_data().into_vec::<f32>().map_err(|e| anyhow!("reading a gradient back: {e:?}"))
}
/// `Σ output · gradient`, whose backward pass sends `gradient` into `output`'s graph.
fn pull<const D: usize>(output: Tensor<Bk, D>, gradient: Tensor<Bk, D>) -> Tensor<Bk, 1> {
    (output * Tensor::from_inner(gradient)).sum()
}

impl Model {
    /// Loss and gradients of a batch; what towers draw at random depends on `noise`. `terms` may be non-finite; the gradients are then useless.
    ///
    /// # Errors
    /// A network whose output has the wrong shape.
    pub fn gradients(&self, input: &StepInput<'_>, noise: Noise) -> Result<Gradients> {
        let stages = self.towers.len();
        // Encoder graph; an identity is left out of it.
        let embedded = self.embed(input.batch);
        let leaves: Vec<StageInput> = if self.encoder.is_identity() { embedded.clone() } else { embedded.iter().map(cut_parts).collect() };
        let per_stage = |v: &[StageInput]| if v.len() == stages { v.to_vec() } else { vec![v[0].clone(); stages] };
        let encoded = if self.encoder.is_identity() { per_stage(&leaves) } else { self.encoder.forward(&per_stage(&leaves)) };

        // Tower graphs, side by side.
        let mut inputs: Vec<StageInput> =
            encoded.iter().map(|e| if self.encoder.is_identity() { cut_parts(e) } else { recut(e) }).collect();
        for (stage, input) in inputs.iter_mut().enumerate() {
            input.noise = Some(Noise(mix(noise.0 ^ mix(stage as u64))));
        }
        let logits: Vec<Tensor<Bk, 1>> = self
            .towers
            .par_iter()
            .zip(&inputs)
            .zip(&self.masks)
            .map(|((tower, input), mask)| tower.forward(&masked(input.clone(), mask.as_ref(), Tensor::from_inner)).logit)
            .collect();

        // Head graph.
        let heads: Vec<Tensor<Bk, 1>> = logits.iter().zip(&self.biases).map(|(z, bias)| cut(z.clone().inner().add_scalar(*bias))).collect();
        let reached: Vec<_> = input.flags.reached.iter().map(|r| vector(r.iter().map(|y| f32::from(*y)).collect(), self)).collect();
        let in_space: Vec<_> = input.flags.in_space.iter().map(|r| vector(r.iter().map(|y| f32::from(*y)).collect(), self)).collect();
        let row_weights = (!input.batch.weights.is_empty()).then(|| vector(input.batch.weights.clone(), self));
        let terms = self.objective.terms(&Head {
            graph: &self.graph,
            logits: &heads,
            reached: &reached,
            in_space: &in_space,
            target_weights: &self.target_weights,
            row_weights: row_weights.as_ref(),
        });
        let values = terms
            .iter()
            .map(|t| Ok(TermValue { name: t.name.clone(), value: f64::from(t.value.clone().into_scalar()) }))
            .collect::<Result<Vec<_>>>()?;
        let Some(loss) = terms.into_iter().map(|t| t.value).reduce(|a, b| a + b) else {
            return Err(anyhow!("the objective gave no loss term"));
        };
        let mut grads = loss.backward();
        let dz: Vec<Tensor<Bk, 1>> =
            heads.iter().map(|h| h.grad_remove(&mut grads).unwrap_or_else(|| h.clone().inner().zeros_like())).collect();
        let logits_host = heads.iter().map(|h| host(h.clone().inner())).collect::<Result<_>>()?;
        let biases = dz.iter().map(|d| d.clone().sum().into_scalar()).collect();

        // Back through the towers, side by side.
        let back: Vec<(GradientsParams, Vec<Tensor<Bk, 2>>)> = self
            .towers
            .par_iter()
            .zip(logits)
            .zip(dz)
            .zip(&inputs)
            .map(|(((tower, z), dz), input)| {
                let mut grads = pull(z, dz).backward();
                let params = tower.gradients(&mut grads);
                let dx = input.parts.iter().map(|p| take(&p.values, &mut grads)).collect();
                (params, dx)
            })
            .collect();
        let (towers, mut dx): (Vec<_>, Vec<Vec<Tensor<Bk, 2>>>) = back.into_iter().unzip();

        // Back through the encoder.
        let mut encoder = None;
        if !self.encoder.is_identity() {
            let out = encoded.iter().zip(&dx).flat_map(|(e, dx)| e.parts.iter().zip(dx)).map(|(p, dx)| pull(p.values.clone(), dx.clone()));
            if let Some(total) = out.reduce(|a, b| a + b) {
                let mut grads = total.backward();
                encoder = Some(self.encoder.gradients(&mut grads));
                dx = leaves.iter().map(|l| l.parts.iter().map(|p| take(&p.values, &mut grads)).collect()).collect();
            }
        }
        // Sum over the stages that share tables.
        let mut inputs = Vec::with_capacity(self.embeddings.len());
        if dx.len() > self.embeddings.len() {
            let sum = |a: Vec<Tensor<Bk, 2>>, b: Vec<Tensor<Bk, 2>>| a.into_iter().zip(b).map(|(a, b)| a + b).collect();
            dx = dx.into_iter().reduce(sum).into_iter().collect();
        }
        for (tables, dx) in self.embeddings.iter().zip(dx) {
            let mut dx = dx.into_iter();
            let groups = (0..self.fields.groups.len()).map(|g| match group_width(&self.fields, g, tables.dim()) {
                0 => Ok(Vec::new()),
                _ => dx.next().map_or_else(|| Ok(Vec::new()), host),
            });
            inputs.push(groups.collect::<Result<_>>()?);
        }
        Ok(Gradients { terms: values, logits: logits_host, encoder, towers, biases, inputs })
    }
}

fn cut_parts(input: &StageInput) -> StageInput {
    let part = |p: &Part| Part { values: cut(p.values.clone()), index: p.index.as_ref().map(|i| Tensor::from_inner(i.clone())) };
    StageInput { parts: input.parts.iter().map(part).collect(), noise: input.noise }
}
/// [`cut_parts`] of what is already on autodiff.
fn recut(input: &StageInput) -> StageInput {
    let part = |p: &Part| Part { values: cut(p.values.clone().inner()), index: p.index.clone() };
    StageInput { parts: input.parts.iter().map(part).collect(), noise: input.noise }
}
fn take(leaf: &Tensor<Bk, 2>, grads: &mut Grads) -> Tensor<Bk, 2> {
    leaf.grad_remove(grads).unwrap_or_else(|| leaf.clone().inner().zeros_like())
}
