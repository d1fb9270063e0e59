//! What predictions are worth, where a row has a value: expected against realised value, and how much of it a ranking finds. All in f64.
//!
//! Row i of N has weight wᵢ, expected value v̂ᵢ and realised value vᵢ (the same expression, with 0 or 1 in place of each probability). Rows
//! where one of the two is undefined are left out, and counted.
//!
//! - `predicted` = Σ wᵢ·v̂ᵢ, `realised` = Σ wᵢ·vᵢ, `ratio` = predicted / realised: the PCOC of value; 1 is calibrated on the whole.
//! - `top_decile.capture` = Σ wᵢ·fᵢ·vᵢ / Σ wᵢ·vᵢ, where fᵢ is the share of row i among the first tenth of all weight in descending order of v̂:
//!   1 above it, 0 below, and for rows of equal v̂ the same share each, so that order among ties does not matter. `lift` = capture / 0.1; `best`
//!   is the capture of an order by v itself, and `of_best` = capture / best, 1 for a ranking that no other beats.
//! - Per probability p of the expression: AUC and log loss with row weights wᵢ·|sᵢ|, where the *stake* sᵢ is what turns on p in that row: the
//!   expression with every probability 1, minus the same with p = 0. For `p_purchase * price` it is the price.

use super::basic::{auc_by, log_loss_by};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// The share of rows that [`Capture`] looks at.
const TOP: f64 = 0.1;

/// Values row by row; NaN is undefined.
#[derive(Debug, Clone, Copy)]
pub struct ValueRows<'a> {
    /// `[N]`.
    pub predicted: &'a [f64],
    /// `[N]`.
    pub realised: &'a [f64],
    /// `[N]`.
    pub weights: Option<&'a [f32]>,
}
impl ValueRows<'_> {
    fn weight(&self, row: usize) -> f64 {
        self.weights.map_or(1.0, |w| f64::from(w[row]))
    }
}

/// A probability of the expression, row by row.
#[derive(Debug, Clone, Copy)]
pub struct Stake<'a> {
    /// Its column in predictions.
    pub name: &'a str,
    /// `ln p`, `[N]`.
    pub log_p: &'a [f64],
    /// `ln(1 − p)`, `[N]`.
    pub log_not_p: &'a [f64],
    /// 0 or 1, `[N]`.
    pub labels: &'a [u8],
    /// What turns on it, `[N]`; its sign does not matter.
    pub stakes: &'a [f64],
    /// `[N]`: the rows it is about; `None`: all.
    pub space: Option<&'a [bool]>,
}

/// How much of the realised value stands in the top decile of rows by expected value.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Capture {
    /// Its share of all realised value.
    pub capture: f64,
    /// How many times the share of rows.
    pub lift: f64,
    /// The capture of the best order there is.
    pub best: f64,
    /// Capture over that.
    pub of_best: f64,
}

/// A probability where rows weigh by what turns on it; undefined metrics are `None`.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct StakeSummary {
    /// Rows.
    pub rows: u64,
    /// Rows with label 1.
    pub positives: u64,
    /// Sum of weights.
    pub stake: f64,
    /// Weighted AUC.
    pub auc: Option<f64>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc_reason: Option<String>,
    /// Weighted mean log loss, nats.
    pub logloss: Option<f64>,
}

/// Metrics of one value expression.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct ValueSummary {
    /// The expression.
    pub expression: String,
    /// Rows that have a value.
    pub rows: u64,
    /// Rows left out: some cell is missing, or the value is not finite.
    pub without_value: u64,
    /// Sum of expected value.
    pub predicted: f64,
    /// Sum of realised value.
    pub realised: f64,
    /// Predicted over realised; `None` if nothing was realised.
    pub ratio: Option<f64>,
    /// `None` where the realised value is not above 0: shares of it mean nothing then.
    pub top_decile: Option<Capture>,
    /// Per probability of the expression.
    #[serde(serialize_with = "by_name")]
    pub weighted: Vec<(String, StakeSummary)>,
}

fn by_name<S: Serializer, T: Serialize>(pairs: &[(String, T)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(pairs.len()))?;
    pairs.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
    map.end()
}

/// Computes all metrics of one expression.
#[must_use]
pub fn summarise_value(expression: &str, values: &ValueRows<'_>, stakes: &[Stake<'_>]) -> ValueSummary {
    let defined = |row: &usize| values.predicted[*row].is_finite() && values.realised[*row].is_finite();
    let rows: Vec<usize> = (0..values.predicted.len()).filter(defined).collect();
    let total = |of: &[f64]| rows.iter().map(|r| values.weight(*r) * of[*r]).sum::<f64>();
    let (predicted, realised) = (total(values.predicted), total(values.realised));
    ValueSummary {
        expression: expression.to_owned(),
        rows: rows.len() as u64,
        without_value: (values.predicted.len() - rows.len()) as u64,
        predicted,
        realised,
        ratio: Some(predicted / realised).filter(|r| r.is_finite()),
        top_decile: (realised > 0.0).then(|| {
            let found = |by: &[f64]| captured(&rows, by, values, TOP) / realised;
            let (capture, best) = (found(values.predicted), found(values.realised));
            Capture { capture, lift: capture / TOP, best, of_best: capture / best }
        }),
        weighted: stakes.iter().map(|s| (s.name.to_owned(), stake(&rows, values, s))).collect(),
    }
}

