//! Which columns are read, as what, in which group and with which table: the spec resolved against the columns of the data.

use super::id::mix;
use crate::spec::{Pooling, TimePart, TimeUnit, Transform, UtcOffset, Vocabulary};
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::ops::Range;

/// Where a part of a time is read from, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeColumn {
    /// The column of times.
    pub column: String,
    /// The part of it.
    pub part: TimePart,
    /// What its numbers count since 1970; `None`: a number is no time.
    pub unit: Option<TimeUnit>,
    /// Where the clock hangs.
    pub timezone: UtcOffset,
}

/// A column of ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IdColumn {
    /// The column; of a cross, its columns' names with `×` between them; of a part of a time, `COLUMN:PART`.
    pub column: String,
    /// The columns of a cross, whose values together make the id; empty for an ordinary column.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cross: Vec<String>,
    /// The time that the id is a part of; `None` for an ordinary column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeColumn>,
    /// The feature it is of.
    pub feature: String,
    /// Index into [`Layout::tables`].
    pub table: usize,
    /// Values read as missing.
    pub missing: Vec<String>,
}

impl IdColumn {
    /// The columns of the data that it is read from.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        let own = self.time.as_ref().map_or(&self.column, |time| &time.column);
        self.cross.is_empty().then_some(own.as_str()).into_iter().chain(self.cross.iter().map(String::as_str))
    }
}

/// A column of bags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BagColumn {
    /// Column, feature, table.
    pub id: IdColumn,
    /// Column with the weights.
    pub weights: Option<String>,
    /// What stands between two values in text.
    pub separator: String,
    /// How the vectors become one.
    pub pooling: Pooling,
    /// For a sequence, what it is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<SequenceLayout>,
}
impl BagColumn {
    /// Which of a row's values count.
    pub(crate) fn kept(&self, values: usize) -> Range<usize> {
        let most = self.sequence.as_ref().and_then(|s| s.keep_last).map_or(values, NonZeroUsize::get);
        values.saturating_sub(most)..values
    }
}

/// What makes a bag a sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceLayout {
    /// The column of single ids that each value is compared with.
    pub attend_to: String,
    /// How many values count, the last ones; `None`: all.
    pub keep_last: Option<NonZeroUsize>,
}

/// A column of numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumberColumn {
    /// The column.
    pub column: String,
    /// The feature it is of.
    pub feature: String,
    /// What is done to it.
    pub transform: Transform,
    /// Values read as missing.
    pub missing: Vec<String>,
}

/// The columns of the rows themselves, or of the entities of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupLayout {
    /// The row's name, or the entity's.
    pub name: String,
    /// Column that says which entity a row belongs to; `None` for the rows themselves.
    pub key: Option<String>,
    /// Single ids.
    pub ids: Vec<IdColumn>,
    /// Bags.
    pub bags: Vec<BagColumn>,
    /// Numbers.
    pub numbers: Vec<NumberColumn>,
}

impl GroupLayout {
    /// Columns of features, in order: ids, bags, weights of bags, numbers.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        let ids = self.ids.iter().flat_map(IdColumn::sources);
        let bags = self.bags.iter().map(|c| c.id.column.as_str());
        let weights = self.bags.iter().filter_map(|c| c.weights.as_deref());
        ids.chain(bags).chain(weights).chain(self.numbers.iter().map(|c| c.column.as_str()))
    }
    /// True without features.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.bags.is_empty() && self.numbers.is_empty()
    }
}

/// A table of ids, used by one column or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLayout {
    /// The column that owns it.
    pub name: String,
    /// Training rows an id must be seen on to own a table row.
    pub min_count: u64,
    /// How ids find their row.
    pub vocabulary: Vocabulary,
    /// Rows of a hashed table.
    pub hash_rows: usize,
    /// The first and the last of the whole numbers that own a row each, where these are known in advance, as for a part of a time. The other
    /// settings mean nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(i64, i64)>,
}

/// What the split needs of the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "column", rename_all = "snake_case")]
pub enum SplitColumn {
    /// Nothing: at random or by file.
    None,
    /// The hash of a column's value.
    Group(String),
    /// A column's value, to be ordered.
    Order(String),
}

