//! Cells of JSON → arrow columns in the one form of the model, without a value in between. Columns that rows do not name cost nothing; a gap is
//! filled with null when the next cell comes, and remembered.

use arrow::array::{ArrayRef, Float64Builder, ListBuilder, StringBuilder};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use esmm_funnel_core::score::online::{CellKind, OnlineColumn};
use hashbrown::HashMap;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use std::fmt;
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

/// A key as it was given.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    /// Not given.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// One beyond those.
    Unsigned(u64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(Box<str>),
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

#[derive(Debug)]
enum Builder {
    Text(StringBuilder),
    Number(Float64Builder),
    Texts(ListBuilder<StringBuilder>),
    Numbers(ListBuilder<Float64Builder>),
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
        for (i, (of, column)) in columns.iter().zip(&mut self.columns).enumerate().filter(|(i, _)| wanted(*i)) {
            let array: ArrayRef = match &mut column.builder {
                None => of.nulls(rows),
                Some(builder) => {
                    builder.nulls(rows - column.filled);
                    builder.finish()
                }
            };
            fields.push(i);
            arrays.push(array);
        }
        let schema = esmm_schema(columns, &fields);
        RecordBatch::try_new_with_options(schema, arrays, &RecordBatchOptions::new().with_row_count(Some(rows)))
    }
}

fn esmm_schema(columns: &[OnlineColumn], at: &[usize]) -> arrow::datatypes::SchemaRef {
    use arrow::datatypes::{Field, Schema};
    Arc::new(Schema::new(at.iter().map(|&i| Field::new(&columns[i].name, columns[i].data_type(), true)).collect::<Vec<_>>()))
}

impl Builder {
    fn of(kind: CellKind) -> Self {
        match kind {
            CellKind::Text => Self::Text(StringBuilder::new()),
            CellKind::Number => Self::Number(Float64Builder::new()),
            CellKind::Texts => Self::Texts(ListBuilder::new(StringBuilder::new())),
            CellKind::Numbers => Self::Numbers(ListBuilder::new(Float64Builder::new())),
        }
    }
    fn nulls(&mut self, n: usize) {
        match self {
            Self::Text(b) => (0..n).for_each(|_| b.append_null()),
            Self::Number(b) => b.append_nulls(n),
            Self::Texts(b) => (0..n).for_each(|_| b.append_null()),
            Self::Numbers(b) => (0..n).for_each(|_| b.append_null()),
        }
    }
    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(b) => Arc::new(b.finish()),
            Self::Number(b) => Arc::new(b.finish()),
            Self::Texts(b) => Arc::new(b.finish()),
            Self::Numbers(b) => Arc::new(b.finish()),
        }
    }
}

/// Reads one cell into its column, and its key.
pub struct Cell<'a> {
    column: Option<(&'a OnlineColumn, &'a mut Builder)>,
    key: Option<&'a mut Vec<Key>>,
}

