//! Entities and features: which columns the towers see, and how.

use super::{TimePart, TimeUnit, UtcOffset};
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
    /// Ids in the order they happened, oldest first (what a user viewed). Towers that attend (`din`) compare each with the field `attend_to`;
    /// the others see them pooled, like a bag.
    Sequence,
    /// A time, of which some parts (hour, weekday …) are seen, each as an id whose table is known in advance.
    Time,
}

impl FeatureKind {
    /// Whether a key of `[feature.NAME]` means something for this kind.
    #[must_use]
    pub fn takes(self, key: &str) -> bool {
        match key {
            "min_count" | "vocabulary" | "hash_rows" | "share_with" => !matches!(self, Self::Number | Self::Time),
            "weights" => self == Self::Bag,
            "separator" | "pooling" => matches!(self, Self::Bag | Self::Sequence),
            "attend_to" | "keep_last" => self == Self::Sequence,
            "transform" => self == Self::Number,
            "parts" | "unit" | "timezone" => self == Self::Time,
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
    /// ids: column whose table these share. Default of a sequence: that of `attend_to`.
    #[serde(default)]
    pub share_with: Option<String>,
    /// bags: column with the weights, as long as the bag.
    #[serde(default)]
    pub weights: Option<String>,
    /// bags and sequences in text: what stands between two values.
    #[serde(default = "bar")]
    pub separator: String,
    /// bags and sequences: how the vectors become one.
    #[serde(default)]
    pub pooling: Pooling,
    /// sequences: the column of single ids (or the name of a cross) that each value is compared with: the item that the row is about.
    #[serde(default)]
    pub attend_to: Option<String>,
    /// sequences: how many values count, the last ones. Default: all.
    #[serde(default)]
    pub keep_last: Option<NonZeroUsize>,
    /// numbers: `none`, `log1p`, `standardise`, `{ bucketize = { quantiles = 20 } }` or `{ bucketize = { edges = [..] } }`.
    #[serde(default)]
    pub transform: Transform,
    /// times: the parts that towers see, `["hour", "weekday"]` if not stated. Each becomes a field of its own, `COLUMN:PART`, with a table row
    /// for each of its numbers and one for missing. A time is a date, or date and time as ISO 8601 writes them (`2024-05-31T17:40:00.5+02:00`,
    /// a space for the `T` is fine), a date or timestamp column of Parquet, or a number with `unit`.
    #[serde(default = "hour_and_weekday")]
    pub parts: Vec<TimePart>,
    /// times written as numbers: what they count since the start of 1970 in UTC. There is no default: a number is no time until this says so.
    #[serde(default)]
    pub unit: Option<TimeUnit>,
    /// times: where the clock hangs that the parts are read off, as a fixed offset from UTC: `"+02:00"`. Moments (numbers, texts with `Z` or an
    /// offset, timestamps with a time zone) are moved there; what has no offset is that clock's time already.
    #[serde(default)]
    pub timezone: UtcOffset,
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
fn hour_and_weekday() -> Vec<TimePart> {
    vec![TimePart::Hour, TimePart::Weekday]
}

impl Feature {
    /// The column whose table the feature's columns share, if it is another's.
    #[must_use]
    pub fn shares(&self) -> Option<&str> {
        self.share_with.as_deref().or(self.attend_to.as_deref())
    }
}

/// The features of a spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// `features = "infer"`: every column but labels, keys and leakage suspects that no `[feature.NAME]` claims.
    pub infer: bool,
    /// `[feature.NAME]` tables, in order of the file.
    pub declared: Vec<Feature>,
}
