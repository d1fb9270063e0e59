//! All metrics of one probability on one set of rows.

use super::basic::{auc, ece, gauc, log_loss, normalised_entropy, pcoc, totals};
use super::batch_auc::BatchMean;
use serde::Serialize;

/// A probability and what happened, row by row.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a> {
    /// `ln p`, `[N]`.
    pub log_p: &'a [f64],
    /// `ln(1 − p)`, `[N]`.
    pub log_not_p: &'a [f64],
    /// 0 or 1, `[N]`.
    pub labels: &'a [u8],
    /// `[N]`.
    pub weights: Option<&'a [f32]>,
    /// `[N]`: group of each row, where GAUC is asked.
    pub groups: Option<&'a [u32]>,
}

/// The metrics; undefined ones are `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Summary {
    /// Rows.
    pub rows: u64,
    /// Rows with label 1.
    pub positives: u64,
    /// Area under the ROC curve.
    pub auc: Option<f64>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc_reason: Option<String>,
    /// Mean log loss, nats.
    pub logloss: Option<f64>,
    /// Why there is none, where a prediction exceeds 1 (a quotient can).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logloss_reason: Option<String>,
    /// Normalised entropy.
    pub ne: Option<f64>,
    /// Sum of predictions over sum of positives.
    pub pcoc: Option<f64>,
    /// Expected calibration error.
    pub ece: Option<f64>,
    /// Mean prediction.
    pub mean_p: Option<f64>,
    /// AUC inside groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gauc: Option<f64>,
    /// Groups in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gauc_groups: Option<u64>,
    /// The mean of AUCs inside of batches, where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_auc: Option<BatchMean>,
    /// The same for the true probabilities, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<Box<Summary>>,
}

impl Summary {
    /// A metric by its name.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn get(&self, metric: &str) -> Option<f64> {
        match metric {
            "rows" => Some(self.rows as f64),
            "positives" => Some(self.positives as f64),
            "auc" => self.auc,
            "logloss" => self.logloss,
            "ne" => self.ne,
            "pcoc" => self.pcoc,
            "ece" => self.ece,
            "mean_p" => self.mean_p,
            "gauc" => self.gauc,
            _ => None,
        }
    }
    /// Names of metrics.
    pub const METRICS: [&'static str; 9] = ["rows", "positives", "auc", "logloss", "ne", "pcoc", "ece", "mean_p", "gauc"];
}

/// Computes all metrics. A number that is not finite becomes `None`: it has no place in JSON.
#[must_use]
pub fn summarise(column: &Column<'_>, ece_bins: usize) -> Summary {
    let Column { log_p, log_not_p, labels, weights, groups } = *column;
    let finite = |v: f64| v.is_finite().then_some(v);
    let area = auc(log_p, labels, weights);
    let loss = log_loss(log_p, log_not_p, labels, weights).ok().and_then(finite);
    let above = log_p.iter().filter(|l| **l > 0.0).count();
    let loss = if above == 0 { loss } else { None };
    let grouped = groups.and_then(|g| gauc(log_p, labels, weights, g).ok());
    let (all, _) = totals(labels, weights);
    let sum: f64 = log_p.iter().enumerate().map(|(r, l)| weights.map_or(1.0, |w| f64::from(w[r])) * l.exp()).sum();
    Summary {
        rows: labels.len() as u64,
        positives: labels.iter().filter(|y| **y != 0).count() as u64,
        auc: area.ok(),
        auc_reason: area.err().map(|e| e.to_string()),
        logloss: loss,
        logloss_reason: (above > 0).then(|| format!("{above} of {} predictions exceed 1", log_p.len())),
        ne: loss.and_then(|l| normalised_entropy(l, labels, weights).ok()),
        pcoc: pcoc(log_p, labels, weights).ok().and_then(finite),
        ece: ece(log_p, labels, weights, ece_bins).ok().and_then(finite),
        mean_p: finite(sum / all),
        gauc: grouped.map(|g| g.0),
        gauc_groups: grouped.map(|g| g.1),
        batch_auc: None,
        best: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_above_1_has_no_log_loss_but_an_auc() {
        let log_p = [0.5f64.ln(), 1.25f64.ln(), 0.1f64.ln()];
        let log_not_p = [0.5f64.ln(), f64::NAN, 0.9f64.ln()];
        let of = |rows: &[usize]| {
            let pick = |v: &[f64]| rows.iter().map(|r| v[*r]).collect::<Vec<_>>();
            let labels: Vec<u8> = rows.iter().map(|r| u8::from(*r < 2)).collect();
            summarise(&Column { log_p: &pick(&log_p), log_not_p: &pick(&log_not_p), labels: &labels, weights: None, groups: None }, 2)
        };
        let all = of(&[0, 1, 2]);
        assert_eq!((all.auc, all.logloss, all.ne), (Some(1.0), None, None));
        assert_eq!(all.logloss_reason.as_deref(), Some("1 of 3 predictions exceed 1"));
        assert!((all.pcoc.unwrap() - 1.85 / 2.0).abs() < 1e-12);
        let json = serde_json::to_value(&all).unwrap();
        assert_eq!((&json["logloss"], &json["logloss_reason"]), (&serde_json::Value::Null, &"1 of 3 predictions exceed 1".into()));
        let some = of(&[0, 2]);
        assert!(some.logloss.is_some() && some.logloss_reason.is_none());
    }
}
