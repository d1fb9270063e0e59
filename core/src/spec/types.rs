//! The spec, decoded: what every key means, with its default. Doc comments here are the text of `esmm-funnel explain` and of the JSON
//! Schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// A plugin chosen by name, with its settings: `{ kind = "mlp", hidden = [64] }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Registered name.
    pub kind: String,
    /// The other keys, already validated by the plugin; paths in them are resolved.
    pub settings: toml::Table,
    /// Where in the spec it stands, e.g. `stage.click.tower`; key of [`super::Spec::place`].
    pub path: String,
}

/// `[funnel]`: the name of the funnel and of its rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Funnel {
    /// Names the run folder. Default: the spec's file name.
    pub name: String,
    /// What a row is: the root of the graph.
    pub row: String,
    /// Short form: `"impression -> click -> purchase"` declares the row and one stage after the other. `[stage.NAME]` tables refine them.
    pub chain: Option<String>,
}
impl Default for Funnel {
    fn default() -> Self {
        Self { name: String::new(), row: "impression".into(), chain: None }
    }
}

/// What a stage comes after: `"click"`, or `{ stage = "click", unless = "cart" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum After {
    /// The parent stage, or the row.
    Stage(String),
    /// The complement branch: the parent was reached and `unless`, a sibling, was not.
    Complement {
        /// The parent stage, or the row.
        stage: String,
        /// The sibling that must not have been reached.
        unless: String,
    },
}

/// Features that one stage does without.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StageFeatures {
    /// Names of `[feature.NAME]` tables, or columns, that this stage's tower does not see.
    pub without: Vec<String>,
}

/// The bias a stage's head starts with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum InitBias {
    /// A logit.
    Value(f64),
    /// `"base_rate"`: the logit of the stage's conditional rate on the training rows.
    Named(InitBiasName),
}
/// Named starting biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitBiasName {
    /// The logit of the stage's conditional rate on the training rows.
    BaseRate,
}

/// `[stage.NAME]`: one step of the funnel.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its name: TOML path, `--set` path, metric prefix and checkpoint prefix.
    pub name: String,
    /// Parent.
    pub after: After,
    /// The 0/1 column that says whether the row reached it.
    pub label: String,
    /// Its network.
    pub tower: Component,
    /// What its tower does not see.
    pub features: StageFeatures,
    /// Factor of its loss term.
    pub weight: f64,
    /// Where the head's bias starts.
    pub init_bias: InitBias,
}

/// `[outcome.NAME]`: several stages with one label; its probability is the sum over their disjoint paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// The stages it sums over.
    pub any_of: Vec<String>,
    /// Factor of its loss term.
    #[serde(default = "one")]
    pub weight: f64,
}
fn one() -> f64 {
    1.0
}

/// What becomes of a row with a 1 that no path of the graph allows (its parent is 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrphanLabels {
    /// Refuse, showing how many and the first row numbers.
    #[default]
    Error,
    /// Leave the row out.
    DropRow,
    /// Read the child as 0: the paper's y & z.
    ClearChild,
    /// Read the parents as 1.
    SetParent,
    /// Train on the label as it stands: the published code.
    Keep,
}

/// `[data]`: where rows come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    /// The plugin that reads rows.
    pub source: Component,
    /// Columns carried into predictions.
    pub keys: Vec<String>,
    /// Column with a weight per row.
    pub weight: Option<String>,
    /// What becomes of a 1 whose parent is 0.
    pub orphan_labels: OrphanLabels,
}

/// A bound of a split: a number, a date or a string, compared with the column's values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// Text; dates written like `2024-05-31` sort as text.
    Text(String),
    /// A TOML date or time.
    Datetime(#[schemars(with = "String")] toml::value::Datetime),
}

