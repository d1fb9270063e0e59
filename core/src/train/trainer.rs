//! One step: gradients, then every parameter moves.

use crate::embedding::Plan;
use crate::model::{Model, StepInput, TermValue};
use crate::optim::{DenseState, Rule, Schedule, initial_moment, state_len};
use crate::plugin::input::Noise;
use crate::plugin::module::DenseStep;
use crate::random::mix;
use crate::run::{Loaded, Tensors};
use crate::spec::{Optimizer, Spec};
use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A model under training, with the state of its optimisers.
#[derive(Debug)]
pub struct Trainer {
    /// The model.
    pub model: Model,
    /// Steps done.
    pub step: u64,
    seed: u64,
    schedule: Schedule,
    clip_norm: f64,
    dense_optimizer: Optimizer,
    table_optimizer: Optimizer,
    encoder: DenseState,
    towers: Vec<DenseState>,
    biases: Vec<f32>,
    objective: Vec<f32>,
    plan: Plan,
}

/// What a step reports.
#[derive(Debug)]
pub struct StepReport {
    /// The loss before the step, summand by summand.
    pub terms: Vec<TermValue>,
    /// What the objective tells besides.
    pub readings: Vec<TermValue>,
    /// Per stage `[B]`: logits before the step.
    pub logits: Vec<Vec<f32>>,
}

/// A loss that is no number any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the loss of `{term}` is not finite at step {step}")]
pub struct NotFinite {
    /// The step.
    pub step: u64,
    /// The loss term, its stage first.
    pub term: String,
}

impl Trainer {
    /// For a run of `total_steps`.
    #[must_use]
    pub fn new(mut model: Model, spec: &Spec, total_steps: u64) -> Self {
        for set in &mut model.embeddings {
            set.tables.prepare(&spec.embedding.optimizer);
        }
        let dense = spec.train.optimizer.clone();
        Self {
            step: 0,
            seed: spec.train.seed,
            schedule: Schedule::new(&spec.train, total_steps),
            clip_norm: spec.train.clip_norm,
            encoder: DenseState::default(),
            towers: vec![DenseState::default(); model.towers.len()],
            biases: vec![initial_moment(&dense); state_len(&dense, model.biases.len())],
            objective: vec![initial_moment(&dense); state_len(&dense, model.objective_parameters.len())],
            plan: Plan::default(),
            dense_optimizer: dense,
            table_optimizer: spec.embedding.optimizer.clone(),
            model,
        }
    }

    /// Trains on a batch.
    ///
    /// # Errors
    /// [`NotFinite`], in which case no weight has moved (a tower's running statistics have).
    pub fn step(&mut self, input: &StepInput<'_>) -> Result<StepReport> {
        let noise = Noise(mix(self.seed ^ mix(self.step)));
        let (model, plan) = (&self.model, &mut self.plan);
        // Planning the sparse update needs no gradient: it runs beside the networks.
        let (gradients, ()) = rayon::join(
            || model.gradients(input, noise),
            || plan.build(&model.embeddings[0].tables, &model.fields, input.batch, &model.attended()),
        );
        let mut g = gradients?;
        let step = self.step + 1;
        if let Some(term) = g.terms.iter().find(|t| !t.value.is_finite()) {
            bail!(NotFinite { step, term: term.name.clone() });
        }
        let scale = self.clip_factor(&g);
        self.step = step;
        let lr_scale = self.schedule.at(step);

        let optimizer = &self.dense_optimizer;
        let dense = DenseStep { optimizer, rule: Rule::at(optimizer, step, lr_scale), scale };
        let rule = dense.rule.without_l2();
        rule.apply(&mut self.model.biases, &g.biases, &mut self.biases, scale);
        rule.apply(&mut self.model.objective_parameters, &g.objective_parameters, &mut self.objective, scale);
        if let Some(gradients) = g.encoder.take() {
            self.model.encoder.step(gradients, &mut self.encoder, dense);
        }
        let towers = self.model.towers.par_iter_mut().zip(&mut self.towers).zip(g.towers);
        towers.for_each(|((tower, state), gradients)| tower.network.step(gradients, state, dense));

        let rule = Rule::at(&self.table_optimizer, step, lr_scale);
        let mut sums = Vec::new();
        for (set, dx) in self.model.embeddings.iter_mut().zip(&g.inputs) {
            let (columns, dim) = (set.columns(), set.tables.dim());
            let groups = self.model.fields.groups.iter().map(|group| columns.width(group));
            let widths: Vec<usize> = groups.chain(std::iter::repeat(dim)).take(dx.len()).collect();
            let dx: Vec<&[f32]> = dx.iter().map(Vec::as_slice).collect();
            self.plan.segment_sum(&dx, &widths, dim, &mut sums);
            set.tables.update(&self.plan, &sums, &rule);
        }
        self.model.recycle(g.inputs);
        Ok(StepReport { terms: g.terms, readings: g.readings, logits: g.logits })
    }

