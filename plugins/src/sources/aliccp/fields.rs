//! The fields of Ali-CCP, and what each preprocessing in circulation takes of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One field of the data.
#[derive(Debug)]
pub(super) struct Field {
    pub name: &'static str,
    /// Its name's bytes as a number, to compare at once.
    pub code: u64,
    /// It stands in the common features, not in the skeleton.
    pub user: bool,
    /// A row may have several ids of it.
    pub many: bool,
}

const fn field(name: &'static str, user: bool, many: bool) -> Field {
    let (bytes, mut code, mut at) = (name.as_bytes(), 0, 0);
    while at < bytes.len() {
        code |= (bytes[at] as u64) << (8 * at);
        at += 1;
    }
    Field { name, code, user, many }
}

/// Number of fields.
pub(super) const COUNT: usize = 23;
/// All fields: those of the skeleton, then those of the user.
pub(super) static FIELDS: [Field; COUNT] = [
    field("205", false, false),
    field("206", false, false),
    field("207", false, false),
    field("210", false, true),
    field("216", false, false),
    field("301", false, false),
    field("508", false, false),
    field("509", false, false),
    field("702", false, false),
    field("853", false, true),
    field("101", true, false),
    field("109_14", true, true),
    field("110_14", true, true),
    field("127_14", true, true),
    field("150_14", true, true),
    field("121", true, false),
    field("122", true, false),
    field("124", true, false),
    field("125", true, false),
    field("126", true, false),
    field("127", true, false),
    field("128", true, false),
    field("129", true, false),
];

/// Preprocessings in circulation. They give different metrics: name the variant with every result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// The paper's (Ma et al., SIGIR 2018): nothing is dropped, every value is kept. Its labels are y & z: `orphan_labels = "clear_child"`.
    #[default]
    Paper,
    /// As the authors' published code: like `paper`, with each label as it stands: `orphan_labels = "keep"`.
    Xdl,
    /// As AITM's script: rows bought without a click are dropped, and 18 fields have one id each, the last one; its threshold is a `min_count` of
    /// the spec.
    Aitm,
    /// As torch-rechub's script: the same rows are dropped, and all 23 fields have one id each, the last one, with its weight beside it.
    Rechub,
}

impl Variant {
    /// As specs write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Xdl => "xdl",
            Self::Aitm => "aitm",
            Self::Rechub => "rechub",
        }
    }
    /// Whether rows with a purchase and no click are dropped.
    pub(super) fn drops_orphans(self) -> bool {
        matches!(self, Self::Aitm | Self::Rechub)
    }
    /// Whether a field has one id only.
    pub(super) fn one_id(self) -> bool {
        self.drops_orphans()
    }
    /// Whether it takes a field.
    pub(super) fn takes(self, field: &Field) -> bool {
        self != Self::Aitm || !(field.name.ends_with("_14") || field.name == "210")
    }
    /// Whether a field is a bag.
    pub(super) fn is_bag(self, field: &Field) -> bool {
        field.many && !self.one_id()
    }
}

/// The column with a field's weights.
pub(super) fn weights_column(field: &Field) -> String {
    format!("{}_w", field.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_code_of_its_own() {
        for (i, field) in FIELDS.iter().enumerate() {
            assert!(FIELDS[..i].iter().all(|f| f.code != field.code && f.name != field.name), "{}", field.name);
        }
        assert_eq!(FIELDS.iter().filter(|f| Variant::Aitm.takes(f)).count(), 18);
        assert_eq!(FIELDS.iter().filter(|f| Variant::Rechub.takes(f)).count(), COUNT);
    }
}
