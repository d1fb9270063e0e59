//! Which columns rows at hand must have, and the one arrow form in which each is encoded and logged: text for ids and times, 64-bit floats
//! for numbers, lists of these for bags. What stands in a cell means the same in every form: `42` and `"42"` are one id.

use crate::data::Layout;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, FixedSizeListArray, Float64Array, LargeListArray, ListArray, ListBuilder, StringArray,
    StringBuilder, make_array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// What stands in the cells of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellKind {
    /// An id, or a time.
    Text,
    /// A number.
    Number,
    /// A bag of ids.
    Texts,
    /// The weights of a bag.
    Numbers,
}

/// A column that rows must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineColumn {
    /// Its name.
    pub name: String,
    /// The feature that it is of; of several, the first.
    pub feature: String,
    /// The row's name, or the entity's that it is of.
    pub group: String,
    /// What stands in its cells.
    pub kind: CellKind,
    /// Whether it is read as a time, which numbers may stand for.
    pub is_time: bool,
    /// Whether floating-point numbers may stand in a cell of text: for times, not for ids.
    pub floats: bool,
    /// What stands between two values of a bag in text.
    pub separator: String,
    /// Texts read as missing.
    pub missing: Vec<String>,
}

/// A column that does not hold what it should, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnFault {
    /// The column.
    pub column: String,
    /// The row, from 0, if one is at fault.
    pub row: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// Each column of the layout's features once, in its order.
pub(super) fn of(layout: &Layout) -> Vec<OnlineColumn> {
    let mut all: Vec<OnlineColumn> = Vec::new();
    for name in layout.feature_columns() {
        let mut found: Option<OnlineColumn> = None;
        for (group, kind, used) in uses(layout, &name) {
            let new = OnlineColumn {
                name: name.clone(),
                feature: used.feature.into(),
                group: group.into(),
                kind,
                is_time: used.is_time,
                floats: used.is_time,
                separator: used.separator.into(),
                missing: used.missing.to_vec(),
            };
            found = Some(match found {
                None => new,
                Some(before) => before.and(&new),
            });
        }
        all.extend(found);
    }
    all
}

struct Use<'a> {
    feature: &'a str,
    missing: &'a [String],
    separator: &'a str,
    is_time: bool,
}

/// Everything that a column is read for.
fn uses<'a>(layout: &'a Layout, name: &str) -> Vec<(&'a str, CellKind, Use<'a>)> {
    let mut all = Vec::new();
    for group in &layout.groups {
        let of = group.name.as_str();
        for c in group.ids.iter().filter(|c| c.sources().any(|s| s == name)) {
            let used = Use { feature: &c.feature, missing: &c.missing, separator: "", is_time: c.time.is_some() };
            all.push((of, CellKind::Text, used));
        }
        for b in &group.bags {
            let used = |missing: &'a [String]| Use { feature: &b.id.feature, missing, separator: &b.separator, is_time: false };
            if b.id.column == name {
                all.push((of, CellKind::Texts, used(&b.id.missing)));
            }
            if b.weights.as_deref() == Some(name) {
                all.push((of, CellKind::Numbers, used(&[])));
            }
        }
        for n in group.numbers.iter().filter(|n| n.column == name) {
            all.push((of, CellKind::Number, Use { feature: &n.feature, missing: &n.missing, separator: "", is_time: false }));
        }
    }
    all
}

impl OnlineColumn {
    /// Of a column with two uses: cells in which both find what they need.
    fn and(mut self, other: &Self) -> Self {
        if self.kind != other.kind || self.separator != other.separator {
            self.kind = CellKind::Text;
        }
        self.is_time |= other.is_time;
        self.floats &= other.floats;
        self.missing.retain(|m| other.missing.contains(m));
        self
    }

