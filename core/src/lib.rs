//! The machinery of `esmm-funnel`: everything but the concrete plugins and the command line.
//!
//! # The rooms
//!
//! | room | what | tensors |
//! |---|---|---|
//! | [`spec`] | TOML → [`spec::Spec`]: `extends`, `--set`, spans, defaults, faults | no |
//! | [`diagnostic`] | errors as data; text and JSON renderings | no |
//! | [`plugin`] | public traits, registry, register macros | yes |
//! | [`data`] | sources → columnar store → batches of (entities, rows) | no |
//! | `expression` | arithmetic over named columns: values of rows, loss weights | no |
//! | [`graph`] | stages, paths, labels, composition in log space on the host | no |
//! | [`embedding`] | sparse tables on the host: plan, gather, segment sum, row-wise update | no |
//! | `kernel` | perceptrons on the host without tensors: what most of training and scoring is | no |
//! | [`optim`] | update rules, for table rows and dense parameters alike | yes |
//! | [`model`] | embeddings + encoder + towers; forward, and backward of a batch | yes |
//! | [`train`] | one step, the loop, a whole run, and what watches it | no |
//! | [`calibration`] | monotone corrections of conditional logits, fitted after training | no |
//! | [`metrics`] | pure functions over slices in f64, per stage and space | no |
//! | [`run`] | run folders, checkpoints, atomic writing | no |
//! | [`score`] | a finished run, loaded; evaluation and prediction | no |
//! | [`onnx`] | graphs of operators: built, written, read, computed | weights only |
//! | [`export`] | a finished run for other programs: safetensors, ONNX, a card | no |
//! | [`device`] | which device computes | yes |
//!
//! Direction, and no other: command line → plugins → core → Burn; inside core `export` → `score`; `train`, `score` → `model` → `embedding`, `graph`, `plugin`.
//!
//! # The life of a row
//!
//! A [`data::source::Source`] gives record batches. [`data::prepare()`] encodes each cell once into a memory-mapped store: dictionary codes,
//! raw numbers, labels; what an entity's rows share stands there once. [`data::Dataset`] puts rows in parts, fits vocabularies and transforms on the
//! training rows, and builds [`data::Batch`]es ahead on another thread. [`embedding::gather`] turns a batch into the dense input of each
//! group; encoder and towers turn it into one logit per stage; a [`plugin::Objective`] composes the logits in log space into loss terms.
//! Backward goes the same way back ([`model`] says where the graphs are cut, so that towers run side by side), and
//! [`embedding::Tables::update`] moves the touched rows alone. In scoring the same path stops at the composition: one code path.
//!
//! # Why a graph of log probabilities
//!
//! A stage's path is a list of signed decisions, and `ln σ(±z)` of each is exact for any logit. `ln P` of a stage is their sum; `ln(1 − P)` is a
//! log-sum-exp over the *disjoint* ways not to get there ([`graph::Target`]). Products of rounded probabilities and their complements would lose
//! what rare stages live on.

pub use burn;
pub use inventory;

pub mod calibration;
pub mod data;
pub mod device;
pub mod diagnostic;
pub mod embedding;
pub mod export;
mod expression;
pub mod graph;
mod kernel;
pub mod metrics;
pub mod model;
pub mod onnx;
pub mod optim;
pub mod plugin;
mod random;
pub mod run;
pub mod score;
pub mod spec;
pub mod train;
