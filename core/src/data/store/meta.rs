//! What a store says of itself: `meta.json`, written last.

use crate::data::layout::Layout;
use serde::{Deserialize, Serialize};

/// Changes whenever the files do; a store of another format is built anew.
pub(crate) const FORMAT: u32 = 2;

/// One input of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredInput {
    /// What messages call it.
    pub name: String,
    /// The file, if it is one.
    pub path: Option<std::path::PathBuf>,
    /// Its fingerprint when it was read.
    pub fingerprint: String,
    /// Bytes read.
    pub bytes: u64,
    /// `line` or `row`.
    pub unit: String,
    /// Rows it gave.
    pub rows: u64,
}

/// The entities of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEntities {
    /// The entity's name.
    pub name: String,
    /// Stored entities.
    pub entities: u64,
    /// Distinct keys.
    pub keys: u64,
    /// Keys whose rows differ in the entity's features, so that they own several entities.
    pub keys_with_several: u64,
}

/// `meta.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Version of the layout of the files.
    pub format: u32,
    /// Name of the folder.
    pub fingerprint: String,
    /// N.
    pub rows: u64,
    /// Runs of consecutive row numbers.
    pub number_runs: u64,
    /// Inputs, in reading order.
    pub inputs: Vec<StoredInput>,
    /// Entities of each kind.
    pub entities: Vec<StoredEntities>,
    /// Broken rows that were left out, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Values of the bags, per group and bag.
    pub bag_values: Vec<Vec<u64>>,
    /// Bytes of the split column's text.
    pub order_bytes: u64,
    /// Values of each table's dictionary, then of each metric column's.
    pub dictionary_values: Vec<u64>,
    /// Per file but this one: xxh3 of its bytes, as 16 hexadecimal digits.
    pub checksums: std::collections::BTreeMap<String, String>,
    /// What was read.
    pub layout: Layout,
}
