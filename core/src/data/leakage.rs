//! How well one column alone explains a label: the sign of a label that hides among the features.

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
    explained(codes.len(), |row| std::slice::from_ref(&codes[row]), labels)
}

/// Like [`explained_auc`] with any number of codes a row, of which the one with the highest rate speaks: a bag leaks if one of its values only
/// stands where the label is 1, or if it is empty where the label is 0.
pub(crate) fn explained_auc_of_bags(bags: &[&[u32]], labels: &[u8]) -> Option<f64> {
    // The codes of values start at 1.
    explained(bags.len(), |row| if bags[row].is_empty() { &[0] } else { bags[row] }, labels)
}

fn explained<'c>(rows: usize, codes: impl Fn(usize) -> &'c [u32], labels: &[u8]) -> Option<f64> {
    // Codes count up from 0, so a table of them is no larger than their dictionary.
    let most = (0..rows).flat_map(|row| codes(row).iter().copied()).max().unwrap_or(0);
    let rates_of = |step: usize| {
        let mut all: Vec<(u32, u32)> = vec![(0, 0); most as usize + 1];
        for row in (0..rows).step_by(step) {
            for &code in codes(row) {
                let (rows, ones) = &mut all[code as usize];
                *rows += 1;
                *ones += u32::from(labels[row]);
            }
        }
        all
    };
    let mut all = rates_of(1);
    let few = all.iter().filter(|(rows, _)| *rows > 0).count() <= FEW_CODES;
    if !few {
        all = rates_of(2);
    }
    let (first, step, support) = if few { (0, 1, 5) } else { (1, 2, 10) };
    let tested = || (first..rows).step_by(step);
    let positives = tested().filter(|row| labels[*row] != 0).count();
    let negatives = tested().count() - positives;
    if positives < support || negatives < support {
        return None;
    }
    #[allow(clippy::cast_precision_loss)]
    let prior = positives as f64 / (positives + negatives) as f64;
    // Of a code without rows this is the prior.
    let scores: Vec<f64> = all.iter().map(|&(rows, ones)| (f64::from(ones) + prior) / (f64::from(rows) + 1.0)).collect();
    let score = |code: &u32| scores[*code as usize];
    let mut scored: Vec<(f64, u8)> =
        tested().map(|row| (codes(row).iter().map(score).fold(f64::NEG_INFINITY, f64::max), labels[row])).collect();
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
    fn a_bag_that_gives_the_label_away_is_found_and_one_of_noise_is_not() {
        let label = |i: u64| u8::from(mix(i, 1).is_multiple_of(10));
        let labels: Vec<u8> = (0..4000).map(label).collect();
        let noise: Vec<Vec<u32>> = (0..4000).map(|i| (0..mix(i, 4) % 6).map(|j| (mix(i * 8 + j, 5) % 500) as u32 + 2).collect()).collect();
        let told: Vec<Vec<u32>> =
            noise.iter().zip(&labels).map(|(b, l)| b.iter().copied().chain((*l == 1).then_some(1)).collect()).collect();
        let full: Vec<Vec<u32>> = (0..4000).map(|i| if label(i) == 1 { vec![(mix(i, 6) % 50) as u32 + 1] } else { Vec::new() }).collect();
        let auc = |bags: &[Vec<u32>]| explained_auc_of_bags(&bags.iter().map(Vec::as_slice).collect::<Vec<_>>(), &labels).unwrap();
        assert!(auc(&noise) < 0.6, "{}", auc(&noise));
        assert!(auc(&told) > SUSPECT_AUC, "{}", auc(&told));
        assert!(auc(&full) > SUSPECT_AUC, "{}", auc(&full));
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
