//! Small plugins for the tests of this module, in one place.

use crate::data::source::SharedSource;
use crate::plugin::{Build, EncoderBuild, ObjectiveBuild, SourceSettings, TowerBuild};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// What stands where a real plugin builds: the specs of these tests are never run.
macro_rules! test_build {
    (Tower) => {
        Build::Tower(TowerBuild { build: |_, _, _| anyhow::bail!("a test plugin"), needs: |_| Ok(crate::plugin::Needs::default()) })
    };
    (Encoder) => {
        Build::Encoder(EncoderBuild { build: |_, _, _| anyhow::bail!("a test plugin") })
    };
    (Objective) => {
        Build::Objective(ObjectiveBuild { build: |_, _| anyhow::bail!("a test plugin") })
    };
}
/// Registers settings without a thing to build.
macro_rules! register_test {
    ($kind:ident, $name:literal, $settings:ty) => {
        crate::__register!($name, $settings, test_build!($kind));
    };
}

/// Linear layers with a nonlinearity between them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Mlp {
    /// Width of each hidden layer, first to last. Empty means logistic regression.
    hidden: Vec<NonZeroUsize>,
    /// Share of units left out in training.
    dropout: f64,
    /// Nonlinearity.
    activation: Activation,
}
impl Default for Mlp {
    fn default() -> Self {
        Self { hidden: [64, 32].into_iter().filter_map(NonZeroUsize::new).collect(), dropout: 0.0, activation: Activation::Relu }
    }
}
/// A nonlinearity.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Activation {
    /// max(0, x).
    Relu,
    /// x·σ(x).
    Silu,
}
register_test!(Tower, "mlp", Mlp);

/// One weight per input.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Linear {}
register_test!(Tower, "linear", Linear);

/// All fields side by side.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Concat {}
register_test!(Encoder, "concat", Concat);

/// Every stage's probability of the whole path, on all rows.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct EntireSpace {}
register_test!(Objective, "entire_space", EntireSpace);

/// Each stage on the rows that reached its parent.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ConditionalSpace {}
register_test!(Objective, "conditional", ConditionalSpace);

/// Rows from files.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Files {
    /// Files or globs.
    files: Vec<String>,
    /// What stands between cells.
    delimiter: Option<String>,
}
impl SourceSettings for Files {
    const PATH_KEYS: &'static [&'static str] = &["files"];
    fn open(&self, _: Option<&[PathBuf]>, _: &crate::graph::Graph) -> anyhow::Result<SharedSource> {
        anyhow::bail!("not opened in these tests")
    }
}
crate::register_source!("csv", Files);

/// Rows with known truth.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Synthetic {
    /// Number of rows.
    rows: u64,
    /// Seed.
    seed: u64,
}
impl SourceSettings for Synthetic {
    fn open(&self, _: Option<&[PathBuf]>, _: &crate::graph::Graph) -> anyhow::Result<SharedSource> {
        anyhow::bail!("not opened in these tests")
    }
}
crate::register_source!("synthetic", Synthetic);
