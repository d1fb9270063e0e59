//! The metrics one by one. Scores are log probabilities or any other monotone score; labels are 0 or 1; weights may be left out.

use rayon::prelude::*;
use std::fmt;

/// Why a metric has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undefined {
    /// There is no row, or all weights are 0.
    NoRows,
    /// No label is 1.
    NoPositives,
    /// No label is 0.
    NoNegatives,
    /// Some score is not a number.
    NotANumber,
    /// No group has both classes.
    NoMixedGroup,
}
impl fmt::Display for Undefined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRows => "no rows",
            Self::NoPositives => "no row has label 1",
            Self::NoNegatives => "no row has label 0",
            Self::NotANumber => "a score is not a number",
            Self::NoMixedGroup => "no group has rows of both labels",
        })
    }
}

pub(super) fn weight(weights: Option<&[f32]>, row: usize) -> f64 {
    weights.map_or(1.0, |w| f64::from(w[row]))
}

/// Area under the ROC curve: the probability that a positive scores above a negative, ties counting half. Exact and global; with weights,
/// each pair counts by the product of its weights.
///
/// # Errors
/// One class only, no rows, or a NaN among the scores.
pub fn auc(scores: &[f64], labels: &[u8], weights: Option<&[f32]>) -> Result<f64, Undefined> {
    auc_by(scores, labels, |row| weight(weights, row))
}

/// [`auc`], with the weight of each row.
pub(super) fn auc_by(scores: &[f64], labels: &[u8], weight: impl Fn(usize) -> f64) -> Result<f64, Undefined> {
    if scores.is_empty() {
        return Err(Undefined::NoRows);
    }
    if scores.iter().any(|s| s.is_nan()) {
        return Err(Undefined::NotANumber);
    }
    // The keys stand beside their rows: sorting looks nothing up. Equal scores stay in order of the rows, so that weights are summed alike.
    let mut order: Vec<(u64, u32)> = scores.iter().zip(0..).map(|(s, row)| (ascending(*s), row)).collect();
    if order.len() > 1 << 14 {
        order.par_sort_unstable();
    } else {
        order.sort_unstable();
    }
    // Ascending: each tie block of positives beats all negatives below it and half of those in it.
    let (mut below, mut pairs, mut positives) = (0.0f64, 0.0f64, 0.0f64);
    let mut at = 0;
    while at < order.len() {
        let score = order[at].0;
        let (mut pos, mut neg) = (0.0, 0.0);
        while at < order.len() && order[at].0 == score {
            let row = order[at].1 as usize;
            if labels[row] != 0 {
                pos += weight(row);
            } else {
                neg += weight(row);
            }
            at += 1;
        }
        pairs += pos * (below + 0.5 * neg);
        below += neg;
        positives += pos;
    }
    if positives == 0.0 {
        return Err(if below == 0.0 { Undefined::NoRows } else { Undefined::NoPositives });
    }
    if below == 0.0 {
        return Err(Undefined::NoNegatives);
    }
    Ok(pairs / (positives * below))
}

