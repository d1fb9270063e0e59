//! Entities that stand in inputs of their own: which columns are read where, and which member is meant by a row's key. A row of a log that names
//! its user by a key alone need not repeat the user, and the user is encoded once, however many rows there are.

use super::cells::Cells;
use super::layout::Layout;
use super::source::{EntityColumns, Input};
use crate::diagnostic::{Diagnostic, Diagnostics};
use anyhow::Context;
use hashbrown::HashMap;

/// What is read of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Rows, with these columns.
    Rows(Vec<String>),
    /// Members of the entity of this group.
    Members { group: usize, columns: Vec<String> },
    /// Nothing: no feature is of this entity.
    Nothing,
}
impl Reading {
    pub(crate) fn columns(&self) -> Option<&[String]> {
        match self {
            Self::Rows(columns) | Self::Members { columns, .. } => Some(columns),
            Self::Nothing => None,
        }
    }
}

/// What to read of each input.
///
/// # Errors
/// A column is asked for of rows and stands beside an entity's key, or the other way about.
pub(crate) fn plan(inputs: &[Input], layout: &Layout) -> Result<Vec<Reading>, Diagnostics> {
    let own: Vec<&EntityColumns> = inputs.iter().filter_map(|i| i.entities.as_ref()).collect();
    let mut faults = Vec::new();
    let group_of = |entities: &EntityColumns| layout.groups.iter().position(|g| g.key.as_ref() == Some(&entities.key));
    for (i, entities) in own.iter().enumerate() {
        if !own[..i].contains(entities) {
            misplaced(layout, entities, group_of(entities), &mut faults);
        }
    }
    if !faults.is_empty() {
        return Err(Diagnostics(faults));
    }
    let elsewhere = |column: &String| own.iter().any(|e| e.columns.contains(column));
    let rows: Vec<String> = layout.columns().into_iter().filter(|c| !elsewhere(c)).collect();
    let one = |input: &Input| match &input.entities {
        None => Reading::Rows(rows.clone()),
        Some(entities) => group_of(entities).map_or(Reading::Nothing, |group| {
            let mut columns = vec![entities.key.clone()];
            for column in layout.groups[group].columns() {
                if !columns.iter().any(|c| c == column) {
                    columns.push(column.to_owned());
                }
            }
            Reading::Members { group, columns }
        }),
    };
    Ok(inputs.iter().map(one).collect())
}

/// Reports columns that the spec puts into the rows, and the source beside the entity's key, and the other way about.
fn misplaced(layout: &Layout, entities: &EntityColumns, group: Option<usize>, faults: &mut Vec<Diagnostic>) {
    let key = &entities.key;
    let here = |column: &str| entities.columns.iter().any(|c| c == column);
    let mut fault = |message: String, help: String| {
        let finding = Diagnostic::error("entity-column", message).help(help);
        if !faults.contains(&finding) {
            faults.push(finding);
        }
    };
    for (g, of) in layout.groups.iter().enumerate() {
        for column in of.columns() {
            if Some(g) == group && !here(column) && column != key {
                let message = format!("column `{column}` is no column of entity `{}`: it stands in the rows", of.name);
                fault(message, format!("take `of = \"{}\"` from its feature", of.name));
            } else if Some(g) != group && here(column) {
                let help = match group {
                    Some(group) => format!("add `of = \"{}\"` to its feature", layout.groups[group].name),
                    None => format!(
                        "declare the entity, and add `of = \"user\"` to the features of its columns:\n[entity.user]\nkey = \"{key}\""
                    ),
                };
                fault(format!("column `{column}` stands in no row, but beside the key `{key}`"), help);
            }
        }
    }
    let labels = layout.labels.iter().map(|(_, column)| column).chain(layout.loss_weights.iter().flat_map(|w| &w.columns));
    for column in labels.chain(&layout.weight).chain(&layout.keys).chain(&layout.aux).filter(|c| here(c)) {
        let message = format!("column `{column}` stands in no row, but beside the key `{key}`: it can be a feature, and nothing else");
        fault(message, format!("where rows are told apart, as in `gauc_by` and `slices`, take `{key}`"));
    }
    if let super::layout::SplitColumn::Group(column) | super::layout::SplitColumn::Order(column) = &layout.split
        && here(column)
    {
        fault(format!("split: column `{column}` stands in no row, but beside the key `{key}`"), format!("split by `{key}`"));
    }
}

/// The members of one kind of entity that the next rows may name.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// By hash of the key. `PENDING` until [`Self::know`] has been told.
    of: HashMap<u128, u32>,
    pending: Vec<u128>,
    closed: bool,
}

const PENDING: u32 = u32::MAX;

/// Names a key, however its type writes it; different keys have different names but for a chance of about 2⁻¹²⁸. `None`: missing.
pub(crate) fn key_hash(keys: &Cells, row: usize) -> Option<u128> {
    keys.value(row, |id| id.map(|id| (u128::from(id.stable_hash(0)) << 64) | u128::from(id.stable_hash(1))))
}

impl Given {
    /// An input of members begins: after rows, what was known is forgotten. Tells whether it was.
    pub(crate) fn begin(&mut self) -> bool {
        let forget = std::mem::take(&mut self.closed);
        if forget {
            self.of.clear();
        }
        forget
    }

    /// An input of rows begins.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// The rows whose key is new; the others are broken: row, what was expected, what was found.
    pub(crate) fn fresh(
        &mut self,
        keys: &Cells,
        rows: usize,
        broken: impl FnMut(usize, &'static str, &'static str),
    ) -> anyhow::Result<Vec<u32>> {
        self.fresh_of((0..rows).map(|row| key_hash(keys, row)), broken)
    }

    /// [`Self::fresh`] of keys by their names.
    pub(crate) fn fresh_of(
        &mut self,
        keys: impl Iterator<Item = Option<u128>>,
        mut broken: impl FnMut(usize, &'static str, &'static str),
    ) -> anyhow::Result<Vec<u32>> {
        let mut fresh = Vec::with_capacity(keys.size_hint().0);
        for (row, key) in keys.enumerate() {
            let Some(key) = key else {
                broken(row, "a key", "an empty cell");
                continue;
            };
            if self.of.try_insert(key, PENDING).is_err() {
                broken(row, "each key once", "one that stands further up; the first counts");
                continue;
            }
            self.pending.push(key);
            fresh.push(u32::try_from(row).context("more than 2³² rows in a chunk")?);
        }
        Ok(fresh)
    }

    /// Tells which entities the rows of the last [`Self::fresh`] are.
    pub(crate) fn know(&mut self, entities: &[u32]) {
        for (key, &entity) in self.pending.drain(..).zip(entities) {
            self.of.insert(key, entity);
        }
    }

    /// The keys that wait for [`Self::know`], in order.
    pub(crate) fn pending(&self) -> &[u128] {
        &self.pending
    }

    /// Puts a member back that an earlier process has read.
    pub(crate) fn restore(&mut self, key: u128, entity: u32) {
        self.of.insert(key, entity);
    }

    /// The entity of each row. Rows without one are added to `missing`, and get any.
    pub(crate) fn lookup(&self, keys: &Cells, rows: usize, missing: &mut Vec<usize>) -> Vec<u32> {
        let one = |row| {
            key_hash(keys, row).and_then(|key| self.of.get(&key).copied()).unwrap_or_else(|| {
                missing.push(row);
                0
            })
        };
        (0..rows).map(one).collect()
    }
}
