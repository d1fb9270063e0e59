//! Layers that look at the whole batch in training: batch norm and Dice.
//!
//! In training a column is normalised by the mean and variance of the batch, and running values of both are kept; scoring uses those. They
//! are tensors with a name, so checkpoints hold them, and have no gradient, so no optimiser moves them. `burn::nn::BatchNorm` asks its
//! backend's type whether it trains, which on a backend chosen at run time says nothing: here the input says it.

use burn::module::{Initializer, Param, RunningState};
use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, Value};

/// Added to the variance (`PyTorch`'s default).
const EPSILON: f64 = 1e-5;
/// Weight of a batch in the running values (`PyTorch`'s default).
const MOMENTUM: f64 = 0.1;

/// Running mean and variance of columns.
#[derive(Module, Debug)]
pub struct Moments<B: Backend> {
    mean: RunningState<Tensor<B, 1>>,
    variance: RunningState<Tensor<B, 1>>,
}
impl Moments<Bk> {
    fn new(width: usize, device: &Device) -> Self {
        Self { mean: RunningState::new(Tensor::zeros([width], device)), variance: RunningState::new(Tensor::ones([width], device)) }
    }
    /// `(x − mean) / √(variance + ε)`: those of the batch in training, else the running ones. One row has no variance and is treated as in
    /// scoring.
    ///
    /// # Shapes
    /// `[B, W]` → `[B, W]`.
    fn normalise(&self, x: Tensor<Bk, 2>, training: bool) -> Tensor<Bk, 2> {
        if training && x.dims()[0] > 1 {
            return self.by_batch(x);
        }
        (x - self.mean.value().unsqueeze()) / (self.variance.value().unsqueeze() + EPSILON).sqrt()
    }
    /// The running values' `(x − mean) / √(variance + ε)`.
    fn onnx(&self, graph: &mut Onnx<'_>, x: &Value) -> Value {
        let mean = graph.parameter("running.mean", &self.mean.value());
        // A weight of its own, made of the variance.
        let deviation = graph.parameter("running.deviation", &(self.variance.value() + EPSILON).sqrt());
        let centred = graph.sub(x, &mean);
        graph.div(&centred, &deviation)
    }
    /// Normalises by the batch, and moves the running values towards it (the variance by its unbiased estimate).
    #[allow(clippy::cast_precision_loss)]
    fn by_batch(&self, x: Tensor<Bk, 2>) -> Tensor<Bk, 2> {
        let rows = x.dims()[0] as f64;
        let mean = x.clone().mean_dim(0);
        let centred = x - mean.clone();
        let variance = (centred.clone() * centred.clone()).mean_dim(0);
        move_towards(&self.mean, mean.inner());
        move_towards(&self.variance, variance.clone().inner() * (rows / (rows - 1.0)));
        centred / (variance + EPSILON).sqrt()
    }
}

/// A step of the running value towards what the batch says, `[1, W]` without autodiff. A network runs on one thread at a time, so the value
/// that this thread leaves is the value.
fn move_towards(state: &RunningState<Tensor<Bk, 1>>, batch: Tensor<Bk, 2>) {
    let moved = state.value().inner() * (1.0 - MOMENTUM) + batch.squeeze_dim::<1>(0) * MOMENTUM;
    state.update(Tensor::from_inner(moved));
    let _ = state.value_sync();
}

/// `γ·normalised + β` (Ioffe & Szegedy, ICML 2015).
#[derive(Module, Debug)]
pub struct BatchNorm<B: Backend> {
    gamma: Param<Tensor<B, 1>>,
    beta: Param<Tensor<B, 1>>,
    running: Moments<B>,
}
impl BatchNorm<Bk> {
    pub(super) fn new(width: usize, device: &Device) -> Self {
        let of = |start: Initializer| start.init([width], device);
        Self { gamma: of(Initializer::Ones), beta: of(Initializer::Zeros), running: Moments::new(width, device) }
    }
    /// # Shapes
    /// `[B, W]` → `[B, W]`.
    pub(super) fn forward(&self, x: Tensor<Bk, 2>, training: bool) -> Tensor<Bk, 2> {
        self.running.normalise(x, training) * self.gamma.val().unsqueeze() + self.beta.val().unsqueeze()
    }
    /// As [`Self::forward`] when scoring.
    pub(super) fn onnx(&self, graph: &mut Onnx<'_>, x: &Value) -> Value {
        let normalised = self.running.onnx(graph, x);
        let (gamma, beta) = (graph.parameter("gamma", &self.gamma.val()), graph.parameter("beta", &self.beta.val()));
        let scaled = graph.mul(&normalised, &gamma);
        graph.add(&scaled, &beta)
    }
}

/// `p·x + (1 − p)·α·x` with `p = σ(normalised x)` and a learned α per unit, which starts at 0 (Zhou et al., KDD 2018, equation 3).
#[derive(Module, Debug)]
pub struct Dice<B: Backend> {
    alpha: Param<Tensor<B, 1>>,
    running: Moments<B>,
}
impl Dice<Bk> {
    pub(super) fn new(width: usize, device: &Device) -> Self {
        Self { alpha: Initializer::Zeros.init([width], device), running: Moments::new(width, device) }
    }
    /// # Shapes
    /// `[B, W]` → `[B, W]`.
    pub(super) fn forward(&self, x: Tensor<Bk, 2>, training: bool) -> Tensor<Bk, 2> {
        let p = sigmoid(self.running.normalise(x.clone(), training));
        let alpha = self.alpha.val().unsqueeze();
        x * (p.clone() + (p.neg() + 1.0) * alpha)
    }
    /// As [`Self::forward`] when scoring.
    pub(super) fn onnx(&self, graph: &mut Onnx<'_>, x: &Value) -> Value {
        let normalised = self.running.onnx(graph, x);
        let p = graph.sigmoid(&normalised);
        let (alpha, one) = (graph.parameter("alpha", &self.alpha.val()), graph.number(1.0));
        let rest = graph.sub(&one, &p);
        let leak = graph.mul(&rest, &alpha);
        let slope = graph.add(&p, &leak);
        graph.mul(x, &slope)
    }
}
