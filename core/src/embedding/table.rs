//! The rows: weights and optimiser state.

use super::Plan;
use crate::data::TableShape;
use crate::optim::{Rule, initial_moment, state_len};
use crate::random::mix;
use crate::spec::Optimizer;
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;

/// All embedding tables of a model, one range of rows each.
#[derive(Debug, Clone)]
pub struct Tables {
    /// Width of a row.
    dim: usize,
    /// `[rows, dim]`.
    weights: Vec<f32>,
    /// `[rows, state_width]`; empty when the tables are only read.
    state: Vec<f32>,
    state_width: usize,
    ranges: Vec<(String, Range<usize>)>,
}

impl Tables {
    /// Draws normal weights with standard deviation `std`: each value depends on `seed`, the table's name, its row and column only.
    #[must_use]
    pub fn new(shapes: &[TableShape], dim: usize, std: f64, seed: u64) -> Self {
        let mut tables = Self::zeros(shapes, dim);
        for (name, range) in tables.ranges.clone() {
            let key = xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), seed);
            tables.weights[range.start * dim..range.end * dim].par_chunks_mut(1 << 14).enumerate().for_each(|(chunk, out)| {
                for (i, w) in out.iter_mut().enumerate() {
                    *w = normal(key, ((chunk << 14) + i) as u64, std);
                }
            });
        }
        tables
    }
    /// All zeros, to be loaded into.
    #[must_use]
    pub fn zeros(shapes: &[TableShape], dim: usize) -> Self {
        let mut first = 0;
        let ranges = shapes
            .iter()
            .map(|t| {
                let range = first..first + t.rows;
                first = range.end;
                (t.name.clone(), range)
            })
            .collect();
        Self { dim, weights: vec![0.0; first * dim], state: Vec::new(), state_width: 0, ranges }
    }

    /// Allocates the state that `optimizer` needs, unless it is there.
    pub fn prepare(&mut self, optimizer: &Optimizer) {
        self.state_width = state_len(optimizer, self.dim);
        if self.state.len() != self.rows() * self.state_width {
            self.state = vec![initial_moment(optimizer); self.rows() * self.state_width];
        }
    }

    /// Width of a row.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }
    /// Number of rows of all tables.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.weights.len() / self.dim
    }
    /// First row of a table.
    #[must_use]
    pub fn first_row(&self, table: usize) -> usize {
        self.ranges[table].1.start
    }
    /// The weights of a row, `[dim]`.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.weights[row * self.dim..][..self.dim]
    }
    /// Each table's name and weights, `[rows, dim]`.
    pub fn named_weights(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.ranges.iter().map(|(name, r)| (name.as_str(), &self.weights[r.start * self.dim..r.end * self.dim]))
    }
    /// Each table's name and weights, to be loaded into.
    pub fn named_weights_mut(&mut self) -> impl Iterator<Item = (&str, &mut [f32])> {
        split(&self.ranges, &mut self.weights, self.dim)
    }
    /// Each table's name and state, `[rows, state width]`.
    pub fn named_state(&self) -> impl Iterator<Item = (&str, &[f32])> {
        let width = self.state_width;
        self.ranges.iter().map(move |(name, r)| (name.as_str(), &self.state[r.start * width..r.end * width]))
    }
    /// Each table's name and state, to be loaded into.
    pub fn named_state_mut(&mut self) -> impl Iterator<Item = (&str, &mut [f32])> {
        split(&self.ranges, &mut self.state, self.state_width)
    }

    /// Moves the plan's rows against their `gradient`, `[unique, dim]`, in parallel.
    ///
    /// The rows are ascending, so the arrays are cut between them and every thread owns its piece.
    pub fn update(&mut self, plan: &Plan, gradient: &[f32], rule: &Rule) {
        const ROWS: usize = 512;
        let (dim, width) = (self.dim, self.state_width);
        let (mut weights, mut state, mut first) = (self.weights.as_mut_slice(), self.state.as_mut_slice(), 0usize);
        let mut pieces = Vec::with_capacity(plan.unique().len() / ROWS + 1);
        for (rows, gradient) in plan.unique().chunks(ROWS).zip(gradient.chunks(ROWS * dim)) {
            let end = rows.last().map_or(first, |r| *r as usize + 1);
            let (w, rest) = std::mem::take(&mut weights).split_at_mut((end - first) * dim);
            weights = rest;
            let (s, rest) = std::mem::take(&mut state).split_at_mut((end - first) * width);
            state = rest;
            pieces.push((first, rows, gradient, w, s));
            first = end;
        }
        pieces.into_par_iter().for_each(|(first, rows, gradient, weights, state)| {
            Arch::new().dispatch(|| {
                for (row, gradient) in rows.iter().zip(gradient.chunks_exact(dim)) {
                    let at = *row as usize - first;
                    rule.apply(&mut weights[at * dim..][..dim], gradient, &mut state[at * width..][..width], 1.0);
                }
            });
        });
    }
}

fn split<'a>(
    ranges: &'a [(String, Range<usize>)],
    mut values: &'a mut [f32],
    width: usize,
) -> impl Iterator<Item = (&'a str, &'a mut [f32])> {
    ranges.iter().map(move |(name, range)| {
        let (own, rest) = std::mem::take(&mut values).split_at_mut(range.len() * width);
        values = rest;
        (name.as_str(), own)
    })
}

/// The `index`-th normal number of a stream (Box–Muller on two hashed uniforms).
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn normal(key: u64, index: u64, std: f64) -> f32 {
    let uniform = |i: u64| (mix(key ^ mix(i)) >> 11) as f64 / (1u64 << 53) as f64;
    let (a, b) = (1.0 - uniform(2 * index), uniform(2 * index + 1));
    ((-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos() * std) as f32
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_normal_and_repeatable() {
        let shapes = [TableShape { name: "a".into(), rows: 3000 }, TableShape { name: "b".into(), rows: 10 }];
        let t = Tables::new(&shapes, 8, 0.5, 3);
        let n = t.weights.len() as f64;
        let mean = t.weights.iter().map(|w| f64::from(*w)).sum::<f64>() / n;
        let std = (t.weights.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() / n).sqrt();
        assert!(mean.abs() < 0.01 && (std - 0.5).abs() < 0.01, "{mean} {std}");
        assert_eq!(t.weights, Tables::new(&shapes, 8, 0.5, 3).weights);
        assert_ne!(t.weights, Tables::new(&shapes, 8, 0.5, 4).weights);
        assert_ne!(t.row(0), t.row(3000), "tables draw apart");
        let grown = Tables::new(&[TableShape { name: "a".into(), rows: 5000 }], 8, 0.5, 3);
        assert_eq!(t.row(2999), grown.row(2999), "a row does not depend on how many there are");
    }
}
