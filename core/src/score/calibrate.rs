//! Calibrating a run: which rows a stage's correction is fitted on, and what it does to rows that it was not fitted on.
//!
//! The rows are valid's, never test's; the check is then on test, where nothing is chosen. Other files are both: each fifth of them is
//! corrected by what was fitted to the other four, and what is kept is fitted to all.

use super::{Scorer, collect_watched, evaluate};
use crate::calibration::{self, Calibration, Checked, FittedOn, Map, Method, Sample, StageCalibration, Unfit};
use crate::data::{Dataset, Part, PrepareOptions};
use crate::graph::{Composition, Graph, LabelFlags};
use crate::metrics::{Evaluation, Scores};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// Parts that take turns to be left out.
const FOLDS: usize = 5;

/// What to fit.
pub struct CalibrateOptions<'a> {
    /// How.
    pub method: Method,
    /// Per stage: whether it is fitted anew. The others keep the correction they have.
    pub stages: Vec<bool>,
    /// Per stage: the share of its negatives that the rows hold, if not all.
    pub keep_rates: Vec<Option<f64>>,
    /// Rows to fit on instead of valid.
    pub files: Option<&'a [PathBuf]>,
    /// Called with how many rows are scored.
    pub progress: &'a dyn Fn(u64),
}

/// A calibration, not written yet.
#[derive(Debug)]
pub struct Calibrated {
    /// What to save.
    pub calibration: Calibration,
    /// The towers as trained, on held-out rows, and the same with the corrections; `None` without such rows.
    pub checked: Option<(Evaluation, Evaluation)>,
    /// What is worth knowing, such as stages with few positives.
    pub warnings: Vec<String>,
}

/// Scored rows.
struct Rows {
    scores: Scores,
    flags: LabelFlags,
}
impl Rows {
    fn of(graph: &Graph, scores: Scores) -> Self {
        Self { flags: graph.flags(&scores.labels), scores }
    }
    /// Whether a row is one that the stage's head speaks of: its conditional space; of a quotient, whose towers predict full-space
    /// probabilities, every row.
    fn speaks(&self, graph: &Graph, stage: usize, row: usize) -> bool {
        graph.composition == Composition::Quotient || self.flags.in_space[stage][row]
    }
    /// How many rows a row stands for: its own weight, over the share that was kept of rows like it.
    fn weight(&self, row: usize, keep_rates: &[Option<f64>], but: Option<usize>) -> f64 {
        let own = self.scores.weights.get(row).map_or(1.0, |w| f64::from(*w));
        let sampled = keep_rates.iter().enumerate().filter(|(stage, _)| Some(*stage) != but).filter_map(|(stage, rate)| {
            let negative = self.flags.in_space[stage][row] && self.flags.reached[stage][row] == 0;
            rate.filter(|_| negative)
        });
        sampled.fold(own, |weight, rate| weight / rate)
    }
    /// What a stage's map is fitted to. Its own negatives stay as rare as they are: their rate is a term of its own.
    fn sample(&self, graph: &Graph, stage: usize, keep_rates: &[Option<f64>]) -> (Vec<usize>, Sample) {
        let rows: Vec<usize> = (0..self.scores.len()).filter(|row| self.speaks(graph, stage, *row)).collect();
        let sample = Sample {
            logits: rows.iter().map(|r| f64::from(self.scores.logits[stage][*r])).collect(),
            labels: rows.iter().map(|r| self.flags.reached[stage][*r]).collect(),
            weights: rows.iter().map(|r| self.weight(*r, keep_rates, Some(stage))).collect(),
        };
        (rows, sample)
    }
}

/// Scored rows, each counting for those it stands for where some negatives were left out of the log.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn population(graph: &Graph, scores: Scores, keep_rates: &[Option<f64>]) -> Scores {
    if keep_rates.iter().all(Option::is_none) {
        return scores;
    }
    let mut rows = Rows::of(graph, scores);
    rows.scores.weights = (0..rows.scores.len()).map(|row| rows.weight(row, keep_rates, None) as f32).collect();
    rows.scores
}

