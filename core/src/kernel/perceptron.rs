//! Perceptrons with `max(x, 0)` between their layers: forward and backward of all towers of a batch.
//!
//! Shapes: B rows, N members of a shared part, W columns of a part, H units of a layer. What rows share is multiplied with its slice of the
//! first layer once per member and then added to the rows; backward, the rows' gradients are summed per member before they are multiplied.

use super::gemm::{View, multiply};
use super::passes::{add_columns, add_members, back_through_head, dot_rows, mask, rectify};
use super::shared::shared_backward;
use super::workspace::{Lane, Workspace, resize};
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;

/// Members of a shared part that are multiplied at once.
const SHARED: usize = 256;

/// A linear layer.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// `[inputs, outputs]`.
    pub weight: Vec<f32>,
    /// `[outputs]`; empty: none.
    pub bias: Vec<f32>,
    /// Number of outputs.
    pub outputs: usize,
}

/// Hidden layers, one at least, and a head that gives one logit.
#[derive(Debug, Clone)]
pub(crate) struct Perceptron {
    /// The hidden layers.
    pub hidden: Vec<Layer>,
    /// The head, with one output.
    pub head: Layer,
}
impl Perceptron {
    /// The layers, the head last.
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.hidden.iter().chain([&self.head])
    }
    /// Number of parameters.
    pub(super) fn len(&self) -> usize {
        self.layers().map(|l| l.weight.len() + l.bias.len()).sum()
    }
    /// A vector of all parameters' gradients → each layer's weight and bias, the head's last.
    fn split<'g>(&self, mut all: &'g mut [f32]) -> Vec<[&'g mut [f32]; 2]> {
        let mut take = |n: usize| {
            let (own, rest) = std::mem::take(&mut all).split_at_mut(n);
            all = rest;
            own
        };
        self.layers().map(|l| [take(l.weight.len()), take(l.bias.len())]).collect()
    }
}

/// One part of an input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    /// `[N, W]`; N = B for what is the rows' own.
    pub values: &'a [f32],
    /// W, at least 1.
    pub width: usize,
    /// `[B]`: the member that each row belongs to; `None`: the rows' own.
    pub index: Option<&'a [u32]>,
}
impl Part<'_> {
    pub(super) fn members(&self) -> usize {
        self.values.len() / self.width
    }
    pub(super) fn view(&self) -> View<'_> {
        View::new(self.values, self.members(), self.width)
    }
    fn rows(&self, rows: &Range<usize>) -> View<'_> {
        View::new(&self.values[rows.start * self.width..rows.end * self.width], rows.len(), self.width)
    }
}

/// What towers read of a batch.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    /// B.
    pub size: usize,
    /// The inputs; towers that share tables share one.
    pub inputs: Vec<Vec<Part<'a>>>,
    /// Each tower, and the input that it reads.
    pub towers: Vec<(&'a Perceptron, usize)>,
}
impl Rows<'_> {
    /// The parts of a tower's input, each with its rows of the first layer's weight: where they start, and how many values they are.
    pub(super) fn parts(&self, tower: usize) -> impl Iterator<Item = (Part<'_>, Range<usize>)> {
        let (perceptron, input) = self.towers[tower];
        let (outputs, mut first) = (perceptron.hidden[0].outputs, 0);
        self.inputs[input].iter().map(move |part| {
            let range = first..first + part.width * outputs;
            first = range.end;
            (*part, range)
        })
    }
    fn shared(&self, tower: usize) -> impl Iterator<Item = (Part<'_>, Range<usize>)> {
        self.parts(tower).filter(|(part, _)| part.index.is_some())
    }
    pub(super) fn has_shared(&self, tower: usize) -> bool {
        self.shared(tower).next().is_some()
    }
    /// Rows of a chunk: few enough for a core's cache, and enough chunks for several cores. It depends on B alone.
    fn chunk(&self) -> usize {
        (self.size / 8).clamp(256, 1024)
    }
}

/// Of a tower and a chunk: its logits, and its activations per layer.
type Piece<'a> = (&'a mut [f32], Vec<&'a mut [f32]>);

