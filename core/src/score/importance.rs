//! What each field is worth: how much worse a stage is predicted once the field's values are dealt out anew among the rows (Breiman 2001,
//! section 10), so that it tells nothing while its distribution stays.
//!
//! A field is permuted where it lives: a field of the rows across the part's rows, a field of an entity across the entities that the part's rows
//! touch, each of which keeps one value for all its rows. A cross is a field of its own: it moves with neither of its columns, and they do not
//! move with it. All parts of a time move together, and a number with the flag that it is missing.

use super::SCORE_ROWS;
use crate::data::{Dataset, FieldColumns, Part, Stopped, permutation};
use crate::graph::Graph;
use crate::metrics::{Scores, auc, each_space, log_loss};
use crate::model::Model;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};

/// How to measure.
#[derive(Debug, Clone, Copy)]
pub struct ImportanceOptions<'a> {
    /// The rows.
    pub part: Part,
    /// Permutations of each field.
    pub repeats: NonZeroU32,
    /// Everything follows from it.
    pub seed: u64,
    /// Set to stop.
    pub stop: &'a AtomicBool,
}

/// `importance.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// `valid`, `test`, or `data` for rows of other files.
    pub part: String,
    /// Their number.
    pub rows: u64,
    /// Permutations of each field.
    pub repeats: u32,
    /// Of the permutations.
    pub seed: u64,
    /// Nothing permuted.
    pub base: Vec<Measured>,
    /// The fields, in order of the model's.
    pub fields: Vec<FieldImportance>,
}

/// AUC and log loss of a stage in a space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Stage or outcome.
    pub stage: String,
    /// `conditional`, `full` or `entire`.
    pub space: String,
    /// Undefined if the rows are of one class.
    pub auc: Option<f64>,
    /// Undefined without rows, or where a prediction exceeds 1.
    pub logloss: Option<f64>,
}

/// What a field is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldImportance {
    /// The column.
    pub field: String,
    /// The `[feature.NAME]` table it came from.
    pub feature: String,
    /// `id`, `cross`, `time`, `bag`, `sequence` or `number`.
    pub kind: String,
    /// What was permuted: the row's name, or the entity's.
    pub of: String,
    /// How many of them.
    pub members: u64,
    /// Per stage and space.
    pub stages: Vec<Worth>,
}

/// By how much one stage in one space is predicted worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worth {
    /// Stage or outcome.
    pub stage: String,
    /// `conditional`, `full` or `entire`.
    pub space: String,
    /// AUC before less AUC after.
    pub auc_drop: Option<Spread>,
    /// Log loss after less log loss before.
    pub logloss_rise: Option<Spread>,
}

/// Mean and sample standard deviation over the repeats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation; none of a single repeat.
    pub std: Option<f64>,
}
impl Spread {
    #[allow(clippy::cast_precision_loss)]
    fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        (!values.is_empty()).then(|| Self { mean, std: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()) })
    }
}

/// Permutes every field in turn and scores the part each time. `progress` is told the rows scored and the rows to score.
///
/// # Errors
/// [`Stopped`], rows that cannot be scored.
pub fn importance(
    model: &Model,
    data: &Dataset,
    options: &ImportanceOptions<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Importance> {
    let scorer = model.scorer();
    let mut scores = super::collect(model, data, options.part)?;
    let base = measure(&model.graph, &scores);
    let fields = data.preprocessor().field_columns();
    let rows = data.rows(options.part);
    let (mut done, total) = (0, rows * fields.len() as u64 * u64::from(options.repeats.get()));
    let mut all = Vec::new();
    for field in &fields {
        let permuted = data.permuted(options.part, field);
        let mut worse: Vec<(Vec<f64>, Vec<f64>)> = vec![(Vec::new(), Vec::new()); base.len()];
        for repeat in 0..options.repeats.get() {
            let order = permutation(permuted.len(), options.seed, &field.name, u64::from(repeat));
            scores.logits.iter_mut().for_each(Vec::clear);
            for batch in data.permuted_batches(&permuted, &order, SCORE_ROWS) {
                if options.stop.load(Ordering::Relaxed) {
                    return Err(Stopped.into());
                }
                let logits = scorer.logits(&batch)?;
                scores.logits.iter_mut().zip(&logits).for_each(|(to, z)| to.extend_from_slice(z));
                done += batch.size as u64;
                progress(done, total);
            }
            for ((before, after), (drops, rises)) in base.iter().zip(measure(&model.graph, &scores)).zip(&mut worse) {
                drops.extend(before.auc.zip(after.auc).map(|(b, a)| b - a));
                rises.extend(before.logloss.zip(after.logloss).map(|(b, a)| a - b));
            }
        }
        all.push(worth_of(field, permuted.len() as u64, &base, &worse));
    }
    let part = options.part.name().to_owned();
    Ok(Importance { part, rows, repeats: options.repeats.get(), seed: options.seed, base, fields: all })
}

fn worth_of(field: &FieldColumns, members: u64, base: &[Measured], worse: &[(Vec<f64>, Vec<f64>)]) -> FieldImportance {
    let worth = |(of, (drops, rises)): (&Measured, &(Vec<f64>, Vec<f64>))| Worth {
        stage: of.stage.clone(),
        space: of.space.clone(),
        auc_drop: Spread::of(drops),
        logloss_rise: Spread::of(rises),
    };
    FieldImportance {
        field: field.name.clone(),
        feature: field.feature.clone(),
        kind: field.kind.to_owned(),
        of: field.of.clone(),
        members,
        stages: base.iter().zip(worse).map(worth).collect(),
    }
}

fn measure(graph: &Graph, scores: &Scores) -> Vec<Measured> {
    let mut all = Vec::new();
    each_space(graph, scores, &mut |space| {
        let weights: Option<Vec<f32>> = (!scores.weights.is_empty()).then(|| match &space.rows {
            None => scores.weights.clone(),
            Some(rows) => rows.iter().map(|r| scores.weights[*r as usize]).collect(),
        });
        let finite = |v: f64| v.is_finite().then_some(v);
        all.push(Measured {
            auc: auc(&space.log_p, &space.labels, weights.as_deref()).ok(),
            logloss: log_loss(&space.log_p, &space.log_not_p, &space.labels, weights.as_deref()).ok().and_then(finite),
            stage: space.target,
            space: space.space.to_owned(),
        });
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_mean_and_sample_deviation() {
        let spread = Spread::of(&[1.0, 2.0, 3.0]).unwrap();
        assert!((spread.mean - 2.0).abs() < 1e-12 && (spread.std.unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(Spread::of(&[2.0]), Some(Spread { mean: 2.0, std: None }));
        assert_eq!(Spread::of(&[]), None);
    }
}
