//! A part's batches with one field permuted: each row (or entity, where the field lives in one) has the value of another.

use super::batch::{Batch, GroupBatch};
use super::build::Builder;
use super::dataset::Dataset;
use super::field::FieldColumns;
use super::split::Part;
use crate::random::mix;
use std::num::NonZeroUsize;

/// A permutation of `0..n`, the same for the same seed, field and repeat (Fisher and Yates).
#[must_use]
pub fn permutation(n: usize, seed: u64, field: &str, repeat: u64) -> Vec<u32> {
    let name = field.bytes().fold(0x6669_656c_6473, |h, b| mix(h ^ u64::from(b)));
    let key = mix(seed ^ mix(name ^ mix(repeat)));
    let mut order: Vec<u32> = (0..u32::try_from(n).unwrap_or(u32::MAX)).collect();
    for i in (1..order.len()).rev() {
        // The high half of a product is uniform but for a bias of i/2⁶⁴.
        #[allow(clippy::cast_possible_truncation)]
        let j = ((u128::from(mix(key ^ mix(i as u64))) * (i as u128 + 1)) >> 64) as usize;
        order.swap(i, j);
    }
    order
}

/// The members of one group that the rows of a part touch, in order of the inputs (rows) or of the store (entities).
#[derive(Debug, Clone)]
pub struct Permuted {
    part: Part,
    field: FieldColumns,
    members: Vec<u32>,
}

impl Permuted {
    /// How many members there are to permute.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }
    /// True if the part is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl Dataset {
    /// What there is to permute of a field in a part.
    #[must_use]
    pub fn permuted(&self, part: Part, field: &FieldColumns) -> Permuted {
        let mut members: Vec<u32> = self.part_rows(part).collect();
        if let Some(kind) = field.group.checked_sub(1) {
            for row in &mut members {
                *row = self.inner.store.entities(*row as usize)[kind];
            }
            members.sort_unstable();
            members.dedup();
        }
        Permuted { part, field: field.clone(), members }
    }

    /// The part's batches in order, in which member `i` has the field's value of member `order[i]`.
    pub fn permuted_batches<'a>(
        &'a self,
        of: &'a Permuted,
        order: &'a [u32],
        batch_rows: NonZeroUsize,
    ) -> impl Iterator<Item = Batch> + 'a {
        let inner = &self.inner;
        let builder =
            Builder { store: &inner.store, preprocessor: &inner.preprocessor, rows_of: &inner.rows_of, labels: &inner.labels, mask: None };
        let rows: Vec<u32> = self.part_rows(of.part).collect();
        let batches = rows.len().div_ceil(batch_rows.get());
        (0..batches).map(move |b| {
            let from = b * batch_rows.get();
            let rows = &rows[from..(from + batch_rows.get()).min(rows.len())];
            let mut batch = builder.build(rows);
            let group = of.field.group;
            let others: Vec<u32> = if group == 0 {
                (from..from + rows.len()).map(|i| of.members[order[i] as usize]).collect()
            } else {
                inner.first_members(rows, group).into_iter().map(|m| of.members[order[of.place(m)] as usize]).collect()
            };
            of.field.copy(&builder.members(group, &others), &mut batch.groups[group]);
            batch
        })
    }
}
impl super::dataset::Inner {
    /// The entities of the rows, each once, in the order in which a batch of these rows has them.
    fn first_members(&self, rows: &[u32], group: usize) -> Vec<u32> {
        let mut seen = hashbrown::HashSet::with_capacity(rows.len());
        rows.iter().map(|row| self.store.entities(*row as usize)[group - 1]).filter(|e| seen.insert(*e)).collect()
    }
}
impl Permuted {
    fn place(&self, member: u32) -> usize {
        // Entities are sorted, and every one of the part is there.
        self.members.binary_search(&member).unwrap_or(0)
    }
}
impl FieldColumns {
    /// Takes this field's columns from other members, as many.
    fn copy(&self, from: &GroupBatch, to: &mut GroupBatch) {
        let n = to.size.max(1);
        let (singles, numbers) = (to.singles.len() / n, to.numbers.len() / n);
        for member in 0..to.size {
            for s in &self.singles {
                to.singles[member * singles + s] = from.singles[member * singles + s];
            }
            for k in &self.numbers {
                to.numbers[member * numbers + k] = from.numbers[member * numbers + k];
            }
        }
        for &b in &self.bags {
            to.bags[b].clone_from(&from.bags[b]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_holds_each_place_once_and_follows_its_key() {
        for n in [0, 1, 2, 7, 1000] {
            let mut order = permutation(n, 7, "price", 0);
            assert_eq!(order, permutation(n, 7, "price", 0));
            order.sort_unstable();
            assert!(order.iter().enumerate().all(|(i, v)| i == *v as usize) && order.len() == n);
        }
        let first = permutation(1000, 7, "price", 0);
        for other in [permutation(1000, 8, "price", 0), permutation(1000, 7, "user", 0), permutation(1000, 7, "price", 1)] {
            assert!(first.iter().zip(&other).filter(|(a, b)| a == b).count() < 20);
        }
    }

    #[test]
    fn every_permutation_of_three_comes_about_as_often() {
        let mut counts = std::collections::BTreeMap::new();
        for repeat in 0..6000 {
            *counts.entry(permutation(3, 1, "x", repeat)).or_insert(0) += 1;
        }
        assert!(counts.len() == 6 && counts.values().all(|n| (850..1150).contains(n)), "{counts:?}");
    }
}
