//! The backward pass of what rows share.

use super::gemm::{View, multiply};
use super::perceptron::Rows;
use pulp::Arch;
use rayon::prelude::*;

/// An input, and the gradients of its shared parts, each with its place.
type Found = (usize, Vec<(usize, Vec<f32>)>);

/// Shared parts: the first layer's gradient summed per member, then multiplied once per member.
pub(super) fn shared_backward(rows: &Rows<'_>, first: &[Vec<f32>], sum: &mut [f32], inputs: &mut [Vec<Vec<f32>>]) {
    // Rows by member, for each shared part of each input.
    let by_member: Vec<Vec<Option<Members>>> =
        rows.inputs.iter().map(|parts| parts.iter().map(|p| p.index.map(|index| Members::of(index, p.members()))).collect()).collect();
    // Each tower by itself; its gradient of a shared part is added to the input's afterwards, in order.
    let mut rest = sum;
    let mut jobs = Vec::new();
    for (t, &(perceptron, input)) in rows.towers.iter().enumerate() {
        let (own, others) = std::mem::take(&mut rest).split_at_mut(perceptron.len());
        rest = others;
        if rows.has_shared(t) {
            jobs.push((t, input, own));
        }
    }
    let one = |(t, input, own): (usize, usize, &mut [f32])| -> Found {
        let layer = &rows.towers[t].0.hidden[0];
        let shared = rows.parts(t).enumerate().filter_map(|(p, part)| Some((p, part, by_member[input][p].as_ref()?)));
        let found = shared.map(|(p, (part, weight), members)| {
            let d = members.sum(&first[t], layer.outputs);
            let d = View::new(&d, part.members(), layer.outputs);
            multiply(&mut own[weight.clone()], true, part.view().t(), d);
            let mut dx = vec![0.0; part.values.len()];
            multiply(&mut dx, false, d, View::new(&layer.weight[weight], part.width, layer.outputs).t());
            (p, dx)
        });
        (input, found.collect())
    };
    let found: Vec<Found> = jobs.into_par_iter().map(one).collect();
    let mut seen = vec![false; rows.inputs.len()];
    for (input, parts) in found {
        for (p, dx) in parts {
            let sum = &mut inputs[input][p];
            if seen[input] { sum.iter_mut().zip(&dx).for_each(|(s, d)| *s += d) } else { *sum = dx }
        }
        seen[input] = true;
    }
}

/// The rows of each member.
struct Members {
    starts: Vec<u32>,
    rows: Vec<u32>,
}
impl Members {
    #[allow(clippy::cast_possible_truncation)]
    fn of(index: &[u32], members: usize) -> Self {
        let mut starts = vec![0u32; members + 1];
        for m in index {
            starts[*m as usize + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let (mut next, mut rows) = (starts.clone(), vec![0; index.len()]);
        for (row, m) in index.iter().enumerate() {
            let at = &mut next[*m as usize];
            rows[*at as usize] = row as u32;
            *at += 1;
        }
        Self { starts, rows }
    }
    /// `d` is `[B, H]`; gives `[N, H]`, each row's summands in order of the batch.
    fn sum(&self, d: &[f32], width: usize) -> Vec<f32> {
        let mut out = vec![0.0; (self.starts.len() - 1) * width];
        out.par_chunks_mut(32 * width).enumerate().for_each(|(i, out)| {
            Arch::new().dispatch(|| {
                for (j, out) in out.chunks_exact_mut(width).enumerate() {
                    let m = i * 32 + j;
                    for row in &self.rows[self.starts[m] as usize..self.starts[m + 1] as usize] {
                        let from = &d[*row as usize * width..][..width];
                        out.iter_mut().zip(from).for_each(|(o, d)| *o += d);
                    }
                }
            });
        });
        out
    }
}
