//! Writes `metrics.jsonl`, and the same for TensorBoard.

use super::events::{Event, Observer, StepEvent};
use crate::metrics::{Evaluation, Summary};
use crate::run::{EventFile, Journal, Line, RunFolder};
use anyhow::Result;
use std::collections::BTreeMap;

/// Steps between two lines of a training term.
const EVERY: u64 = 100;

/// An observer that writes the journal.
#[derive(Debug)]
pub(super) struct JournalWriter {
    journal: Journal,
    events: EventFile,
    sums: BTreeMap<String, f64>,
    readings: BTreeMap<String, f64>,
    steps: u64,
    rows: u64,
}
impl JournalWriter {
    /// To go on after `step`.
    pub(super) fn open(folder: &RunFolder, step: u64) -> Result<Self> {
        let (journal, events) = (Journal::open(folder, step)?, EventFile::open(folder, step)?);
        Ok(Self { journal, events, sums: BTreeMap::new(), readings: BTreeMap::new(), steps: 0, rows: 0 })
    }

    fn write(&mut self, lines: &[Line]) -> Result<()> {
        self.journal.write(lines)?;
        self.events.write(lines)
    }

    fn step(&mut self, event: &StepEvent<'_>) -> Result<()> {
        for term in event.terms {
            *self.sums.entry(term.name.clone()).or_default() += term.value;
        }
        for reading in event.readings {
            *self.readings.entry(reading.name.clone()).or_default() += reading.value;
        }
        self.steps += 1;
        self.rows += event.input.batch.size as u64;
        if !event.step.is_multiple_of(EVERY) && event.step != event.total_steps {
            return Ok(());
        }
        #[allow(clippy::cast_precision_loss)]
        let steps = self.steps as f64;
        let line = |name: &str| empty(event.step, event.epoch, "train", name.split('.').next().unwrap_or_default(), name);
        let terms = std::mem::take(&mut self.sums).into_iter();
        let terms = terms.map(|(name, sum)| Line { loss: Some(sum / steps), rows: Some(self.rows), ..line(&name) });
        let readings = std::mem::take(&mut self.readings).into_iter();
        let readings = readings.map(|(name, sum)| Line { value: Some(sum / steps), ..line(&name) });
        let lines: Vec<Line> = terms.chain(readings).collect();
        (self.steps, self.rows) = (0, 0);
        self.write(&lines)
    }
}
impl Observer for JournalWriter {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Step(step) => self.step(step),
            Event::Evaluated { step, epoch, part, evaluation } => self.write(&lines(*step, *epoch, part, evaluation)),
            Event::Alarm(_) | Event::Checkpoint { .. } => Ok(()),
        }
    }
}

fn lines(step: u64, epoch: u64, part: &str, evaluation: &Evaluation) -> Vec<Line> {
    let line = |stage: &str, space: &str, s: &Summary| Line {
        rows: Some(s.rows),
        positives: Some(s.positives),
        loss: s.logloss,
        auc: s.auc,
        logloss: s.logloss,
        ne: s.ne,
        pcoc: s.pcoc,
        ece: s.ece,
        ..empty(step, epoch, part, stage, space)
    };
    evaluation.summaries().map(|(stage, space, summary)| line(stage, space, summary)).collect()
}

fn empty(step: u64, epoch: u64, part: &str, stage: &str, space: &str) -> Line {
    Line {
        step,
        epoch,
        part: part.into(),
        stage: stage.into(),
        space: space.into(),
        rows: None,
        positives: None,
        loss: None,
        auc: None,
        logloss: None,
        ne: None,
        pcoc: None,
        ece: None,
        value: None,
    }
}
