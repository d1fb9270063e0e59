//! Table rows → input columns.

use super::Tables;
use super::plan::bag_scale;
use crate::data::{GroupBatch, GroupFields};
use rayon::prelude::*;

/// What is laid out of a group's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// Width of a field.
    pub dim: usize,
    /// Whether the numbers follow the fields.
    pub numbers: bool,
}
impl Columns {
    /// Columns of a group's input.
    #[must_use]
    pub fn width(self, fields: &GroupFields) -> usize {
        (fields.singles.len() + fields.bags.len()) * self.dim + if self.numbers { fields.numbers.len() } else { 0 }
    }
}

/// The input of one group, `[N, W]` row-major: single fields, pooled bags, numbers.
#[must_use]
pub fn gather(tables: &Tables, columns: Columns, fields: &GroupFields, members: &GroupBatch) -> Vec<f32> {
    let mut x = vec![0.0f32; members.size * columns.width(fields)];
    gather_into(&mut x, tables, columns, fields, members);
    x
}

/// As [`gather`], into `x`, `[N, W]`, whatever it holds.
pub fn gather_into(x: &mut [f32], tables: &Tables, columns: Columns, fields: &GroupFields, members: &GroupBatch) {
    const MEMBERS: usize = 128;
    let (f, k, dim, width) = (fields.singles.len(), fields.numbers.len(), tables.dim(), columns.width(fields));
    if width == 0 {
        return;
    }
    let first: Vec<usize> = fields.singles.iter().map(|s| tables.first_row(s.table)).collect();
    let lay_out = |(chunk, x): (usize, &mut [f32])| {
        for (i, x) in x.chunks_exact_mut(width).enumerate() {
            let member = chunk * MEMBERS + i;
            for ((x, row), first) in x.chunks_exact_mut(dim).zip(&members.singles[member * f..][..f]).zip(&first) {
                x.copy_from_slice(tables.row(first + *row as usize));
            }
            for (b, (shape, bag)) in fields.bags.iter().zip(&members.bags).enumerate() {
                let range = bag.offsets[member] as usize..bag.offsets[member + 1] as usize;
                let scale = bag_scale(shape.pooling, bag.weights.get(range.clone()), range.len());
                let (out, first) = (&mut x[(f + b) * dim..][..dim], tables.first_row(shape.field.table));
                out.fill(0.0);
                for at in range {
                    let weight = scale * bag.weights.get(at).copied().unwrap_or(1.0);
                    for (o, w) in out.iter_mut().zip(tables.row(first + bag.rows[at] as usize)) {
                        *o += weight * w;
                    }
                }
            }
            if columns.numbers {
                x[width - k..].copy_from_slice(&members.numbers[member * k..][..k]);
            }
        }
    };
    // A server's few rows are not worth another thread's attention.
    if members.size <= MEMBERS {
        lay_out((0, x));
    } else {
        x.par_chunks_mut(MEMBERS * width).enumerate().for_each(lay_out);
    }
}

/// Rows of one table, one after the other: `[rows, dim]` row-major.
#[must_use]
pub fn gather_values(tables: &Tables, table: usize, rows: &[u32]) -> Vec<f32> {
    let first = tables.first_row(table);
    rows.iter().flat_map(|row| tables.row(first + *row as usize)).copied().collect()
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss)]
mod tests {
    use super::*;
    use crate::data::{BagBatch, BagField, Batch, Field, Fields, NumberField, TableShape};
    use crate::embedding::Plan;
    use crate::optim::Rule;
    use crate::spec::{Optimizer, Pooling};

