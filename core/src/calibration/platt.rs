//! Platt scaling: logistic regression of the label on the logit, by Newton's method with a line search (Lin, Lin and Weng, Machine Learning 2007).

use super::{Map, Sample, Unfit, sigmoid, softplus};

const STEPS: usize = 100;

/// Fits `a·z + b`. Targets are smoothed as in Platt's paper, `(N₊ + 1)/(N₊ + 2)` and `1/(N₋ + 2)`, so that separable rows have an answer too.
pub(super) fn fit(sample: &Sample) -> Result<Map, Unfit> {
    let (n0, n1) = sample.totals();
    let targets = [1.0 / (n0 + 2.0), (n1 + 1.0) / (n1 + 2.0)];
    let problem = Problem { sample, targets };
    let (mut a, mut b) = (0.0, ((n1 + 1.0) / (n0 + 1.0)).ln());
    let mut loss = problem.loss(a, b);
    for _ in 0..STEPS {
        let Newton { gradient, step } = problem.newton(a, b);
        if gradient < 1e-12 * (n0 + n1) {
            break;
        }
        // Halved until the loss falls; at the bottom, rounding lets it fall no more.
        let tried = (0..40).map(|k| 0.5f64.powi(k)).map(|t| (a + t * step.0, b + t * step.1)).map(|(a, b)| (a, b, problem.loss(a, b)));
        let Some(better) = tried.into_iter().find(|t| t.2 < loss) else { break };
        (a, b, loss) = better;
    }
    if a > 0.0 { Ok(Map::Platt { slope: a, intercept: b }) } else { Err(Unfit::WrongWay { slope: a }) }
}

struct Problem<'a> {
    sample: &'a Sample,
    /// Of label 0 and label 1.
    targets: [f64; 2],
}
struct Newton {
    /// Its largest component.
    gradient: f64,
    step: (f64, f64),
}
impl Problem<'_> {
    /// Weighted cross-entropy with the smoothed targets.
    fn loss(&self, a: f64, b: f64) -> f64 {
        let Sample { logits, labels, weights } = self.sample;
        let one = |((z, y), w): ((&f64, &u8), &f64)| {
            let (f, t) = (a * z + b, self.targets[usize::from(*y != 0)]);
            w * (t * softplus(-f) + (1.0 - t) * softplus(f))
        };
        logits.iter().zip(labels).zip(weights).map(one).sum()
    }

    fn newton(&self, a: f64, b: f64) -> Newton {
        let Sample { logits, labels, weights } = self.sample;
        let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for ((z, y), w) in logits.iter().zip(labels).zip(weights) {
            let p = sigmoid(a * z + b);
            let (g, h) = (w * (p - self.targets[usize::from(*y != 0)]), w * p * (1.0 - p));
            (ga, gb) = (ga + g * z, gb + g);
            (haa, hab, hbb) = (haa + h * z * z, hab + h * z, hbb + h);
        }
        // A ridge for rows that hardly differ.
        (haa, hbb) = (haa * (1.0 + 1e-12) + 1e-12, hbb * (1.0 + 1e-12) + 1e-12);
        let determinant = haa * hbb - hab * hab;
        let step = (-(hbb * ga - hab * gb) / determinant, -(haa * gb - hab * ga) / determinant);
        Newton { gradient: ga.abs().max(gb.abs()), step }
    }
}
