//! The fields of a model as people know them: columns of the data. One may be several columns of the input (a number and whether it is missing,
//! the parts of a time), and stands in the rows or in an entity.

use super::dataset::Dataset;
use super::preprocess::{OUT_OF_VOCABULARY, Preprocessor};
use serde::Serialize;

/// A column of the data, and where the model sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldColumns {
    /// The column; of a cross, its columns' names with `×` between them.
    pub name: String,
    /// The `[feature.NAME]` table it came from.
    pub feature: String,
    /// `id`, `cross`, `time`, `bag`, `sequence` or `number`.
    pub kind: &'static str,
    /// Index into [`super::Fields::groups`].
    pub group: usize,
    /// What that group is: the row, or an entity.
    pub of: String,
    /// Indices into the group's single-valued fields.
    pub singles: Vec<usize>,
    /// Indices into its bags.
    pub bags: Vec<usize>,
    /// Indices into its numbers.
    pub numbers: Vec<usize>,
}

impl Preprocessor {
    /// Every field, in order of the groups and of their columns.
    #[must_use]
    pub fn field_columns(&self) -> Vec<FieldColumns> {
        let mut all: Vec<FieldColumns> = Vec::new();
        for (g, (group, fits)) in self.layout.groups.iter().zip(&self.numbers).enumerate() {
            let field = |name: &str, feature: &str, kind| FieldColumns {
                name: name.to_owned(),
                feature: feature.to_owned(),
                kind,
                group: g,
                of: group.name.clone(),
                singles: Vec::new(),
                bags: Vec::new(),
                numbers: Vec::new(),
            };
            for (i, id) in group.ids.iter().enumerate() {
                let (name, kind) = match &id.time {
                    Some(time) => (&time.column, "time"),
                    None => (&id.column, if id.cross.is_empty() { "id" } else { "cross" }),
                };
                // The parts of one time are one field.
                match all.iter_mut().find(|f| kind == "time" && (f.group, f.kind, &f.feature, &f.name) == (g, kind, &id.feature, name)) {
                    Some(time) => time.singles.push(i),
                    None => all.push(FieldColumns { singles: vec![i], ..field(name, &id.feature, kind) }),
                }
            }
            for (i, bag) in group.bags.iter().enumerate() {
                let kind = if bag.sequence.is_some() { "sequence" } else { "bag" };
                all.push(FieldColumns { bags: vec![i], ..field(&bag.id.column, &bag.id.feature, kind) });
            }
            let (mut single, mut number) = (group.ids.len(), 0);
            for (column, fit) in group.numbers.iter().zip(fits) {
                let mut of = field(&column.column, &column.feature, "number");
                if matches!(fit, super::NumberFit::Ranges { .. }) {
                    of.singles.push(single);
                    single += 1;
                } else {
                    let wide = 1 + usize::from(fit.indicator());
                    of.numbers.extend(number..number + wide);
                    number += wide;
                }
                all.push(of);
            }
        }
        all
    }
}

/// What the data hold of a field.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldFacts {
    /// Which field.
    #[serde(flatten)]
    pub field: FieldColumns,
    /// Distinct values among all rows; `None` for numbers. Columns that share a table are counted together.
    pub distinct: Option<u64>,
    /// Rows looked at.
    pub rows: u64,
    /// Rows of them that have a value.
    pub present: u64,
    /// Values looked at: of ids one a row, of bags any number.
    pub values: u64,
    /// Values of them that own no table row.
    pub unknown: u64,
    /// The tables (see [`super::Fields::tables`]) of its embeddings; a column may stand in the table of another.
    pub tables: Vec<usize>,
}

impl Dataset {
    /// What a part holds of each field, from its first `most` rows.
    #[must_use]
    pub fn field_facts(&self, part: super::Part, most: usize) -> Vec<FieldFacts> {
        let rows: Vec<u32> = self.part_rows(part).take(most).collect();
        self.preprocessor().field_columns().into_iter().map(|field| self.facts_of(field, &rows)).collect()
    }

    fn facts_of(&self, field: FieldColumns, rows: &[u32]) -> FieldFacts {
        let inner = &self.inner;
        let (layout, stored) = (&inner.preprocessor.layout.groups[field.group], &inner.store.groups[field.group]);
        let group = field.group;
        let member = |row: u32| if group == 0 { row as usize } else { inner.store.entities(row as usize)[group - 1] as usize };
        let fields = &self.fields().groups[field.group];
        let single = field.singles.iter().map(|s| fields.singles[*s].table);
        let tables: Vec<usize> = single.chain(field.bags.iter().map(|b| fields.bags[*b].field.table)).collect();
        let mut facts = FieldFacts { distinct: None, rows: rows.len() as u64, present: 0, values: 0, unknown: 0, tables, field };
        let number = layout.numbers.iter().position(|n| facts.field.kind == "number" && n.column == facts.field.name);
        for row in rows {
            let at = member(*row);
            if let Some(number) = number {
                facts.take(!stored.numbers(at)[number].is_nan(), 1, 0);
            } else if let Some(&bag) = facts.field.bags.first() {
                let known = &inner.rows_of[facts.tables[0]];
                let (codes, _) = stored.bags[bag].get(at);
                let unknown = codes.iter().filter(|c| known[**c as usize] == OUT_OF_VOCABULARY).count();
                facts.take(!codes.is_empty(), codes.len() as u64, unknown as u64);
            } else if let Some(&id) = facts.field.singles.first() {
                let code = stored.codes(at)[id];
                facts.take(code != 0, 1, u64::from(code != 0 && inner.rows_of[facts.tables[0]][code as usize] == OUT_OF_VOCABULARY));
            }
        }
        if number.is_none() {
            facts.distinct = facts.tables.first().map(|t| inner.store.table_values(*t).len() as u64);
        }
        facts
    }

    /// The rows of a part, in order of the inputs.
    pub(crate) fn part_rows(&self, part: super::Part) -> impl Iterator<Item = u32> + '_ {
        let rows = (0u32..).zip(&self.inner.parts);
        rows.filter(move |(_, p)| **p == part.code()).map(|(row, _)| row)
    }
}
impl FieldFacts {
    fn take(&mut self, present: bool, values: u64, unknown: u64) {
        self.present += u64::from(present);
        self.values += if present { values } else { 0 };
        self.unknown += unknown;
    }
}
