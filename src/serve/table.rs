//! Cells of JSON → arrow columns in the one form of the model, without a value in between. Columns that rows do not name cost nothing; a gap is
//! filled with null when the next cell comes, and remembered.

use super::cells::{Builder, Cell, Key};
use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use esmm_funnel_core::score::online::OnlineColumn;
use hashbrown::HashMap;
use std::sync::Arc;

/// Unknown columns that are kept apart; more are counted together.
const EXTRAS: usize = 64;

/// The names that mean something in a row.
#[derive(Debug)]
pub struct Names {
    /// The model's columns, then keys that are none.
    pub all: Vec<String>,
    by_name: HashMap<String, usize>,
    /// How many are the model's.
    pub features: usize,
    /// Per key of the spec its place in `all`.
    pub keys: Vec<usize>,
}
impl Names {
    /// Of a model's columns and the spec's keys.
    pub fn of(columns: &[OnlineColumn], keys: &[String]) -> Self {
        let mut all: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
        all.extend(keys.iter().filter(|k| !columns.iter().any(|c| c.name == **k)).cloned());
        let by_name: HashMap<String, usize> = all.iter().cloned().enumerate().map(|(i, n)| (n, i)).collect();
        let keys = keys.iter().filter_map(|k| by_name.get(k).copied()).collect();
        Self { all, by_name, features: columns.len(), keys }
    }
    fn is_key(&self, name: usize) -> Option<usize> {
        self.keys.iter().position(|k| *k == name)
    }
}

/// A column that the model does not know.
#[derive(Debug)]
pub struct Extra {
    /// Its name.
    pub name: String,
    /// Rows that have it.
    pub rows: usize,
    /// Row and value, where that is a number.
    pub numbers: Vec<(u32, f64)>,
}

#[derive(Debug, Default)]
struct Column {
    builder: Option<Builder>,
    /// Cells and gaps so far.
    filled: usize,
    given: usize,
    gap: Option<usize>,
}

/// The cells of a request's rows, or of what they have in common.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    keys: Vec<Vec<Key>>,
    /// Columns that the model does not know.
    pub extras: Vec<Extra>,
    /// Cells of unknown columns beyond the first ones.
    pub more_extras: usize,
    /// Rows so far.
    pub rows: usize,
    /// What each place of a row named so far, since rows are alike.
    order: Vec<Slot>,
    at: usize,
}

/// What a name of a row means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// A name of [`Names::all`].
    Known(usize),
    /// One of [`Table::extras`].
    Extra(usize),
    /// One that nobody asks for.
    Ignored,
}

impl Table {
    /// An empty one.
    pub fn new(names: &Names) -> Self {
        Self {
            columns: (0..names.features).map(|_| Column::default()).collect(),
            keys: vec![Vec::new(); names.keys.len()],
            extras: Vec::new(),
            more_extras: 0,
            rows: 0,
            order: Vec::new(),
            at: 0,
        }
    }

    /// The next row begins.
    pub fn begin(&mut self) {
        self.at = 0;
    }
    /// The row is whole.
    pub fn end(&mut self) {
        self.rows += 1;
    }

    /// What a name of the row means.
    pub fn slot(&mut self, names: &Names, name: &str) -> Slot {
        let expected = self.order.get(self.at).copied();
        let holds = match expected {
            Some(Slot::Known(i)) => names.all[i] == name,
            Some(Slot::Extra(i)) => self.extras[i].name == name,
            _ => false,
        };
        self.at += 1;
        if let (Some(slot), true) = (expected, holds) {
            return slot;
        }
        let slot = match names.by_name.get(name) {
            Some(i) => Slot::Known(*i),
            None => self.extra(name),
        };
        if self.order.len() + 1 == self.at {
            self.order.push(slot);
        }
        slot
    }
    fn extra(&mut self, name: &str) -> Slot {
        if let Some(i) = self.extras.iter().position(|e| e.name == name) {
            return Slot::Extra(i);
        }
        if self.extras.len() == EXTRAS {
            self.more_extras += 1;
            return Slot::Ignored;
        }
        self.extras.push(Extra { name: name.to_owned(), rows: 0, numbers: Vec::new() });
        Slot::Extra(self.extras.len() - 1)
    }

    /// Whether the row has this column already.
    pub fn has(&self, name: usize) -> bool {
        self.columns.get(name).is_some_and(|c| c.filled > self.rows)
    }
    /// How many rows have this column of the model.
    pub fn given(&self, column: usize) -> usize {
        self.columns[column].given
    }
    /// The first row without it.
    pub fn gap(&self, column: usize) -> Option<usize> {
        let c = &self.columns[column];
        c.gap.or((c.filled < self.rows).then_some(c.filled))
    }
    /// A key of a row.
    pub fn key(&self, key: usize, row: usize) -> &Key {
        self.keys[key].get(row).unwrap_or(&Key::Null)
    }
    /// Whether any row has this key.
    pub fn has_key(&self, key: usize) -> bool {
        !self.keys[key].is_empty()
    }

    /// What reads the cell of a known name.
    pub fn cell<'a>(&'a mut self, names: &Names, columns: &'a [OnlineColumn], name: usize) -> Cell<'a> {
        let row = self.rows;
        let key = names.is_key(name).map(|k| {
            let keys = &mut self.keys[k];
            keys.resize(row, Key::Null);
            keys.truncate(row);
            keys
        });
        let column = (name < names.features).then(|| {
            let (of, column) = (&columns[name], &mut self.columns[name]);
            let builder = column.builder.get_or_insert_with(|| Builder::of(of.kind));
            if column.filled < row {
                column.gap.get_or_insert(column.filled);
                builder.nulls(row - column.filled);
            }
            (column.filled, column.given) = (row + 1, column.given + 1);
            (of, builder)
        });
        Cell { column, key }
    }

    /// The columns that some row has, or all of them; missing cells are null.
    pub fn finish(&mut self, columns: &[OnlineColumn], wanted: impl Fn(usize) -> bool) -> Result<RecordBatch, arrow::error::ArrowError> {
        let rows = self.rows;
        let (mut fields, mut arrays) = (Vec::new(), Vec::new());
        for (_, (of, column)) in columns.iter().zip(&mut self.columns).enumerate().filter(|(i, _)| wanted(*i)) {
            let array: ArrayRef = match &mut column.builder {
                None => of.nulls(rows),
                Some(builder) => {
                    builder.nulls(rows - column.filled);
                    builder.finish()
                }
            };
            fields.push(Field::new(&of.name, of.data_type(), true));
            arrays.push(array);
        }
        let schema = Arc::new(Schema::new(fields));
        RecordBatch::try_new_with_options(schema, arrays, &RecordBatchOptions::new().with_row_count(Some(rows)))
    }
}
