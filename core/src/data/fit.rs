//! Fits a [`Preprocessor`] on training rows alone: no other row has any influence on it, not even on the order of ids.

use super::dictionary::Dictionary;
use super::layout::{Layout, NumberColumn};
use super::preprocess::{NumberFit, Preprocessor, TableVocabulary, signed_log1p};
use super::split::Part;
use super::store::{Store, StoredGroup};
use crate::spec::{Buckets, Transform};

/// Values looked at for quantiles.
const QUANTILE_SAMPLE: usize = 1 << 20;

/// The members of a group that training rows touch: in order of first appearance, with how many training rows each has.
struct Members<'a> {
    group: &'a StoredGroup,
    members: Vec<(u32, u32)>,
}

/// Fits on the rows whose part is train.
pub(crate) fn fit(layout: &Layout, store: &Store, parts: &[u8]) -> Preprocessor {
    let train = || parts.iter().enumerate().filter(|(_, p)| **p == Part::Train.code()).map(|(row, _)| row);
    let groups: Vec<Members<'_>> = store
        .groups
        .iter()
        .enumerate()
        .map(|(i, group)| {
            let mut members: Vec<(u32, u32)> = Vec::new();
            if i > 0 {
                // Where each entity stands in `members`, plus one.
                let mut at = vec![0_u32; group.size];
                for row in train() {
                    let entity = store.entities(row)[i - 1];
                    let slot = &mut at[entity as usize];
                    if *slot == 0 {
                        members.push((entity, 0));
                        *slot = u32::try_from(members.len()).unwrap_or(u32::MAX);
                    }
                    members[*slot as usize - 1].1 += 1;
                }
            }
            Members { group, members }
        })
        .collect();
    let each = |group: usize, f: &mut dyn FnMut(usize, u64)| {
        if group == 0 {
            train().for_each(|row| f(row, 1));
        } else {
            groups[group].members.iter().for_each(|&(entity, rows)| f(entity as usize, u64::from(rows)));
        }
    };
    let mut counts: Vec<Counts> = (0..layout.tables.len()).map(|t| Counts::new(store.table_values(t).len() + 1)).collect();
    for (g, (group, columns)) in groups.iter().zip(&layout.groups).enumerate() {
        if columns.ids.is_empty() && columns.bags.is_empty() {
            continue;
        }
        for c in &mut counts {
            c.stamps.fill(u32::MAX);
        }
        let mut ordinal = 0;
        each(g, &mut |member, rows| {
            for (&code, column) in group.group.codes(member).iter().zip(&columns.ids) {
                counts[column.table].add(code, rows, ordinal);
            }
            for (bag, column) in group.group.bags.iter().zip(&columns.bags) {
                bag.get(member).0.iter().for_each(|&code| counts[column.id.table].add(code, rows, ordinal));
            }
            ordinal += 1;
        });
    }
    let tables = layout.tables.iter().zip(counts).enumerate().map(|(t, (table, counted))| {
        TableVocabulary::in_advance(t, table).unwrap_or_else(|| {
            let (mut ids, mut counts) = (Vec::new(), Vec::new());
            for code in counted.order {
                let count = counted.rows[code as usize];
                if count >= table.min_count {
                    ids.push(store.table_values(t)[code as usize - 1].clone());
                    counts.push(count);
                }
            }
            TableVocabulary::Learned { ids: Dictionary::of_values(ids), counts }
        })
    });
    let tables = tables.collect();
    let numbers = layout.groups.iter().enumerate().map(|(g, columns)| {
        let column = |(k, column): (usize, &NumberColumn)| {
            fit_number(&column.transform, &mut |f| each(g, &mut |member, rows| f(groups[g].group.numbers(member)[k], rows)))
        };
        columns.numbers.iter().enumerate().map(column).collect()
    });
    let numbers = numbers.collect();
    Preprocessor::new(layout.clone(), numbers, tables)
}

/// How many training rows hold each code of a table.
struct Counts {
    rows: Vec<u64>,
    /// Ordinal of the member that counted last, so that an id twice in one row counts once.
    stamps: Vec<u32>,
    order: Vec<u32>,
}
impl Counts {
    fn new(codes: usize) -> Self {
        Self { rows: vec![0; codes], stamps: vec![u32::MAX; codes], order: Vec::new() }
    }
    #[inline]
    fn add(&mut self, code: u32, rows: u64, ordinal: u32) {
        let at = code as usize;
        if code == 0 || self.stamps[at] == ordinal {
            return;
        }
        self.stamps[at] = ordinal;
        if self.rows[at] == 0 {
            self.order.push(code);
        }
        self.rows[at] += rows;
    }
}

