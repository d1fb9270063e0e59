//! Rows that belong together by the value of a column: what is resampled as one when metrics are given intervals.

use super::dataset::Dataset;
use super::split::Part;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use hashbrown::HashMap;

/// The rows of a part by the value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    /// `[N]`: cluster of each row, in order of the inputs.
    pub of: Vec<u32>,
    /// Number of clusters.
    pub count: usize,
}

impl Clusters {
    /// Equal values are one cluster; a missing value is a cluster of its own.
    fn of_values<T: std::hash::Hash + Eq>(values: impl Iterator<Item = Option<T>>) -> Self {
        let (mut known, mut count) = (HashMap::new(), 0u32);
        let mut next = || {
            count += 1;
            count - 1
        };
        let of = values.map(|value| match value {
            Some(value) => *known.entry(value).or_insert_with(&mut next),
            None => next(),
        });
        let of = of.collect();
        Self { of, count: count as usize }
    }
}

impl Dataset {
    /// Clusters of a part's rows by a column that the data keep: one for metrics, a key, or one of single ids. `None`: they keep no such column.
    ///
    /// # Errors
    /// The store's file cannot be read.
    pub fn clusters(&self, part: Part, column: &str) -> anyhow::Result<Option<Clusters>> {
        let store = &self.inner.store;
        let layout = store.layout();
        let rows = || self.inner.parts.iter().enumerate().filter(|(_, p)| **p == part.code()).map(|(row, _)| row);
        let known = |code: u32| (code > 0).then_some(code);
        if let Some(at) = layout.aux.iter().position(|c| c == column) {
            return Ok(Some(Clusters::of_values(rows().map(|row| known(store.aux(row)[at])))));
        }
        if layout.keys.iter().any(|c| c == column) {
            return self.clusters_of_key(part, column).map(Some);
        }
        for (g, group) in layout.groups.iter().enumerate() {
            let plain = |c: &super::layout::IdColumn| c.column == column && c.cross.is_empty() && c.time.is_none();
            if let Some(at) = group.ids.iter().position(plain) {
                let member = |row: usize| if g == 0 { row } else { store.entities(row)[g - 1] as usize };
                return Ok(Some(Clusters::of_values(rows().map(|row| known(store.groups[g].codes(member(row))[at])))));
            }
        }
        Ok(None)
    }

    /// The columns that [`Self::clusters`] knows, each once.
    #[must_use]
    pub fn cluster_columns(&self) -> Vec<&str> {
        let layout = self.inner.store.layout();
        let ids = layout.groups.iter().flat_map(|g| &g.ids).filter(|c| c.cross.is_empty() && c.time.is_none());
        let mut all: Vec<&str> = Vec::new();
        for column in layout.aux.iter().chain(&layout.keys).map(String::as_str).chain(ids.map(|c| c.column.as_str())) {
            if !all.contains(&column) {
                all.push(column);
            }
        }
        all
    }

    fn clusters_of_key(&self, part: Part, column: &str) -> anyhow::Result<Clusters> {
        let mut values: Vec<Option<String>> = Vec::new();
        for batch in self.keys(part)?.into_iter().flatten() {
            let batch = batch?;
            let Some(array) = batch.column_by_name(column) else { continue };
            let options = FormatOptions::default();
            let text = ArrayFormatter::try_new(array, &options)?;
            values.extend((0..array.len()).map(|row| array.is_valid(row).then(|| text.value(row).to_string())));
        }
        Ok(Clusters::of_values(values.into_iter()))
    }
}
