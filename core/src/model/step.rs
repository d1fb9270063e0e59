//! Forward and backward of one batch.
//!
//! Autodiff locks each connected graph, so the step is cut into graphs that can run side by side: encoder → (cut) → one graph a tower →
//! (cut at the logits) → the head. Backward goes the other way: the head gives each tower its `dz`, each tower gives its input's gradient,
//! their sum goes through the encoder, and what arrives at the embedded input goes to the tables. A tower that reads another's hidden layer
//! reads a cut of it, and goes back before it.
//!
//! Where all towers are plain perceptrons, [`super::plain`] takes their place, and that of encoder and graphs.

use super::{Model, StageTower, TableSet};
use crate::data::Batch;
use crate::device::{Bk, Grads};
use crate::graph::{Graph, LabelFlags};
use crate::plugin::input::{Noise, Part, Sequence, StageInput, StageOutput};
use crate::plugin::objective::{Head, Loss};
use crate::plugin::tower::DynTower;
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
    /// What the objective tells besides.
    pub readings: Vec<TermValue>,
    /// Per stage `[B]`: the logits of the forward pass.
    pub logits: Vec<Vec<f32>>,
    /// Of the encoder's parameters, unless it has none.
    pub encoder: Option<GradientsParams>,
    /// Of each tower's parameters.
    pub towers: Vec<GradientsParams>,
    /// `[towers]`: of their biases.
    pub biases: Vec<f32>,
    /// Of what the objective learns.
    pub objective_parameters: Vec<f32>,
    /// Per set of tables: of the input of each group `[N, W]`, then of the values of each sequence `[T, D]`. Empty where there is none.
    pub inputs: Vec<Vec<Vec<f32>>>,
}

/// What the head's backward pass gives.
pub(super) struct HeadGradients {
    pub terms: Vec<TermValue>,
    pub readings: Vec<TermValue>,
    pub logits: Vec<Vec<f32>>,
    /// Per tower `[B]`.
    pub dz: Vec<Tensor<Bk, 1>>,
    pub objective_parameters: Vec<f32>,
}

/// What a tower's backward pass gives, besides its parameters': gradients of what it read.
struct TowerGradients {
    parts: Vec<Tensor<Bk, 2>>,
    own: Vec<Tensor<Bk, 2>>,
    sequences: Vec<Tensor<Bk, 2>>,
    upstream: Option<Tensor<Bk, 2>>,
}

/// A copy that starts a graph of its own.
fn cut<const D: usize>(t: Tensor<Bk, D>) -> Tensor<Bk, D> {
    Tensor::from_inner(t).require_grad()
}
fn vector(values: Vec<f32>, model: &Model) -> Tensor<Bk, 1> {
    let n = values.len();
    Tensor::from_inner(Tensor::from_data(TensorData::new(values, [n]), &model.device))
}
fn flags(values: &[impl Copy + Into<f32>], model: &Model) -> Tensor<Bk, 1> {
    vector(values.iter().map(|y| (*y).into()).collect(), model)
}
pub(super) fn host<const D: usize>(t: Tensor<Bk, D>) -> Result<Vec<f32>> {
    t.into_data().into_vec::<f32>().map_err(|e| anyhow!("reading a gradient back: {e:?}"))
}
/// `Σ output · gradient`, whose backward pass sends `gradient` into `output`'s graph.
fn pull<const D: usize>(output: Tensor<Bk, D>, gradient: Tensor<Bk, D>) -> Tensor<Bk, 1> {
    (output * Tensor::from_inner(gradient)).sum()
}
/// Gradients of some parts, each summed over all that read it.
#[derive(Clone, Default)]
struct Sums(Vec<Option<Tensor<Bk, 2>>>);
impl Sums {
    /// Adds part by part.
    fn add(&mut self, more: Vec<Tensor<Bk, 2>>) {
        self.0.resize_with(self.0.len().max(more.len()), || None);
        for (sum, more) in self.0.iter_mut().zip(more) {
            *sum = Some(match sum.take() {
                None => more,
                Some(sum) => sum + more,
            });
        }
    }
}
/// Of what one set of tables gave.
#[derive(Clone, Default)]
struct SetSums {
    parts: Sums,
    sequences: Sums,
}

