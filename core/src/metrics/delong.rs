//! The variance of a difference of two AUCs on the same rows, without resampling: `DeLong`, `DeLong` and Clarke-Pearson (Biometrics 1988). It stands
//! beside the bootstrap as a check that shares nothing with it but the rows.

use serde::Serialize;

/// A difference of AUCs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Delong {
    /// Second minus first.
    pub difference: f64,
    /// Its standard error.
    pub se: f64,
    /// Two-sided, of a normal curve.
    pub p: f64,
}

/// Per row its placement: of a positive the share of negatives that it beats, of a negative the share of positives that beat it; ties count half.
/// The mean over the positives is the AUC. `None` where one class is missing.
#[must_use]
pub fn placements(scores: &[f64], labels: &[u8]) -> Option<Vec<f64>> {
    let positives = labels.iter().filter(|y| **y != 0).count();
    let negatives = labels.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    let mut order: Vec<u32> = (0..u32::try_from(labels.len()).ok()?).collect();
    order.sort_unstable_by(|a, b| scores[*a as usize].total_cmp(&scores[*b as usize]));
    let mut placed = vec![0.0; labels.len()];
    let (mut positives_below, mut negatives_below) = (0.0, 0.0);
    for block in order.chunk_by(|a, b| scores[*a as usize] == scores[*b as usize]) {
        let own = block.iter().filter(|r| labels[**r as usize] != 0).count() as f64;
        let others = block.len() as f64 - own;
        for &row in block {
            placed[row as usize] = if labels[row as usize] != 0 {
                (negatives_below + 0.5 * others) / negatives as f64
            } else {
                1.0 - (positives_below + 0.5 * own) / positives as f64
            };
        }
        (positives_below, negatives_below) = (positives_below + own, negatives_below + others);
    }
    Some(placed)
}

/// The test on the [`placements`] of two models (or on their means over several), on the same rows.
#[must_use]
pub fn delong(first: &[f64], second: &[f64], labels: &[u8]) -> Delong {
    let of = |class: bool| -> (f64, f64) {
        let rows = || (0..labels.len()).filter(|r| (labels[*r] != 0) == class).map(|r| second[r] - first[r]);
        let n = rows().count() as f64;
        let mean = rows().sum::<f64>() / n;
        let variance = rows().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, if n > 1.0 { variance / n } else { 0.0 })
    };
    let ((difference, of_positives), (_, of_negatives)) = (of(true), of(false));
    let se = (of_positives + of_negatives).sqrt();
    Delong { difference, se, p: two_sided(difference, se) }
}

/// P(|X| ≥ |value|) of a normal X around 0; 1 where there is neither a difference nor a spread.
pub(super) fn two_sided(value: f64, se: f64) -> f64 {
    if value == 0.0 { 1.0 } else { libm::erfc(value.abs() / (se * std::f64::consts::SQRT_2)) }
}

#[cfg(test)]
mod tests {
    use super::super::auc;
    use super::*;

    /// A tiny case by hand, ties included, and the AUC as the mean of either class.
    #[test]
    fn placements_average_to_the_auc() {
        let (scores, labels) = ([0.1, 0.4, 0.4, 0.8, 0.3], [0, 1, 0, 1, 0]);
        let placed = placements(&scores, &labels).unwrap();
        let expected = [1.0, 2.5 / 3.0, 0.75, 1.0, 1.0];
        assert!(placed.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{placed:?}");
        let mean = |class| {
            let of: Vec<f64> = placed.iter().zip(labels).filter(|(_, y)| *y == class).map(|(p, _)| *p).collect();
            of.iter().sum::<f64>() / of.len() as f64
        };
        let area = auc(&scores, &labels, None).unwrap();
        assert!((mean(1) - area).abs() < 1e-12 && (mean(0) - area).abs() < 1e-12);
        assert_eq!(placements(&scores, &[0; 5]), None);
    }

    #[test]
    fn a_model_does_not_differ_from_itself() {
        let placed = placements(&[0.1, 0.4, 0.3, 0.8], &[0, 1, 0, 1]).unwrap();
        let same = delong(&placed, &placed, &[0, 1, 0, 1]);
        assert_eq!((same.difference, same.se, same.p), (0.0, 0.0, 1.0));
    }

    #[test]
    fn the_curve_is_normal() {
        for (z, p) in [(0.0, 1.0), (1.0, 0.317_310_507_862_914), (1.959_963_984_540_054, 0.05), (3.290_526_731_491_89, 0.001)] {
            assert!((two_sided(z, 1.0) - p).abs() < 1e-12, "{z}");
        }
    }
}
