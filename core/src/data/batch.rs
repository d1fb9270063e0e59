//! The encoded rows of one step: table rows, numbers and labels, what entities share kept once.

/// A ragged, weighted bag field of one group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BagBatch {
    /// Where each of the N bags starts; `[N + 1]`.
    pub offsets: Vec<u32>,
    /// Table rows of all bags, one after the other.
    pub rows: Vec<u32>,
    /// Weight of each value; empty: all 1.
    pub weights: Vec<f32>,
}

/// The fields of the rows themselves, or of the entities of one kind that the rows share.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupBatch {
    /// N: number of distinct members in the batch (B for the rows themselves).
    pub size: usize,
    /// `[B]`: which member each row belongs to. Empty for the rows themselves (the identity).
    pub index: Vec<u32>,
    /// `[N, F]`, row-major: table rows of the single-valued fields.
    pub singles: Vec<u32>,
    /// The bag fields.
    pub bags: Vec<BagBatch>,
    /// `[N, K]`, row-major: transformed numbers.
    pub numbers: Vec<f32>,
}

/// The rows of one step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// B.
    pub size: usize,
    /// First the rows themselves, then the entities in the order of the spec.
    pub groups: Vec<GroupBatch>,
    /// Per stage `[B]`: 0 or 1 after the orphan policy. Empty when scoring.
    pub labels: Vec<Vec<u8>>,
    /// `[B]`; empty: all 1.
    pub weights: Vec<f32>,
    /// Per stage `[B]`: what weighs each row in its loss term; empty: all 1. Empty where no stage has loss weights.
    pub loss_weights: Vec<Vec<f32>>,
    /// Per metric column (see [`super::Fields::aux`]) `[B]`: code of the value. Empty when scoring.
    pub aux: Vec<Vec<u32>>,
    /// Per stage `[B]`: true conditional probability. Empty where truth is unknown.
    pub truth: Vec<Vec<f32>>,
    /// Per stage `[B]`: the outcome the row would have had, had its parent been reached. Empty where truth is unknown.
    pub counterfactual: Vec<Vec<u8>>,
}

/// An embedded field of a group.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Field {
    /// The column.
    pub name: String,
    /// The `[feature.NAME]` table it came from.
    pub feature: String,
    /// Index into [`Fields::tables`].
    pub table: usize,
}

/// A bag field of a group.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BagField {
    /// Column, feature and table.
    pub field: Field,
    /// How its vectors become one.
    pub pooling: crate::spec::Pooling,
    /// For a sequence: the field that its values are compared with, one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attend_to: Option<SingleField>,
}

/// Which single-valued field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SingleField {
    /// Index into [`Fields::groups`].
    pub group: usize,
    /// Index into [`GroupFields::singles`].
    pub single: usize,
}

/// A number that reaches the towers as it is: a transformed column, or the indicator that it is missing.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NumberField {
    /// The column (with `is_missing` for an indicator).
    pub name: String,
    /// The `[feature.NAME]` table it came from.
    pub feature: String,
    /// True for the indicator that the value is missing.
    pub is_missing: bool,
}

/// The fields of one group; the input's column order is singles, bags, numbers.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GroupFields {
    /// `row`'s name, or the entity's.
    pub name: String,
    /// Single-valued embedded fields.
    pub singles: Vec<Field>,
    /// Bag fields.
    pub bags: Vec<BagField>,
    /// Numbers.
    pub numbers: Vec<NumberField>,
}

/// An embedding table.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TableShape {
    /// Name: the first column that uses it.
    pub name: String,
    /// Rows: 0 is out of vocabulary, 1 is missing, then ids.
    pub rows: usize,
}

/// What a model must know of the data: groups, fields, tables.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Fields {
    /// First the rows themselves, then the entities.
    pub groups: Vec<GroupFields>,
    /// Tables.
    pub tables: Vec<TableShape>,
    /// Columns kept for metrics: `gauc_by`, then `slices`.
    pub aux: Vec<String>,
}