/// Per tower `[B]`: the logits. What backward needs stays in the workspace.
pub(crate) fn forward(rows: &Rows<'_>, workspace: &mut Workspace) -> Vec<Vec<f32>> {
    let Workspace { activations, shared, .. } = workspace;
    let towers = rows.towers.len();
    activations.resize_with(towers, Vec::new);
    shared.resize_with(towers, Vec::new);
    for (t, (activations, shared)) in activations.iter_mut().zip(shared.iter_mut()).enumerate() {
        let perceptron = rows.towers[t].0;
        activations.resize_with(perceptron.hidden.len(), Vec::new);
        activations.iter_mut().zip(&perceptron.hidden).for_each(|(a, layer)| resize(a, rows.size * layer.outputs));
        let first = &perceptron.hidden[0];
        shared.resize_with(rows.shared(t).count(), Vec::new);
        for ((part, range), product) in rows.shared(t).zip(shared) {
            resize(product, part.members() * first.outputs);
            let weight = View::new(&first.weight[range], part.width, first.outputs);
            let some = |(product, values): (&mut [f32], &[f32])| {
                multiply(product, false, View::new(values, values.len() / part.width, part.width), weight);
            };
            if part.members() <= SHARED {
                some((product, part.values));
            } else {
                product.par_chunks_mut(SHARED * first.outputs).zip(part.values.par_chunks(SHARED * part.width)).for_each(some);
            }
        }
    }
    let chunk = rows.chunk();
    let mut logits: Vec<Vec<f32>> = vec![vec![0.0; rows.size]; towers];
    // Chunk by chunk: of each tower.
    let mut pieces: Vec<Vec<Piece<'_>>> = (0..rows.size.div_ceil(chunk)).map(|_| Vec::with_capacity(towers)).collect();
    for (t, (activations, logits)) in activations.iter_mut().zip(&mut logits).enumerate() {
        let layers = activations.iter_mut().zip(&rows.towers[t].0.hidden);
        let mut layers: Vec<_> = layers.map(|(a, layer)| a.chunks_mut(chunk * layer.outputs)).collect();
        for (piece, logits) in pieces.iter_mut().zip(logits.chunks_mut(chunk)) {
            piece.push((logits, layers.iter_mut().filter_map(Iterator::next).collect()));
        }
    }
    let shared = &*shared;
    let one = |(at, piece): (usize, Vec<Piece<'_>>)| {
        for (t, (logits, mut layers)) in piece.into_iter().enumerate() {
            let from = at * chunk;
            forward_chunk(rows, t, from..from + logits.len(), &shared[t], &mut layers, logits);
        }
    };
    if pieces.len() == 1 {
        pieces.into_iter().enumerate().for_each(one);
    } else {
        pieces.into_par_iter().enumerate().for_each(one);
    }
    logits
}

fn forward_chunk(rows: &Rows<'_>, tower: usize, range: Range<usize>, shared: &[Vec<f32>], layers: &mut [&mut [f32]], logits: &mut [f32]) {
    let perceptron = rows.towers[tower].0;
    let Some((h, _)) = layers.split_first_mut() else { return };
    let first = &perceptron.hidden[0];
    let mut written = false;
    for (part, weight) in rows.parts(tower).filter(|(part, _)| part.index.is_none()) {
        multiply(h, written, part.rows(&range), View::new(&first.weight[weight], part.width, first.outputs));
        written = true;
    }
    if !written {
        h.fill(0.0);
    }
    for ((part, _), product) in rows.shared(tower).zip(shared) {
        let Some(index) = part.index else { continue };
        add_members(h, product, first.outputs, &index[range.clone()]);
    }
    rectify(h, &first.bias, first.outputs);
    for l in 1..perceptron.hidden.len() {
        let (before, layer) = (&perceptron.hidden[l - 1], &perceptron.hidden[l]);
        let (done, h) = layers.split_at_mut(l);
        let weight = View::new(&layer.weight, before.outputs, layer.outputs);
        multiply(h[0], false, View::new(done[l - 1], range.len(), before.outputs), weight);
        rectify(h[0], &layer.bias, layer.outputs);
    }
    if let (Some(h), Some(last)) = (layers.last(), perceptron.hidden.last()) {
        dot_rows(h, &perceptron.head.weight, last.outputs, perceptron.head.bias.first().copied().unwrap_or(0.0), logits);
    }
}

