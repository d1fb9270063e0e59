//! Encoded rows of several requests as one batch. Nothing is told apart or deduplicated again: each request keeps its members.

use crate::data::{BagBatch, Batch, GroupBatch};

/// The batches one after the other. All are of one model, for scoring.
#[must_use]
pub fn join(batches: &[Batch]) -> Batch {
    let mut out = Batch { groups: vec![GroupBatch::default(); batches.first().map_or(0, |b| b.groups.len())], ..Batch::default() };
    for batch in batches {
        out.size += batch.size;
        for (to, from) in out.groups.iter_mut().zip(&batch.groups) {
            append(to, from);
        }
    }
    out
}

#[allow(clippy::cast_possible_truncation)]
fn append(to: &mut GroupBatch, from: &GroupBatch) {
    let first = to.size as u32;
    to.index.extend(from.index.iter().map(|i| i + first));
    to.size += from.size;
    to.singles.extend_from_slice(&from.singles);
    to.numbers.extend_from_slice(&from.numbers);
    to.bags.resize_with(from.bags.len(), || BagBatch { offsets: vec![0], ..BagBatch::default() });
    for (to, from) in to.bags.iter_mut().zip(&from.bags) {
        let first = to.rows.len() as u32;
        to.offsets.extend(from.offsets.iter().skip(1).map(|o| o + first));
        to.rows.extend_from_slice(&from.rows);
        to.weights.extend_from_slice(&from.weights);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_bags_keep_their_rows() {
        let bag = |offsets: &[u32], rows: &[u32]| BagBatch { offsets: offsets.to_vec(), rows: rows.to_vec(), weights: vec![] };
        let batch = |size: usize, singles: &[u32], index: &[u32], users: &[u32], seen: BagBatch| Batch {
            size,
            groups: vec![
                GroupBatch { size, singles: singles.to_vec(), numbers: vec![0.5; size], ..GroupBatch::default() },
                GroupBatch { size: users.len(), index: index.to_vec(), singles: users.to_vec(), bags: vec![seen], numbers: vec![] },
            ],
            ..Batch::default()
        };
        let both = join(&[
            batch(2, &[2, 3], &[0, 0], &[7], bag(&[0, 2], &[4, 5])),
            batch(3, &[4, 5, 6], &[1, 0, 1], &[7, 8], bag(&[0, 0, 1], &[9])),
        ]);
        assert_eq!(both, batch(5, &[2, 3, 4, 5, 6], &[0, 0, 2, 1, 2], &[7, 7, 8], bag(&[0, 2, 2, 3], &[4, 5, 9])));
    }
}