impl Scorer {
    /// Fits corrections to the logits of stages, and checks them on held-out rows.
    ///
    /// # Errors
    /// No rows to fit on; stages that have too few, or no monotone correction: all of them are named, and nothing is kept.
    pub fn calibrate(&self, options: &CalibrateOptions<'_>, prepare: &PrepareOptions<'_>) -> Result<Calibrated> {
        let graph = self.graph.clone().calibrated_by(Vec::new());
        if graph.composition == Composition::Quotient && options.keep_rates.iter().any(Option::is_some) {
            bail!(
                "a keep rate is of negatives of a conditional probability, and with `funnel.composition = \"quotient\"` no tower predicts one"
            );
        }
        let before = self.calibration.as_ref().map(|c| c.stages.clone()).unwrap_or_default();
        let rate = |(stage, name): (usize, &str)| {
            if options.stages[stage] { options.keep_rates[stage] } else { before.get(name)?.keep_rate }
        };
        let keep_rates = graph.nodes.iter().map(|n| n.name.as_str()).enumerate().map(rate).collect();
        let data = self.rows(options.files, prepare)?;
        let work = Work { scorer: self, graph, options, data, keep_rates };
        let collect = |part| -> Result<Rows> {
            Ok(Rows::of(&work.graph, collect_watched(&self.model, &work.data, part, options.progress, prepare.stop)?))
        };
        let fitted = options.method != Method::None;
        let rows = match options.files {
            Some(_) => Some(collect(Part::Test)?),
            None if fitted => Some(collect(Part::Valid)?),
            None => None,
        };
        if rows.as_ref().is_some_and(|rows| rows.scores.is_empty()) {
            bail!("{}", nothing_to_fit(options.files.is_some()));
        }
        let mut calibration = Calibration::new(self.checkpoint.clone(), before);
        let warnings = work.fit(rows.as_ref(), &mut calibration)?;
        let checked = if options.files.is_none() && work.data.rows(Part::Test) > 0 {
            Some(("test", work.measure(&calibration, &collect(Part::Test)?, None)))
        } else if let Some(rows) = rows {
            let name = if options.files.is_some() { "these rows" } else { "valid" };
            let crossed = work.cross(&rows, &calibration)?;
            Some((name, work.measure(&calibration, &rows, Some(crossed))))
        } else {
            None
        };
        if let Some((rows, (before, after))) = &checked {
            let held_out =
                if *rows == "test" || !fitted { String::new() } else { ", each fifth by what was fitted to the other four".into() };
            let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(after)?);
            calibration.checked = Some(Checked { on: format!("{rows}{held_out}"), before, after });
        }
        Ok(Calibrated { calibration, checked: checked.map(|c| c.1), warnings })
    }
}

/// What fitting and checking share.
struct Work<'a> {
    scorer: &'a Scorer,
    /// Without corrections.
    graph: Graph,
    options: &'a CalibrateOptions<'a>,
    data: Dataset,
    /// Per stage, the kept ones too.
    keep_rates: Vec<Option<f64>>,
}
impl Work<'_> {
    /// Fits the stages that are asked for; gives what is worth knowing.
    fn fit(&self, rows: Option<&Rows>, calibration: &mut Calibration) -> Result<Vec<String>> {
        let Self { graph, options, keep_rates, .. } = self;
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        for (stage, node) in graph.nodes.iter().enumerate().filter(|(s, _)| options.stages[*s]) {
            calibration.stages.remove(&node.name);
            let sample = rows.map(|rows| rows.sample(graph, stage, keep_rates).1).unwrap_or_default();
            match calibration::fit(options.method, &sample) {
                Err(why) => faults.push((node.name.as_str(), why)),
                Ok(Map::None {}) if keep_rates[stage].is_none() => {}
                Ok(map) => {
                    warnings.extend(doubt(&node.name, &map, &sample));
                    let fitted_on = (map != Map::None {}).then(|| self.fitted_on(&sample));
                    calibration.stages.insert(node.name.clone(), StageCalibration { map, keep_rate: keep_rates[stage], fitted_on });
                }
            }
        }
        if faults.is_empty() { Ok(warnings) } else { bail!("{}", refusal(&faults, graph, options)) }
    }

    fn fitted_on(&self, sample: &Sample) -> FittedOn {
        let meta = self.data.store().meta();
        let names = meta.inputs.iter().map(|i| i.name.clone());
        let data = if self.options.files.is_some() { names.collect() } else { vec![Part::Valid.name().to_owned()] };
        FittedOn { data, fingerprint: meta.fingerprint.clone(), rows: sample.labels.len() as u64, positives: sample.classes().1 }
    }

    /// Metrics as trained, and with the corrections. `crossed` are logits that are corrected already.
    fn measure(&self, calibration: &Calibration, rows: &Rows, crossed: Option<Vec<Vec<f32>>>) -> (Evaluation, Evaluation) {
        let graph = &self.graph;
        let metrics = |graph: &Graph, scores: &Scores| {
            let mut evaluation = evaluate(&self.scorer.spec, graph, &self.data, scores);
            evaluation.slices.clear();
            evaluation
        };
        let scores = population(graph, rows.scores.clone(), &self.keep_rates);
        let before = metrics(graph, &scores);
        let after = match crossed {
            None => metrics(&graph.clone().calibrated_by(calibration.corrections(graph)), &scores),
            Some(logits) => metrics(graph, &Scores { logits, ..scores }),
        };
        (before, after)
    }

    /// The logits of every stage `[S][N]`, each row corrected by what was fitted to other rows than its own.
    #[allow(clippy::cast_possible_truncation)]
    fn cross(&self, rows: &Rows, calibration: &Calibration) -> Result<Vec<Vec<f32>>> {
        let Self { graph, options, .. } = self;
        let mut logits = rows.scores.logits.clone();
        for (stage, corrected) in logits.iter_mut().enumerate() {
            let Some(kept) = calibration.stages.get(&graph.nodes[stage].name).map(StageCalibration::correction) else { continue };
            let (inside, sample) = rows.sample(graph, stage, &self.keep_rates);
            // Rows outside of the head's space were not fitted to: theirs is the last map, that of all rows.
            let mut fold_of = vec![FOLDS; corrected.len()];
            let mut maps = vec![kept; FOLDS + 1];
            if options.stages[stage] && options.method != Method::None {
                let folds = folds(&sample.labels);
                for (fold, map) in maps.iter_mut().enumerate().take(FOLDS) {
                    let fitted = calibration::fit_however_few(options.method, &without(&sample, &folds, fold));
                    let words = || format!("checking stage `{}` on a fifth of its rows by a fit to the others", graph.nodes[stage].name);
                    map.map = fitted.with_context(words)?;
                }
                inside.iter().zip(&folds).for_each(|(row, fold)| fold_of[*row] = *fold);
            }
            for (z, fold) in corrected.iter_mut().zip(fold_of) {
                *z = maps[fold].apply(f64::from(*z)) as f32;
            }
        }
        Ok(logits)
    }
}

