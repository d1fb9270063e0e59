//! How well one column alone explains a label: the sign of a label that hides among the features.

use hashbrown::HashMap;

/// AUC from which a single column is suspect.
pub(crate) const SUSPECT_AUC: f64 = 0.995;
/// Ranges that a number is cut into.
const RANGES: usize = 64;
/// Codes up to which a column cannot overfit, so that all rows may both teach and test.
const FEW_CODES: usize = 8;

/// The AUC of the label's rate per code, or `None` with too few rows of one class to tell. With many codes, rates are learned on every
/// other row and tried on the rest, so that a column of unique values explains nothing.
///
/// `codes` and `labels` are parallel.
pub(crate) fn explained_auc(codes: &[u32], labels: &[u8]) -> Option<f64> {
    let mut all: HashMap<u32, (u32, u32)> = HashMap::new();
    for (&code, &label) in codes.iter().zip(labels) {
        let (rows, ones) = all.entry(code).or_default();
        *rows += 1;
        *ones += u32::from(label);
    }
    let few = all.len() <= FEW_CODES;
    if !few {
        all.clear();
        for (&code, &label) in codes.iter().zip(labels).step_by(2) {
            let (rows, ones) = all.entry(code).or_default();
            *rows += 1;
            *ones += u32::from(label);
        }
    }
    let (first, step, support) = if few { (0, 1, 5) } else { (1, 2, 10) };
    let tested = || codes.iter().zip(labels).skip(first).step_by(step);
    let positives = tested().filter(|(_, l)| **l != 0).count();
    let negatives = tested().count() - positives;
    if positives < support || negatives < support {
        return None;
    }
    #[allow(clippy::cast_precision_loss)]
    let prior = positives as f64 / (positives + negatives) as f64;
    let score = |code: &u32| all.get(code).map_or(prior, |&(rows, ones)| (f64::from(ones) + prior) / (f64::from(rows) + 1.0));
    let mut scored: Vec<(f64, u8)> = tested().map(|(code, &label)| (score(code), label)).collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    Some(auc(&scored, positives, negatives))
}

/// Area under the ROC of rows sorted by score; ties count half.
#[allow(clippy::cast_precision_loss)]
fn auc(sorted: &[(f64, u8)], positives: usize, negatives: usize) -> f64 {
    let (mut below, mut wins) = (0_usize, 0.0);
    for tie in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let ones = tie.iter().filter(|(_, l)| *l != 0).count();
        let zeros = tie.len() - ones;
        wins += ones as f64 * (below as f64 + zeros as f64 / 2.0);
        below += zeros;
    }
    wins / (positives as f64 * negatives as f64)
}

/// Cuts numbers into ranges of about the same number of rows; a value with many rows gets a range of its own. NaN (missing) is code 0.
pub(crate) fn range_codes(numbers: &[f32]) -> Vec<u32> {
    let mut sorted: Vec<f32> = numbers.iter().copied().filter(|n| !n.is_nan()).collect();
    sorted.sort_by(f32::total_cmp);
    let mut edges: Vec<f32> = Vec::new();
    for i in 0..RANGES {
        let Some(&value) = sorted.get(i * sorted.len() / RANGES) else { break };
        edges.push(value);
        edges.extend(sorted.get(sorted.partition_point(|n| *n <= value)));
    }
    edges.sort_by(f32::total_cmp);
    edges.dedup();
    let code = |n: f32| if n.is_nan() { 0 } else { u32::try_from(edges.partition_point(|e| *e <= n)).unwrap_or(0) + 1 };
    numbers.iter().map(|&n| code(n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::id::mix;

    #[test]
    fn a_copy_of_the_label_is_found_and_unique_values_are_not() {
        let labels: Vec<u8> = (0..2000_u64).map(|i| u8::from(mix(i, 1).is_multiple_of(10))).collect();
        let copy: Vec<u32> = labels.iter().map(|l| u32::from(*l) + 7).collect();
        assert_eq!(explained_auc(&copy, &labels), Some(1.0));
        let unique: Vec<u32> = (0..2000).collect();
        assert!(explained_auc(&unique, &labels).unwrap() < 0.6);
        assert_eq!(explained_auc(&copy[..4], &labels[..4]), None);
    }

    #[test]
    fn a_number_that_is_positive_exactly_when_the_label_is_one_is_found() {
        let labels: Vec<u8> = (0..4000_u64).map(|i| u8::from(mix(i, 2).is_multiple_of(200))).collect();
        let spend: Vec<f32> = labels.iter().enumerate().map(|(i, l)| f32::from(*l) * (1.0 + i as f32)).collect();
        assert!(explained_auc(&range_codes(&spend), &labels).unwrap() > SUSPECT_AUC);
        let noise: Vec<f32> = (0..4000_u64).map(|i| (mix(i, 3) % 1000) as f32).collect();
        assert!(explained_auc(&range_codes(&noise), &labels).unwrap() < 0.7);
    }
}
