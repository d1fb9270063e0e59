//! Update rules: one arithmetic for table rows and dense parameters, on slices and on device tensors.

mod dense;
mod schedule;

pub(crate) use dense::squared_norm;
pub use dense::{DenseState, Moments};
pub use schedule::Schedule;

use crate::spec::Optimizer;

/// An update rule, ready for a step.
///
/// State of `n` weights: Adam `[m | v]` (2n), Adagrad the sums of squares (n), SGD none; with one second moment a row, of which the n weights are
/// one, `[m | v]` (n + 1) and the sum (1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    kind: RuleKind,
    l2: f32,
}
#[derive(Debug, Clone, Copy, PartialEq)]
enum RuleKind {
    Adam { step_size: f32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, inverse_c2: f32, eps: f32 },
    Adagrad { lr: f32, eps: f32 },
    RowAdam { step_size: f32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, inverse_c2: f32, eps: f32 },
    RowAdagrad { lr: f32, eps: f32 },
    Sgd { lr: f32 },
}

/// Number of state values of `n` weights; for the rules by row, of a row of `n`.
#[must_use]
pub fn state_len(optimizer: &Optimizer, n: usize) -> usize {
    match optimizer {
        Optimizer::Adam { .. } => 2 * n,
        Optimizer::Adagrad { .. } => n,
        Optimizer::RowAdam { .. } => n + 1,
        Optimizer::RowAdagrad { .. } => 1,
        Optimizer::Sgd { .. } => 0,
    }
}
/// What the state starts with.
#[must_use]
#[allow(clippy::cast_possible_truncation)]
pub fn initial_moment(optimizer: &Optimizer) -> f32 {
    match optimizer {
        Optimizer::Adagrad { initial_accumulator, .. } | Optimizer::RowAdagrad { initial_accumulator, .. } => *initial_accumulator as f32,
        _ => 0.0,
    }
}

impl Rule {
    /// For step number `step` (from 1) with the learning rate scaled by `lr_scale`.
    ///
    /// Adam's bias correction uses the global step, also for rows that were last touched long ago (*lazy* Adam).
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    pub fn at(optimizer: &Optimizer, step: u64, lr_scale: f64) -> Self {
        match *optimizer {
            Optimizer::Adam { lr, beta1, beta2, eps, l2 } | Optimizer::RowAdam { lr, beta1, beta2, eps, l2 } => {
                let t = step as f64;
                let (c1, c2) = (1.0 - beta1.powf(t), 1.0 - beta2.powf(t));
                let (step_size, inverse_c2) = ((lr * lr_scale / c1) as f32, (1.0 / c2) as f32);
                // 1 − β from f64: in f32 it would be off by 1e-5.
                let (rest1, rest2) = ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
                let (beta1, beta2, eps) = (beta1 as f32, beta2 as f32, eps as f32);
                let kind = if optimizer.is_per_row() {
                    RuleKind::RowAdam { step_size, beta1, rest1, beta2, rest2, inverse_c2, eps }
                } else {
                    RuleKind::Adam { step_size, beta1, rest1, beta2, rest2, inverse_c2, eps }
                };
                Self { kind, l2: l2 as f32 }
            }
            Optimizer::Adagrad { lr, eps, l2, .. } => {
                Self { kind: RuleKind::Adagrad { lr: (lr * lr_scale) as f32, eps: eps as f32 }, l2: l2 as f32 }
            }
            Optimizer::RowAdagrad { lr, eps, l2, .. } => {
                Self { kind: RuleKind::RowAdagrad { lr: (lr * lr_scale) as f32, eps: eps as f32 }, l2: l2 as f32 }
            }
            Optimizer::Sgd { lr, l2 } => Self { kind: RuleKind::Sgd { lr: (lr * lr_scale) as f32 }, l2: l2 as f32 },
        }
    }

    /// The same rule for parameters that are not regularised.
    #[must_use]
    pub fn without_l2(self) -> Self {
        Self { l2: 0.0, ..self }
    }

    /// Moves `weights` against `gradient`, each times `scale` first; `state` is laid out as the type says.
    ///
    /// # Panics
    /// If the slices' lengths do not fit.
    // Compiled into its caller's loop, for the vectors that the caller has chosen.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub fn apply(&self, weights: &mut [f32], gradient: &[f32], state: &mut [f32], scale: f32) {
        assert_eq!(weights.len(), gradient.len());
        let l2 = self.l2;
        match self.kind {
            RuleKind::Adam { step_size, beta1, rest1, beta2, rest2, inverse_c2, eps } => {
                let (m, v) = state.split_at_mut(weights.len());
                for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(m).zip(v) {
                    let g = g * scale + l2 * *w;
                    *m = beta1 * *m + rest1 * g;
                    *v = beta2 * *v + rest2 * g * g;
                    *w -= step_size * *m / ((*v * inverse_c2).sqrt() + eps);
                }
            }
            RuleKind::Adagrad { lr, eps } => {
                for ((w, g), a) in weights.iter_mut().zip(gradient).zip(state) {
                    let g = g * scale + l2 * *w;
                    *a += g * g;
                    *w -= lr * g / (a.sqrt() + eps);
                }
            }
            RuleKind::RowAdam { step_size, beta1, rest1, beta2, rest2, inverse_c2, eps } => {
                let (m, v) = state.split_at_mut(weights.len());
                let v = &mut v[0];
                *v = beta2 * *v + rest2 * mean_square(weights, gradient, l2, scale);
                let step = step_size / ((*v * inverse_c2).sqrt() + eps);
                for ((w, g), m) in weights.iter_mut().zip(gradient).zip(m) {
                    *m = beta1 * *m + rest1 * (g * scale + l2 * *w);
                    *w -= step * *m;
                }
            }
            RuleKind::RowAdagrad { lr, eps } => {
                state[0] += mean_square(weights, gradient, l2, scale);
                let step = lr / (state[0].sqrt() + eps);
                for (w, g) in weights.iter_mut().zip(gradient) {
                    *w -= step * (g * scale + l2 * *w);
                }
            }
            RuleKind::Sgd { lr } => {
                for (w, g) in weights.iter_mut().zip(gradient) {
                    *w -= lr * (g * scale + l2 * *w);
                }
            }
        }
    }
}