/// Realised value in the first `share` of the weight of `rows`, in descending order of `by`; tied rows are in it to equal shares.
fn captured(rows: &[usize], by: &[f64], values: &ValueRows<'_>, share: f64) -> f64 {
    let mut order = rows.to_vec();
    order.sort_unstable_by(|a, b| by[*b].total_cmp(&by[*a]).then(a.cmp(b)));
    let mut room = share * rows.iter().map(|r| values.weight(*r)).sum::<f64>();
    let mut sum = 0.0;
    for tied in order.chunk_by(|a, b| by[*a] == by[*b]) {
        let weight: f64 = tied.iter().map(|r| values.weight(*r)).sum();
        let value: f64 = tied.iter().map(|r| values.weight(*r) * values.realised[*r]).sum();
        if weight > room {
            return sum + value * (room / weight);
        }
        room -= weight;
        sum += value;
    }
    sum
}

fn stake(rows: &[usize], values: &ValueRows<'_>, p: &Stake<'_>) -> StakeSummary {
    let inside: Vec<usize> = rows.iter().copied().filter(|r| p.stakes[*r].is_finite() && p.space.is_none_or(|s| s[*r])).collect();
    let pick = |of: &[f64]| inside.iter().map(|r| of[*r]).collect::<Vec<f64>>();
    let (log_p, log_not_p) = (pick(p.log_p), pick(p.log_not_p));
    let labels: Vec<u8> = inside.iter().map(|r| p.labels[*r]).collect();
    let weights: Vec<f64> = inside.iter().map(|r| values.weight(*r) * p.stakes[*r].abs()).collect();
    let area = auc_by(&log_p, &labels, |row| weights[row]);
    StakeSummary {
        rows: inside.len() as u64,
        positives: labels.iter().filter(|y| **y != 0).count() as u64,
        stake: weights.iter().sum(),
        auc: area.ok(),
        auc_reason: area.err().map(|e| e.to_string()),
        // NaN where a prediction exceeds 1, as a quotient can.
        logloss: log_loss_by(&log_p, &log_not_p, &labels, |row| weights[row]).ok().filter(|l| l.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each row's share of the top decile, from all other rows.
    fn capture_by_pairs(by: &[f64], value: &[f64], w: &[f32]) -> f64 {
        let w: Vec<f64> = w.iter().map(|w| f64::from(*w)).collect();
        let room = 0.1 * w.iter().sum::<f64>();
        let share = |i: usize| {
            let above: f64 = (0..by.len()).filter(|j| by[*j] > by[i]).map(|j| w[j]).sum();
            let tied: f64 = (0..by.len()).filter(|j| by[*j] == by[i]).map(|j| w[j]).sum();
            if tied == 0.0 { 0.0 } else { ((room - above) / tied).clamp(0.0, 1.0) }
        };
        let all: f64 = (0..by.len()).map(|i| w[i] * value[i]).sum();
        (0..by.len()).map(|i| w[i] * share(i) * value[i]).sum::<f64>() / all
    }
    fn auc_by_pairs(score: &[f64], y: &[u8], w: &[f64]) -> Option<f64> {
        let (mut won, mut all) = (0.0, 0.0);
        for i in 0..score.len() {
            for j in 0..score.len() {
                if y[i] == 1 && y[j] == 0 {
                    all += w[i] * w[j];
                    won += w[i] * w[j] * if score[i] == score[j] { 0.5 } else { f64::from(u8::from(score[i] > score[j])) };
                }
            }
        }
        (all > 0.0).then(|| won / all)
    }
    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * (1.0 + b.abs())
    }

    #[test]
    fn the_top_row_of_ten_holds_the_top_decile() {
        let predicted: Vec<f64> = (0..10).map(f64::from).collect();
        let mut realised = vec![1.0; 10];
        realised[9] = 3.0;
        realised[0] = 8.0;
        let s = summarise_value("v", &ValueRows { predicted: &predicted, realised: &realised, weights: None }, &[]);
        assert_eq!((s.predicted, s.realised, s.ratio, s.rows), (45.0, 19.0, Some(45.0 / 19.0), 10));
        let top = s.top_decile.unwrap();
        assert!(close(top.capture, 3.0 / 19.0) && close(top.lift, 30.0 / 19.0) && close(top.best, 8.0 / 19.0) && close(top.of_best, 0.375));
        // All tied: a tenth of everything.
        let s = summarise_value("v", &ValueRows { predicted: &[1.0; 10], realised: &realised, weights: None }, &[]);
        assert!(close(s.top_decile.unwrap().capture, 0.1));
    }

    #[test]
    fn what_is_undefined_is_left_out_and_said() {
        let rows = ValueRows { predicted: &[1.0, f64::NAN, 2.0], realised: &[0.0, 1.0, 0.0], weights: None };
        let s = summarise_value("v", &rows, &[]);
        assert_eq!((s.rows, s.without_value, s.ratio, s.top_decile), (2, 1, None, None));
        let json = serde_json::to_value(&s).unwrap();
        assert!(json["ratio"].is_null() && json["top_decile"].is_null() && json["weighted"].is_object());
    }

    proptest! {
        #[test]
        fn equals_the_naive_sums(rows in proptest::collection::vec((-2i8..6, 0u8..2, 0u8..2, 1u8..9, 0u8..4), 1..50)) {
            // v = p · price, with p in tenths; a price of 8 is a missing cell.
            let n = rows.len();
            let p: Vec<f64> = rows.iter().map(|r| f64::from(r.0 + 3) / 10.0).collect();
            let price: Vec<f64> = rows.iter().map(|r| if r.3 == 8 { f64::NAN } else { f64::from(r.3) }).collect();
            let y: Vec<u8> = rows.iter().map(|r| r.1).collect();
            let w: Vec<f32> = rows.iter().map(|r| f32::from(r.4)).collect();
            let space: Vec<bool> = rows.iter().map(|r| r.2 == 1).collect();
            let predicted: Vec<f64> = (0..n).map(|i| p[i] * price[i]).collect();
            let realised: Vec<f64> = (0..n).map(|i| f64::from(y[i]) * price[i]).collect();
            let (log_p, log_not_p): (Vec<f64>, Vec<f64>) = p.iter().map(|p| (p.ln(), (1.0 - p).ln())).unzip();
            let stakes: Vec<f64> = price.iter().map(|p| -p).collect();
            let column = |space| Stake { name: "p", log_p: &log_p, log_not_p: &log_not_p, labels: &y, stakes: &stakes, space };
            let s = summarise_value("p * price", &ValueRows { predicted: &predicted, realised: &realised, weights: Some(&w) },
                                    &[column(None), column(Some(&space))]);
            let there: Vec<usize> = (0..n).filter(|i| !price[*i].is_nan()).collect();
            let of = |v: &[f64]| there.iter().map(|i| v[*i]).collect::<Vec<f64>>();
            let wf: Vec<f64> = w.iter().map(|w| f64::from(*w)).collect();
            let sum = |v: &[f64]| there.iter().map(|i| wf[*i] * v[*i]).sum::<f64>();
            prop_assert_eq!((s.rows, s.without_value), (there.len() as u64, (n - there.len()) as u64));
            prop_assert!(close(s.predicted, sum(&predicted)) && close(s.realised, sum(&realised)));
            prop_assert_eq!(s.ratio.is_some(), sum(&realised) > 0.0);
            if let Some(top) = s.top_decile {
                let w: Vec<f32> = there.iter().map(|i| w[*i]).collect();
                prop_assert!(close(top.capture, capture_by_pairs(&of(&predicted), &of(&realised), &w)), "{top:?}");
                prop_assert!(close(top.best, capture_by_pairs(&of(&realised), &of(&realised), &w)) && top.capture <= top.best + 1e-9);
            }
            for (k, inside) in [there.clone(), there.iter().copied().filter(|i| space[*i]).collect::<Vec<_>>()].into_iter().enumerate() {
                let found = &s.weighted[k].1;
                let weights: Vec<f64> = inside.iter().map(|i| wf[*i] * price[*i]).collect();
                let labels: Vec<u8> = inside.iter().map(|i| y[*i]).collect();
                let score: Vec<f64> = inside.iter().map(|i| p[*i]).collect();
                match (found.auc, auc_by_pairs(&score, &labels, &weights)) {
                    (Some(a), Some(b)) => prop_assert!(close(a, b)),
                    (a, b) => prop_assert!(a.is_none() && b.is_none(), "{a:?} {b:?}"),
                }
                let all: f64 = weights.iter().sum();
                let loss: f64 = inside.iter().zip(&weights).map(|(i, w)| w * -(if y[*i] == 1 { p[*i] } else { 1.0 - p[*i] }).ln()).sum();
                match found.logloss {
                    Some(l) => prop_assert!(close(l, loss / all)),
                    None => prop_assert!(all == 0.0),
                }
            }
        }
    }
}
