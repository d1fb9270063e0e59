//! The loop.

use super::alarms::alarms;
use super::events::{Event, Observer, StepEvent};
use super::trainer::{NotFinite, Trainer};
use crate::data::{BatchPlan, ByEntity, Dataset, Order, Part};
use crate::metrics::{Evaluation, is_better};
use crate::model::StepInput;
use crate::run::{Checkpoint, CheckpointIndex, CheckpointState, RunFolder};
use crate::score;
use crate::spec::Spec;
use anyhow::{Context, Result, ensure};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All epochs are done, or patience ran out.
    Done,
    /// It was asked to stop; a checkpoint is written.
    Interrupted,
}

/// Everything that training works on.
pub struct Fit<'a> {
    /// The spec.
    pub spec: &'a Spec,
    /// The rows.
    pub data: &'a Dataset,
    /// Where checkpoints go.
    pub folder: &'a RunFolder,
    /// Set to stop after the step under way.
    pub stop: &'a AtomicBool,
    /// Model and optimisers.
    pub trainer: Trainer,
    /// Where training stands.
    pub state: CheckpointState,
    /// Alarms raised, each once.
    pub alarms: Vec<String>,
    /// Seconds for which the training thread waited for rows; a part of the training time.
    pub wait_seconds: f64,
    /// Seconds spent evaluating valid.
    pub valid_seconds: f64,
    /// The last evaluation of valid, if it was of the model's present weights.
    pub valid: Option<Evaluation>,
}