    /// The arrow type of its one form.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        let list = |inner| DataType::List(Arc::new(Field::new("item", inner, true)));
        match self.kind {
            CellKind::Text => DataType::Utf8,
            CellKind::Number => DataType::Float64,
            CellKind::Texts => list(DataType::Utf8),
            CellKind::Numbers => list(DataType::Float64),
        }
    }

    /// What a cell may hold, in words.
    #[must_use]
    pub fn expected(&self) -> &'static str {
        match (self.kind, self.is_time) {
            (CellKind::Text, true) => "a time, as text or a number",
            (CellKind::Text, false) => "an id: text or a whole number",
            (CellKind::Number, _) => "a number",
            (CellKind::Texts, _) => "a list of ids",
            (CellKind::Numbers, _) => "a list of numbers",
        }
    }

    /// A column without values.
    #[must_use]
    pub fn nulls(&self, rows: usize) -> ArrayRef {
        new_null_array(&self.data_type(), rows)
    }

    /// Text of several values, taken apart at the separator; an empty part keeps its place.
    pub fn parts<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let whole = self.separator.is_empty();
        let empty = text.is_empty() || self.missing.iter().any(|m| m == text);
        let parts = (!whole && !empty).then(|| text.split(self.separator.as_str())).into_iter().flatten();
        parts.chain((whole && !empty).then_some(text))
    }

    /// An arrow column of any fitting type in its one form.
    ///
    /// # Errors
    /// A type or a cell that does not fit.
    pub fn canonical(&self, array: &ArrayRef) -> Result<ArrayRef, ColumnFault> {
        let fault = |row, message| ColumnFault { column: self.name.clone(), row, message };
        let wrong = || fault(None, format!("expected {}, found {}", self.expected(), array.data_type()));
        if !plain(array.data_type()) {
            return Err(wrong());
        }
        let done = match self.kind {
            CellKind::Text => self.texts(array).ok_or_else(wrong)?,
            CellKind::Number => numbers(array).ok_or_else(wrong)?,
            CellKind::Texts | CellKind::Numbers => self.lists(array).ok_or_else(wrong)?,
        };
        self.check_numbers(&done).map_err(|row| fault(row, "expected a number that fits 32 bits, found another".into()))?;
        Ok(done)
    }

    fn texts(&self, array: &ArrayRef) -> Option<ArrayRef> {
        match array.data_type() {
            DataType::Float16 | DataType::Float32 | DataType::Float64 if !self.floats => None,
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => None,
            DataType::Dictionary(_, inner) if inner.is_floating() && !self.floats => None,
            // Arrow would look the zone up by its name; the moment is the same without.
            DataType::Timestamp(unit, Some(_)) => {
                let moments = array.to_data().into_builder().data_type(DataType::Timestamp(*unit, None)).build().ok()?;
                let texts = cast(&make_array(moments), &DataType::Utf8)?;
                let texts = texts.as_string::<i32>().iter().map(|t| t.map(|t| format!("{t}Z")));
                Some(Arc::new(texts.collect::<StringArray>()))
            }
            _ => cast(array, &DataType::Utf8),
        }
    }

    fn lists(&self, array: &ArrayRef) -> Option<ArrayRef> {
        let (inner, rows) = (if self.kind == CellKind::Texts { DataType::Utf8 } else { DataType::Float64 }, array.len());
        let ids = self.kind == CellKind::Texts;
        let of = |values: &ArrayRef| if ids && values.data_type().is_floating() { None } else { cast(values, &inner) };
        let list = |offsets: OffsetBuffer<i32>, values: &ArrayRef| -> Option<ArrayRef> {
            let field = Arc::new(Field::new("item", inner.clone(), true));
            Some(Arc::new(ListArray::try_new(field, offsets, of(values)?, array.nulls().cloned()).ok()?))
        };
        match array.data_type() {
            DataType::List(_) => {
                let all: &ListArray = array.as_list();
                list(all.offsets().clone(), all.values())
            }
            DataType::LargeList(_) => {
                let all: &LargeListArray = array.as_list();
                let offsets = all.offsets().iter().map(|o| i32::try_from(*o).ok()).collect::<Option<Vec<_>>>()?;
                list(OffsetBuffer::new(offsets.into()), all.values())
            }
            DataType::FixedSizeList(_, width) => {
                let all: &FixedSizeListArray = array.as_fixed_size_list();
                let width = usize::try_from(*width).ok()?;
                i32::try_from(width.checked_mul(rows)?).ok()?;
                list(OffsetBuffer::from_lengths(std::iter::repeat_n(width, rows)), all.values())
            }
            DataType::Null => Some(self.nulls(rows)),
            _ => {
                if ids && array.data_type().is_floating() {
                    return None;
                }
                let text = cast(array, &DataType::Utf8)?;
                Some(if ids { self.split(text.as_string()) } else { self.split_numbers(text.as_string())? })
            }
        }
    }

    fn split(&self, text: &StringArray) -> ArrayRef {
        let mut out = ListBuilder::new(StringBuilder::new());
        for cell in text {
            for part in cell.into_iter().flat_map(|cell| self.parts(cell)) {
                out.values().append_value(part);
            }
            out.append(cell.is_some());
        }
        Arc::new(out.finish())
    }
    fn split_numbers(&self, text: &StringArray) -> Option<ArrayRef> {
        let mut out = ListBuilder::new(arrow::array::Float64Builder::new());
        for cell in text {
            for part in cell.into_iter().flat_map(|cell| self.parts(cell)) {
                out.values().append_value(part.trim().parse().ok()?);
            }
            out.append(cell.is_some());
        }
        Some(Arc::new(out.finish()))
    }

    /// Numbers are kept in 32 bits, and one that does not fit is as useless as an infinite one. `Err`: the first row, if it is known.
    fn check_numbers(&self, array: &ArrayRef) -> Result<(), Option<usize>> {
        let out = |n: f64| n.abs() > f64::from(f32::MAX);
        match self.kind {
            CellKind::Number => {
                let numbers: &Float64Array = array.as_primitive();
                numbers.iter().position(|n| n.is_some_and(out)).map_or(Ok(()), |row| Err(Some(row)))
            }
            CellKind::Numbers => {
                let lists: &ListArray = array.as_list();
                let numbers: &Float64Array = lists.values().as_primitive();
                if numbers.iter().any(|n| n.is_some_and(out)) { Err(None) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

fn numbers(array: &ArrayRef) -> Option<ArrayRef> {
    let data_type = match array.data_type() {
        DataType::Dictionary(_, inner) => inner,
        other => other,
    };
    let fits = data_type.is_numeric() || matches!(data_type, DataType::Boolean | DataType::Null);
    fits.then(|| cast(array, &DataType::Float64)).flatten()
}

fn cast(array: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    if let Some(bytes) = array.as_any().downcast_ref::<BinaryArray>() {
        // Bytes that are no text are no ids.
        bytes.iter().all(|b| b.is_none_or(|b| std::str::from_utf8(b).is_ok())).then_some(())?;
    }
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() }).ok()
}

/// Types of single values, and lists and dictionaries of them.
fn plain(data_type: &DataType) -> bool {
    let single = |t: &DataType| t.is_primitive() || t.is_string() || t.is_binary() || matches!(t, DataType::Boolean | DataType::Null);
    match data_type {
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => single(f.data_type()),
        DataType::Dictionary(_, inner) => single(inner),
        other => single(other),
    }
}

/// The columns in their one form.
pub(super) fn schema(columns: &[OnlineColumn]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|c| Field::new(&c.name, c.data_type(), true)).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BooleanArray, Int64Array, TimestampMillisecondArray};

    fn column(kind: CellKind) -> OnlineColumn {
        OnlineColumn {
            name: "c".into(),
            feature: "c".into(),
            group: "row".into(),
            kind,
            is_time: false,
            floats: false,
            separator: "|".into(),
            missing: vec!["NA".into()],
        }
    }
    fn array(array: impl Array + 'static) -> ArrayRef {
        Arc::new(array)
    }

    #[test]
    fn ids_of_any_type_become_text() {
        let texts = |a| column(CellKind::Text).canonical(&a);
        let of = |a: ArrayRef| texts(a).unwrap().as_string::<i32>().iter().map(|t| t.map(str::to_owned)).collect::<Vec<_>>();
        assert_eq!(of(array(Int64Array::from(vec![Some(42), None]))), [Some("42".to_owned()), None]);
        assert_eq!(of(array(BooleanArray::from(vec![true]))), [Some("true".to_owned())]);
        let fault = texts(array(Float64Array::from(vec![1.5]))).unwrap_err();
        assert_eq!(fault.message, "expected an id: text or a whole number, found Float64");
        let time = OnlineColumn { is_time: true, floats: true, ..column(CellKind::Text) };
        let moment = time.canonical(&array(TimestampMillisecondArray::from(vec![0]).with_timezone("UTC"))).unwrap();
        assert_eq!(moment.as_string::<i32>().value(0), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn numbers_are_numbers_and_fit() {
        let number = column(CellKind::Number);
        assert_eq!(
            number.canonical(&array(Int64Array::from(vec![3]))).unwrap().as_primitive::<arrow::datatypes::Float64Type>().value(0),
            3.0
        );
        assert!(number.canonical(&array(StringArray::from(vec!["3"]))).unwrap_err().message.starts_with("expected a number, found Utf8"));
        assert_eq!(number.canonical(&array(Float64Array::from(vec![0.0, 1e39]))).unwrap_err().row, Some(1));
    }

    #[test]
    fn bags_in_text_are_taken_apart() {
        let bags = column(CellKind::Texts).canonical(&array(StringArray::from(vec![Some("a||7"), Some("NA"), None]))).unwrap();
        let lists: &ListArray = bags.as_list();
        assert_eq!(lists.value(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "", "7"]);
        assert!(lists.value(1).is_empty() && lists.is_null(2));
        assert!(column(CellKind::Texts).canonical(&array(Float64Array::from(vec![1.0]))).is_err());
    }
}