/// Mean over a row of its squared gradient.
#[allow(clippy::inline_always)]
#[inline(always)]
fn mean_square(weights: &[f32], gradient: &[f32], l2: f32, scale: f32) -> f32 {
    let square = |(w, g): (&f32, &f32)| (g * scale + l2 * w).powi(2);
    weights.iter().zip(gradient).map(square).sum::<f32>() / weights.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of three weights, in f64, against the definition.
    #[test]
    fn rules_by_row_match_their_definition() {
        let gradients = [[0.3, -1.2, 0.5], [0.0, 0.4, -0.1], [2.0, 0.1, 0.7]];
        for optimizer in [
            Optimizer::RowAdam { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, l2: 0.1 },
            Optimizer::RowAdagrad { lr: 0.1, eps: 1e-10, initial_accumulator: 0.5, l2: 0.01 },
        ] {
            let (mut w, mut m, mut v) = ([0.5f64, -0.25, 1.0], [0.0f64; 3], f64::from(initial_moment(&optimizer)));
            let mut found = [0.5f32, -0.25, 1.0];
            let mut state = vec![initial_moment(&optimizer); state_len(&optimizer, 3)];
            for (i, g) in gradients.iter().enumerate() {
                #[allow(clippy::cast_possible_truncation)]
                Rule::at(&optimizer, i as u64 + 1, 1.0).apply(&mut found, &g.map(|g| g as f32), &mut state, 1.0);
                let t = i32::try_from(i + 1).unwrap();
                let l2 = if let Optimizer::RowAdam { .. } = optimizer { 0.1 } else { 0.01 };
                let g: Vec<f64> = g.iter().zip(w).map(|(g, w)| g + l2 * w).collect();
                let mean = g.iter().map(|g| g * g).sum::<f64>() / 3.0;
                for c in 0..3 {
                    if let Optimizer::RowAdam { lr, beta1, beta2, eps, .. } = optimizer {
                        if c == 0 {
                            v = beta2 * v + (1.0 - beta2) * mean;
                        }
                        m[c] = beta1 * m[c] + (1.0 - beta1) * g[c];
                        w[c] -= lr * m[c] / (1.0 - beta1.powi(t)) / ((v / (1.0 - beta2.powi(t))).sqrt() + eps);
                    } else {
                        if c == 0 {
                            v += mean;
                        }
                        w[c] -= 0.1 * g[c] / v.sqrt();
                    }
                }
            }
            assert!(found.iter().zip(w).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6), "{optimizer:?}: {found:?} against {w:?}");
        }
    }

    /// Textbook f64 forms, written apart from the code above.
    fn oracle(optimizer: &Optimizer, w0: f64, gradients: &[f64]) -> f64 {
        let (mut w, mut m, mut v) = (w0, 0.0, f64::from(initial_moment(optimizer)));
        for (i, g) in gradients.iter().enumerate() {
            let t = i32::try_from(i + 1).unwrap();
            match *optimizer {
                Optimizer::Adam { lr, beta1, beta2, eps, l2 } => {
                    let g = g + l2 * w;
                    m = beta1 * m + (1.0 - beta1) * g;
                    v = beta2 * v + (1.0 - beta2) * g * g;
                    let (mh, vh) = (m / (1.0 - beta1.powi(t)), v / (1.0 - beta2.powi(t)));
                    w -= lr * mh / (vh.sqrt() + eps);
                }
                Optimizer::Adagrad { lr, eps, l2, .. } => {
                    let g = g + l2 * w;
                    v += g * g;
                    w -= lr * g / (v.sqrt() + eps);
                }
                Optimizer::Sgd { lr, l2 } => w -= lr * (g + l2 * w),
                Optimizer::RowAdam { .. } | Optimizer::RowAdagrad { .. } => unreachable!("of rows"),
            }
        }
        w
    }

    #[test]
    fn rules_match_the_textbook() {
        let gradients = [0.3, -1.2, 0.0, 4.0, 1e-4, -0.7];
        for optimizer in [
            Optimizer::Adam { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, l2: 0.1 },
            Optimizer::Adagrad { lr: 0.1, eps: 1e-10, initial_accumulator: 0.5, l2: 0.01 },
            Optimizer::Sgd { lr: 0.05, l2: 0.2 },
        ] {
            let (mut w, mut state) = ([0.5f32], vec![initial_moment(&optimizer); state_len(&optimizer, 1)]);
            for (i, g) in gradients.iter().enumerate() {
                #[allow(clippy::cast_possible_truncation)]
                Rule::at(&optimizer, i as u64 + 1, 1.0).apply(&mut w, &[*g as f32 * 2.0], &mut state, 0.5);
            }
            let expected = oracle(&optimizer, 0.5, &gradients);
            assert!((f64::from(w[0]) - expected).abs() < 1e-6, "{optimizer:?}: {} against {expected}", w[0]);
        }
    }
}
