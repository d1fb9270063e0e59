//! The spec, decoded: what every key means, with its default. Doc comments here are the text of `esmm-funnel explain` and of the JSON
//! Schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod feature;
mod tables;
mod time;
mod train;

pub use feature::*;
pub(super) use tables::*;
pub use time::*;
pub use train::*;

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
    /// What a tower's logit stands for, and so how probabilities come of it.
    pub composition: Composition,
}
impl Default for Funnel {
    fn default() -> Self {
        Self { name: String::new(), row: "impression".into(), chain: None, composition: Composition::default() }
    }
}

/// What a tower's logit stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Composition {
    /// The stage's conditional probability, P(stage | parent); the full-space probability is the product along the path.
    #[default]
    Product,
    /// The stage's full-space probability, P(stage | row); the conditional probability is its quotient by the parent's, and may exceed 1: the
    /// competitor DIVISION of the ESMM paper (Ma et al., SIGIR 2018, section 3). For stages without `unless` and funnels without outcomes.
    Quotient,
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
#[serde(untagged, expecting = "expected a number or \"base_rate\"")]
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
    /// What weighs each row in its loss term: an expression over columns of the data.
    pub loss_weight: Option<String>,
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
    /// Files with more columns of the same rows.
    pub beside: Vec<String>,
    /// Columns carried into predictions.
    pub keys: Vec<String>,
    /// Column with a weight per row.
    pub weight: Option<String>,
    /// What becomes of a 1 whose parent is 0.
    pub orphan_labels: OrphanLabels,
    /// Columns with the truth, by stage: every stage's, or none.
    pub truth: BTreeMap<String, Truth>,
}

/// `[data.truth.STAGE]`: the truth that only generated data has. No feature takes these columns by a glob, and nothing is trained on them:
/// they give the metrics of the space `entire`, and `best`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// Column with the true conditional probability of the stage, for every row.
    pub probability: String,
    /// Column with the outcome, 0 or 1, that the row would have had if its parent had been reached.
    pub outcome: String,
}

/// A bound of a split: a number, a date or a string, compared with the column's values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a number, a date or a string")]
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