impl Model {
    /// Loss and gradients of a batch; what towers draw at random depends on `noise`. `terms` may be non-finite; the gradients are then useless.
    ///
    /// # Errors
    /// A network whose output has the wrong shape.
    pub fn gradients(&self, input: &StepInput<'_>, noise: Noise) -> Result<Gradients> {
        if self.plain {
            return self.plain_gradients(input, noise);
        }
        // Encoder graph; an identity is left out of it.
        let embedded = self.embed(input.batch, self.towers.len());
        let identity = self.encoder.is_identity();
        // The streams of the encoder's inputs follow those of the towers.
        let noisy = |(s, input): (usize, &StageInput)| StageInput {
            noise: Some(Noise(mix(noise.0 ^ mix((self.towers.len() + s) as u64)))),
            ..leaf_of_constant(input)
        };
        let leaves: Vec<StageInput> = if identity { Vec::new() } else { self.per_stage(&embedded).iter().enumerate().map(noisy).collect() };
        let encoded = if identity { self.per_stage(&embedded) } else { self.encoder.forward(&leaves) };

        // Tower graphs, side by side.
        let lifted: Vec<StageInput> = embedded.iter().map(leaf_of_constant).collect();
        let leaf = |(t, tower): (usize, &StageTower)| {
            let encoded = &encoded[tower.stage];
            let encoded = if identity { leaf_of_constant(encoded) } else { leaf_of_output(encoded) };
            // Every tower gets leaves of its own, so that no two share a graph.
            let input = leaf_of_output(&tower.input(&encoded, &lifted));
            StageInput { noise: Some(Noise(mix(noise.0 ^ mix(t as u64)))), ..input }
        };
        let mut inputs: Vec<StageInput> = self.towers.iter().enumerate().map(leaf).collect();
        let networks: Vec<&dyn DynTower> = self.towers.iter().map(|t| &*t.network).collect();
        let outputs = self.run_towers(&networks, &mut inputs, input.batch.size, |hidden| cut(hidden.inner()), Tensor::from_inner)?;

        let logits = outputs.iter().map(|o| o.logit.clone().inner()).collect();
        let head = self.head(input, logits, noise)?;
        let biases = head.dz.iter().map(|d| d.clone().sum().into_scalar()).collect();
        let (towers, back) = self.back_through_towers(outputs, head.dz, &inputs)?;

        // Sum over the towers of a stage; then back through the encoder.
        let mut of_stage = vec![Sums::default(); self.graph.len()];
        let mut of_set = vec![SetSums::default(); self.embeddings.len()];
        for (tower, back) in self.towers.iter().zip(back) {
            let (shared, own) = tower.tables;
            of_stage[tower.stage].add(back.parts);
            of_set[shared].sequences.add(back.sequences);
            if let Some(own) = own {
                of_set[own].parts.add(back.own);
            }
        }
        let mut of_stage: Vec<Vec<Tensor<Bk, 2>>> = of_stage.into_iter().map(|sums| sums.0.into_iter().flatten().collect()).collect();
        let mut encoder = None;
        if !identity {
            let out = encoded.iter().zip(of_stage).flat_map(|(e, dx)| e.parts.iter().zip(dx)).map(|(p, dx)| pull(p.values.clone(), dx));
            let total = out.reduce(|a, b| a + b).ok_or_else(|| anyhow!("the encoder gave no part"))?;
            let mut grads = total.backward();
            encoder = Some(self.encoder.gradients(&mut grads));
            of_stage = leaves.iter().map(|l| l.parts.iter().map(|p| take(&p.values, &mut grads)).collect()).collect();
        }
        // Sum over the stages that share tables.
        for (tower, dx) in self.towers.iter().zip(of_stage) {
            of_set[tower.tables.0].parts.add(dx);
        }
        let sets = self.embeddings.iter().zip(of_set);
        let inputs = sets.map(|(set, sums)| self.sources(set, sums)).collect::<Result<_>>()?;
        let HeadGradients { terms, readings, logits, objective_parameters, .. } = head;
        Ok(Gradients { terms, readings, logits, encoder, towers, biases, objective_parameters, inputs })
    }