/// `[split]`: every row is in one part; nothing ever selects on test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Split {
    /// Row by row, at random.
    Random {
        /// Share of rows for early stopping, best checkpoint, rate searches, calibration.
        #[serde(default = "tenth")]
        valid: f64,
        /// Share of rows evaluated once, at the end.
        #[serde(default = "fifth")]
        test: f64,
        /// Seed of the draw.
        #[serde(default = "seed")]
        seed: u64,
    },
    /// At random by the value of a column: no user or household is in two parts.
    Group {
        /// The column.
        column: String,
        /// Share of values for valid.
        #[serde(default = "tenth")]
        valid: f64,
        /// Share of values for test.
        #[serde(default = "fifth")]
        test: f64,
        /// Seed of the draw.
        #[serde(default = "seed")]
        seed: u64,
    },
    /// By the order of a column: numbers, dates or timestamps. Bounds are inclusive; rows between the parts are left out.
    Column {
        /// The column.
        column: String,
        /// Last value of train.
        train_through: Scalar,
        /// Last value of valid.
        valid_through: Scalar,
        /// First value of test. Default: what follows `valid_through`.
        #[serde(default)]
        test_from: Option<Scalar>,
    },
    /// By file: these globs, among or beside the source's files, are valid and test; the rest is train.
    Files {
        /// Files of valid.
        valid: Vec<String>,
        /// Files of test.
        test: Vec<String>,
    },
}
fn tenth() -> f64 {
    0.1
}
fn fifth() -> f64 {
    0.2
}
fn seed() -> u64 {
    1
}
impl Default for Split {
    fn default() -> Self {
        Self::Random { valid: tenth(), test: fifth(), seed: seed() }
    }
}

/// `[entity.NAME]`: what many rows share (the user, the session): stored, embedded and multiplied once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entity {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// Column whose value says which entity a row belongs to.
    pub key: String,
}

/// How the values of a bag become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Weighted sum.
    #[default]
    Sum,
    /// Weighted sum over the sum of the weights.
    Mean,
}

/// What is done to a number before the towers see it; fitted on training rows and kept with the model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Transform {
    /// As it is.
    None,
    /// `sign(x) · ln(1 + |x|)`, then standardised.
    Log1p,
    /// Minus the mean, over the standard deviation.
    #[default]
    Standardise,
    /// Cut into ranges; each range owns a table row, like an id.
    Bucketize(Buckets),
}
/// Where a number is cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Buckets {
    /// Into this many ranges with about the same number of training rows.
    Quantiles(NonZeroUsize),
    /// At these values, ascending; a value equal to an edge belongs to the range above it.
    Edges(Vec<f64>),
}

/// How ids find their table row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vocabulary {
    /// Every id seen on at least `min_count` training rows owns a row; the others share the out-of-vocabulary row.
    #[default]
    Learned,
    /// Hashed into `hash_rows` rows; collisions share.
    Hashed,
}

/// What a feature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// One integer or string a row.
    Id,
    /// Any number of ids a row, with weights if wanted.
    Bag,
    /// A number.
    Number,
}

/// `[feature.NAME]`: columns with one treatment, under a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// What the columns hold.
    pub kind: FeatureKind,
    /// Columns; globs allowed (a glob skips labels and keys). Default: the column of the feature's name.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The entity these columns belong to.
    #[serde(default)]
    pub of: Option<String>,
    /// ids: training rows an id must be seen on to own a table row.
    #[serde(default = "one_u64")]
    pub min_count: u64,
    /// ids: `learned` or `hashed`.
    #[serde(default)]
    pub vocabulary: Vocabulary,
    /// ids: number of table rows for `hashed`.
    #[serde(default)]
    pub hash_rows: Option<NonZeroUsize>,
    /// ids: column whose table these share.
    #[serde(default)]
    pub share_with: Option<String>,
    /// bags: column with the weights, as long as the bag.
    #[serde(default)]
    pub weights: Option<String>,
    /// bags in text: what stands between two values.
    #[serde(default = "bar")]
    pub separator: String,
    /// bags: how the vectors become one.
    #[serde(default)]
    pub pooling: Pooling,
    /// numbers: `none`, `log1p`, `standardise`, `{ bucketize = { quantiles = 20 } }` or `{ bucketize = { edges = [..] } }`.
    #[serde(default)]
    pub transform: Transform,
    /// Values read as missing, besides the empty cell and null.
    #[serde(default)]
    pub missing: Vec<String>,
}
fn one_u64() -> u64 {
    1
}
fn bar() -> String {
    "|".into()
}

/// The features of a spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// `features = "infer"`: every column but labels, keys and leakage suspects that no `[feature.NAME]` claims.
    pub infer: bool,
    /// `[feature.NAME]` tables, in order of the file.
    pub declared: Vec<Feature>,
}

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
}
impl Default for Train {
    fn default() -> Self {
        Self {
            batch_rows: NonZeroUsize::new(4096).unwrap_or(NonZeroUsize::MIN),
            epochs: NonZeroUsize::MIN,
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
}
impl Default for Metrics {
    fn default() -> Self {
        Self { gauc_by: None, slices: Vec::new(), ece_bins: NonZeroUsize::new(20).unwrap_or(NonZeroUsize::MIN) }
    }
}