    /// Factor that brings the norm of the dense gradient down to `clip_norm`.
    #[allow(clippy::cast_possible_truncation)]
    fn clip_factor(&self, g: &crate::model::Gradients) -> f32 {
        if self.clip_norm <= 0.0 {
            return 1.0;
        }
        let towers: f64 = self.model.towers.iter().zip(&g.towers).map(|(t, g)| t.network.squared_norm(g)).sum();
        let encoder = g.encoder.as_ref().map_or(0.0, |g| self.model.encoder.squared_norm(g));
        let biases: f64 = g.biases.iter().chain(&g.objective_parameters).map(|b| f64::from(*b).powi(2)).sum();
        (self.clip_norm / (towers + encoder + biases).sqrt()).min(1.0) as f32
    }

    /// The optimisers' state by name, as the weights are named.
    #[must_use]
    pub fn optimizer_tensors(&self) -> Tensors<'_> {
        let mut all: Tensors<'_> = vec![("bias".into(), vec![self.biases.len()], Cow::Borrowed(&self.biases))];
        if !self.objective.is_empty() {
            all.push(("objective".into(), vec![self.objective.len()], Cow::Borrowed(&self.objective)));
        }
        let states = self.towers.iter().enumerate().map(|(s, state)| (self.model.tower_prefix(s), state));
        for (prefix, state) in std::iter::once(("encoder.", &self.encoder)).chain(states) {
            all.extend(state.to_host().into_iter().map(|(name, v)| (format!("{prefix}{name}"), vec![v.len()], Cow::Owned(v))));
        }
        for (s, set) in self.model.embeddings.iter().enumerate() {
            let prefix = self.model.table_prefix(s);
            all.extend(set.tables.named_state().map(|(name, s)| (format!("{prefix}{name}"), vec![s.len()], Cow::Borrowed(s))));
        }
        all
    }

    /// Goes on from a checkpoint: weights, optimiser state, steps done.
    ///
    /// # Errors
    /// Tensors of another model.
    pub fn restore(&mut self, step: u64, weights: Loaded, mut optimizer: Loaded) -> Result<()> {
        self.model.load(weights)?;
        self.step = step;
        let mut vector =
            |name: &str| Ok::<_, anyhow::Error>(optimizer.remove(name).with_context(|| format!("the optimiser's state lacks `{name}`"))?.1);
        self.biases = vector("bias")?;
        if !self.objective.is_empty() {
            self.objective = vector("objective")?;
        }
        for set in 0..self.model.embeddings.len() {
            let prefix = self.model.table_prefix(set);
            for (name, state) in self.model.embeddings[set].tables.named_state_mut() {
                let name = format!("{prefix}{name}");
                let (_, values) = optimizer.remove(&name).with_context(|| format!("the optimiser's state lacks `{name}`"))?;
                if values.len() != state.len() {
                    bail!("the optimiser's state of `{name}` has {} values, expected {}", values.len(), state.len());
                }
                state.copy_from_slice(&values);
            }
        }
        let mut take = |prefix: &str| {
            let names: Vec<String> = optimizer.keys().filter(|n| n.starts_with(prefix)).cloned().collect();
            let state: BTreeMap<String, Vec<f32>> =
                names.into_iter().filter_map(|n| optimizer.remove(&n).map(|(_, v)| (n[prefix.len()..].to_owned(), v))).collect();
            DenseState::from_host(state)
        };
        self.encoder = take("encoder.");
        for s in 0..self.towers.len() {
            self.towers[s] = take(self.model.tower_prefix(s));
        }
        Ok(())
    }
}