    /// Head graph: the loss, and its gradient by every tower's logits, `[B]` each and on the inner device, before their biases are added.
    pub(super) fn head(&self, input: &StepInput<'_>, logits: Vec<Tensor<Bk, 1>>, noise: Noise) -> Result<HeadGradients> {
        let heads: Vec<Tensor<Bk, 1>> = logits.into_iter().zip(&self.biases).map(|(z, bias)| cut(z.add_scalar(*bias))).collect();
        let parameters: Vec<Tensor<Bk, 1>> = self.objective_parameters.iter().map(|p| vector(vec![*p], self).require_grad()).collect();
        let reached: Vec<_> = input.flags.reached.iter().map(|r| flags(r, self)).collect();
        let in_space: Vec<_> =
            input.flags.in_space.iter().map(|r| vector(r.iter().map(|y| f32::from(u8::from(*y))).collect(), self)).collect();
        let row_weights = (!input.batch.weights.is_empty()).then(|| vector(input.batch.weights.clone(), self));
        let weights = |w: &Vec<f32>| (!w.is_empty()).then(|| vector(w.clone(), self));
        let stage_weights: Vec<_> = input.batch.loss_weights.iter().map(weights).collect();
        let (logits, extra) = heads.split_at(self.graph.len());
        let Loss { terms, readings } = self.objective.loss(&Head {
            graph: &self.graph,
            logits,
            extra,
            parameters: &parameters,
            reached: &reached,
            in_space: &in_space,
            target_weights: &self.target_weights,
            row_weights: row_weights.as_ref(),
            stage_weights: &stage_weights,
            // A stream of its own: the towers' are numbered from 0.
            noise: Noise(mix(noise.0 ^ mix(u64::MAX))),
        });
        let read = |name: &str, value: &Tensor<Bk, 1>| TermValue { name: name.into(), value: f64::from(value.clone().into_scalar()) };
        let values = terms.iter().map(|t| read(&t.name, &t.value)).collect();
        let readings = readings.iter().map(|r| read(&r.name, &r.value)).collect();
        let loss = terms.into_iter().map(|t| t.value).reduce(|a, b| a + b).ok_or_else(|| anyhow!("the objective gave no loss term"))?;
        let mut grads = loss.backward();
        let dz = heads.iter().map(|h| h.grad_remove(&mut grads).unwrap_or_else(|| h.clone().inner().zeros_like())).collect();
        let objective_parameters = parameters.iter().map(|p| p.grad_remove(&mut grads).map_or(0.0, Tensor::into_scalar)).collect();
        let logits = logits.iter().map(|h| host(h.clone().inner())).collect::<Result<_>>()?;
        Ok(HeadGradients { terms: values, readings, logits, dz, objective_parameters })
    }

