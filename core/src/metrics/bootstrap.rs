//! Metrics on resampled rows: how much they would move with other test rows of the same kind (Efron and Tibshirani, An Introduction to the
//! Bootstrap, 1993).
//!
//! A resample is how many times each row is drawn, so rows are sorted by score once and every replicate is one pass over them, in sorted order.
//! The draws depend on the seed, the replicate and the number of units alone: models that scored the same rows see the same resamples one by one,
//! whenever they are measured, and their differences are paired. Neither threads nor the order of models change a bit.

use super::scores::SpaceColumns;
use crate::random::mix;
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is measured on each resample, in the order of [`Values`].
pub const MEASURES: [&str; 4] = ["auc", "logloss", "pcoc", "ece"];

/// One number for each of [`MEASURES`]; NaN where it is undefined.
pub type Values = [f64; MEASURES.len()];

/// Replicates between two looks at the clock.
const AT_A_TIME: u32 = 32;

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub enum Units<'a> {
    /// This many rows, each for itself.
    Rows(usize),
    /// Clusters: all rows of one (of a user, say) are drawn together, as what they have in common makes them alike.
    Clusters {
        /// `[N]`: the cluster of each row.
        of: &'a [u32],
        /// Number of clusters.
        count: usize,
    },
}
impl Units<'_> {
    /// How many units there are to draw from, and how many are drawn.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Rows(count) | Self::Clusters { count, .. } => *count,
        }
    }
    #[allow(clippy::cast_possible_truncation)]
    fn of(&self, row: usize) -> u32 {
        match self {
            Self::Rows(_) => row as u32,
            Self::Clusters { of, .. } => of[row],
        }
    }
}

/// How to resample.
pub struct Resampling<'a> {
    /// What is drawn.
    pub units: Units<'a>,
    /// Weights of rows; `None`: all 1.
    pub weights: Option<&'a [f32]>,
    /// Number of resamples.
    pub replicates: u32,
    /// Seed of the draws.
    pub seed: u64,
    /// Bins of the expected calibration error.
    pub ece_bins: usize,
    /// Set to stop.
    pub stop: &'a AtomicBool,
}

/// A space, measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Resampled {
    /// Stage or outcome.
    pub target: String,
    /// Space.
    pub space: String,
    /// Rows in it.
    pub rows: u64,
    /// Those with label 1.
    pub positives: u64,
    /// On the rows as they are.
    pub estimate: Values,
    /// On each resample.
    pub replicates: Vec<Values>,
}

/// Measures the spaces of one model on the rows as they are and on every resample; `progress` hears how many are done. `None`: stopped.
#[must_use]
pub fn resample(spaces: &[SpaceColumns], plan: &Resampling<'_>, progress: &dyn Fn(u32)) -> Option<Vec<Resampled>> {
    let ranked: Vec<Ranked> = spaces.par_iter().map(|space| Ranked::of(space, plan)).collect();
    let ones = vec![1; plan.units.count()];
    let measure = |times: &[u16]| ranked.iter().map(|r| r.measure(times, plan.ece_bins)).collect::<Vec<Values>>();
    let estimates = measure(&ones);
    let mut replicates: Vec<Vec<Values>> = vec![Vec::with_capacity(plan.replicates as usize); spaces.len()];
    let mut done = 0;
    while done < plan.replicates {
        if plan.stop.load(Ordering::Relaxed) {
            return None;
        }
        let next = plan.replicates.min(done + AT_A_TIME);
        let found: Vec<Vec<Values>> = (done..next)
            .into_par_iter()
            .map_init(
                || vec![0u16; plan.units.count()],
                |times, replicate| {
                    draw(times, plan.seed, replicate);
                    measure(times)
                },
            )
            .collect();
        for values in found {
            replicates.iter_mut().zip(values).for_each(|(all, values)| all.push(values));
        }
        done = next;
        progress(done);
    }
    let of = |((space, estimate), replicates): ((&SpaceColumns, Values), Vec<Values>)| Resampled {
        target: space.target.clone(),
        space: space.space.to_owned(),
        rows: space.labels.len() as u64,
        positives: space.labels.iter().filter(|y| **y != 0).count() as u64,
        estimate,
        replicates,
    };
    Some(spaces.iter().zip(estimates).zip(replicates).map(of).collect())
}

