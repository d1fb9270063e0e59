//! The objectives once more, for tests: written from the papers' formulas, row by row, in f64, with naive probabilities.
//!
//! What a formula holds constant is computed at `fixed`, everything else at `at`: a central difference in `at` is then the gradient that
//! training should see.

use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::plugin::input::Noise;

/// Labelled rows of a funnel.
pub struct Rows {
    pub graph: Graph,
    pub n: usize,
    /// Per target: stages, then outcomes.
    pub reached: Vec<Vec<f64>>,
    /// Per stage.
    pub inside: Vec<Vec<f64>>,
    pub weights: Option<Vec<f64>>,
    pub target_weights: Vec<f64>,
    /// Per stage, where it has any.
    pub loss_weights: Vec<Option<Vec<f64>>>,
    pub noise: Noise,
}
/// What is learned: the stages' logits, the extra heads', the objective's parameters.
#[derive(Clone, Default)]
pub struct Point {
    pub z: Vec<Vec<f64>>,
    pub extra: Vec<Vec<f64>>,
    pub s: Vec<f64>,
}
/// One term: its name and target, its value, its factor, and whether its weight can be learned.
pub struct Line {
    pub name: String,
    pub target: usize,
    pub value: f64,
    pub factor: f64,
    pub learnable: bool,
    pub has_rows: bool,
}

/// Numbers of the settings.
#[derive(Clone, Copy)]
pub struct Numbers {
    pub lambda_c: f64,
    pub lambda_g: f64,
    pub max_weight: f64,
    pub min_propensity: f64,
}

pub fn sigma(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}
pub fn cross_entropy(y: f64, p: f64) -> f64 {
    let term = |y: f64, p: f64| if y == 0.0 { 0.0 } else { y * p.ln() };
    -(term(y, p) + term(1.0 - y, 1.0 - p))
}

impl Rows {
    /// P(row i is in the stage's space).
    pub fn propensity(&self, at: &Point, stage: usize, i: usize) -> f64 {
        let node = &self.graph.nodes[stage];
        let parent = node.parent.map_or(1.0, |p| self.propensity(at, p, i) * sigma(at.z[p][i]));
        parent * node.unless.map_or(1.0, |u| 1.0 - sigma(at.z[u][i]))
    }
    fn probability(&self, at: &Point, target: usize, i: usize) -> f64 {
        self.graph.targets[target].stages.iter().map(|s| self.propensity(at, *s, i) * sigma(at.z[*s][i])).sum()
    }
    fn mean(&self, value: impl Fn(usize) -> f64) -> f64 {
        (0..self.n).map(|i| value(i) * self.weights.as_ref().map_or(1.0, |w| w[i])).sum::<f64>() / self.n as f64
    }
    fn loss_weight(&self, target: usize, i: usize) -> f64 {
        self.loss_weights.get(target).and_then(Option::as_ref).map_or(1.0, |w| w[i])
    }
    fn error(&self, at: &Point, stage: usize, i: usize) -> f64 {
        cross_entropy(self.reached[stage][i], sigma(at.z[stage][i]))
    }
    fn is_first(&self, stage: usize) -> bool {
        self.graph.nodes[stage].parent.is_none() && self.graph.nodes[stage].unless.is_none()
    }
    fn later(&self) -> Vec<usize> {
        (0..self.graph.len()).filter(|s| !self.is_first(*s)).collect()
    }
    fn line(&self, target: usize, suffix: &str, value: f64) -> Line {
        let name = format!("{}{suffix}", self.graph.targets[target].name);
        Line { name, target, value, factor: 1.0, learnable: true, has_rows: true }
    }
    fn full(&self, at: &Point, target: usize) -> Line {
        let loss = |i| self.loss_weight(target, i) * cross_entropy(self.reached[target][i], self.probability(at, target, i));
        self.line(target, "", self.mean(loss))
    }
    /// The targets of the ESMM loss.
    fn targets(&self) -> Vec<usize> {
        let outcomes = &self.graph.targets[self.graph.len()..];
        (0..self.graph.targets.len()).filter(|t| *t >= self.graph.len() || outcomes.iter().all(|o| !o.stages.contains(t))).collect()
    }
    /// The first stages' own losses, then the full-space losses with their factor.
    fn base(&self, at: &Point, lambda_g: f64) -> Vec<Line> {
        let first = (0..self.graph.len()).filter(|s| self.is_first(*s));
        let first = first.map(|s| self.line(s, "", self.mean(|i| self.error(at, s, i))));
        let global = self.targets().into_iter().filter(|t| *t >= self.graph.len() || !self.is_first(*t));
        first.chain(global.map(|t| Line { factor: lambda_g, ..self.full(at, t) })).collect()
    }
}

/// `min( 1/max(ô, least), most )`.
fn clipped(propensity: f64, n: Numbers) -> f64 {
    (1.0 / propensity.max(n.min_propensity)).min(n.max_weight)
}

pub fn entire_space(rows: &Rows, at: &Point) -> Vec<Line> {
    rows.targets().into_iter().map(|t| rows.full(at, t)).collect()
}