impl Fit<'_> {
    /// Steps of an epoch, and of the whole run.
    #[must_use]
    pub fn steps(spec: &Spec, data: &Dataset) -> (u64, u64) {
        let per_epoch = data.rows(Part::Train).div_ceil(spec.train.batch_rows.get() as u64);
        (per_epoch, per_epoch * spec.train.epochs.get() as u64)
    }

    /// Rows that the steps done so far have trained on.
    #[must_use]
    pub fn rows_trained(&self) -> u64 {
        let (per_epoch, _) = Self::steps(self.spec, self.data);
        let (epochs, steps) = (self.state.step / per_epoch.max(1), self.state.step % per_epoch.max(1));
        epochs * self.data.rows(Part::Train) + steps * self.spec.train.batch_rows.get() as u64
    }

    /// Trains until done or stopped. The order of rows, masks and schedule depend on the seed and the step alone, so a run that was
    /// stopped and resumed ends, on the CPU, in the same bits.
    ///
    /// # Errors
    /// A loss that is not finite, a checkpoint that cannot be written, rows that cannot be read.
    pub fn run(&mut self, observers: &mut [&mut dyn Observer]) -> Result<Ended> {
        let (train, epochs) = (&self.spec.train, self.spec.train.epochs.get() as u64);
        let (per_epoch, total_steps) = Self::steps(self.spec, self.data);
        ensure!(per_epoch > 0, "there is no row to train on");
        #[allow(clippy::cast_possible_truncation)]
        let oov_rate = self.spec.embedding.oov_rate as f32;
        let names: Vec<String> = self.spec.stages.iter().map(|s| s.name.clone()).collect();
        let by = self.shuffled_by()?;
        while self.state.epoch < epochs && !self.out_of_patience() {
            let plan = BatchPlan {
                batch_rows: train.batch_rows,
                order: Order::Shuffled { seed: train.seed, epoch: self.state.epoch, by },
                start: self.state.position,
                oov_rate,
            };
            let mut batches = self.data.batches(Part::Train, plan);
            loop {
                // Waiting for a batch counts as training time.
                let started = Instant::now();
                let Some(next) = batches.next() else { break };
                let (batch, position) = next?;
                self.wait_seconds += started.elapsed().as_secs_f64();
                let input = StepInput::new(&self.trainer.model.graph, &batch);
                self.valid = None;
                let report = self.trainer.step(&input).map_err(|e| self.explain(e))?;
                (self.state.step, self.state.position) = (self.trainer.step, position);
                self.state.train_seconds += started.elapsed().as_secs_f64();
                let (step, epoch) = (self.state.step, self.state.epoch + 1);
                let done = StepEvent {
                    step,
                    total_steps,
                    epoch,
                    epochs,
                    graph: &self.trainer.model.graph,
                    names: &names,
                    input: &input,
                    terms: &report.terms,
                    readings: &report.readings,
                    logits: &report.logits,
                };
                tell(observers, &Event::Step(done))?;
                let ends_epoch = step == epoch * per_epoch;
                if ends_epoch {
                    (self.state.epoch, self.state.position) = (epoch, 0);
                }
                // One checkpoint a step at most: none is ever replaced while it is the latest.
                let stopped = self.stop.load(Ordering::Relaxed);
                if ends_epoch || due(train.eval_every_steps, step) {
                    self.evaluate(epoch, observers)?;
                } else if stopped || due(train.checkpoint_every_steps, step) {
                    self.checkpoint(false, observers)?;
                }
                if stopped {
                    return Ok(Ended::Interrupted);
                }
                if self.out_of_patience() {
                    break;
                }
            }
        }
        self.finish()?;
        Ok(Ended::Done)
    }

    /// The metric that picks the best checkpoint.
    #[must_use]
    pub fn monitor(spec: &Spec) -> String {
        let last = spec.outcomes.last().map(|o| &o.name).or(spec.stages.last().map(|s| &s.name));
        spec.train.monitor.clone().unwrap_or_else(|| format!("{}.full.auc", last.map_or("", String::as_str)))
    }

    /// How `train.shuffle_by` has rows shuffled.
    fn shuffled_by(&self) -> Result<Option<ByEntity>> {
        let Some(entity) = &self.spec.train.shuffle_by else { return Ok(None) };
        let groups = &self.data.fields().groups;
        let group = groups.iter().position(|g| g.name == *entity).filter(|g| *g > 0);
        let why = || format!("train.shuffle_by: no feature is of entity `{entity}`, so its rows share nothing; leave the key out");
        Ok(Some(ByEntity { group: group.with_context(why)?, rows: self.spec.train.shuffle_rows }))
    }

    fn out_of_patience(&self) -> bool {
        let patience = self.spec.train.patience_evals;
        patience > 0 && self.state.evals_without_gain >= patience
    }

    /// Evaluates valid, compares `monitor`, writes a checkpoint. Test is never looked at here.
    fn evaluate(&mut self, epoch: u64, observers: &mut [&mut dyn Observer]) -> Result<()> {
        let mut is_best = false;
        if self.data.rows(Part::Valid) > 0 {
            let started = Instant::now();
            let scores = score::collect(&self.trainer.model, self.data, Part::Valid)?;
            let evaluation = score::evaluate(self.spec, &self.trainer.model.graph, self.data, &scores);
            self.valid_seconds += started.elapsed().as_secs_f64();
            tell(observers, &Event::Evaluated { step: self.state.step, epoch, part: "valid", evaluation: &evaluation })?;
            for alarm in alarms(&self.trainer.model.graph, &scores, &evaluation, "valid") {
                tell(observers, &Event::Alarm(&alarm))?;
                if !self.alarms.contains(&alarm) {
                    self.alarms.push(alarm);
                }
            }
            is_best = self.compare(&evaluation);
            self.valid = Some(evaluation);
        }
        self.checkpoint(is_best, observers)
    }

    fn compare(&mut self, evaluation: &Evaluation) -> bool {
        let monitor = Self::monitor(self.spec);
        let metric = monitor.rsplit('.').next().unwrap_or_default();
        let value = evaluation.get(&monitor);
        let better = match (value, self.state.best) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(new), Some((old, _))) => is_better(metric, new, old),
        };
        if better {
            self.state.best = value.map(|v| (v, self.state.step));
            self.state.evals_without_gain = 0;
        } else {
            self.state.evals_without_gain += 1;
        }
        better
    }

    fn checkpoint(&mut self, is_best: bool, observers: &mut [&mut dyn Observer]) -> Result<()> {
        let folder = self.folder.checkpoints();
        let mut index = CheckpointIndex::load(&folder)?;
        let name = Checkpoint::write(&folder, &self.state, &self.trainer.model.tensors()?, &self.trainer.optimizer_tensors())?;
        if is_best {
            index.best = Some(name.clone());
        }
        index.latest = Some(name);
        index.save(&folder)?;
        tell(observers, &Event::Checkpoint { step: self.state.step })
    }

    /// Settles which checkpoint the run ends with, and loads it: the last step's, or with patience the best on valid.
    fn finish(&mut self) -> Result<()> {
        let folder = self.folder.checkpoints();
        let mut index = CheckpointIndex::load(&folder)?;
        let best = if self.spec.train.patience_evals > 0 { index.best.clone() } else { None };
        index.last = best.or_else(|| index.latest.clone());
        index.save(&folder)?;
        if index.last != index.latest
            && let Some(name) = &index.last
        {
            self.trainer.model.load(Checkpoint::at(&folder, name).model()?)?;
            self.valid = None;
        }
        Ok(())
    }

    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(not_finite) = error.downcast_ref::<NotFinite>() else { return error };
        let latest = CheckpointIndex::load(&self.folder.checkpoints()).ok().and_then(|i| i.latest);
        let good = latest.map_or_else(|| "there is no checkpoint yet".into(), |name| format!("the last good checkpoint is `{name}`"));
        let remedy = "try a lower `train.optimizer.lr` or `embedding.optimizer.lr`, or a `train.clip_norm`";
        let message = format!("{not_finite}; {good}; {remedy}");
        error.context(message)
    }
}

/// Whether something that happens every so many steps (0: never) is due after `step`.
fn due(every: u64, step: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

fn tell(observers: &mut [&mut dyn Observer], event: &Event<'_>) -> Result<()> {
    observers.iter_mut().try_for_each(|o| o.on(event)).context("an observer of training failed")
}