    /// Back through the towers, those that read others first; what can goes side by side.
    fn back_through_towers(
        &self,
        outputs: Vec<StageOutput>,
        dz: Vec<Tensor<Bk, 1>>,
        inputs: &[StageInput],
    ) -> Result<(Vec<GradientsParams>, Vec<TowerGradients>)> {
        let mut pulls: Vec<Option<Tensor<Bk, 1>>> = Vec::with_capacity(outputs.len());
        let mut hidden = Vec::with_capacity(outputs.len());
        for (output, dz) in outputs.into_iter().zip(dz) {
            pulls.push(Some(pull(output.logit, dz)));
            hidden.push(output.hidden);
        }
        let mut done: Vec<Option<(GradientsParams, TowerGradients)>> = (0..pulls.len()).map(|_| None).collect();
        for level in self.levels.iter().rev() {
            let started: Vec<_> = level.iter().filter_map(|t| Some((*t, pulls[*t].take()?))).collect();
            let back = |(t, pull): (usize, Tensor<Bk, 1>)| {
                let (tower, input) = (&self.towers[t].network, &inputs[t]);
                let mut grads = pull.backward();
                let params = tower.gradients(&mut grads);
                let mut of = |parts: &[Part]| parts.iter().map(|p| take(&p.values, &mut grads)).collect();
                let (parts, own) = (of(&input.parts), of(&input.own));
                let sequences = input.sequences.iter().map(|s| take(&s.values, &mut grads)).collect();
                let upstream = input.upstream.as_ref().map(|u| take(u, &mut grads));
                (t, params, TowerGradients { parts, own, sequences, upstream })
            };
            let finished: Vec<_> = started.into_par_iter().map(back).collect();
            for (t, params, gradients) in finished {
                let parent = self.graph.nodes[self.towers[t].stage].parent;
                if let (Some(parent), Some(dh)) = (parent, &gradients.upstream)
                    && let (Some(hidden), Some(sum)) = (&hidden[parent], pulls[parent].take())
                {
                    pulls[parent] = Some(sum + pull(hidden.clone(), dh.clone()));
                }
                done[t] = Some((params, gradients));
            }
        }
        done.into_iter().collect::<Option<Vec<_>>>().map(|d| d.into_iter().unzip()).ok_or_else(|| anyhow!("a tower's gradient is missing"))
    }

    /// The gradients of a set's sources on the host: one a group, then one a sequence.
    fn sources(&self, set: &TableSet, SetSums { parts, sequences }: SetSums) -> Result<Vec<Vec<f32>>> {
        let mut parts = parts.0.into_iter();
        let groups = self.fields.groups.iter().map(|g| if set.columns().width(g) == 0 { None } else { parts.next().flatten() });
        groups.collect::<Vec<_>>().into_iter().chain(sequences.0).map(|dx| dx.map_or_else(|| Ok(Vec::new()), host)).collect()
    }
}

/// Leaves on autodiff, of what is not on it.
fn leaf_of_constant(input: &StageInput) -> StageInput {
    leaf(input, &|t| cut(t), &|i| Tensor::from_inner(i))
}
/// Leaves of graphs of their own, of what is on autodiff already.
fn leaf_of_output(input: &StageInput) -> StageInput {
    leaf(input, &|t| cut(t.inner()), &|i| i)
}
type Values<'a> = &'a dyn Fn(Tensor<Bk, 2>) -> Tensor<Bk, 2>;
type Indices<'a> = &'a dyn Fn(Tensor<Bk, 1, Int>) -> Tensor<Bk, 1, Int>;
fn leaf(input: &StageInput, values: Values<'_>, indices: Indices<'_>) -> StageInput {
    let part = |p: &Part| Part { values: values(p.values.clone()), index: p.index.clone().map(indices) };
    let sequence =
        |s: &Sequence| Sequence { values: values(s.values.clone()), value: s.value.clone().map(indices), row: indices(s.row.clone()) };
    StageInput {
        parts: input.parts.iter().map(part).collect(),
        own: input.own.iter().map(part).collect(),
        sequences: input.sequences.iter().map(sequence).collect(),
        upstream: None,
        noise: input.noise,
    }
}
fn take(leaf: &Tensor<Bk, 2>, grads: &mut Grads) -> Tensor<Bk, 2> {
    leaf.grad_remove(grads).unwrap_or_else(|| leaf.clone().inner().zeros_like())
}
