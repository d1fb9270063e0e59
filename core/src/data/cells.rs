//! Arrow columns of any type, seen as ids, bags, numbers or labels.

use super::id::{IdRef, Missing};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Float64Array, Int64Array, LargeListArray, ListArray, StringArray,
    UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};

/// What a column is read as; decides how types without a direct meaning are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Ids, labels, order: dates, times and decimals become text.
    Text,
    /// Numbers: decimals become floats.
    Number,
}

/// The cells of one column of a chunk.
#[derive(Debug, Clone)]
pub(crate) enum Cells {
    Text(StringArray),
    Integer(Int64Array),
    Unsigned(UInt64Array),
    Float(Float64Array),
    Boolean(BooleanArray),
    Null(usize),
}

/// The type as a message names it, if the column cannot be read in its role.
pub(crate) type BadType = String;

pub(crate) fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, BadType> {
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() }).map_err(|e| e.to_string())
}

impl Cells {
    pub(crate) fn of(array: &ArrayRef, role: Role) -> Result<Self, BadType> {
        use DataType as T;
        let data_type = array.data_type();
        Ok(match data_type {
            T::Utf8 => Self::Text(array.as_string::<i32>().clone()),
            T::Int64 => Self::Integer(array.as_primitive::<Int64Type>().clone()),
            T::Int8 | T::Int16 | T::Int32 | T::UInt8 | T::UInt16 | T::UInt32 => {
                Self::Integer(cast(array, &T::Int64)?.as_primitive::<Int64Type>().clone())
            }
            T::UInt64 => Self::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            T::Float16 | T::Float32 | T::Float64 => Self::Float(cast(array, &T::Float64)?.as_primitive::<Float64Type>().clone()),
            T::Boolean => Self::Boolean(array.as_boolean().clone()),
            T::Null => Self::Null(array.len()),
            T::Dictionary(_, inner) => return Self::of(&cast(array, inner)?, role),
            T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) if role == Role::Number => {
                Self::Float(cast(array, &T::Float64)?.as_primitive::<Float64Type>().clone())
            }
            // Text of some kind, or what is text at best.
            other if other.is_string() || other.is_binary() || (role == Role::Text && (other.is_decimal() || other.is_temporal())) => {
                Self::Text(cast(array, &T::Utf8)?.as_string::<i32>().clone())
            }
            other => return Err(other.to_string()),
        })
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(a) => a.len(),
            Self::Integer(a) => a.len(),
            Self::Unsigned(a) => a.len(),
            Self::Float(a) => a.len(),
            Self::Boolean(a) => a.len(),
            Self::Null(n) => *n,
        }
    }

    pub(crate) fn is_float(&self) -> bool {
        matches!(self, Self::Float(_))
    }

    /// Calls `f` with the id at `row`, `None` if the cell is missing. Floats are refused before; they read as missing.
    #[inline]
    pub(crate) fn id<R>(&self, row: usize, missing: &Missing, f: impl FnOnce(Option<IdRef<'_>>) -> R) -> R {
        let owned;
        let id = match self {
            Self::Text(a) if a.is_valid(row) => match a.value(row) {
                "" => None,
                text => Some(IdRef::of_text(text)),
            },
            Self::Integer(a) if a.is_valid(row) => Some(IdRef::Integer(a.value(row))),
            Self::Unsigned(a) if a.is_valid(row) => {
                if let Ok(i) = i64::try_from(a.value(row)) {
                    Some(IdRef::Integer(i))
                } else {
                    owned = a.value(row).to_string();
                    Some(IdRef::Text(&owned))
                }
            }
            Self::Boolean(a) if a.is_valid(row) => Some(IdRef::Text(if a.value(row) { "true" } else { "false" })),
            _ => None,
        };
        f(id.filter(|i| !missing.has_id(*i)))
    }

    /// Like [`Self::id`] for columns that are only told apart: floats count as their text.
    pub(crate) fn value<R>(&self, row: usize, f: impl FnOnce(Option<IdRef<'_>>) -> R) -> R {
        match self {
            Self::Float(a) if a.is_valid(row) => f(Some(IdRef::of_text(&a.value(row).to_string()))),
            _ => self.id(row, &Missing::default(), f),
        }
    }

    /// The number at `row`: `Ok(None)` if missing, `Err` if it is none or not finite.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn number(&self, row: usize, missing: &Missing) -> Result<Option<f64>, ()> {
        let number = match self {
            Self::Text(a) if a.is_valid(row) => {
                let text = a.value(row).trim();
                if text.is_empty() || missing.has_text(text) {
                    return Ok(None);
                }
                text.parse::<f64>().map_err(drop)?
            }
            Self::Integer(a) if a.is_valid(row) => a.value(row) as f64,
            Self::Unsigned(a) if a.is_valid(row) => a.value(row) as f64,
            Self::Float(a) if a.is_valid(row) => a.value(row),
            Self::Boolean(a) if a.is_valid(row) => f64::from(u8::from(a.value(row))),
            _ => return Ok(None),
        };
        if number.is_nan() || missing.has_number(number) {
            return Ok(None);
        }
        // Numbers are kept as `f32`; one that does not fit is as useless as an infinite one.
        if number.abs() > f64::from(f32::MAX) { Err(()) } else { Ok(Some(number)) }
    }

    /// The label at `row`: 0 or 1, however written.
    pub(crate) fn label(&self, row: usize) -> Option<u8> {
        match self {
            Self::Text(a) if a.is_valid(row) => match a.value(row).trim() {
                "0" | "0.0" | "false" | "False" => Some(0),
                "1" | "1.0" | "true" | "True" => Some(1),
                _ => None,
            },
            Self::Integer(a) if a.is_valid(row) => u8::try_from(a.value(row)).ok().filter(|v| *v < 2),
            Self::Unsigned(a) if a.is_valid(row) => u8::try_from(a.value(row)).ok().filter(|v| *v < 2),
            Self::Float(a) if a.is_valid(row) => match a.value(row) {
                0.0 => Some(0),
                1.0 => Some(1),
                _ => None,
            },
            Self::Boolean(a) if a.is_valid(row) => Some(u8::from(a.value(row))),
            _ => None,
        }
    }

    /// The cell as text: empty if missing.
    pub(crate) fn display(&self, row: usize) -> String {
        match self {
            Self::Text(a) if a.is_valid(row) => a.value(row).to_owned(),
            Self::Integer(a) if a.is_valid(row) => a.value(row).to_string(),
            Self::Unsigned(a) if a.is_valid(row) => a.value(row).to_string(),
            Self::Float(a) if a.is_valid(row) => a.value(row).to_string(),
            Self::Boolean(a) if a.is_valid(row) => a.value(row).to_string(),
            _ => String::new(),
        }
    }

    /// The bytes of whole or floating-point numbers none of which is missing.
    fn plain(&self, from: usize, to: usize) -> Option<&[u8]> {
        let whole = |nulls: Option<&NullBuffer>| nulls.is_none_or(|n| (from..to).all(|i| n.is_valid(i)));
        match self {
            Self::Integer(a) if whole(a.nulls()) => Some(bytemuck::cast_slice(&a.values()[from..to])),
            Self::Float(a) if whole(a.nulls()) => Some(bytemuck::cast_slice(&a.values()[from..to])),
            _ => None,
        }
    }

    /// Appends bytes that differ between different cells of this column.
    pub(crate) fn bytes(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Text(a) if a.is_valid(row) => {
                let text = a.value(row);
                out.extend((text.len() as u64 + 1).to_le_bytes());
                out.extend(text.as_bytes());
            }
            Self::Integer(a) if a.is_valid(row) => tagged(out, &a.value(row).to_le_bytes()),
            Self::Unsigned(a) if a.is_valid(row) => tagged(out, &a.value(row).to_le_bytes()),
            Self::Float(a) if a.is_valid(row) => tagged(out, &a.value(row).to_bits().to_le_bytes()),
            Self::Boolean(a) if a.is_valid(row) => tagged(out, &[u8::from(a.value(row))]),
            _ => out.extend(0_u64.to_le_bytes()),
        }
    }
}

