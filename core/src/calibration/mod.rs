//! Calibration: monotone corrections of the stages' conditional logits, fitted after training.
//!
//! A tower ranks better than it counts: overfitting, a loss on another space, sampled negatives all move its probabilities and hardly its
//! order. A correction is fitted for each *conditional* head on the rows of its space, and full-space probabilities are composed from the
//! corrected heads, so that a product of calibrated factors is what is calibrated, not a product bent afterwards. Every correction is
//! strictly monotone in the logit: no ties arise, and a head's own AUC stays what it was. That of a product may change.
//!
//! No tensors, no files of a run: fits are functions over slices in f64. [`crate::graph::Graph::calibrated_by`] is the one place where
//! corrections are applied, and [`crate::score::Scorer`] the one that loads them.

mod file;
mod isotonic;
mod platt;
mod temperature;

pub use file::{Calibration, Checked, FittedOn, StageCalibration};
pub(crate) use isotonic::TILT;

use serde::{Deserialize, Serialize};
use std::fmt;

/// Fewer rows of either class than this are refused: a line through so few points says nothing.
pub const FEWEST: u64 = 10;
/// Fewer rows of either class than this deserve a warning.
pub const FEW: u64 = 100;
/// The same for [`Method::Isotonic`], which has many more degrees of freedom.
pub const FEW_ISOTONIC: u64 = 1000;

/// How a correction is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// `a·z + b` (Platt, 1999), with Platt's smoothed targets.
    Platt,
    /// `z / T` (Guo et al., ICML 2017).
    Temperature,
    /// Isotonic regression (Zadrozny and Elkan, KDD 2002), made strictly monotone.
    Isotonic,
    /// Nothing is fitted.
    None,
}
impl Method {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Platt => "platt",
            Self::Temperature => "temperature",
            Self::Isotonic => "isotonic",
            Self::None => "none",
        }
    }
    /// How many rows of the rarer class a fit should have.
    #[must_use]
    pub fn few(self) -> u64 {
        if self == Self::Isotonic { FEW_ISOTONIC } else { FEW }
    }
}

/// What is done to a logit `z`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum Map {
    /// `slope·z + intercept`.
    Platt {
        /// Above 0.
        slope: f64,
        /// Any finite number.
        intercept: f64,
    },
    /// `z / temperature`.
    Temperature {
        /// Above 0.
        temperature: f64,
    },
    /// Linear between knots `(z, corrected z)`; outside of them it goes on with a slope of 1e-4.
    Isotonic {
        /// Ascending in both coordinates.
        knots: Vec<(f64, f64)>,
    },
    /// `z` as it is.
    None {},
}
impl Map {
    /// The corrected logit.
    #[must_use]
    pub fn apply(&self, z: f64) -> f64 {
        match self {
            Self::Platt { slope, intercept } => slope * z + intercept,
            Self::Temperature { temperature } => z / temperature,
            Self::Isotonic { knots } => isotonic::interpolate(knots, z),
            Self::None {} => z,
        }
    }
    /// The method that it is of.
    #[must_use]
    pub fn method(&self) -> Method {
        match self {
            Self::Platt { .. } => Method::Platt,
            Self::Temperature { .. } => Method::Temperature,
            Self::Isotonic { .. } => Method::Isotonic,
            Self::None {} => Method::None,
        }
    }
    /// What is wrong with it, if anything: it must be finite and strictly ascending.
    fn fault(&self) -> Option<&'static str> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        match self {
            Self::Platt { slope, intercept } if !positive(*slope) || !intercept.is_finite() => Some("`slope` must be above 0, and finite"),
            Self::Temperature { temperature } if !positive(*temperature) => Some("`temperature` must be above 0, and finite"),
            Self::Isotonic { knots } => {
                let finite = knots.iter().all(|(x, y)| x.is_finite() && y.is_finite());
                let ascending = knots.windows(2).all(|k| k[0].0 < k[1].0 && k[0].1 < k[1].1);
                (knots.is_empty() || !finite || !ascending).then_some("`knots` must be finite, and ascending in both coordinates")
            }
            _ => None,
        }
    }
}
impl fmt::Display for Map {
    /// As an equation of the logit `z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platt { slope, intercept } => {
                write!(f, "{slope:.4}·z {} {:.4}", if *intercept < 0.0 { '−' } else { '+' }, intercept.abs())
            }
            Self::Temperature { temperature } => write!(f, "z / {temperature:.4}"),
            Self::Isotonic { knots } => write!(f, "{} knots", knots.len()),
            Self::None {} => f.write_str("z"),
        }
    }
}

