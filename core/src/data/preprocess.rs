//! What is fitted on training rows and kept with the model: which ids own a table row, how numbers are scaled. Raw columns go in at scoring.

use super::batch::{BagField, Field, Fields, GroupFields, NumberField, SingleField, TableShape};
use super::dictionary::Dictionary;
use super::id::{IdRef, IdValue};
use super::layout::{BagColumn, GroupLayout, IdColumn, Layout, NumberColumn, TableLayout};
use crate::spec::Vocabulary;
use serde::{Deserialize, Serialize};

/// Table row of ids that own none.
pub const OUT_OF_VOCABULARY: u32 = 0;
/// Table row of missing ids.
pub const MISSING: u32 = 1;
/// Table row of the first id.
pub const FIRST_ID: u32 = 2;

/// How a column of numbers is treated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NumberFit {
    /// As it is; missing becomes 0.
    None {
        /// True if an indicator of missing values goes along.
        indicator: bool,
    },
    /// `sign(x) · ln(1 + |x|)` if `log`, then minus the mean, over the standard deviation; missing becomes 0 afterwards.
    Scale {
        /// Takes the logarithm first.
        log: bool,
        /// Mean over training rows.
        mean: f64,
        /// Standard deviation over training rows; 0 for a constant column, which becomes 0.
        std: f64,
        /// True if an indicator of missing values goes along.
        indicator: bool,
    },
    /// Becomes an id: its range, counted from [`FIRST_ID`].
    Ranges {
        /// Ascending; a value equal to an edge belongs to the range above it.
        edges: Vec<f64>,
    },
}

impl NumberFit {
    /// Whether an indicator of missing values goes along.
    #[must_use]
    pub fn indicator(&self) -> bool {
        match self {
            Self::None { indicator } | Self::Scale { indicator, .. } => *indicator,
            Self::Ranges { .. } => false,
        }
    }
}

/// `sign(x) · ln(1 + |x|)`.
pub(crate) fn signed_log1p(x: f64) -> f64 {
    x.abs().ln_1p().copysign(x)
}

/// How the ids of a table find their rows.
#[derive(Debug, Clone)]
pub(crate) enum TableVocabulary {
    /// Code `c` of the dictionary owns row `c + 1`.
    Learned { ids: Dictionary, counts: Vec<u64> },
    /// The hash of the id's canonical text.
    Hashed { rows: usize, seed: u64 },
    /// Each whole number from the first to the last owns a row, in order.
    Range { first: i64, last: i64 },
}
impl TableVocabulary {
    /// Of a table whose rows do not depend on the data.
    pub(crate) fn in_advance(at: usize, table: &TableLayout) -> Option<Self> {
        match (table.range, table.vocabulary) {
            (Some((first, last)), _) => Some(Self::Range { first, last }),
            (None, Vocabulary::Hashed) => Some(Self::Hashed { rows: table.hash_rows, seed: Layout::hash_seed(at) }),
            (None, Vocabulary::Learned) => None,
        }
    }
    /// The table row of an id.
    #[inline]
    pub(crate) fn row(&self, id: IdRef<'_>) -> u32 {
        match self {
            Self::Learned { ids, .. } => ids.find(id).map_or(OUT_OF_VOCABULARY, |code| code + 1),
            #[allow(clippy::cast_possible_truncation)]
            Self::Hashed { rows, seed } => (id.stable_hash(*seed) % *rows as u64) as u32 + FIRST_ID,
            Self::Range { first, last } => match id {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                IdRef::Integer(i) if (*first..=*last).contains(&i) => (i - first) as u32 + FIRST_ID,
                _ => OUT_OF_VOCABULARY,
            },
        }
    }
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Learned { ids, .. } => ids.values().len() + FIRST_ID as usize,
            Self::Hashed { rows, .. } => rows + FIRST_ID as usize,
            Self::Range { first, last } => usize::try_from(last - first + 1).unwrap_or(0) + FIRST_ID as usize,
        }
    }
    /// Whether ids may be read as out of vocabulary, so that that row learns. Where every id owns a row, none can be unknown later.
    pub(crate) fn masks(&self) -> bool {
        matches!(self, Self::Learned { .. })
    }
}

/// From raw columns to table rows and numbers. Saved with the run as `features.json` and `vocabulary.parquet`.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    pub(crate) layout: Layout,
    /// Per group and number column.
    pub(crate) numbers: Vec<Vec<NumberFit>>,
    /// Per table of ids.
    pub(crate) tables: Vec<TableVocabulary>,
    fields: Fields,
}