/// The true probability and outcome of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthLayout {
    /// Index of the stage.
    pub stage: usize,
    /// Column of the true conditional probability.
    pub probability: String,
    /// Column of the outcome the row would have had.
    pub outcome: String,
}

/// What weighs each row in a stage's loss term.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossWeight {
    /// Index of the stage.
    pub stage: usize,
    /// An expression over columns.
    pub expression: String,
    /// The columns.
    pub columns: Vec<String>,
}

/// Everything that is read of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// First the rows themselves, then the entities that have features, in the order of the spec.
    pub groups: Vec<GroupLayout>,
    /// Tables of ids.
    pub tables: Vec<TableLayout>,
    /// Name and label column of each stage.
    pub labels: Vec<(String, String)>,
    /// Column with a weight per row.
    pub weight: Option<String>,
    /// Loss weights, by stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loss_weights: Vec<LossWeight>,
    /// Columns carried into predictions.
    pub keys: Vec<String>,
    /// Columns kept for metrics: `gauc_by`, then `slices`.
    pub aux: Vec<String>,
    /// What the split needs.
    pub split: SplitColumn,
    /// Truth, of generated data.
    pub truth: Vec<TruthLayout>,
}

impl Layout {
    /// Every column that is read for training, each once, in order.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        let mut all: Vec<&str> = Vec::new();
        for group in &self.groups {
            all.extend(group.key.as_deref());
            all.extend(group.columns());
        }
        all.extend(self.labels.iter().map(|(_, column)| column.as_str()));
        all.extend(self.weight.as_deref());
        all.extend(self.loss_weights.iter().flat_map(|w| &w.columns).map(String::as_str));
        all.extend(self.keys.iter().map(String::as_str));
        all.extend(self.aux.iter().map(String::as_str));
        match &self.split {
            SplitColumn::None => {}
            SplitColumn::Group(column) | SplitColumn::Order(column) => all.push(column),
        }
        all.extend(self.truth.iter().flat_map(|t| [t.probability.as_str(), t.outcome.as_str()]));
        unique(all)
    }

    /// The columns of features, each once: what scoring needs.
    #[must_use]
    pub fn feature_columns(&self) -> Vec<String> {
        unique(self.groups.iter().flat_map(GroupLayout::columns).collect())
    }

    /// A text that changes whenever the encoded form of the rows does, and not when only the treatment of codes and numbers does.
    pub(crate) fn encoded_form(&self) -> String {
        let mut form = self.clone();
        for table in &mut form.tables {
            (table.min_count, table.vocabulary, table.hash_rows) = (1, Vocabulary::Learned, 0);
        }
        for group in &mut form.groups {
            group.ids.iter_mut().for_each(|c| c.feature.clear());
            for bag in &mut group.bags {
                bag.id.feature.clear();
                (bag.pooling, bag.sequence) = (Pooling::Sum, None);
            }
            for number in &mut group.numbers {
                number.feature.clear();
                number.transform = Transform::None;
            }
        }
        serde_json::to_string(&form).unwrap_or_else(|_| format!("{form:?}"))
    }

    /// The layout for rows of other files, which are all in one part and not trained on: neither the split's column nor loss weights are needed
    /// there.
    #[must_use]
    pub fn for_other_rows(&self) -> Self {
        Self { split: SplitColumn::None, loss_weights: Vec::new(), ..self.clone() }
    }

    /// The part of [`Self::encoded_form`] that a preprocessor depends on.
    pub(crate) fn feature_form(&self) -> String {
        let bare = Self { labels: Vec::new(), weight: None, keys: Vec::new(), aux: Vec::new(), truth: Vec::new(), ..self.for_other_rows() };
        bare.encoded_form()
    }

    /// A seed of the hash for table `table`, so that two tables do not collide alike.
    pub(crate) fn hash_seed(table: usize) -> u64 {
        mix(table as u64, 0x7461_626c)
    }
}

fn unique(columns: Vec<&str>) -> Vec<String> {
    let mut seen = hashbrown::HashSet::new();
    columns.into_iter().filter(|c| seen.insert(*c)).map(str::to_owned).collect()
}