/// Settings of `conditional`: the share of rows outside, copies of positives, clips of inverse propensities.
#[derive(Clone, Copy)]
pub struct Counting {
    pub outside: f64,
    pub copies: f64,
    pub weights: Option<Numbers>,
}
pub fn conditional(rows: &Rows, at: &Point, fixed: &Point, counting: Counting) -> Vec<Line> {
    let count = |s: usize, i: usize| match rows.inside[s][i] == 1.0 {
        _ if rows.is_first(s) => 1.0,
        false if rows.noise.draws(s, i, counting.outside) => 1.0,
        false => 0.0,
        true => {
            let copies = if rows.reached[s][i] == 1.0 { counting.copies } else { 1.0 };
            copies * counting.weights.map_or(1.0, |n| clipped(rows.propensity(fixed, s, i), n))
        }
    };
    let term = |s: usize| {
        let total: f64 = (0..rows.n).map(|i| count(s, i)).sum();
        let label = |i: usize| rows.reached[s][i] * rows.inside[s][i];
        let sum = rows.mean(|i| rows.loss_weight(s, i) * count(s, i) * cross_entropy(label(i), sigma(at.z[s][i]))) * rows.n as f64;
        Line { has_rows: total > 0.0, ..rows.line(s, "", if total > 0.0 { sum / total } else { 0.0 }) }
    };
    (0..rows.graph.len()).map(term).collect()
}

pub fn ips(rows: &Rows, at: &Point, fixed: &Point, n: Numbers) -> Vec<Line> {
    let mut lines = rows.base(at, n.lambda_g);
    for s in rows.later() {
        let risk = rows.mean(|i| rows.inside[s][i] * rows.error(at, s, i) * clipped(rows.propensity(fixed, s, i), n));
        lines.push(Line { factor: n.lambda_c, ..rows.line(s, ".ips", risk) });
    }
    lines
}

pub fn dr(rows: &Rows, at: &Point, fixed: &Point, n: Numbers, separate: bool) -> Vec<Line> {
    let mut lines = rows.base(at, n.lambda_g);
    for (head, s) in rows.later().into_iter().enumerate() {
        let imputed = |p: &Point, i: usize| (1.0 + p.extra[head][i].exp()).ln();
        let weight = |i: usize| rows.inside[s][i] * clipped(rows.propensity(fixed, s, i), n);
        let (of_imputed, of_true) = if separate { (fixed, fixed) } else { (at, at) };
        let risk = rows.mean(|i| imputed(of_imputed, i) + weight(i) * (rows.error(at, s, i) - imputed(of_imputed, i)));
        let square = rows.mean(|i| weight(i) * (rows.error(of_true, s, i) - imputed(at, i)).powi(2));
        for (suffix, value) in [(".dr", risk), (".imputation", square)] {
            lines.push(Line { factor: n.lambda_c, learnable: false, ..rows.line(s, suffix, value) });
        }
    }
    lines
}

pub fn dcmt(rows: &Rows, at: &Point, fixed: &Point, n: Numbers, lambda: f64) -> Vec<Line> {
    let mut lines = rows.base(at, 1.0);
    for (head, s) in rows.later().into_iter().enumerate() {
        let counterfactual = |i: usize| sigma(at.extra[head][i]);
        let row = |i: usize| {
            let propensity = rows.propensity(fixed, s, i);
            if rows.inside[s][i] == 1.0 {
                rows.error(at, s, i) * clipped(propensity, n)
            } else {
                cross_entropy(1.0 - rows.reached[s][i], counterfactual(i)) * clipped(1.0 - propensity, n)
            }
        };
        lines.push(rows.line(s, ".dcmt", rows.mean(row)));
        let constraint = rows.mean(|i| (1.0 - (sigma(at.z[s][i]) + counterfactual(i))).abs());
        lines.push(Line { factor: lambda, learnable: false, ..rows.line(s, ".constraint", constraint) });
    }
    lines
}

/// With `weighted` false, without the dynamic weight.
pub fn nise(rows: &Rows, at: &Point, fixed: &Point, (alpha, beta): (f64, f64), weighted: bool) -> Vec<Line> {
    let plain = |at: &Point, s: usize| {
        rows.mean(|i| {
            let p = sigma(at.z[s][i]);
            if rows.inside[s][i] == 1.0 { rows.error(at, s, i) } else { cross_entropy(sigma(fixed.z[s][i]), p) }
        })
    };
    let first_of = |mut s: usize| {
        while let Some(before) = rows.graph.nodes[s].parent.or(rows.graph.nodes[s].unless) {
            s = before;
        }
        s
    };
    let term = |s: usize| {
        if rows.is_first(s) {
            return rows.line(s, "", rows.mean(|i| rows.error(at, s, i)));
        }
        let first = first_of(s);
        let gamma = alpha * (rows.mean(|i| rows.error(fixed, first, i)) / plain(fixed, s)).min(beta);
        rows.line(s, ".nise", if weighted { gamma * plain(at, s) } else { plain(at, s) })
    };
    (0..rows.graph.len()).map(term).collect()
}