/// A key that is in the order of the numbers, equal for equal numbers; not for NaN.
fn ascending(x: f64) -> u64 {
    // -0 and 0 are equal.
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// Sums of weights: of all rows, and of positives.
pub(super) fn totals(labels: &[u8], weights: Option<&[f32]>) -> (f64, f64) {
    let (mut all, mut positive) = (0.0, 0.0);
    for (row, label) in labels.iter().enumerate() {
        let w = weight(weights, row);
        all += w;
        if *label != 0 {
            positive += w;
        }
    }
    (all, positive)
}

/// Mean of `−[y·ln p + (1 − y)·ln(1 − p)]`, from both logarithms: nothing is clipped.
///
/// # Errors
/// No rows.
pub fn log_loss(log_p: &[f64], log_not_p: &[f64], labels: &[u8], weights: Option<&[f32]>) -> Result<f64, Undefined> {
    log_loss_by(log_p, log_not_p, labels, |row| weight(weights, row))
}

/// [`log_loss`], with the weight of each row.
pub(super) fn log_loss_by(log_p: &[f64], log_not_p: &[f64], labels: &[u8], weight: impl Fn(usize) -> f64) -> Result<f64, Undefined> {
    let all: f64 = (0..labels.len()).map(&weight).sum();
    if all == 0.0 {
        return Err(Undefined::NoRows);
    }
    let sum: f64 = (0..labels.len()).map(|r| -weight(r) * if labels[r] != 0 { log_p[r] } else { log_not_p[r] }).sum();
    Ok(sum / all)
}

/// Normalised entropy: log loss over that of always predicting the base rate (He et al., `ADKDD` 2014).
///
/// # Errors
/// One class only, or no rows.
pub fn normalised_entropy(log_loss: f64, labels: &[u8], weights: Option<&[f32]>) -> Result<f64, Undefined> {
    let (all, positive) = totals(labels, weights);
    let rate = positive / all;
    match () {
        () if all == 0.0 => Err(Undefined::NoRows),
        () if positive == 0.0 => Err(Undefined::NoPositives),
        () if positive >= all => Err(Undefined::NoNegatives),
        () => Ok(log_loss / -(rate * rate.ln() + (1.0 - rate) * (-rate).ln_1p())),
    }
}

/// Sum of predictions over sum of positives; 1 is calibrated on the whole.
///
/// # Errors
/// No positives.
pub fn pcoc(log_p: &[f64], labels: &[u8], weights: Option<&[f32]>) -> Result<f64, Undefined> {
    let (_, positive) = totals(labels, weights);
    if positive == 0.0 {
        return Err(if labels.is_empty() { Undefined::NoRows } else { Undefined::NoPositives });
    }
    let sum: f64 = log_p.iter().enumerate().map(|(r, l)| weight(weights, r) * l.exp()).sum();
    Ok(sum / positive)
}

/// Expected calibration error: rows sorted by prediction are cut into `bins` of equal number (rare events crowd at the low end, where bins
/// of equal width would hold nearly all rows in one); the mean over rows of |mean prediction − rate| of their bin.
///
/// # Errors
/// No rows.
pub fn ece(log_p: &[f64], labels: &[u8], weights: Option<&[f32]>, bins: usize) -> Result<f64, Undefined> {
    let bins = super::curves::reliability(log_p, labels, weights, bins)?;
    let all: f64 = bins.iter().map(|b| b.weight).sum();
    Ok(bins.iter().map(|b| b.weight * (b.mean_p - b.rate).abs()).sum::<f64>() / all)
}

/// AUC inside each group, averaged with the groups' weights (Zhou et al., `KDD` 2018); groups of one class are left out. Gives the mean and
/// the number of groups in it.
///
/// # Errors
/// No group has both classes.
pub fn gauc(scores: &[f64], labels: &[u8], weights: Option<&[f32]>, groups: &[u32]) -> Result<(f64, u64), Undefined> {
    let mut order: Vec<u32> = (0..u32::try_from(scores.len()).unwrap_or(u32::MAX)).collect();
    order.par_sort_unstable_by_key(|r| (groups[*r as usize], *r));
    let (mut sum, mut total, mut used) = (0.0, 0.0, 0);
    for rows in order.chunk_by(|a, b| groups[*a as usize] == groups[*b as usize]) {
        let pick = |r: &u32| *r as usize;
        let s: Vec<f64> = rows.iter().map(|r| scores[pick(r)]).collect();
        let y: Vec<u8> = rows.iter().map(|r| labels[pick(r)]).collect();
        let w: Option<Vec<f32>> = weights.map(|w| rows.iter().map(|r| w[pick(r)]).collect());
        if let Ok(value) = auc(&s, &y, w.as_deref()) {
            let (weight, _) = totals(&y, w.as_deref());
            sum += weight * value;
            total += weight;
            used += 1;
        }
    }
    if used == 0 { Err(Undefined::NoMixedGroup) } else { Ok((sum / total, used)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All pairs.
    fn auc_by_pairs(scores: &[f64], labels: &[u8], w: &[f32]) -> Option<f64> {
        let (mut won, mut all) = (0.0, 0.0);
        for i in 0..scores.len() {
            for j in 0..scores.len() {
                if labels[i] == 1 && labels[j] == 0 {
                    let pair = f64::from(w[i]) * f64::from(w[j]);
                    all += pair;
                    won += pair
                        * if scores[i] > scores[j] {
                            1.0
                        } else if scores[i] < scores[j] {
                            0.0
                        } else {
                            0.5
                        };
                }
            }
        }
        (all > 0.0).then(|| won / all)
    }

    proptest! {
        #[test]
        fn auc_counts_pairs(rows in proptest::collection::vec((0i32..8, 0u8..2, 0u8..4), 0..60)) {
            let scores: Vec<f64> = rows.iter().map(|r| f64::from(r.0) / 3.0).collect();
            let labels: Vec<u8> = rows.iter().map(|r| r.1).collect();
            let weights: Vec<f32> = rows.iter().map(|r| f32::from(r.2)).collect();
            let expected = auc_by_pairs(&scores, &labels, &weights);
            match auc(&scores, &labels, Some(&weights)) {
                Ok(found) => prop_assert!((found - expected.unwrap()).abs() < 1e-12),
                Err(_) => prop_assert!(expected.is_none()),
            }
            let ones = vec![1.0; rows.len()];
            prop_assert_eq!(auc(&scores, &labels, None).ok(), auc(&scores, &labels, Some(&ones)).ok());
            let flipped: (Vec<f64>, Vec<u8>) = (scores.iter().rev().copied().collect(), labels.iter().rev().copied().collect());
            if let Ok(a) = auc(&scores, &labels, None) {
                prop_assert!((auc(&flipped.0, &flipped.1, None).unwrap() - a).abs() < 1e-12, "order does not matter");
            }
        }

        #[test]
        fn gauc_is_the_mean_of_group_aucs(rows in proptest::collection::vec((0i32..8, 0u8..2, 0u32..4), 1..60)) {
            let scores: Vec<f64> = rows.iter().map(|r| f64::from(r.0)).collect();
            let labels: Vec<u8> = rows.iter().map(|r| r.1).collect();
            let groups: Vec<u32> = rows.iter().map(|r| r.2).collect();
            let (mut sum, mut n) = (0.0, 0.0);
            for g in 0..4 {
                let of: Vec<usize> = (0..rows.len()).filter(|r| groups[*r] == g).collect();
                let s: Vec<f64> = of.iter().map(|r| scores[*r]).collect();
                let y: Vec<u8> = of.iter().map(|r| labels[*r]).collect();
                if let Some(a) = auc_by_pairs(&s, &y, &vec![1.0; of.len()]) {
                    sum += a * of.len() as f64;
                    n += of.len() as f64;
                }
            }
            match gauc(&scores, &labels, None, &groups) {
                Ok((found, _)) => prop_assert!((found - sum / n).abs() < 1e-12),
                Err(_) => prop_assert!(n == 0.0),
            }
        }
    }

    #[test]
    fn undefined_says_why() {
        assert_eq!(auc(&[], &[], None), Err(Undefined::NoRows));
        assert_eq!(auc(&[1.0], &[1], None), Err(Undefined::NoNegatives));
        assert_eq!(auc(&[1.0, 2.0], &[0, 0], None), Err(Undefined::NoPositives));
        assert_eq!(auc(&[f64::NAN, 2.0], &[0, 1], None), Err(Undefined::NotANumber));
        assert_eq!(pcoc(&[-1.0], &[0], None), Err(Undefined::NoPositives));
    }

    #[test]
    fn calibration_of_known_cases() {
        let p = [0.1f64, 0.1, 0.9, 0.9];
        let log_p: Vec<f64> = p.iter().map(|p| p.ln()).collect();
        let labels = [0, 1, 1, 1];
        assert!((pcoc(&log_p, &labels, None).unwrap() - 2.0 / 3.0).abs() < 1e-12);
        // Two bins: |0.1 − 0.5| and |0.9 − 1|.
        assert!((ece(&log_p, &labels, None, 2).unwrap() - 0.25).abs() < 1e-12);
    }

    /// Numbers of scikit-learn; the script that made them is `tests/golden/metrics_sklearn.py`.
    #[test]
    fn agrees_with_scikit_learn() {
        let golden: serde_json::Value = serde_json::from_str(include_str!("../../../tests/golden/metrics_sklearn.json")).unwrap();
        let cases = golden["cases"].as_array().unwrap();
        assert!(cases.len() >= 8);
        for case in cases {
            let numbers = |key: &str| -> Vec<f64> { case[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect() };
            let (p, y) = (numbers("p"), numbers("y"));
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let labels: Vec<u8> = y.iter().map(|y| *y as u8).collect();
            #[allow(clippy::cast_possible_truncation)]
            let weights: Vec<f32> = numbers("w").iter().map(|w| *w as f32).collect();
            let log_p: Vec<f64> = p.iter().map(|p| p.ln()).collect();
            let log_not_p: Vec<f64> = p.iter().map(|p| (-p).ln_1p()).collect();
            for (suffix, w) in [("", None), ("_weighted", Some(weights.as_slice()))] {
                let expected = |key: &str| case[format!("{key}{suffix}")].as_f64().unwrap();
                assert!((auc(&log_p, &labels, w).unwrap() - expected("auc")).abs() < 1e-9);
                assert!((log_loss(&log_p, &log_not_p, &labels, w).unwrap() - expected("log_loss")).abs() < 1e-9);
            }
        }
    }
}
