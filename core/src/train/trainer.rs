//! One step: gradients, then every parameter moves.

use crate::embedding::Plan;
use crate::model::{Model, StepInput, TermValue, group_width};
use crate::optim::{DenseState, Rule, Schedule, initial_moment, moments};
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
    plans: Vec<Plan>,
}

/// What a step reports.
#[derive(Debug)]
pub struct StepReport {
    /// The loss before the step, summand by summand.
    pub terms: Vec<TermValue>,
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
        for tables in &mut model.embeddings {
            tables.prepare(&spec.embedding.optimizer);
        }
        let dense = spec.train.optimizer.clone();
        Self {
            step: 0,
            seed: spec.train.seed,
            schedule: Schedule::new(&spec.train, total_steps),
            clip_norm: spec.train.clip_norm,
            encoder: DenseState::default(),
            towers: vec![DenseState::default(); model.towers.len()],
            biases: vec![initial_moment(&dense); model.biases.len() * moments(&dense)],
            plans: vec![Plan::default(); model.embeddings.len()],
            dense_optimizer: dense,
            table_optimizer: spec.embedding.optimizer.clone(),
            model,
        }
    }

    /// Trains on a batch.
    ///
    /// # Errors
    /// [`NotFinite`], in which case nothing has moved.
    pub fn step(&mut self, input: &StepInput<'_>) -> Result<StepReport> {
        let noise = Noise(mix(self.seed ^ mix(self.step)));
        let (model, plans) = (&self.model, &mut self.plans);
        // Planning the sparse update needs no gradient: it runs beside the networks.
        let (gradients, ()) = rayon::join(
            || model.gradients(input, noise),
            || plans.iter_mut().zip(&model.embeddings).for_each(|(plan, tables)| plan.build(tables, &model.fields, input.batch)),
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
        dense.rule.without_l2().apply(&mut self.model.biases, &g.biases, &mut self.biases, scale);
        if let Some(gradients) = g.encoder.take() {
            self.model.encoder.step(gradients, &mut self.encoder, dense);
        }
        let towers = self.model.towers.par_iter_mut().zip(&mut self.towers).zip(g.towers);
        towers.for_each(|((tower, state), gradients)| tower.step(gradients, state, dense));

        let rule = Rule::at(&self.table_optimizer, step, lr_scale);
        let mut sums = Vec::new();
        for ((tables, plan), dx) in self.model.embeddings.iter_mut().zip(&self.plans).zip(&g.inputs) {
            let widths: Vec<usize> = (0..dx.len()).map(|group| group_width(&self.model.fields, group, tables.dim())).collect();
            let dx: Vec<&[f32]> = dx.iter().map(Vec::as_slice).collect();
            plan.segment_sum(&dx, &widths, tables.dim(), &mut sums);
            tables.update(plan, &sums, &rule);
        }
        Ok(StepReport { terms: g.terms, logits: g.logits })
    }

    /// Factor that brings the norm of the dense gradient down to `clip_norm`.
    #[allow(clippy::cast_possible_truncation)]
    fn clip_factor(&self, g: &crate::model::Gradients) -> f32 {
        if self.clip_norm <= 0.0 {
            return 1.0;
        }
        let towers: f64 = self.model.towers.iter().zip(&g.towers).map(|(t, g)| t.squared_norm(g)).sum();
        let encoder = g.encoder.as_ref().map_or(0.0, |g| self.model.encoder.squared_norm(g));
        let biases: f64 = g.biases.iter().map(|b| f64::from(*b).powi(2)).sum();
        (self.clip_norm / (towers + encoder + biases).sqrt()).min(1.0) as f32
    }

    /// The optimisers' state by name, as the weights are named.
    #[must_use]
    pub fn optimizer_tensors(&self) -> Tensors<'_> {
        let mut all: Tensors<'_> = vec![("bias".into(), vec![self.biases.len()], Cow::Borrowed(&self.biases))];
        let states = self.towers.iter().enumerate().map(|(s, state)| (self.model.tower_prefix(s), state));
        for (prefix, state) in std::iter::once(("encoder.".to_owned(), &self.encoder)).chain(states) {
            all.extend(state.to_host().into_iter().map(|(name, v)| (format!("{prefix}{name}"), vec![v.len()], Cow::Owned(v))));
        }
        for (set, tables) in self.model.embeddings.iter().enumerate() {
            let prefix = self.model.table_prefix(set);
            all.extend(tables.named_state().map(|(name, s)| (format!("{prefix}{name}"), vec![s.len()], Cow::Borrowed(s))));
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
        self.biases = optimizer.remove("bias").context("the optimiser's state lacks `bias`")?.1;
        for set in 0..self.model.embeddings.len() {
            let prefix = self.model.table_prefix(set);
            for (name, state) in self.model.embeddings[set].named_state_mut() {
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
            self.towers[s] = take(&self.model.tower_prefix(s));
        }
        Ok(())
    }
}
