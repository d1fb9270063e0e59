//! What stands behind the numbers: ROC and precision-recall curves, reliability bins, score distributions. Pure functions over slices, in f64,
//! with the metrics' own reading of ties and weights, so that a curve and its metric agree.

use super::basic::{Undefined, totals, weight};
use rayon::prelude::*;

/// The rows of one score: the weight of its positives and of its negatives.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tie {
    positive: f64,
    negative: f64,
}

/// From the highest score to the lowest.
fn ties(scores: &[f64], labels: &[u8], weights: Option<&[f32]>) -> Result<Vec<Tie>, Undefined> {
    if scores.is_empty() {
        return Err(Undefined::NoRows);
    }
    if scores.iter().any(|s| s.is_nan()) {
        return Err(Undefined::NotANumber);
    }
    let mut order: Vec<u32> = (0..u32::try_from(scores.len()).unwrap_or(u32::MAX)).collect();
    order.par_sort_unstable_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b)));
    let mut all = Vec::new();
    for rows in order.chunk_by(|a, b| scores[*a as usize] == scores[*b as usize]) {
        let mut tie = Tie { positive: 0.0, negative: 0.0 };
        for row in rows.iter().map(|r| *r as usize) {
            *(if labels[row] == 0 { &mut tie.negative } else { &mut tie.positive }) += weight(weights, row);
        }
        all.push(tie);
    }
    Ok(all)
}

/// Positives and negatives of all ties.
///
/// # Errors
/// One class only, or all weights are 0.
fn both_classes(ties: &[Tie]) -> Result<(f64, f64), Undefined> {
    let (positive, negative) = ties.iter().fold((0.0, 0.0), |(p, n), t| (p + t.positive, n + t.negative));
    match () {
        () if positive == 0.0 && negative == 0.0 => Err(Undefined::NoRows),
        () if positive == 0.0 => Err(Undefined::NoPositives),
        () if negative == 0.0 => Err(Undefined::NoNegatives),
        () => Ok((positive, negative)),
    }
}

/// The ROC curve from (0, 0) to (1, 1): the share of negatives and the share of positives that score at least as high as each distinct score,
/// from the highest down. Its area, by trapezia, is [`super::auc`].
///
/// # Errors
/// As [`super::auc`].
pub fn roc(scores: &[f64], labels: &[u8], weights: Option<&[f32]>) -> Result<Vec<(f64, f64)>, Undefined> {
    let ties = ties(scores, labels, weights)?;
    let (positive, negative) = both_classes(&ties)?;
    let (mut tp, mut fp) = (0.0, 0.0);
    let mut points = vec![(0.0, 0.0)];
    points.extend(ties.iter().map(|t| {
        tp += t.positive;
        fp += t.negative;
        ((fp / negative).min(1.0), (tp / positive).min(1.0))
    }));
    Ok(points)
}

/// The precision-recall curve: recall and precision of the rows that score at least as high as each distinct score, from the highest down;
/// before them (0, 1). The step-wise area below it is [`average_precision`].
///
/// # Errors
/// No rows, no positives, or a NaN among the scores.
pub fn precision_recall(scores: &[f64], labels: &[u8], weights: Option<&[f32]>) -> Result<Vec<(f64, f64)>, Undefined> {
    let ties = ties(scores, labels, weights)?;
    let positive = match both_classes(&ties) {
        Err(Undefined::NoNegatives) => ties.iter().map(|t| t.positive).sum(),
        found => found?.0,
    };
    let (mut tp, mut all) = (0.0, 0.0);
    let mut points = vec![(0.0, 1.0)];
    for t in ties {
        tp += t.positive;
        all += t.positive + t.negative;
        // Rows without weight say nothing of precision.
        if all > 0.0 {
            points.push(((tp / positive).min(1.0), tp / all));
        }
    }
    Ok(points)
}

