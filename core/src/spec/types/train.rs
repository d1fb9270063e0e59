//! Tables of embeddings, the training loop, and metrics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// A rule that turns gradients into steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimizer {
    /// Adam (Kingma & Ba 2015); on tables lazy: only the rows of the batch move.
    Adam {
        /// Learning rate.
        #[serde(default = "lr")]
        lr: f64,
        /// Decay of the first moment.
        #[serde(default = "beta1")]
        beta1: f64,
        /// Decay of the second moment.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Added to the denominator.
        #[serde(default = "eps")]
        eps: f64,
        /// Weight of the squared weights in the loss, ½·l2·‖w‖²; on tables for the rows of the batch.
        #[serde(default)]
        l2: f64,
    },
    /// Adagrad (Duchi et al. 2011).
    Adagrad {
        /// Learning rate.
        #[serde(default = "adagrad_lr")]
        lr: f64,
        /// Added to the denominator.
        #[serde(default = "adagrad_eps")]
        eps: f64,
        /// What the sum of squares starts with.
        #[serde(default)]
        initial_accumulator: f64,
        /// Weight of the squared weights in the loss.
        #[serde(default)]
        l2: f64,
    },
    /// Adam with one second moment a row, the decayed mean of the row's squared gradients: on tables alone. Half the state, and less to read and write.
    RowAdam {
        /// Learning rate.
        #[serde(default = "lr")]
        lr: f64,
        /// Decay of the first moment.
        #[serde(default = "beta1")]
        beta1: f64,
        /// Decay of the second moment.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Added to the denominator.
        #[serde(default = "eps")]
        eps: f64,
        /// Weight of the squared weights in the loss, for the rows of the batch.
        #[serde(default)]
        l2: f64,
    },
    /// Adagrad with one sum a row, of the mean of the row's squared gradients: on tables alone. The least state.
    RowAdagrad {
        /// Learning rate.
        #[serde(default = "adagrad_lr")]
        lr: f64,
        /// Added to the denominator.
        #[serde(default = "adagrad_eps")]
        eps: f64,
        /// What the sum of squares starts with.
        #[serde(default)]
        initial_accumulator: f64,
        /// Weight of the squared weights in the loss, for the rows of the batch.
        #[serde(default)]
        l2: f64,
    },
    /// Stochastic gradient descent.
    Sgd {
        /// Learning rate.
        #[serde(default = "adagrad_lr")]
        lr: f64,
        /// Weight of the squared weights in the loss.
        #[serde(default)]
        l2: f64,
    },
}
fn lr() -> f64 {
    1e-3
}
fn adagrad_lr() -> f64 {
    1e-2
}
fn adagrad_eps() -> f64 {
    1e-10
}
fn beta1() -> f64 {
    0.9
}
fn beta2() -> f64 {
    0.999
}
fn eps() -> f64 {
    1e-8
}
impl Optimizer {
    /// Adam with this rate and the usual constants.
    #[must_use]
    pub fn adam(lr: f64) -> Self {
        Self::Adam { lr, beta1: beta1(), beta2: beta2(), eps: eps(), l2: 0.0 }
    }
    /// Whether its state is of rows, which only tables have.
    #[must_use]
    pub fn is_per_row(&self) -> bool {
        matches!(self, Self::RowAdam { .. } | Self::RowAdagrad { .. })
    }
}

/// `[embedding]`: the tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Embedding {
    /// Width of a table row.
    pub dim: NonZeroUsize,
    /// True: every stage has its own tables (ESMM-NS).
    pub per_stage: bool,
    /// Standard deviation of the starting values.
    pub init_std: f64,
    /// Share of known ids read as out of vocabulary in training, so that the row for unknown ids learns.
    pub oov_rate: f64,
    /// How the tables are trained; a rate of their own matters.
    pub optimizer: Optimizer,
}
impl Default for Embedding {
    fn default() -> Self {
        Self {
            dim: NonZeroUsize::new(18).unwrap_or(NonZeroUsize::MIN),
            per_stage: false,
            init_std: 0.01,
            oov_rate: 0.001,
            optimizer: Optimizer::adam(3e-4),
        }
    }
}