/// Each row's fold, so that each has its share of either label.
fn folds(labels: &[u8]) -> Vec<usize> {
    let mut next = [0, 0];
    let one = |label: &u8| {
        let next = &mut next[usize::from(*label != 0)];
        *next += 1;
        (*next - 1) % FOLDS
    };
    labels.iter().map(one).collect()
}
fn without(sample: &Sample, folds: &[usize], fold: usize) -> Sample {
    let rows: Vec<usize> = (0..folds.len()).filter(|r| folds[*r] != fold).collect();
    Sample {
        logits: rows.iter().map(|r| sample.logits[*r]).collect(),
        labels: rows.iter().map(|r| sample.labels[*r]).collect(),
        weights: rows.iter().map(|r| sample.weights[*r]).collect(),
    }
}

fn nothing_to_fit(files: bool) -> &'static str {
    if files {
        "there are no rows to fit to in these files"
    } else {
        "the run has no valid rows to fit to, and a calibration is never fitted on test; name other rows with `--data`"
    }
}

/// Every stage that cannot be fitted, and what to do about it.
fn refusal(faults: &[(&str, Unfit)], graph: &Graph, options: &CalibrateOptions<'_>) -> String {
    let told: Vec<String> = faults.iter().map(|(stage, why)| format!("stage `{stage}`: {why}")).collect();
    let fine = |(stage, name): &(usize, &str)| options.stages[*stage] && !faults.iter().any(|f| f.0 == *name);
    let others: Vec<&str> = graph.nodes.iter().map(|n| n.name.as_str()).enumerate().filter(fine).map(|(_, name)| name).collect();
    let mut text = format!("{}; nothing was written: give other rows with `--data`", told.join("; "));
    if !others.is_empty() {
        text += &format!(", or fit only the others with `--stage {}`", others.join(" "));
    }
    text
}

/// What to know of a fit that stands on little.
fn doubt(stage: &str, map: &Map, sample: &Sample) -> Option<String> {
    let (negatives, positives) = sample.classes();
    let method = map.method();
    if negatives.min(positives) < method.few() && method != Method::None {
        let (rarer, label) = if positives <= negatives { (positives, 1) } else { (negatives, 0) };
        let name = method.name();
        #[allow(clippy::cast_precision_loss)]
        let error = 100.0 / (rarer as f64).sqrt();
        return Some(format!(
            "stage `{stage}`: {rarer} rows with label {label} are few for `{name}`: how often they occur is itself known to ±{error:.0} % only, and {} \
             or more are better",
            method.few()
        ));
    }
    match map {
        Map::Isotonic { knots } if knots.len() <= 3 => {
            Some(format!("stage `{stage}`: isotonic regression found one rate for all rows: its tower does not rank them"))
        }
        _ => None,
    }
}