/// Mean precision over the recall gained: `Σ (Rₙ − Rₙ₋₁) · Pₙ` over a curve of [`precision_recall`]; nothing is interpolated.
#[must_use]
pub fn average_precision(curve: &[(f64, f64)]) -> f64 {
    curve.windows(2).map(|w| (w[1].0 - w[0].0) * w[1].1).sum()
}

/// At most `most` points of a curve, evenly along its length (across plus up), the ends among them.
#[must_use]
#[allow(clippy::cast_precision_loss)] // a few points
pub fn thinned(curve: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (curve.first(), curve.last()) else { return Vec::new() };
    if curve.len() <= most || most < 2 {
        return curve.to_vec();
    }
    let step = |w: &[(f64, f64)]| (w[1].0 - w[0].0).abs() + (w[1].1 - w[0].1).abs();
    let length: f64 = curve.windows(2).map(step).sum();
    let every = length / (most - 1) as f64;
    let (mut out, mut gone, mut next) = (vec![*first], 0.0, every);
    for pair in curve.windows(2) {
        gone += step(pair);
        if gone >= next && out.len() < most - 1 {
            out.push(pair[1]);
            next = gone + every;
        }
    }
    if out.last() != Some(last) {
        out.push(*last);
    }
    out
}

/// Rows of about the same prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Rows.
    pub rows: u64,
    /// Their weight.
    pub weight: f64,
    /// Mean prediction.
    pub mean_p: f64,
    /// Share of positives.
    pub rate: f64,
    /// Where the true rate may lie: Wilson's interval at 95 %, on as many rows as the weights are worth (Kish's effective number).
    pub interval: (f64, f64),
}

/// Rows sorted by prediction, cut into `bins` of equal number, each as it turned out; bins without weight are left out. [`super::ece`] is the mean
/// over rows of |mean prediction − rate| of these.
///
/// # Errors
/// No rows, or no weight.
pub fn reliability(log_p: &[f64], labels: &[u8], weights: Option<&[f32]>, bins: usize) -> Result<Vec<Bin>, Undefined> {
    let (all, _) = totals(labels, weights);
    if all == 0.0 {
        return Err(Undefined::NoRows);
    }
    let mut order: Vec<u32> = (0..u32::try_from(labels.len()).unwrap_or(u32::MAX)).collect();
    order.par_sort_unstable_by(|a, b| log_p[*a as usize].total_cmp(&log_p[*b as usize]).then(a.cmp(b)));
    let n = order.len();
    let of = |bin: usize| {
        let rows = &order[bin * n / bins..(bin + 1) * n / bins];
        let (mut sum, mut squares, mut p, mut positive) = (0.0, 0.0, 0.0, 0.0);
        for row in rows.iter().map(|r| *r as usize) {
            let w = weight(weights, row);
            sum += w;
            squares += w * w;
            p += w * log_p[row].exp();
            positive += w * f64::from(u8::from(labels[row] != 0));
        }
        (sum > 0.0).then(|| Bin {
            rows: rows.len() as u64,
            weight: sum,
            mean_p: p / sum,
            rate: positive / sum,
            interval: wilson(positive / sum, sum * sum / squares),
        })
    };
    Ok((0..bins).filter_map(of).collect())
}

/// Wilson's score interval at 95 % for a share of `n` rows (Wilson 1927).
#[must_use]
pub fn wilson(share: f64, n: f64) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054;
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// How the scores of positives and of negatives are spread.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Distributions {
    /// Edges of the bins: one more than bins, ascending.
    pub edges: Vec<f64>,
    /// Whether the edges are evenly spaced by their logarithms.
    pub log: bool,
    /// Per bin, the share of the positives' weight; empty without positives.
    pub positives: Vec<f64>,
    /// Per bin, the share of the negatives' weight; empty without negatives.
    pub negatives: Vec<f64>,
}

/// Predictions above this share of all (and above 0) span the bins; the others fall into the first one.
const TAIL: f64 = 0.001;
/// From a ratio of the highest prediction to the lowest on, the bins are logarithmic.
const WIDE: f64 = 30.0;