impl Preprocessor {
    pub(crate) fn new(layout: Layout, numbers: Vec<Vec<NumberFit>>, tables: Vec<TableVocabulary>) -> Self {
        let fields = fields(&layout, &numbers, &tables);
        Self { layout, numbers, tables, fields }
    }

    /// Groups, fields and tables, as a model sees them.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.fields
    }
    /// What is read of a source.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
    /// How the number columns of a group are treated, in the layout's order.
    #[must_use]
    pub fn numbers(&self, group: usize) -> &[NumberFit] {
        &self.numbers[group]
    }
    /// The ids that own a row of a table, in order of their rows from [`FIRST_ID`], and how many training rows hold each. Empty for a
    /// table whose rows do not depend on the data (hashed, or parts of a time).
    #[must_use]
    pub fn vocabulary(&self, table: usize) -> (&[IdValue], &[u64]) {
        match self.tables.get(table) {
            Some(TableVocabulary::Learned { ids, counts }) => (ids.values(), counts),
            _ => (&[], &[]),
        }
    }

    /// The table row of an id of this column, or of a missing one.
    #[inline]
    pub(crate) fn row_of(&self, column: &IdColumn, id: Option<IdRef<'_>>) -> u32 {
        id.map_or(MISSING, |id| self.tables[column.table].row(id))
    }

    /// Appends the numbers of one member: ranges to `singles`, the rest to `numbers`. NaN is missing.
    #[inline]
    pub(crate) fn push_numbers(&self, group: usize, raw: &[f32], singles: &mut Vec<u32>, numbers: &mut Vec<f32>) {
        for (&x, fit) in raw.iter().zip(&self.numbers[group]) {
            let missing = x.is_nan();
            match fit {
                NumberFit::Ranges { .. } if missing => singles.push(MISSING),
                NumberFit::Ranges { edges } => {
                    let range = edges.partition_point(|e| *e <= f64::from(x));
                    singles.push(u32::try_from(range).unwrap_or(0) + FIRST_ID);
                }
                NumberFit::None { .. } => numbers.push(if missing { 0.0 } else { x }),
                NumberFit::Scale { .. } if missing => numbers.push(0.0),
                NumberFit::Scale { log, mean, std, .. } => {
                    let x = if *log { signed_log1p(f64::from(x)) } else { f64::from(x) };
                    #[allow(clippy::cast_possible_truncation)]
                    numbers.push(if *std > 0.0 { ((x - mean) / std) as f32 } else { 0.0 });
                }
            }
            if fit.indicator() {
                numbers.push(f32::from(u8::from(missing)));
            }
        }
    }
}

fn fields(layout: &Layout, numbers: &[Vec<NumberFit>], tables: &[TableVocabulary]) -> Fields {
    let mut shapes: Vec<TableShape> =
        layout.tables.iter().zip(tables).map(|(t, v)| TableShape { name: t.name.clone(), rows: v.rows() }).collect();
    let field = |c: &IdColumn| Field { name: c.column.clone(), feature: c.feature.clone(), table: c.table };
    let attend_to = |bag: &BagColumn| {
        let target = &bag.sequence.as_ref()?.attend_to;
        let single = |g: &GroupLayout| g.ids.iter().position(|c| c.column == *target);
        layout.groups.iter().enumerate().find_map(|(group, g)| Some(SingleField { group, single: single(g)? }))
    };
    let mut groups = Vec::new();
    for (group, fits) in layout.groups.iter().zip(numbers) {
        let mut of = GroupFields {
            name: group.name.clone(),
            singles: group.ids.iter().map(field).collect(),
            bags: group.bags.iter().map(|b| BagField { field: field(&b.id), pooling: b.pooling, attend_to: attend_to(b) }).collect(),
            numbers: Vec::new(),
        };
        for (NumberColumn { column, feature, .. }, fit) in group.numbers.iter().zip(fits) {
            if let NumberFit::Ranges { edges } = fit {
                of.singles.push(Field { name: column.clone(), feature: feature.clone(), table: shapes.len() });
                shapes.push(TableShape { name: column.clone(), rows: edges.len() + 1 + FIRST_ID as usize });
                continue;
            }
            of.numbers.push(NumberField { name: column.clone(), feature: feature.clone(), is_missing: false });
            if fit.indicator() {
                of.numbers.push(NumberField { name: column.clone(), feature: feature.clone(), is_missing: true });
            }
        }
        groups.push(of);
    }
    Fields { groups, tables: shapes, aux: layout.aux.clone() }
}