/// The correction of one stage's logit: its map, then the log of the rate at which its negatives were kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Correction {
    /// Brings the logit to the rates of the rows that it was fitted on.
    pub map: Map,
    /// `ln r`, at most 0, where the rows hold a share `r` of the stage's negatives: odds among them are 1/r of what they should be. 0: all.
    pub log_keep_rate: f64,
}
impl Correction {
    /// The corrected logit.
    #[must_use]
    pub fn apply(&self, z: f64) -> f64 {
        self.map.apply(z) + self.log_keep_rate
    }
}

/// Logits and what happened, to be fitted to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// `[N]`.
    pub logits: Vec<f64>,
    /// `[N]`: 0 or 1.
    pub labels: Vec<u8>,
    /// `[N]`, not negative.
    pub weights: Vec<f64>,
}
impl Sample {
    /// Rows with label 0, and with label 1.
    #[must_use]
    pub fn classes(&self) -> (u64, u64) {
        let positives = self.labels.iter().filter(|y| **y != 0).count() as u64;
        (self.labels.len() as u64 - positives, positives)
    }
    /// Sums of weights: of label 0, and of label 1.
    fn totals(&self) -> (f64, f64) {
        let mut totals = (0.0, 0.0);
        for (y, w) in self.labels.iter().zip(&self.weights) {
            *(if *y == 0 { &mut totals.0 } else { &mut totals.1 }) += w;
        }
        totals
    }
}

/// Why there is no correction.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// Too few rows of one class.
    #[error("{positives} rows with label 1 and {negatives} with label 0 are too few to fit to: {FEWEST} of each are needed")]
    TooFew {
        /// Rows with label 1.
        positives: u64,
        /// Rows with label 0.
        negatives: u64,
    },
    /// All weights of a class are 0.
    #[error("the rows of one label all have weight 0")]
    NoWeight,
    /// A logit is not finite.
    #[error("a logit is not finite")]
    NotFinite,
    /// There is nothing to scale.
    #[error("its tower gives every row the same logit, so there is nothing to scale")]
    Constant,
    /// The best slope is not above 0.
    #[error("its tower ranks these rows the wrong way round (the best slope is {slope:.4}), and a calibration keeps the order of rows")]
    WrongWay {
        /// The best slope.
        slope: f64,
    },
    /// The sign of the logit tells the labels apart.
    #[error("the sign of its logit tells all labels apart, so no temperature is the best one")]
    Separated,
}

/// Fits a map.
///
/// # Errors
/// Too few rows of either class, or rows to which no monotone map of this kind can be fitted.
pub fn fit(method: Method, sample: &Sample) -> Result<Map, Unfit> {
    if method == Method::None {
        return Ok(Map::None {});
    }
    let (negatives, positives) = sample.classes();
    if negatives.min(positives) < FEWEST {
        return Err(Unfit::TooFew { positives, negatives });
    }
    fit_however_few(method, sample)
}

/// As [`fit`], for a part of rows that are enough on the whole.
pub(crate) fn fit_however_few(method: Method, sample: &Sample) -> Result<Map, Unfit> {
    let (weight_0, weight_1) = sample.totals();
    if weight_0 <= 0.0 || weight_1 <= 0.0 {
        return Err(Unfit::NoWeight);
    }
    if sample.logits.iter().any(|z| !z.is_finite()) {
        return Err(Unfit::NotFinite);
    }
    if method == Method::Isotonic {
        return Ok(isotonic::fit(sample));
    }
    if sample.logits.iter().all(|z| *z == sample.logits[0]) {
        return Err(Unfit::Constant);
    }
    if method == Method::Temperature { temperature::fit(sample) } else { platt::fit(sample) }
}

/// `σ(z)`, without overflow.
fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 { 1.0 / (1.0 + (-z).exp()) } else { z.exp() / (1.0 + z.exp()) }
}
/// `ln(1 + e^z)`, without overflow.
fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests;
