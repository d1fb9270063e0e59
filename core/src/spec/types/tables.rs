//! Sections as they are written, where that differs from what they decode to: components are chosen by name, and what is left out has a
//! default that depends on its surroundings.

use super::{After, InitBias, InitBiasName, OrphanLabels, StageFeatures, Truth};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Stands for a component in the JSON Schema; components are decoded on their own, by the plugin they name.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct Chosen {}

macro_rules! reference {
    ($name:ident, $to:literal) => {
        fn $name(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"$ref": concat!("#/$defs/", $to)})
        }
    };
}
reference!(tower, "tower");
reference!(source, "source");

/// `[defaults]`: what stages have that say nothing else.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Defaults")]
pub struct DefaultsTable {
    /// The network of stages without `tower`. Default: `mlp`.
    #[schemars(schema_with = "tower")]
    #[serde(skip_serializing)]
    pub tower: Chosen,
}

/// `[stage.NAME]`: one step of the funnel. `NAME = false` under `[stage]` removes an inherited stage.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Stage")]
pub struct StageTable {
    /// Parent: a stage or the row, `"click"`; or the complement branch `{ stage = "click", unless = "cart" }`. Default: from `funnel.chain`.
    pub after: Option<After>,
    /// The 0/1 column that says whether the row reached it. Default: the stage's name.
    pub label: Option<String>,
    /// Its network. Default: that of `[defaults]`, else `mlp`.
    #[schemars(schema_with = "tower")]
    #[serde(skip_serializing)]
    pub tower: Chosen,
    /// What its tower does not see.
    pub features: StageFeatures,
    /// Factor of its loss term.
    pub weight: f64,
    /// What weighs each row in its loss term in training, and in nothing else (metrics do not know it): an expression over columns of the data
    /// that is 0 or more in every row, such as `"w"` or `"min(1 / p_click, 100)"`. Row weights of `data.weight` count besides. Its columns are no
    /// features, unless a feature names them.
    pub loss_weight: Option<String>,
    /// The bias its head starts with: `"base_rate"`, the logit of its conditional rate on the training rows, or a logit.
    pub init_bias: InitBias,
}
impl Default for StageTable {
    fn default() -> Self {
        Self {
            after: None,
            label: None,
            tower: Chosen {},
            features: StageFeatures::default(),
            weight: 1.0,
            loss_weight: None,
            init_bias: InitBias::Named(InitBiasName::BaseRate),
        }
    }
}

/// `[data]`: where rows come from.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Data")]
pub struct DataTable {
    /// The plugin that reads rows, with its settings. Required.
    #[schemars(schema_with = "source")]
    #[serde(skip_serializing)]
    pub source: Chosen,
    /// Paths and globs of Parquet or CSV files that hold more columns of the same rows in the same order, one file for each of the source's
    /// inputs, in their order: what `predict RUN --data … --out DIR` writes. A column of both must be one of `keys`, which are compared row by
    /// row. `features = "infer"` takes none of their columns; other data, as of `eval --data`, must hold those that features read themselves.
    pub beside: Vec<String>,
    /// Columns carried into predictions.
    pub keys: Vec<String>,
    /// Column with a weight per row.
    pub weight: Option<String>,
    /// What becomes of a 1 whose parent is 0.
    pub orphan_labels: OrphanLabels,
    /// `[data.truth.STAGE]` with `probability` and `outcome`: columns with the truth that only generated data has, of every stage or of none. The
    /// first is the stage's true conditional probability, the second the outcome, 0 or 1, that the row would have had if its parent had been
    /// reached. Nothing is trained on them; they give the metrics of the space `entire`, and `best`.
    pub truth: BTreeMap<String, Truth>,
}
