//! Which rows a batch touches, and where in the input each of them stands.

use super::Tables;
use crate::data::{Batch, Fields};
use crate::spec::Pooling;
use pulp::Arch;
use rayon::prelude::*;

/// One use of a table row: its vector was added to field `field` of `x[member]`, times `weight`, in the input of a group; or was a value
/// of a sequence, one by one, whose sources follow those of the groups.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Use {
    source: u32,
    member: u32,
    field: u32,
    weight: f32,
}

/// The rows of a batch without repeats, ascending, with all uses of each: what the backward pass sums along.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    unique: Vec<u32>,
    /// `[unique + 1]`: where each row's uses start.
    starts: Vec<u32>,
    uses: Vec<Use>,
    // Direct-address table: a row is in the batch if its stamp is this batch's.
    stamp: Vec<u32>,
    slot: Vec<u32>,
    now: u32,
    touched: Vec<(u32, Use)>,
}

impl Plan {
    /// Rows without repeats, ascending.
    #[must_use]
    pub fn unique(&self) -> &[u32] {
        &self.unique
    }

    /// Plans a batch; buffers are kept from one to the next. The plan is of all sets of tables with these rows, whatever their width.
    /// `sequences` are the bags whose values some tower saw one by one, each with its group and its place there.
    #[allow(clippy::cast_possible_truncation)]
    pub fn build(&mut self, tables: &Tables, fields: &Fields, batch: &Batch, sequences: &[(usize, usize)]) {
        self.touched.clear();
        for (g, (group, members)) in fields.groups.iter().zip(&batch.groups).enumerate() {
            let source = g as u32;
            let f = group.singles.len();
            for (field, shape) in group.singles.iter().enumerate() {
                let first = tables.first_row(shape.table) as u32;
                let field = field as u32;
                for member in 0..members.size {
                    let row = first + members.singles[member * f + field as usize];
                    self.touched.push((row, Use { source, member: member as u32, field, weight: 1.0 }));
                }
            }
            for (b, (shape, bag)) in group.bags.iter().zip(&members.bags).enumerate() {
                let first = tables.first_row(shape.field.table) as u32;
                let field = (f + b) as u32;
                for member in 0..members.size {
                    let range = bag.offsets[member] as usize..bag.offsets[member + 1] as usize;
                    let scale = bag_scale(shape.pooling, bag.weights.get(range.clone()), range.len());
                    for i in range {
                        let weight = scale * bag.weights.get(i).copied().unwrap_or(1.0);
                        self.touched.push((first + bag.rows[i], Use { source, member: member as u32, field, weight }));
                    }
                }
            }
        }
        for (i, &(g, b)) in sequences.iter().enumerate() {
            let (source, first) = ((fields.groups.len() + i) as u32, tables.first_row(fields.groups[g].bags[b].field.table) as u32);
            let values = batch.groups[g].bags[b].rows.iter().enumerate();
            self.touched.extend(values.map(|(at, row)| (first + row, Use { source, member: at as u32, field: 0, weight: 1.0 })));
        }
        self.index(tables.rows());
    }

    #[allow(clippy::cast_possible_truncation)]
    fn index(&mut self, rows: usize) {
        if self.stamp.len() != rows {
            (self.stamp, self.slot, self.now) = (vec![0; rows], vec![0; rows], 0);
        }
        self.now = self.now.wrapping_add(1);
        if self.now == 0 {
            self.stamp.fill(0);
            self.now = 1;
        }
        self.unique.clear();
        for &(row, _) in &self.touched {
            let r = row as usize;
            if self.stamp[r] != self.now {
                self.stamp[r] = self.now;
                self.unique.push(row);
            }
        }
        self.unique.par_sort_unstable();
        for (slot, &row) in self.unique.iter().enumerate() {
            self.slot[row as usize] = slot as u32;
        }
        // Counting sort of the uses by row, in order of the batch.
        self.starts.clear();
        self.starts.resize(self.unique.len() + 1, 0);
        for &(row, _) in &self.touched {
            self.starts[self.slot[row as usize] as usize + 1] += 1;
        }
        for i in 1..self.starts.len() {
            self.starts[i] += self.starts[i - 1];
        }
        let mut next = self.starts.clone();
        self.uses.clear();
        self.uses.resize(self.touched.len(), Use { source: 0, member: 0, field: 0, weight: 0.0 });
        for &(row, at) in &self.touched {
            let slot = self.slot[row as usize] as usize;
            self.uses[next[slot] as usize] = at;
            next[slot] += 1;
        }
    }

    /// Sums the gradient of each source (each group's input, then each sequence's values), `dx [N, W]`, per touched row into
    /// `out [unique, dim]`; a source that is empty is left out. Deterministic: each row's uses are summed in order of the batch, whatever the
    /// number of threads.
    pub fn segment_sum(&self, dx: &[&[f32]], widths: &[usize], dim: usize, out: &mut Vec<f32>) {
        out.clear();
        out.resize(self.unique.len() * dim, 0.0);
        let sum = |chunk: usize, out: &mut [f32]| {
            for (i, out) in out.chunks_exact_mut(dim).enumerate() {
                let slot = chunk * 128 + i;
                for u in &self.uses[self.starts[slot] as usize..self.starts[slot + 1] as usize] {
                    let source = u.source as usize;
                    let Some(dx) = dx.get(source).filter(|dx| !dx.is_empty()) else { continue };
                    let from = &dx[u.member as usize * widths[source] + u.field as usize * dim..][..dim];
                    for (o, d) in out.iter_mut().zip(from) {
                        *o += u.weight * d;
                    }
                }
            }
        };
        out.par_chunks_mut(dim * 128).enumerate().for_each(|(chunk, out)| Arch::new().dispatch(|| sum(chunk, out)));
    }
}

/// Factor of every weight of a bag: 1 for a sum, 1 / Σ weights for a mean (0 for an empty bag).
#[allow(clippy::cast_precision_loss)]
pub(super) fn bag_scale(pooling: Pooling, weights: Option<&[f32]>, len: usize) -> f32 {
    match pooling {
        Pooling::Sum => 1.0,
        Pooling::Mean => {
            let total = match weights {
                Some(w) if !w.is_empty() => w.iter().sum(),
                _ => len as f32,
            };
            if total == 0.0 { 0.0 } else { 1.0 / total }
        }
    }
}