impl<'de> de::DeserializeSeed<'de> for Cell<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Cell<'_> {
    fn keep(&mut self, key: impl FnOnce() -> Key) {
        if let Some(keys) = &mut self.key {
            keys.push(key());
        }
    }
    fn whole<E: de::Error>(&mut self, text: &str, number: f64) -> Result<(), E> {
        let Some((column, builder)) = &mut self.column else { return Ok(()) };
        match builder {
            Builder::Text(b) => b.append_value(text),
            Builder::Number(b) => b.append_value(number),
            Builder::Texts(b) => {
                b.values().append_value(text);
                b.append(true);
            }
            Builder::Numbers(_) => return Err(E::custom(format!("expected {}, found a number", column.expected()))),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Cell<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.column.as_ref().map_or("text, a number, a truth value or null", |(c, _)| c.expected()))
    }
    fn visit_unit<E: de::Error>(mut self) -> Result<(), E> {
        self.keep(|| Key::Null);
        if let Some((_, builder)) = self.column {
            builder.nulls(1);
        }
        Ok(())
    }
    fn visit_bool<E: de::Error>(mut self, value: bool) -> Result<(), E> {
        self.keep(|| Key::Bool(value));
        match &mut self.column {
            Some((column, Builder::Number(_) | Builder::Numbers(_))) => {
                Err(E::custom(format!("expected {}, found a truth value", column.expected())))
            }
            _ => self.whole(if value { "true" } else { "false" }, 0.0),
        }
    }
    fn visit_i64<E: de::Error>(mut self, value: i64) -> Result<(), E> {
        self.keep(|| Key::Integer(value));
        self.whole(itoa::Buffer::new().format(value), value as f64)
    }
    fn visit_u64<E: de::Error>(mut self, value: u64) -> Result<(), E> {
        self.keep(|| i64::try_from(value).map_or(Key::Unsigned(value), Key::Integer));
        self.whole(itoa::Buffer::new().format(value), value as f64)
    }
    fn visit_f64<E: de::Error>(mut self, value: f64) -> Result<(), E> {
        self.keep(|| Key::Float(value));
        match &mut self.column {
            None => Ok(()),
            Some((column, Builder::Number(_))) if value.abs() > f64::from(f32::MAX) => {
                Err(E::custom(format!("expected {} that fits 32 bits, found a larger one", column.expected())))
            }
            Some((_, Builder::Number(b))) => {
                b.append_value(value);
                Ok(())
            }
            Some((column, Builder::Text(b))) if column.floats => {
                b.append_value(value.to_string());
                Ok(())
            }
            Some((column, _)) => Err(E::custom(format!("expected {}, found a floating-point number", column.expected()))),
        }
    }
    fn visit_str<E: de::Error>(mut self, value: &str) -> Result<(), E> {
        self.keep(|| Key::Text(value.into()));
        let Some((column, builder)) = self.column else { return Ok(()) };
        match builder {
            Builder::Text(b) => b.append_value(value),
            Builder::Number(b) if value.is_empty() || column.missing.iter().any(|m| m == value) => b.append_null(),
            Builder::Texts(b) => {
                column.parts(value).for_each(|part| b.values().append_value(part));
                b.append(true);
            }
            Builder::Numbers(b) => {
                for part in column.parts(value) {
                    let number = part.trim().parse().ok().filter(|n: &f64| n.abs() <= f64::from(f32::MAX));
                    b.values()
                        .append_value(number.ok_or_else(|| E::custom("expected numbers between the separators, found something else"))?);
                }
                b.append(true);
            }
            Builder::Number(_) => return Err(E::custom(format!("expected {}, found text", column.expected()))),
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        match self.column {
            Some((_, Builder::Texts(b))) if self.key.is_none() => {
                while seq.next_element_seed(Item::Text(b.values()))?.is_some() {}
                b.append(true);
                Ok(())
            }
            Some((_, Builder::Numbers(b))) if self.key.is_none() => {
                while seq.next_element_seed(Item::Number(b.values()))?.is_some() {}
                b.append(true);
                Ok(())
            }
            Some((column, _)) => Err(de::Error::custom(format!("expected {}, found a list", column.expected()))),
            None => Err(de::Error::custom("expected a key: text, a number, a truth value or null; found a list")),
        }
    }
}

/// Reads a value of a bag.
enum Item<'a> {
    Text(&'a mut StringBuilder),
    Number(&'a mut Float64Builder),
}
impl<'de> de::DeserializeSeed<'de> for Item<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}
impl<'de> Visitor<'de> for Item<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "an id: text or a whole number",
            Self::Number(_) => "a number",
        })
    }
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        match self {
            Self::Text(b) => b.append_null(),
            Self::Number(_) => return Err(E::custom("expected a number, found null")),
        }
        Ok(())
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        match self {
            Self::Text(b) => b.append_value(itoa::Buffer::new().format(value)),
            Self::Number(b) => b.append_value(value as f64),
        }
        Ok(())
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        match self {
            Self::Text(b) => b.append_value(itoa::Buffer::new().format(value)),
            Self::Number(b) => b.append_value(value as f64),
        }
        Ok(())
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        match self {
            Self::Number(b) if value.abs() <= f64::from(f32::MAX) => b.append_value(value),
            Self::Number(_) => return Err(E::custom("expected a number that fits 32 bits, found a larger one")),
            Self::Text(_) => return Err(E::custom("expected an id: text or a whole number, found a floating-point number")),
        }
        Ok(())
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        match self {
            Self::Text(b) => b.append_value(value),
            Self::Number(_) => return Err(E::custom("expected a number, found text")),
        }
        Ok(())
    }
}

/// Reads the cell of an unknown column: its number, if it is one.
pub struct Loose;
impl<'de> de::DeserializeSeed<'de> for Loose {
    type Value = Option<f64>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}
impl<'de> Visitor<'de> for Loose {
    type Value = Option<f64>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(f64::from(u8::from(value))))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value as f64))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value as f64))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value))
    }
    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}