/// What the backward pass gives.
#[derive(Debug)]
pub(crate) struct Gradients {
    /// Per tower, per layer with the head last: of the weight, and of the bias (empty where there is none).
    pub parameters: Vec<Vec<[Vec<f32>; 2]>>,
    /// Per input and part `[N, W]`.
    pub inputs: Vec<Vec<Vec<f32>>>,
}

/// The backward pass after [`forward`] on the same rows and workspace; `dz` is per tower `[B]`.
pub(crate) fn backward(rows: &Rows<'_>, dz: &[Vec<f32>], workspace: &mut Workspace) -> Gradients {
    let mut inputs: Vec<Vec<Vec<f32>>> =
        rows.inputs.iter().map(|parts| parts.iter().map(|p| workspace.take(p.values.len())).collect()).collect();
    let Workspace { activations, first, lanes, .. } = workspace;
    let chunk = rows.chunk();
    let chunks = rows.size.div_ceil(chunk);
    let per_lane = chunks.div_ceil(chunks.clamp(1, 8)) * chunk;
    let parameters: usize = rows.towers.iter().map(|(p, _)| p.len()).sum();
    let widest = rows.towers.iter().flat_map(|(p, _)| &p.hidden).map(|l| l.outputs).max().unwrap_or(0);
    lanes.resize_with(rows.size.div_ceil(per_lane).max(1), Lane::default);
    first.resize_with(rows.towers.len(), Vec::new);
    for (t, first) in first.iter_mut().enumerate() {
        resize(first, if rows.has_shared(t) { rows.size * rows.towers[t].0.hidden[0].outputs } else { 0 });
    }

    let mut jobs: Vec<Job<'_>> = Vec::with_capacity(lanes.len());
    {
        let mut dx: Vec<Vec<_>> = inputs
            .iter_mut()
            .zip(&rows.inputs)
            .map(|(inputs, parts)| {
                let own = inputs.iter_mut().zip(parts).filter(|(_, part)| part.index.is_none());
                own.map(|(dx, part)| dx.chunks_mut(per_lane * part.width)).collect()
            })
            .collect();
        let widths = rows.towers.iter().map(|(p, _)| per_lane * p.hidden[0].outputs);
        let mut dh: Vec<_> = first.iter_mut().zip(widths).map(|(f, width)| f.chunks_mut(width)).collect();
        for (i, lane) in lanes.iter_mut().enumerate() {
            resize(&mut lane.parameters, parameters);
            lane.parameters.fill(0.0);
            lane.scratch.iter_mut().for_each(|s| resize(s, chunk * widest));
            jobs.push(Job {
                rows: i * per_lane..rows.size.min((i + 1) * per_lane),
                lane,
                dx: dx.iter_mut().map(|parts| parts.iter_mut().map(|p| p.next().unwrap_or_default()).collect()).collect(),
                dh: dh.iter_mut().map(|f| f.next().unwrap_or_default()).collect(),
            });
        }
    }
    let activations = &*activations;
    let run = |mut job: Job<'_>| job.run(rows, dz, activations, chunk);
    if jobs.len() == 1 {
        jobs.into_iter().for_each(run);
    } else {
        jobs.into_par_iter().for_each(run);
    }
    let sum = sum_lanes(lanes);
    shared_backward(rows, first, sum, &mut inputs);
    let mut rest = &mut *sum;
    let of_tower = |(perceptron, _): &(&Perceptron, usize)| {
        let (own, others) = std::mem::take(&mut rest).split_at_mut(perceptron.len());
        rest = others;
        perceptron.split(own).into_iter().map(|[weight, bias]| [weight.to_vec(), bias.to_vec()]).collect()
    };
    Gradients { parameters: rows.towers.iter().map(of_tower).collect(), inputs }
}