    fn fields() -> Fields {
        let field = |name: &str, table| Field { name: name.into(), feature: name.into(), table };
        let bag = |name: &str, table, pooling| BagField { field: field(name, table), pooling, attend_to: None };
        Fields {
            groups: vec![
                GroupFields {
                    name: "row".into(),
                    singles: vec![field("item", 0), field("shop", 1)],
                    bags: vec![bag("tags", 0, Pooling::Mean)],
                    numbers: vec![NumberField { name: "price".into(), feature: "price".into(), is_missing: false }],
                },
                GroupFields {
                    name: "user".into(),
                    singles: vec![field("user", 1)],
                    bags: vec![bag("seen", 0, Pooling::Sum)],
                    numbers: vec![],
                },
            ],
            tables: vec![TableShape { name: "item".into(), rows: 6 }, TableShape { name: "shop".into(), rows: 4 }],
            aux: vec![],
        }
    }
    fn batch() -> Batch {
        Batch {
            size: 3,
            groups: vec![
                GroupBatch {
                    size: 3,
                    index: vec![],
                    singles: vec![2, 3, 5, 3, 2, 0],
                    bags: vec![BagBatch { offsets: vec![0, 2, 2, 5], rows: vec![2, 4, 1, 1, 5], weights: vec![1., 3., 0.5, 0.5, 2.] }],
                    numbers: vec![0.5, -1.0, 2.0],
                },
                GroupBatch {
                    size: 2,
                    index: vec![1, 0, 1],
                    singles: vec![3, 1],
                    bags: vec![BagBatch { offsets: vec![0, 1, 4], rows: vec![2, 2, 3, 2], weights: vec![] }],
                    numbers: vec![],
                },
            ],
            ..Batch::default()
        }
    }

    fn coefficient(group: usize, i: usize) -> f64 {
        ((i * 7 + group * 3) % 11) as f64 / 4.0 - 1.0
    }

    /// Loss Σ c·x with fixed c: its gradient by every table weight, by central differences, against plan and segment sum.
    #[test]
    fn gradients_reach_the_rows_they_came_from() {
        let (fields, batch) = (fields(), batch());
        let mut tables = Tables::new(&fields.tables, 2, 1.0, 5);
        let widths = [7usize, 4];
        let loss = |t: &Tables| -> f64 {
            let mut sum = 0.0;
            for (g, (f, m)) in fields.groups.iter().zip(&batch.groups).enumerate() {
                for (i, x) in gather(t, Columns { dim: 2, numbers: true }, f, m).iter().enumerate() {
                    sum += f64::from(*x) * coefficient(g, i);
                }
            }
            sum
        };
        #[allow(clippy::cast_possible_truncation)]
        let dx: Vec<Vec<f32>> = (0..2).map(|g| (0..batch.groups[g].size * widths[g]).map(|i| coefficient(g, i) as f32).collect()).collect();
        let mut plan = Plan::default();
        for _ in 0..2 {
            plan.build(&tables, &fields, &batch, &[(1, 0)]);
        }
        let mut gradient = Vec::new();
        plan.segment_sum(&[&dx[0], &dx[1]], &widths, 2, &mut gradient);
        assert_eq!(plan.unique(), [1, 2, 3, 4, 5, 6, 7, 9]);
        for row in 0..tables.rows() {
            for column in 0..2 {
                let mut moved = [tables.clone(), tables.clone()];
                for (t, h) in moved.iter_mut().zip([1e-2f32, -1e-2]) {
                    let mut all: Vec<_> = t.named_weights_mut().collect();
                    let (table, at) = if row < 6 { (0, row) } else { (1, row - 6) };
                    all[table].1[at * 2 + column] += h;
                }
                let expected = (loss(&moved[0]) - loss(&moved[1])) / 2e-2;
                let found = plan.unique().iter().position(|r| *r as usize == row).map_or(0.0, |s| gradient[s * 2 + column]);
                assert!((expected - f64::from(found)).abs() < 1e-3, "row {row}: {found} against {expected}");
            }
        }
        // The update moves these rows and no others.
        let optimizer = Optimizer::Sgd { lr: 0.1, l2: 0.0 };
        tables.prepare(&optimizer);
        let before = tables.clone();
        tables.update(&plan, &gradient, &Rule::at(&optimizer, 1, 1.0));
        for row in 0..tables.rows() {
            let slot = plan.unique().iter().position(|r| *r as usize == row);
            for c in 0..2 {
                let expected = before.row(row)[c] - slot.map_or(0.0, |s| 0.1 * gradient[s * 2 + c]);
                assert!((tables.row(row)[c] - expected).abs() < 1e-6);
            }
        }
    }
}
