//! Isotonic regression by pooling adjacent violators, made strictly monotone.
//!
//! The regression itself is a staircase: rows of one step would tie, and ties change an AUC. So the stairs' *centres* are joined by straight
//! lines in logit space, level at both ends, and the whole is tilted by a slope of [`TILT`], which moves no logit of a usual range
//! by more than a thousandth and keeps any two different logits apart.

use super::{Map, Sample};

/// The least slope anywhere.
pub(crate) const TILT: f64 = 1e-4;

/// Rows of one rate, one step of the staircase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Block {
    /// Sum of weights.
    pub weight: f64,
    /// Weight of the rows with label 1.
    pub positive: f64,
    /// Weighted sum of logits.
    moment: f64,
    /// The lowest and the highest logit.
    pub low: f64,
    pub high: f64,
}
impl Block {
    pub(super) fn rate(&self) -> f64 {
        self.positive / self.weight
    }
    fn centre(&self) -> f64 {
        (self.moment / self.weight).clamp(self.low, self.high)
    }
    fn join(&mut self, next: &Self) {
        self.weight += next.weight;
        self.positive += next.positive;
        self.moment += next.moment;
        self.high = next.high;
    }
}

/// Isotonic regression of the label on the logit: blocks in ascending order, of strictly ascending rates.
pub(super) fn pool(sample: &Sample) -> Vec<Block> {
    let mut order: Vec<usize> = (0..sample.logits.len()).filter(|r| sample.weights[*r] > 0.0).collect();
    order.sort_unstable_by(|a, b| sample.logits[*a].total_cmp(&sample.logits[*b]).then(a.cmp(b)));
    let mut blocks: Vec<Block> = Vec::new();
    for tied in order.chunk_by(|a, b| sample.logits[*a] == sample.logits[*b]) {
        let z = sample.logits[tied[0]];
        let mut block = Block { weight: 0.0, positive: 0.0, moment: 0.0, low: z, high: z };
        for row in tied {
            let w = sample.weights[*row];
            block.weight += w;
            block.moment += w * z;
            block.positive += if sample.labels[*row] == 0 { 0.0 } else { w };
        }
        push(&mut blocks, block);
    }
    blocks
}
fn push(blocks: &mut Vec<Block>, mut block: Block) {
    while let Some(last) = blocks.pop_if(|last| last.rate() >= block.rate()) {
        let next = std::mem::replace(&mut block, last);
        block.join(&next);
    }
    blocks.push(block);
}

/// Fits the knots.
pub(super) fn fit(sample: &Sample) -> Map {
    // A rate of 0 or 1 has no logit: such a step counts half a row of the other class (Krichevsky and Trofimov), and is pooled again.
    let mut blocks = Vec::new();
    for mut block in pool(sample) {
        if block.positive <= 0.0 || block.positive >= block.weight {
            block.positive = block.weight * (block.positive + 0.5) / (block.weight + 1.0);
        }
        push(&mut blocks, block);
    }
    let weight: f64 = blocks.iter().map(|b| b.weight).sum();
    let middle = blocks.iter().map(|b| b.moment).sum::<f64>() / weight;
    let level = |block: &Block| block.rate().ln() - (-block.rate()).ln_1p();
    let mut knots: Vec<(f64, f64)> = Vec::with_capacity(blocks.len() + 2);
    let mut add = |x: f64, y: f64| {
        if knots.last().is_none_or(|last| x > last.0) {
            knots.push((x, y + TILT * (x - middle)));
        }
    };
    for (i, block) in blocks.iter().enumerate() {
        if i == 0 {
            add(block.low, level(block));
        }
        add(block.centre(), level(block));
        if i + 1 == blocks.len() {
            add(block.high, level(block));
        }
    }
    Map::Isotonic { knots }
}

/// Linear between knots, and on with [`TILT`] outside of them.
pub(super) fn interpolate(knots: &[(f64, f64)], z: f64) -> f64 {
    let at = knots.partition_point(|k| k.0 <= z);
    match (at.checked_sub(1).and_then(|before| knots.get(before)), knots.get(at)) {
        (Some((x0, y0)), Some((x1, y1))) => (y0 + (z - x0) * (y1 - y0) / (x1 - x0)).min(*y1),
        (Some((x, y)), None) | (None, Some((x, y))) => y + TILT * (z - x),
        (None, None) => z,
    }
}