fn tagged(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(1_u64.to_le_bytes());
    out.extend(bytes);
}

/// The cells of a bag column.
#[derive(Debug, Clone)]
pub(crate) enum BagCells {
    /// Text with a separator between values.
    Split(StringArray, String),
    /// Lists: `[rows + 1]` offsets into the values, equal ones where the list is null.
    Lists { bounds: Vec<(usize, usize)>, values: Cells },
    /// One value a cell.
    Single(Cells),
}

impl BagCells {
    pub(crate) fn of(array: &ArrayRef, separator: &str, role: Role) -> Result<Self, BadType> {
        let (bounds, values) = match array.data_type() {
            DataType::List(_) => {
                let list: &ListArray = array.as_list();
                let at = |i: usize| usize::try_from(list.value_offsets()[i]).unwrap_or(0);
                (bounds_of(array, at), list.values().clone())
            }
            DataType::LargeList(_) => {
                let list: &LargeListArray = array.as_list();
                let at = |i: usize| usize::try_from(list.value_offsets()[i]).unwrap_or(0);
                (bounds_of(array, at), list.values().clone())
            }
            DataType::FixedSizeList(_, width) => {
                let list: &FixedSizeListArray = array.as_fixed_size_list();
                let width = usize::try_from(*width).unwrap_or(0);
                (bounds_of(array, |i| i * width), list.values().clone())
            }
            _ => {
                return Ok(match Cells::of(array, role)? {
                    Cells::Text(text) => Self::Split(text, separator.to_owned()),
                    cells => Self::Single(cells),
                });
            }
        };
        Ok(Self::Lists { bounds, values: Cells::of(&values, role)? })
    }

    pub(crate) fn is_float(&self) -> bool {
        match self {
            Self::Split(..) => false,
            Self::Lists { values, .. } => values.is_float(),
            Self::Single(cells) => cells.is_float(),
        }
    }