/// Draws as many units as there are, with replacement: how many times each came.
fn draw(times: &mut [u16], seed: u64, replicate: u32) {
    times.fill(0);
    let key = mix(seed ^ mix(u64::from(replicate)));
    let count = times.len() as u64;
    for i in 0..count {
        // The upper half of a product is a number below `count`, as evenly as 64 bits go.
        let word = mix(key.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        #[allow(clippy::cast_possible_truncation)]
        let unit = ((u128::from(word) * u128::from(count)) >> 64) as usize;
        times[unit] = times[unit].saturating_add(1);
    }
}

const POSITIVE: u8 = 1;
/// The row's score differs from the one before.
const NEW_SCORE: u8 = 2;

/// The rows of a space in ascending order of score.
struct Ranked {
    units: Vec<u32>,
    flags: Vec<u8>,
    p: Vec<f64>,
    /// Log loss of each row; empty where it is undefined.
    losses: Vec<f64>,
    /// Empty: all 1.
    weights: Vec<f32>,
}

impl Ranked {
    fn of(space: &SpaceColumns, plan: &Resampling<'_>) -> Self {
        let SpaceColumns { rows, labels, log_p, log_not_p, .. } = space;
        let row = |at: u32| rows.as_ref().map_or(at, |rows| rows[at as usize]) as usize;
        let mut order: Vec<u32> = (0..u32::try_from(labels.len()).unwrap_or(u32::MAX)).collect();
        order.par_sort_unstable_by(|a, b| log_p[*a as usize].total_cmp(&log_p[*b as usize]).then(a.cmp(b)));
        let mut flags = vec![0; order.len()];
        for (i, at) in order.iter().map(|at| *at as usize).enumerate() {
            let new = i == 0 || log_p[at] != log_p[order[i - 1] as usize];
            flags[i] = if labels[at] != 0 { POSITIVE } else { 0 } | if new { NEW_SCORE } else { 0 };
        }
        let loss = |at: usize| -if labels[at] != 0 { log_p[at] } else { log_not_p[at] };
        // As in a summary: a probability above 1, of a quotient, has no log loss.
        let defined = log_p.iter().all(|l| *l <= 0.0) && (0..labels.len()).all(|at| !loss(at).is_nan());
        Self {
            units: order.iter().map(|at| plan.units.of(row(*at))).collect(),
            flags,
            p: order.iter().map(|at| log_p[*at as usize].exp()).collect(),
            losses: if defined { order.iter().map(|at| loss(*at as usize)).collect() } else { Vec::new() },
            weights: plan.weights.map_or_else(Vec::new, |w| order.iter().map(|at| w[row(*at)]).collect()),
        }
    }

    /// All measures where unit `u` counts `times[u]` times: those of the rows written out so often.
    fn measure(&self, times: &[u16], ece_bins: usize) -> Values {
        let drawn: u64 = self.units.iter().map(|u| u64::from(times[*u as usize])).sum();
        let mut bins = Bins::new(drawn, ece_bins);
        let mut pairs = Pairs::default();
        let (mut loss, mut predicted) = (0.0, 0.0);
        for (i, &unit) in self.units.iter().enumerate() {
            let flags = self.flags[i];
            if flags & NEW_SCORE != 0 {
                pairs.close();
            }
            let times = times[unit as usize];
            if times == 0 {
                continue;
            }
            let weight = self.weights.get(i).map_or(1.0, |w| f64::from(*w));
            let all = weight * f64::from(times);
            let positive = flags & POSITIVE != 0;
            pairs.add(positive, all);
            predicted += all * self.p[i];
            loss += all * self.losses.get(i).copied().unwrap_or(f64::NAN);
            bins.add(u64::from(times), weight * (self.p[i] - f64::from(u8::from(positive))));
        }
        pairs.close();
        let all = pairs.positives + pairs.negatives;
        let defined = |holds: bool, value: f64| if holds && value.is_finite() { value } else { f64::NAN };
        [
            defined(pairs.positives > 0.0 && pairs.negatives > 0.0, pairs.won / (pairs.positives * pairs.negatives)),
            defined(all > 0.0, loss / all),
            defined(pairs.positives > 0.0, predicted / pairs.positives),
            defined(all > 0.0, bins.close() / all),
        ]
    }
}

/// Pairs of a positive and a negative, the scores coming in ascending order.
#[derive(Default)]
struct Pairs {
    won: f64,
    positives: f64,
    negatives: f64,
    tied_positives: f64,
    tied_negatives: f64,
}
impl Pairs {
    #[inline]
    fn add(&mut self, positive: bool, weight: f64) {
        if positive {
            self.tied_positives += weight;
        } else {
            self.tied_negatives += weight;
        }
    }
    /// Ends a block of equal scores.
    #[inline]
    fn close(&mut self) {
        self.won += self.tied_positives * (self.negatives + 0.5 * self.tied_negatives);
        self.positives += self.tied_positives;
        self.negatives += self.tied_negatives;
        (self.tied_positives, self.tied_negatives) = (0.0, 0.0);
    }
}

/// Bins of equal number of rows; a row that is drawn several times may lie across an edge.
struct Bins {
    rows: u64,
    count: u64,
    at: u64,
    left: u64,
    gap: f64,
    sum: f64,
}
impl Bins {
    fn new(rows: u64, bins: usize) -> Self {
        let count = bins as u64;
        Self { rows, count, at: 0, left: rows / count, gap: 0.0, sum: 0.0 }
    }
    #[inline]
    fn add(&mut self, mut times: u64, excess: f64) {
        while times > self.left {
            self.gap += self.left as f64 * excess;
            self.sum += self.gap.abs();
            times -= self.left;
            self.at += 1;
            self.gap = 0.0;
            self.left = (self.at + 1) * self.rows / self.count - self.at * self.rows / self.count;
        }
        self.gap += times as f64 * excess;
        self.left -= times;
    }
    fn close(self) -> f64 {
        self.sum + self.gap.abs()
    }
}

#[cfg(test)]
mod tests;