/// Calls its argument with every value (NaN is missing) and how many training rows hold it.
type EachValue<'a> = dyn FnMut(&mut dyn FnMut(f32, u64)) + 'a;

#[allow(clippy::cast_precision_loss)]
fn fit_number(transform: &Transform, each: &mut EachValue<'_>) -> NumberFit {
    let log = *transform == Transform::Log1p;
    let (mut n, mut mean, mut squares, mut indicator, mut values) = (0_u64, 0.0_f64, 0.0_f64, false, 0_usize);
    // Welford 1962, with weights.
    each(&mut |x, rows| {
        if x.is_nan() {
            indicator = true;
            return;
        }
        values += 1;
        let x = if log { signed_log1p(f64::from(x)) } else { f64::from(x) };
        n += rows;
        let d = x - mean;
        mean += d * rows as f64 / n as f64;
        squares += rows as f64 * d * (x - mean);
    });
    match transform {
        Transform::None => NumberFit::None { indicator },
        Transform::Log1p | Transform::Standardise => {
            NumberFit::Scale { log, mean, std: if n == 0 { 0.0 } else { (squares / n as f64).sqrt() }, indicator }
        }
        Transform::Bucketize(Buckets::Edges(edges)) => {
            let mut edges = edges.clone();
            edges.sort_by(f64::total_cmp);
            edges.dedup();
            NumberFit::Ranges { edges }
        }
        Transform::Bucketize(Buckets::Quantiles(ranges)) => {
            let stride = values.div_ceil(QUANTILE_SAMPLE).max(1);
            let (mut sample, mut at): (Vec<(f32, u64)>, usize) = (Vec::new(), 0);
            each(&mut |x, rows| {
                if !x.is_nan() {
                    if at.is_multiple_of(stride) {
                        sample.push((x, rows));
                    }
                    at += 1;
                }
            });
            NumberFit::Ranges { edges: quantiles(sample, ranges.get()) }
        }
    }
}

/// Edges that cut weighted values into `ranges` parts of about the same weight; equal edges merge.
fn quantiles(mut sample: Vec<(f32, u64)>, ranges: usize) -> Vec<f64> {
    sample.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: u64 = sample.iter().map(|s| s.1).sum();
    let lowest = sample.first().map_or(f32::NAN, |s| s.0);
    let (mut edges, mut below, mut at): (Vec<f64>, u64, usize) = (Vec::new(), 0, 0);
    for i in 1..ranges {
        let wanted = u64::try_from(u128::from(total) * i as u128 / ranges as u128).unwrap_or(total);
        while at < sample.len() && below + sample[at].1 <= wanted {
            below += sample[at].1;
            at += 1;
        }
        // An edge at the lowest value would leave the range below it empty.
        if let Some(&(x, _)) = sample.get(at)
            && x > lowest
            && edges.last() != Some(&f64::from(x))
        {
            edges.push(f64::from(x));
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_edges_split_the_weight_evenly() {
        let sample = (1..=100).rev().map(|i| (i as f32, 1)).collect();
        assert_eq!(quantiles(sample, 4), [26.0, 51.0, 76.0]);
        assert_eq!(quantiles(vec![(1.0, 5), (2.0, 5)], 2), [2.0]);
        assert_eq!(quantiles(vec![(3.0, 9)], 10), [0.0; 0]);
        assert_eq!(quantiles(Vec::new(), 10), [0.0; 0]);
        assert_eq!(quantiles(vec![(0.0, 90), (5.0, 10)], 10), [5.0]);
    }

    #[test]
    fn scaling_takes_missing_apart() {
        let values = [1.0, f32::NAN, 3.0];
        let fit = fit_number(&Transform::Standardise, &mut |f| values.iter().for_each(|&x| f(x, 1)));
        assert_eq!(fit, NumberFit::Scale { log: false, mean: 2.0, std: 1.0, indicator: true });
        let fit = fit_number(&Transform::Standardise, &mut |f| f(4.0, 7));
        assert_eq!(fit, NumberFit::Scale { log: false, mean: 4.0, std: 0.0, indicator: false });
    }
}