/// The chunks of a lane.
struct Job<'a> {
    rows: Range<usize>,
    lane: &'a mut Lane,
    /// Per input, of each part that is the rows' own: these rows of its gradient.
    dx: Vec<Vec<&'a mut [f32]>>,
    /// Per tower: these rows of its first layer's gradient; empty where it is not needed.
    dh: Vec<&'a mut [f32]>,
}
impl Job<'_> {
    fn run(&mut self, rows: &Rows<'_>, dz: &[Vec<f32>], activations: &[Vec<Vec<f32>>], chunk: usize) {
        for from in self.rows.clone().step_by(chunk) {
            let range = from..self.rows.end.min(from + chunk);
            let mut seen = vec![false; rows.inputs.len()];
            let mut all = self.lane.parameters.as_mut_slice();
            for (t, &(perceptron, input)) in rows.towers.iter().enumerate() {
                let (own, rest) = all.split_at_mut(perceptron.len());
                all = rest;
                let local = range.start - self.rows.start..range.end - self.rows.start;
                let d = through_layers(perceptron, &activations[t], &range, &dz[t], own, &mut self.lane.scratch);
                let first = &perceptron.hidden[0];
                if !self.dh[t].is_empty() {
                    self.dh[t][local.start * first.outputs..local.end * first.outputs].copy_from_slice(d);
                }
                let d = View::new(d, range.len(), first.outputs);
                let parts = rows.parts(t).filter(|(part, _)| part.index.is_none());
                for ((part, weight), dx) in parts.zip(&mut self.dx[input]) {
                    multiply(&mut own[weight.clone()], true, part.rows(&range).t(), d);
                    let dx = &mut dx[local.start * part.width..local.end * part.width];
                    multiply(dx, seen[input], d, View::new(&first.weight[weight], part.width, first.outputs).t());
                }
                seen[input] = true;
            }
        }
    }
}

/// From the logits down to the first layer's units: adds to `own`, the gradients of all parameters but the first layer's weight, and gives the
/// gradient by what the first layer puts out, `[rows, H₁]`.
fn through_layers<'s>(
    perceptron: &Perceptron,
    activations: &[Vec<f32>],
    range: &Range<usize>,
    dz: &[f32],
    own: &mut [f32],
    scratch: &'s mut [Vec<f32>; 2],
) -> &'s [f32] {
    let mut gradients = perceptron.split(own);
    let [mut d, mut next] = scratch.each_mut().map(Vec::as_mut_slice);
    let of_chunk = |l: usize| {
        let width = perceptron.hidden[l].outputs;
        &activations[l][range.start * width..range.end * width]
    };
    let last = perceptron.hidden.len() - 1;
    let dz = &dz[range.clone()];
    let width = perceptron.hidden[last].outputs;
    if let Some([weight, bias]) = gradients.last_mut() {
        back_through_head(&mut d[..dz.len() * width], of_chunk(last), dz, &perceptron.head.weight, weight);
        bias.iter_mut().for_each(|b| *b += dz.iter().sum::<f32>());
    }
    for l in (0..=last).rev() {
        let layer = &perceptron.hidden[l];
        let n = range.len() * layer.outputs;
        let [weight, bias] = &mut gradients[l];
        if !bias.is_empty() {
            add_columns(bias, &d[..n]);
        }
        if l == 0 {
            return &d[..n];
        }
        let inputs = perceptron.hidden[l - 1].outputs;
        let by = View::new(&d[..n], range.len(), layer.outputs);
        multiply(weight, true, View::new(of_chunk(l - 1), range.len(), inputs).t(), by);
        let below = &mut next[..range.len() * inputs];
        multiply(below, false, by, View::new(&layer.weight, inputs, layer.outputs).t());
        mask(below, of_chunk(l - 1));
        std::mem::swap(&mut d, &mut next);
    }
    d
}

/// Sums the lanes' gradients into the first one's, in order.
fn sum_lanes(lanes: &mut [Lane]) -> &mut [f32] {
    const PIECE: usize = 1 << 13;
    let Some((sum, others)) = lanes.split_first_mut() else { return &mut [] };
    let others = &*others;
    if !others.is_empty() {
        sum.parameters.par_chunks_mut(PIECE).enumerate().for_each(|(i, sum)| {
            Arch::new().dispatch(|| {
                for lane in others {
                    for (s, more) in sum.iter_mut().zip(&lane.parameters[i * PIECE..]) {
                        *s += more;
                    }
                }
            });
        });
    }
    &mut sum.parameters
}
