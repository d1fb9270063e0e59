//! The progress bar; on a pipe a plain line every ten seconds.

use crate::ui::{Ui, count};
use anyhow::Result;
use esmm_funnel_core::data::{PrepareNote, PrepareProgress};
use esmm_funnel_core::metrics::auc;
use esmm_funnel_core::train::events::{Event, Observer, StepEvent};
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const PLAIN_LINE_EVERY: Duration = Duration::from_secs(10);
const REFRESH_EVERY: Duration = Duration::from_millis(500);
/// Rows that the running AUC looks back on.
const WINDOW_ROWS: usize = 100_000;

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─")
}

/// Shows how far training is.
pub struct TrainProgress<'a> {
    ui: &'a Ui,
    bar: Option<ProgressBar>,
    started: Instant,
    rows: u64,
    first_step: Option<u64>,
    shown: Instant,
    loss: f64,
    window: VecDeque<Window>,
    window_rows: usize,
}
/// Logarithms of conditional probabilities, and labels, of a batch, per stage, on the rows of the stage's space.
struct Window(Vec<(Vec<f64>, Vec<u8>)>, usize);

impl<'a> TrainProgress<'a> {
    pub fn new(ui: &'a Ui) -> Self {
        let now = Instant::now();
        Self { ui, bar: None, started: now, rows: 0, first_step: None, shown: now, loss: f64::NAN, window: VecDeque::new(), window_rows: 0 }
    }

    fn step(&mut self, event: &StepEvent<'_>) {
        let first = *self.first_step.get_or_insert(event.step);
        self.rows += event.input.batch.size as u64;
        let loss: f64 = event.terms.iter().map(|t| t.value).sum();
        self.loss = if self.loss.is_nan() { loss } else { 0.98 * self.loss + 0.02 * loss };
        self.remember(event);
        if self.bar.is_none() && self.ui.live && !self.ui.quiet {
            let bar = self.ui.bars.add(ProgressBar::new(event.total_steps));
            bar.set_style(style("epoch {prefix} {bar:24} {percent:>3}%  {msg}"));
            self.bar = Some(bar);
        }
        let every = if self.ui.live { REFRESH_EVERY } else { PLAIN_LINE_EVERY };
        if self.shown.elapsed() < every && event.step < event.total_steps {
            return;
        }
        self.shown = Instant::now();
        let line = self.line(event, first);
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("{}/{}", event.epoch, event.epochs));
            bar.set_position(event.step);
            bar.set_message(line);
        } else if !self.ui.live {
            self.ui.story(&format!("epoch {}/{}  {:.0}%  {line}", event.epoch, event.epochs, percent(event.step, event.total_steps)));
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn line(&self, event: &StepEvent<'_>, first: u64) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let done = (event.step + 1 - first) as f64;
        let left = (event.total_steps - event.step) as f64 * seconds / done;
        let mut line = format!("{} rows/s  loss {:.4}", short(self.rows as f64 / seconds), self.loss);
        for (s, term) in self.stage_aucs().iter().enumerate() {
            if let Some(auc) = term {
                line += &format!("  {} auc {auc:.3}", event.names[s]);
            }
        }
        line + &format!("  eta {}", clock(left))
    }

    fn remember(&mut self, event: &StepEvent<'_>) {
        let (input, size) = (event.input, event.input.batch.size);
        let logits: Vec<&[f32]> = event.logits.iter().map(Vec::as_slice).collect();
        let composed = event.graph.compose(&logits);
        let stages = composed
            .conditional
            .iter()
            .zip(&input.flags.in_space)
            .zip(&input.flags.reached)
            .map(|((p, space), reached)| {
                let inside = (0..size).filter(|r| space[*r]);
                inside.map(|r| (p.log_p[r], reached[r])).unzip()
            })
            .collect();
        self.window.push_back(Window(stages, size));
        self.window_rows += size;
        while self.window_rows > WINDOW_ROWS {
            self.window_rows -= self.window.pop_front().map_or(self.window_rows, |w| w.1);
        }
    }

    /// AUC of each stage's tower on the last rows of training, each scored before the step that learnt from it.
    fn stage_aucs(&self) -> Vec<Option<f64>> {
        let stages = self.window.front().map_or(0, |w| w.0.len());
        (0..stages)
            .map(|s| {
                let (mut scores, mut labels) = (Vec::new(), Vec::new());
                for Window(stages, _) in &self.window {
                    scores.extend_from_slice(&stages[s].0);
                    labels.extend_from_slice(&stages[s].1);
                }
                auc(&scores, &labels, None).ok()
            })
            .collect()
    }
}
impl Observer for TrainProgress<'_> {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Step(step) => self.step(step),
            Event::Alarm(text) => self.ui.story(&format!("alarm: {text}")),
            Event::Evaluated { part, step, evaluation, .. } if *part == "valid" => {
                let aucs: Vec<String> = evaluation
                    .summaries()
                    .filter(|(_, space, _)| *space == "full")
                    .map(|(stage, _, s)| s.auc.map_or_else(|| format!("{stage} auc —"), |a| format!("{stage} auc {a:.4}")))
                    .collect();
                self.ui.story(&format!("step {}  valid, full space: {}", count(*step), aucs.join("  ")));
            }
            Event::Evaluated { .. } | Event::Checkpoint { .. } => {}
        }
        Ok(())
    }
}
impl Drop for TrainProgress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows how far reading or scoring is.
pub struct RowProgress<'a> {
    ui: &'a Ui,
    what: &'static str,
    bar: RefCell<Option<ProgressBar>>,
    started: Cell<Instant>,
    shown: Cell<Instant>,
}
impl<'a> RowProgress<'a> {
    pub fn new(ui: &'a Ui, what: &'static str) -> Self {
        let now = Instant::now();
        Self { ui, what, bar: RefCell::new(None), started: Cell::new(now), shown: Cell::new(now) }
    }
    /// Rows, share, speed and time left; and what there is to be told.
    pub fn prepare(&self, progress: PrepareProgress) {
        let PrepareProgress { rows, bytes, total_bytes, earlier_rows, earlier_bytes, note } = progress;
        if (rows, bytes) == (earlier_rows, earlier_bytes) {
            // What came before, as a look at the data, is no part of its speed.
            self.started.set(Instant::now());
        }
        if let Some(note) = note {
            self.ui.story(&told(note, rows, bytes, total_bytes));
        }
        let more = || self.of_bytes(bytes, bytes.saturating_sub(earlier_bytes), total_bytes).unwrap_or_default();
        self.rows_line(rows, rows.saturating_sub(earlier_rows), more);
    }
    /// Share, speed and time left, where the source has bytes. `own`: those that this process has read.
    #[allow(clippy::cast_precision_loss)]
    fn of_bytes(&self, bytes: u64, own: u64, total: u64) -> Option<String> {
        let rate = (total > 0 && own > 0).then(|| own as f64 / self.seconds())?;
        let left = clock(total.saturating_sub(bytes) as f64 / rate);
        Some(format!("  {:.0}%  {:.0} MB/s  eta {left}", percent(bytes, total), rate / 1e6))
    }
    pub fn show(&self, rows: u64, more: &str) {
        self.rows_line(rows, rows, || more.to_owned());
    }
    /// How many of a known number of things are done.
    pub fn of(&self, done: u64, all: u64) {
        self.line(|| format!("{} {} of {}", self.what, count(done), count(all)));
    }
    /// `own`: the rows of this process, which make the speed.
    #[allow(clippy::cast_precision_loss)]
    fn rows_line(&self, rows: u64, own: u64, more: impl FnOnce() -> String) {
        self.line(|| format!("{} {} rows  {} rows/s{}", self.what, count(rows), short(own as f64 / self.seconds()), more()));
    }
    /// Shows a line, unless it is too early for another one.
    fn line(&self, text: impl FnOnce() -> String) {
        let every = if self.ui.live { REFRESH_EVERY } else { PLAIN_LINE_EVERY };
        if self.shown.get().elapsed() < every {
            return;
        }
        self.shown.set(Instant::now());
        let line = text();
        if self.ui.live && !self.ui.quiet {
            let mut bar = self.bar.borrow_mut();
            let bar = bar.get_or_insert_with(|| {
                let bar = self.ui.bars.add(ProgressBar::new_spinner());
                bar.set_style(style("{spinner} {msg}"));
                bar
            });
            bar.set_message(line);
            bar.tick();
        } else {
            self.ui.story(&line);
        }
    }
    fn seconds(&self) -> f64 {
        self.started.get().elapsed().as_secs_f64().max(1e-9)
    }
}