/// How the learning rates fall after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// They do not.
    #[default]
    None,
    /// In a straight line to `final_lr_fraction` at the last step.
    Linear,
    /// Along half a cosine to `final_lr_fraction` at the last step.
    Cosine,
}

/// `[train]`: the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// Rows of a step.
    pub batch_rows: NonZeroUsize,
    /// Passes over the training rows.
    pub epochs: NonZeroUsize,
    /// An entity: rows are shuffled in pieces of one entity's rows instead of one by one, so that a batch holds few entities and what their rows
    /// share is computed once for many. Default: row by row.
    pub shuffle_by: Option<String>,
    /// Rows of such a piece, at most. Fewer mix a batch more; more are faster.
    pub shuffle_rows: NonZeroUsize,
    /// How the towers and the encoder are trained.
    pub optimizer: Optimizer,
    /// Largest norm of the dense gradient; a longer one is scaled down. 0: off.
    pub clip_norm: f64,
    /// Steps over which the learning rates rise from 0.
    pub warmup_steps: u64,
    /// How the learning rates fall afterwards.
    pub decay: Decay,
    /// Rate at the last step, as a share of the full one.
    pub final_lr_fraction: f64,
    /// `<stage>.<space>.<metric>` on valid that picks the best checkpoint. Default: the last stage's `full.auc`.
    pub monitor: Option<String>,
    /// Evaluations without a better `monitor` before training stops and the best checkpoint counts. 0: the last step is final.
    pub patience_evals: usize,
    /// Steps between evaluations on valid. 0: at each epoch's end.
    pub eval_every_steps: u64,
    /// Steps between checkpoints besides those at evaluations. 0: none.
    pub checkpoint_every_steps: u64,
    /// Seed of initial weights, order of rows and masks; the split has its own.
    pub seed: u64,
    /// Share of the training rows that are trained on, drawn row by row; what is left out is in no part. A smaller share of the same `share_seed` is
    /// a part of a larger one. For learning how a method does with less data.
    pub share_of_rows: f64,
    /// Seed of that draw.
    pub share_seed: u64,
}
impl Default for Train {
    fn default() -> Self {
        Self {
            batch_rows: NonZeroUsize::new(4096).unwrap_or(NonZeroUsize::MIN),
            epochs: NonZeroUsize::MIN,
            shuffle_by: None,
            shuffle_rows: NonZeroUsize::new(16).unwrap_or(NonZeroUsize::MIN),
            optimizer: Optimizer::adam(1e-3),
            clip_norm: 0.0,
            warmup_steps: 0,
            decay: Decay::None,
            final_lr_fraction: 0.0,
            monitor: None,
            patience_evals: 0,
            eval_every_steps: 0,
            checkpoint_every_steps: 0,
            seed: 1,
            share_of_rows: 1.0,
            share_seed: 1,
        }
    }
}

/// `[metrics]`: what is measured besides the usual.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Column for GAUC: AUC inside each value, averaged with weights.
    pub gauc_by: Option<String>,
    /// Columns: every metric per value of these too.
    pub slices: Vec<String>,
    /// Bins of the expected calibration error.
    pub ece_bins: NonZeroUsize,
    /// The mean of the AUCs inside of batches, beside the exact AUC: for figures to hold against published code that has no other. It is no estimate
    /// of the AUC: batches without both classes are left out, and the mean is usually higher. Not set: not measured.
    pub batch_auc: Option<BatchAuc>,
}

/// `metrics.batch_auc`: over which batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchAuc {
    /// Rows of a batch: consecutive rows of the part, in the order of the inputs. Those in a space count for that space.
    pub rows: NonZeroUsize,
    /// How many batches count, from the first.
    pub batches: NonZeroUsize,
}
impl Default for Metrics {
    fn default() -> Self {
        Self { gauc_by: None, slices: Vec::new(), ece_bins: NonZeroUsize::new(20).unwrap_or(NonZeroUsize::MIN), batch_auc: None }
    }
}
