//! Entities and features: which columns the towers see, and how.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

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
    /// The combination of several columns' values, as one id a row.
    Cross,
}

impl FeatureKind {
    /// Whether a key of `[feature.NAME]` means something for this kind.
    #[must_use]
    pub fn takes(self, key: &str) -> bool {
        match key {
            "min_count" | "vocabulary" | "hash_rows" | "share_with" => self != Self::Number,
            "weights" | "separator" | "pooling" => self == Self::Bag,
            "transform" => self == Self::Number,
            _ => true,
        }
    }
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
    /// Columns; globs allowed (a glob skips labels and keys). Default: the column of the feature's name. A cross combines its columns, two or
    /// more without globs, which other features may take as well.
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
