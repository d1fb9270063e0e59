//! Learning rate over time: a warm-up, then a decay.

use crate::spec::{Decay, Train};

/// Factor of all learning rates at each step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    warmup: u64,
    total: u64,
    decay: Decay,
    last: f64,
}
impl Schedule {
    /// For a run of `total` steps.
    #[must_use]
    pub fn new(train: &Train, total: u64) -> Self {
        Self { warmup: train.warmup_steps, total, decay: train.decay, last: train.final_lr_fraction }
    }

    /// The factor at `step`, counted from 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn at(&self, step: u64) -> f64 {
        if step <= self.warmup {
            return step as f64 / self.warmup as f64;
        }
        let span = self.total.saturating_sub(self.warmup).max(1) as f64;
        let done = ((step - self.warmup) as f64 / span).min(1.0);
        match self.decay {
            Decay::None => 1.0,
            Decay::Linear => 1.0 + (self.last - 1.0) * done,
            Decay::Cosine => self.last + (1.0 - self.last) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls() {
        let train = Train { warmup_steps: 10, decay: Decay::Linear, final_lr_fraction: 0.1, ..Train::default() };
        let s = Schedule::new(&train, 110);
        let close = |step, expected: f64| assert!((s.at(step) - expected).abs() < 1e-12, "{step}: {}", s.at(step));
        close(5, 0.5);
        close(10, 1.0);
        close(60, 0.55);
        close(110, 0.1);
        close(500, 0.1);
        let cosine = Schedule::new(&Train { decay: Decay::Cosine, ..train }, 110);
        assert!((cosine.at(60) - 0.55).abs() < 1e-12 && (cosine.at(110) - 0.1).abs() < 1e-12);
        assert!((Schedule::new(&Train::default(), 5).at(3) - 1.0).abs() < f64::EPSILON);
    }
}
