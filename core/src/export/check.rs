//! A graph against the model that it was written from, on made-up rows.

use super::inputs::Inputs;
use crate::data::{BagBatch, Batch, GroupBatch, NumberFit};
use crate::graph::words::prediction_columns;
use crate::onnx::evaluate::Named;
use crate::onnx::{Evaluated, Onnx, evaluate};
use crate::random::mix;
use crate::score::{Scorer, probabilities};
use anyhow::{Context, Result, bail};

/// Made-up rows.
const ROWS: usize = 32;
/// Values of the longest made-up bag.
const LONGEST: usize = 4;
/// How far a probability may be off, as a share of those above 1. Single precision rounds by less, another formula is off by more.
const TOLERANCE: f64 = 1e-4;
/// Quotients beyond are not compared: in single precision they have no size.
const BEYOND: f64 = 1e30;

/// A stream of numbers that are the same every time.
struct Draw(u64);
impl Draw {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        mix(self.0)
    }
    #[allow(clippy::cast_possible_truncation)]
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    /// Missing now and then, else a number of the size that the fit has seen.
    #[allow(clippy::cast_possible_truncation)]
    fn raw(&mut self, fit: &NumberFit) -> f32 {
        if self.below(8) == 0 {
            return f32::NAN;
        }
        let unit = ((self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0) * 2.0;
        let raw = match fit {
            NumberFit::None { .. } => unit,
            NumberFit::Scale { log: false, mean, std, .. } => mean + unit * std,
            NumberFit::Scale { log: true, mean, std, .. } => {
                let log = mean + unit * std;
                log.abs().exp_m1().copysign(log)
            }
            NumberFit::Ranges { edges } if edges.is_empty() => unit,
            NumberFit::Ranges { edges } => edges[self.below(edges.len())] + f64::from(self.below(3) as f32 - 1.0),
        };
        raw.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
    }
}

/// The largest difference between the probabilities of graph and model.
///
/// # Errors
/// A graph that cannot be computed, or that gives other probabilities.
pub(super) fn compare(scorer: &Scorer, graph: &Onnx<'_>, inputs: &Inputs) -> Result<f64> {
    let (batch, values) = made_up(scorer, inputs);
    let found = evaluate(graph, values).context("the ONNX graph cannot be computed")?;
    let logits = scorer.model.scorer().logits(&batch)?;
    let expected = probabilities(&scorer.graph, &logits.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut largest = 0.0f64;
    for (name, expected) in prediction_columns(&scorer.graph).iter().zip(&expected) {
        let found = found.get(name).with_context(|| format!("the ONNX graph has no output `{name}`"))?.values();
        let comparable = found.iter().zip(expected).filter(|(_, q)| **q < BEYOND);
        let off = comparable.map(|(p, q)| (p - q).abs() / q.max(1.0)).fold(0.0, |a: f64, b| if b.is_nan() { b } else { a.max(b) });
        if off.is_nan() || off > TOLERANCE || found.len() != expected.len() {
            bail!(
                "the ONNX graph gives other probabilities than the model: `{name}` is off by {off:.1e} on made-up rows; the `onnx` of a tower or \
                 encoder does not do what its `forward` does (the conformance kit finds where)"
            );
        }
        largest = largest.max(off);
    }
    Ok(largest)
}

/// Rows as the model takes them, and the same as the graph's inputs.
fn made_up(scorer: &Scorer, inputs: &Inputs) -> (Batch, Named<'static>) {
    let (preprocessor, mut draw) = (&scorer.preprocessor, Draw(1));
    let (layout, fields) = (preprocessor.layout(), preprocessor.fields());
    let mut batch = Batch { size: ROWS, ..Batch::default() };
    let mut values = Named::new();
    for (g, (group, names)) in layout.groups.iter().zip(&inputs.groups).enumerate() {
        let mut draw_rows = |table: usize, n: usize| -> Vec<u32> {
            (0..n).map(|_| u32::try_from(draw.below(fields.tables[table].rows)).unwrap_or(0)).collect()
        };
        let ids: Vec<Vec<u32>> = group.ids.iter().map(|c| draw_rows(c.table, ROWS)).collect();
        for (name, rows) in names.ids.iter().zip(&ids) {
            values.insert(name.clone(), wholes(vec![ROWS], rows));
        }
        let padded: Vec<Vec<u32>> = group.bags.iter().map(|b| draw_rows(b.id.table, ROWS * LONGEST)).collect();
        let mut bags = Vec::new();
        for ((column, (rows, weights)), padded) in group.bags.iter().zip(&names.bags).zip(padded) {
            let (bag, mask) = bag(&mut draw, &padded, column.weights.is_some());
            values.insert(rows.clone(), wholes(vec![ROWS, LONGEST], &padded));
            values.insert(weights.clone(), Evaluated::floats(vec![ROWS, LONGEST], mask));
            bags.push(bag);
        }
        let raw: Vec<Vec<f32>> = preprocessor.numbers(g).iter().map(|fit| (0..ROWS).map(|_| draw.raw(fit)).collect()).collect();
        for (name, raw) in names.numbers.iter().zip(&raw) {
            values.insert(name.clone(), Evaluated::floats(vec![ROWS], raw.clone()));
        }
        let (mut singles, mut numbers) = (Vec::new(), Vec::new());
        for row in 0..ROWS {
            singles.extend(ids.iter().map(|column| column[row]));
            let here: Vec<f32> = raw.iter().map(|column| column[row]).collect();
            preprocessor.push_numbers(g, &here, &mut singles, &mut numbers);
        }
        // Every row is its own member.
        let index = if g == 0 { Vec::new() } else { (0..ROWS).map(|r| u32::try_from(r).unwrap_or(0)).collect() };
        batch.groups.push(GroupBatch { size: ROWS, index, singles, bags, numbers });
    }
    (batch, values)
}

fn wholes(dims: Vec<usize>, rows: &[u32]) -> Evaluated<'static> {
    Evaluated::wholes(dims, &rows.iter().map(|r| i64::from(*r)).collect::<Vec<_>>())
}

/// Of padded rows some first ones, and the weights of all.
#[allow(clippy::cast_possible_truncation)]
fn bag(draw: &mut Draw, padded: &[u32], weighted: bool) -> (BagBatch, Vec<f32>) {
    let (mut bag, mut mask) = (BagBatch { offsets: vec![0], ..BagBatch::default() }, Vec::new());
    for rows in padded.chunks(LONGEST) {
        let length = draw.below(LONGEST + 1);
        for (at, row) in rows.iter().enumerate() {
            let weight = if weighted { 0.25 + draw.below(8) as f32 / 4.0 } else { 1.0 };
            mask.push(if at < length { weight } else { 0.0 });
            if at < length {
                bag.rows.push(*row);
                bag.weights.extend(weighted.then_some(weight));
            }
        }
        bag.offsets.push(bag.rows.len() as u32);
    }
    (bag, mask)
}