/// Distributions of predictions over `bins` bins that span them, logarithmic if they span much.
///
/// # Errors
/// No rows, no weight, or a NaN among the predictions.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn distributions(log_p: &[f64], labels: &[u8], weights: Option<&[f32]>, bins: usize) -> Result<Distributions, Undefined> {
    if log_p.iter().any(|l| l.is_nan()) {
        return Err(Undefined::NotANumber);
    }
    let (all, positive) = totals(labels, weights);
    if all == 0.0 || bins == 0 {
        return Err(Undefined::NoRows);
    }
    let mut finite: Vec<f64> = log_p.iter().copied().filter(|l| l.is_finite()).collect();
    if finite.is_empty() {
        return Err(Undefined::NotANumber);
    }
    let cut = (finite.len() as f64 * TAIL) as usize;
    let low = *finite.select_nth_unstable_by(cut, f64::total_cmp).1;
    let high = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log = high - low > WIDE.ln();
    // One prediction for all: a bin of some width around it.
    let (from, to) = match (log, high - low > 1e-9) {
        (true, _) => (low, high),
        (false, true) => (low.exp(), high.exp()),
        (false, false) => (low.exp() * 0.9, (high.exp() * 1.1).max(1e-12)),
    };
    let edge = |i: usize| from + (to - from) * i as f64 / bins as f64;
    let edges = (0..=bins).map(|i| if log { edge(i).exp() } else { edge(i) }).collect();
    let (mut ones, mut zeros) = (vec![0.0; bins], vec![0.0; bins]);
    for (row, l) in log_p.iter().enumerate() {
        let v = if log { *l } else { l.exp() };
        let bin = (((v - from) / (to - from) * bins as f64).max(0.0) as usize).min(bins - 1);
        *(if labels[row] == 0 { &mut zeros[bin] } else { &mut ones[bin] }) += weight(weights, row);
    }
    let shares = |of: Vec<f64>, sum: f64| if sum > 0.0 { of.into_iter().map(|v| v / sum).collect() } else { Vec::new() };
    Ok(Distributions { edges, log, positives: shares(ones, positive), negatives: shares(zeros, all - positive) })
}

#[cfg(test)]
mod tests {
    use super::super::{auc, ece};
    use super::*;
    use proptest::prelude::*;

    /// Every threshold by a pass over all rows.
    fn naive(scores: &[f64], labels: &[u8], w: &[f32]) -> Vec<(f64, f64, f64)> {
        let mut thresholds: Vec<f64> = scores.to_vec();
        thresholds.sort_by(|a, b| b.total_cmp(a));
        thresholds.dedup();
        let sum = |keep: &dyn Fn(usize) -> bool| (0..scores.len()).filter(|r| keep(*r)).map(|r| f64::from(w[r])).sum::<f64>();
        let (positive, negative) = (sum(&|r| labels[r] == 1), sum(&|r| labels[r] == 0));
        let at = |t: f64| {
            let (tp, fp) = (sum(&|r| labels[r] == 1 && scores[r] >= t), sum(&|r| labels[r] == 0 && scores[r] >= t));
            (fp / negative, tp / positive, tp / (tp + fp))
        };
        thresholds.into_iter().map(at).collect()
    }

