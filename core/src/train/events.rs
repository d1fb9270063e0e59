//! What the loop tells those who watch it.

use crate::graph::Graph;
use crate::metrics::Evaluation;
use crate::model::{StepInput, TermValue};
use anyhow::Result;

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step was done.
    Step(StepEvent<'a>),
    /// A part was evaluated.
    Evaluated {
        /// Steps done.
        step: u64,
        /// Epoch, from 1.
        epoch: u64,
        /// `valid` or `test`.
        part: &'static str,
        /// The result.
        evaluation: &'a Evaluation,
    },
    /// Something is probably wrong.
    Alarm(&'a str),
    /// A checkpoint was written.
    Checkpoint {
        /// Steps done.
        step: u64,
    },
}

/// A step, done.
#[derive(Debug)]
pub struct StepEvent<'a> {
    /// Steps done.
    pub step: u64,
    /// Steps planned.
    pub total_steps: u64,
    /// Epoch, from 1.
    pub epoch: u64,
    /// Epochs planned.
    pub epochs: u64,
    /// The funnel.
    pub graph: &'a Graph,
    /// Names of the stages.
    pub names: &'a [String],
    /// The rows.
    pub input: &'a StepInput<'a>,
    /// The loss before the step, summand by summand.
    pub terms: &'a [TermValue],
    /// What the objective tells besides.
    pub readings: &'a [TermValue],
    /// Per stage `[B]`: logits before the step.
    pub logits: &'a [Vec<f32>],
}

/// Watches training. Called from the training thread: be quick.
pub trait Observer {
    /// Something happened.
    ///
    /// # Errors
    /// Stops training.
    fn on(&mut self, event: &Event<'_>) -> Result<()>;
}