/// What there is to be told of preparing, in words.
fn told(note: PrepareNote, rows: u64, bytes: u64, total_bytes: u64) -> String {
    let share = (total_bytes > 0).then(|| format!("at {:.0}%", percent(bytes, total_bytes)));
    let row = (rows > 0 || share.is_none()).then(|| format!("after row {}", count(rows)));
    let place = share.into_iter().chain(row).collect::<Vec<_>>().join(", ");
    match note {
        PrepareNote::GoesOn => format!("encoding goes on {place}, where it was interrupted"),
        PrepareNote::BeginsAnew(why) => format!("encoding was interrupted before, but begins anew: {why}"),
        PrepareNote::Interrupted => format!("encoding is interrupted {place}; the same command goes on there"),
    }
}

impl RowProgress<'_> {
    /// Takes the line away.
    pub fn done(&self) {
        if let Some(bar) = self.bar.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }
}
impl Drop for RowProgress<'_> {
    fn drop(&mut self) {
        self.done();
    }
}

#[allow(clippy::cast_precision_loss)]
fn percent(done: u64, total: u64) -> f64 {
    100.0 * done as f64 / total.max(1) as f64
}
/// `0:48`, `1:02:03`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn clock(seconds: f64) -> String {
    let s = seconds as u64;
    if s < 3600 { format!("{}:{:02}", s / 60, s % 60) } else { format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60) }
}
/// `38.4k`.
fn short(n: f64) -> String {
    if n >= 1e6 {
        format!("{:.2}M", n / 1e6)
    } else if n >= 1e3 {
        format!("{:.1}k", n / 1e3)
    } else {
        format!("{n:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_preparing_goes_on_is_told() {
        let goes_on = |rows, bytes, total| told(PrepareNote::GoesOn, rows, bytes, total);
        assert_eq!(goes_on(0, 24, 100), "encoding goes on at 24%, where it was interrupted");
        assert_eq!(goes_on(1200, 61, 100), "encoding goes on at 61%, after row 1,200, where it was interrupted");
        assert_eq!(goes_on(7, 0, 0), "encoding goes on after row 7, where it was interrupted");
        assert!(told(PrepareNote::Interrupted, 7, 0, 0).ends_with("the same command goes on there"));
        assert_eq!((clock(48.9), clock(3723.0)), ("0:48".into(), "1:02:03".into()));
    }
}