    proptest! {
        #[test]
        fn curves_are_what_every_threshold_gives(rows in proptest::collection::vec((0i32..9, 0u8..2, 0u8..4), 0..60)) {
            let scores: Vec<f64> = rows.iter().map(|r| f64::from(r.0) / 10.0 - 1.0).collect();
            let labels: Vec<u8> = rows.iter().map(|r| r.1).collect();
            let weights: Vec<f32> = rows.iter().map(|r| f32::from(r.2)).collect();
            let expected = naive(&scores, &labels, &weights);
            match (roc(&scores, &labels, Some(&weights)), auc(&scores, &labels, Some(&weights))) {
                (Ok(curve), Ok(area)) => {
                    prop_assert_eq!(curve.len(), expected.len() + 1);
                    for (found, e) in curve[1..].iter().zip(&expected) {
                        prop_assert!((found.0 - e.0).abs() < 1e-12 && (found.1 - e.1).abs() < 1e-12);
                    }
                    let trapezia: f64 = curve.windows(2).map(|w| (w[1].0 - w[0].0) * f64::midpoint(w[0].1, w[1].1)).sum();
                    prop_assert!((trapezia - area).abs() < 1e-12);
                }
                (Err(a), Err(b)) => prop_assert_eq!(a, b, "a curve is undefined where its area is"),
                other => prop_assert!(false, "{:?}", other),
            }
            if let Ok(curve) = precision_recall(&scores, &labels, Some(&weights)) {
                let expected: Vec<_> = expected.iter().filter(|e| e.2.is_finite()).collect();
                prop_assert_eq!(curve.len(), expected.len() + 1);
                for (found, e) in curve[1..].iter().zip(expected) {
                    prop_assert!((found.0 - e.1).abs() < 1e-12 && (found.1 - e.2).abs() < 1e-12);
                }
            }
        }

        #[test]
        fn bins_hold_every_row_and_give_ece(rows in proptest::collection::vec((1u8..100, 0u8..2, 0u8..4), 1..80), bins in 1usize..12) {
            let log_p: Vec<f64> = rows.iter().map(|r| (f64::from(r.0) / 100.0).ln()).collect();
            let labels: Vec<u8> = rows.iter().map(|r| r.1).collect();
            let weights: Vec<f32> = rows.iter().map(|r| f32::from(r.2)).collect();
            if let Ok(found) = reliability(&log_p, &labels, Some(&weights), bins) {
                // Naive: sort pairs, cut.
                let mut order: Vec<usize> = (0..rows.len()).collect();
                order.sort_by(|a, b| log_p[*a].total_cmp(&log_p[*b]).then(a.cmp(b)));
                let n = rows.len();
                let gap = |b: usize| order[b * n / bins..(b + 1) * n / bins].iter()
                    .map(|r| f64::from(weights[*r]) * (log_p[*r].exp() - f64::from(labels[*r]))).sum::<f64>().abs();
                let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
                let expected = (0..bins).map(gap).sum::<f64>() / total;
                prop_assert!((ece(&log_p, &labels, Some(&weights), bins).unwrap() - expected).abs() < 1e-12);
                prop_assert!((found.iter().map(|b| b.weight).sum::<f64>() - total).abs() < 1e-9);
                prop_assert!(found.windows(2).all(|w| w[0].mean_p <= w[1].mean_p + 1e-12));
                prop_assert!(found.iter().all(|b| b.interval.0 <= b.rate + 1e-12 && b.rate <= b.interval.1 + 1e-12));
            } else {
                prop_assert!(weights.iter().all(|w| *w == 0.0));
            }
        }

        #[test]
        fn distributions_hold_every_row(rows in proptest::collection::vec((-12i32..1, 0u8..2), 1..80), bins in 1usize..30) {
            let log_p: Vec<f64> = rows.iter().map(|r| f64::from(r.0)).collect();
            let labels: Vec<u8> = rows.iter().map(|r| r.1).collect();
            let found = distributions(&log_p, &labels, None, bins).unwrap();
            prop_assert_eq!(found.edges.len(), bins + 1);
            prop_assert!(found.edges.windows(2).all(|w| w[0] < w[1]));
            for (shares, label) in [(&found.positives, 1), (&found.negatives, 0)] {
                prop_assert_eq!(shares.is_empty(), !labels.contains(&label));
                prop_assert!(shares.is_empty() || (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn thinning_keeps_ends_and_shape() {
        let curve: Vec<(f64, f64)> = (0..=100_000).map(|i| f64::from(i) / 100_000.0).map(|x| (x, x.powf(0.1))).collect();
        let some = thinned(&curve, 400);
        assert!(some.len() <= 400 && some.len() > 250 && some[0] == (0.0, 0.0) && some[some.len() - 1] == (1.0, 1.0));
        // Between its points it leaves out no more than a step.
        assert!(some.windows(2).all(|w| (w[1].0 - w[0].0) + (w[1].1 - w[0].1) < 0.35), "the first point alone is far from 0");
        assert!(some[6..].windows(2).all(|w| (w[1].0 - w[0].0) + (w[1].1 - w[0].1) < 0.011));
        assert_eq!(thinned(&curve[..5], 400), &curve[..5]);
        assert!(thinned(&[], 400).is_empty());
    }

    #[test]
    fn undefined_says_why() {
        assert_eq!(roc(&[], &[], None), Err(Undefined::NoRows));
        assert_eq!(roc(&[0.1], &[1], None), Err(Undefined::NoNegatives));
        assert_eq!(precision_recall(&[0.1], &[0], None), Err(Undefined::NoPositives));
        assert_eq!(precision_recall(&[0.1, 0.2], &[1, 1], None).map(|c| average_precision(&c)), Ok(1.0));
        assert_eq!(roc(&[f64::NAN, 0.0], &[1, 0], None), Err(Undefined::NotANumber));
        assert_eq!(distributions(&[], &[], None, 5), Err(Undefined::NoRows));
        let one = distributions(&[-1.0; 4], &[0, 1, 0, 0], None, 5).unwrap();
        assert!(!one.log && one.edges.windows(2).all(|w| w[0] < w[1]));
    }

    /// Numbers of scikit-learn and `scipy`; the script that made them is `tests/golden/curves_sklearn.py`.
    #[test]
    fn agrees_with_scikit_learn() {
        let golden: serde_json::Value = serde_json::from_str(include_str!("../../../tests/golden/curves_sklearn.json")).unwrap();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        let cases = golden["cases"].as_array().unwrap();
        assert!(cases.len() >= 6);
        for case in cases {
            let list = |v: &serde_json::Value| -> Vec<f64> { v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect() };
            let (p, y, w) = (list(&case["p"]), list(&case["y"]), list(&case["w"]));
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let labels: Vec<u8> = y.iter().map(|y| *y as u8).collect();
            #[allow(clippy::cast_possible_truncation)]
            let weights: Vec<f32> = w.iter().map(|w| *w as f32).collect();
            let log_p: Vec<f64> = p.iter().map(|p| p.ln()).collect();
            for (key, w) in [("plain", None), ("weighted", Some(weights.as_slice()))] {
                let expected = &case[key];
                let curve = roc(&log_p, &labels, w).unwrap();
                let (fpr, tpr) = (list(&expected["fpr"]), list(&expected["tpr"]));
                assert_eq!(curve.len(), fpr.len());
                assert!(curve.iter().zip(fpr.iter().zip(&tpr)).all(|(c, (f, t))| close(c.0, *f) && close(c.1, *t)), "{key}");
                let curve = precision_recall(&log_p, &labels, w).unwrap();
                let (recall, precision) = (list(&expected["recall"]), list(&expected["precision"]));
                assert_eq!(curve.len(), recall.len());
                assert!(curve.iter().zip(recall.iter().zip(&precision)).all(|(c, (r, p))| close(c.0, *r) && close(c.1, *p)), "{key}");
                assert!(close(average_precision(&curve), expected["average_precision"].as_f64().unwrap()));
            }
            if case["calibration"].is_null() {
                continue;
            }
            let bins = reliability(&log_p, &labels, None, 5).unwrap();
            let (mean_p, rate) = (list(&case["calibration"]["mean_p"]), list(&case["calibration"]["rate"]));
            assert!(bins.iter().zip(mean_p.iter().zip(&rate)).all(|(b, (p, r))| close(b.mean_p, *p) && close(b.rate, *r)));
            let (low, high) = (list(&case["calibration"]["low"]), list(&case["calibration"]["high"]));
            assert!(bins.iter().zip(low.iter().zip(&high)).all(|(b, (l, h))| close(b.interval.0, *l) && close(b.interval.1, *h)));
        }
    }
}