    /// Calls `f` for each value of the bag at `row`, in order; `None` for a missing one, which keeps its place.
    pub(crate) fn ids(&self, row: usize, missing: &Missing, mut f: impl FnMut(Option<IdRef<'_>>)) {
        match self {
            Self::Split(text, separator) => {
                if text.is_null(row) || text.value(row).is_empty() || missing.has_text(text.value(row)) {
                    return;
                }
                for part in split(text.value(row), separator) {
                    f(Some(IdRef::of_text(part)).filter(|i| !part.is_empty() && !missing.has_id(*i)));
                }
            }
            Self::Lists { bounds, values } => {
                let (from, to) = bounds[row];
                (from..to).for_each(|i| values.id(i, missing, &mut f));
            }
            Self::Single(cells) => cells.id(row, missing, |id| {
                if id.is_some() {
                    f(id);
                }
            }),
        }
    }

    /// Calls `f` for each number of the bag at `row`; `Err` for what is no finite number.
    pub(crate) fn numbers(&self, row: usize, mut f: impl FnMut(Result<f64, ()>)) {
        let none = Missing::default();
        match self {
            Self::Split(text, separator) => {
                if text.is_null(row) || text.value(row).is_empty() {
                    return;
                }
                for part in split(text.value(row), separator) {
                    f(part.trim().parse().map_err(drop).and_then(finite));
                }
            }
            Self::Lists { bounds, values } => {
                let (from, to) = bounds[row];
                (from..to).for_each(|i| f(values.number(i, &none).and_then(|n| n.ok_or(()))));
            }
            Self::Single(cells) => match cells.number(row, &none) {
                Ok(None) => {}
                Ok(Some(n)) => f(Ok(n)),
                Err(()) => f(Err(())),
            },
        }
    }

    /// Appends bytes that differ between different bags of this column.
    pub(crate) fn bytes(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Split(text, _) => {
                let text = if text.is_null(row) { "" } else { text.value(row) };
                out.extend((text.len() as u64).to_le_bytes());
                out.extend(text.as_bytes());
            }
            Self::Lists { bounds, values } => {
                let (from, to) = bounds[row];
                out.extend(((to - from) as u64).to_le_bytes());
                if let Some(plain) = values.plain(from, to) {
                    out.push(1);
                    out.extend(plain);
                } else {
                    out.push(0);
                    (from..to).for_each(|i| values.bytes(i, out));
                }
            }
            Self::Single(cells) => cells.bytes(row, out),
        }
    }
}

fn bounds_of(array: &ArrayRef, at: impl Fn(usize) -> usize) -> Vec<(usize, usize)> {
    (0..array.len()).map(|i| if array.is_null(i) { (0, 0) } else { (at(i), at(i + 1)) }).collect()
}
fn split<'a>(text: &'a str, separator: &'a str) -> Box<dyn Iterator<Item = &'a str> + 'a> {
    if separator.is_empty() { Box::new(std::iter::once(text)) } else { Box::new(text.split(separator)) }
}
fn finite(n: f64) -> Result<f64, ()> {
    if n.abs() <= f64::from(f32::MAX) { Ok(n) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn cells(array: impl Array + 'static) -> Cells {
        Cells::of(&(Arc::new(array) as ArrayRef), Role::Text).unwrap()
    }

    #[test]
    fn labels_however_written() {
        let text = cells(StringArray::from(vec![Some("1"), Some("0.0"), Some("true"), Some("yes"), Some(""), None]));
        let read: Vec<_> = (0..6).map(|i| text.label(i)).collect();
        assert_eq!(read, [Some(1), Some(0), Some(1), None, None, None]);
        assert_eq!(cells(BooleanArray::from(vec![true])).label(0), Some(1));
        assert_eq!(cells(Int64Array::from(vec![2])).label(0), None);
        assert_eq!(cells(Float64Array::from(vec![1.0])).label(0), Some(1));
    }

    #[test]
    fn missing_numbers_and_broken_ones() {
        let none = Missing::of(&["NA".into(), "-999".into()]);
        let text = cells(StringArray::from(vec![Some("1.5"), Some(" 2 "), Some("NA"), Some("-999.0"), Some(""), Some("x"), Some("inf")]));
        let read: Vec<_> = (0..7).map(|i| text.number(i, &none)).collect();
        assert_eq!(read, [Ok(Some(1.5)), Ok(Some(2.0)), Ok(None), Ok(None), Ok(None), Err(()), Err(())]);
    }

    #[test]
    fn a_bag_keeps_the_place_of_a_missing_value() {
        let array: ArrayRef = Arc::new(StringArray::from(vec![Some("a||7"), Some(""), None]));
        let bag = BagCells::of(&array, "|", Role::Text).unwrap();
        let mut seen = Vec::new();
        bag.ids(0, &Missing::default(), |id| seen.push(id.map(IdRef::to_owned)));
        assert_eq!(seen, [Some(IdRef::Text("a").to_owned()), None, Some(IdRef::Integer(7).to_owned())]);
        for row in [1, 2] {
            bag.ids(row, &Missing::default(), |_| panic!("empty"));
        }
    }
}
