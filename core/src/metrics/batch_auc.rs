//! The mean of AUCs inside of batches. Some published code reports it as the AUC. It is another quantity: it compares rows of one batch with each other
//! only, gives every batch the same say however few positives it has, and leaves out batches without both classes. So it stands beside the
//! exact AUC, under a name of its own, and nothing selects by it.

use super::basic::auc;
use crate::spec::BatchAuc;
use serde::Serialize;

/// A mean of AUCs inside of batches.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct BatchMean {
    /// The mean, unweighted; `None` if no batch has both classes.
    pub mean: Option<f64>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Batches in the mean.
    pub batches: u64,
    /// Batches left out, for want of rows of one class or both.
    pub left_out: u64,
}

/// Over the first batches of a part of `all` rows. `rows`: the places in the part of the scores, ascending; `None`: one score a row.
///
/// # Shapes
/// `scores`, `labels`, `weights` and `rows` are `[N]`.
#[must_use]
pub fn batch_auc(
    scores: &[f64],
    labels: &[u8],
    weights: Option<&[f32]>,
    rows: Option<&[u32]>,
    all: usize,
    BatchAuc { rows: size, batches }: BatchAuc,
) -> BatchMean {
    let total = all.div_ceil(size.get()).min(batches.get());
    // Where a batch starts among the scores.
    let start = |batch: usize| {
        let first = batch * size.get();
        rows.map_or(first.min(scores.len()), |rows| rows.partition_point(|row| (*row as usize) < first))
    };
    let of_batch = |batch: usize| {
        let range = start(batch)..start(batch + 1);
        auc(&scores[range.clone()], &labels[range.clone()], weights.map(|w| &w[range])).ok()
    };
    let found: Vec<f64> = (0..total).filter_map(of_batch).collect();
    #[allow(clippy::cast_precision_loss)]
    let mean = (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64);
    BatchMean {
        mean,
        reason: mean.is_none().then(|| format!("none of {total} batches has rows of both labels")),
        batches: found.len() as u64,
        left_out: (total - found.len()) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::num::NonZeroUsize;

    fn of(rows: usize, batches: usize) -> BatchAuc {
        let n = |n| NonZeroUsize::new(n).unwrap();
        BatchAuc { rows: n(rows), batches: n(batches) }
    }
    /// Counted pair by pair, batch by batch.
    fn naive(rows: &[(f64, u8, bool)], size: usize, batches: usize) -> (Vec<f64>, usize) {
        let (mut found, mut left_out) = (Vec::new(), 0);
        for batch in rows.chunks(size).take(batches) {
            let inside: Vec<_> = batch.iter().filter(|r| r.2).collect();
            let (mut pairs, mut won) = (0.0, 0.0);
            for a in inside.iter().filter(|r| r.1 == 1) {
                for b in inside.iter().filter(|r| r.1 == 0) {
                    pairs += 1.0;
                    won += if a.0 > b.0 {
                        1.0
                    } else if a.0 < b.0 {
                        0.0
                    } else {
                        0.5
                    };
                }
            }
            if pairs > 0.0 { found.push(won / pairs) } else { left_out += 1 }
        }
        (found, left_out)
    }

    proptest! {
        #[test]
        fn is_the_mean_over_batches(
            rows in proptest::collection::vec((0u8..6, 0u8..2, any::<bool>()), 0..60), size in 1usize..20, batches in 1usize..8,
        ) {
            let rows: Vec<(f64, u8, bool)> = rows.into_iter().map(|r| (f64::from(r.0), r.1, r.2)).collect();
            for in_space in [false, true] {
                let rows: Vec<_> = rows.iter().map(|r| (r.0, r.1, r.2 || !in_space)).collect();
                let places: Vec<u32> = (0..).zip(&rows).filter(|(_, r)| r.2).map(|(at, _)| at).collect();
                let (scores, labels): (Vec<f64>, Vec<u8>) = rows.iter().filter(|r| r.2).map(|r| (r.0, r.1)).unzip();
                let found = batch_auc(&scores, &labels, None, in_space.then_some(&places[..]), rows.len(), of(size, batches));
                let (expected, left_out) = naive(&rows, size, batches);
                prop_assert_eq!((found.batches, found.left_out), (expected.len() as u64, left_out as u64));
                match found.mean {
                    Some(mean) => prop_assert!((mean - expected.iter().sum::<f64>() / expected.len() as f64).abs() < 1e-12),
                    None => prop_assert!(expected.is_empty()),
                }
            }
        }
    }

    #[test]
    fn without_a_mixed_batch_there_is_a_reason() {
        // The exact AUC of these is 1; each batch is of one class.
        let found = batch_auc(&[0.1, 0.2, 0.8, 0.9], &[0, 0, 1, 1], None, None, 4, of(2, 500));
        assert_eq!((found.mean, found.batches, found.left_out), (None, 0, 2));
        assert_eq!(found.reason.unwrap(), "none of 2 batches has rows of both labels");
    }
}
