//! One cell of JSON → its column, its key, or a number: what may stand in it, and what is said of anything else.

use arrow::array::{ArrayRef, Float64Builder, ListBuilder, StringBuilder};
use esmm_funnel_core::score::online::{CellKind, OnlineColumn};
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use std::fmt;
use std::sync::Arc;

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

/// A column as it grows.
#[derive(Debug)]
pub enum Builder {
    Text(StringBuilder),
    Number(Float64Builder),
    Texts(ListBuilder<StringBuilder>),
    Numbers(ListBuilder<Float64Builder>),
}

impl Builder {
    /// An empty one.
    pub fn of(kind: CellKind) -> Self {
        match kind {
            CellKind::Text => Self::Text(StringBuilder::new()),
            CellKind::Number => Self::Number(Float64Builder::new()),
            CellKind::Texts => Self::Texts(ListBuilder::new(StringBuilder::new())),
            CellKind::Numbers => Self::Numbers(ListBuilder::new(Float64Builder::new())),
        }
    }
    /// Adds missing cells.
    pub fn nulls(&mut self, n: usize) {
        match self {
            Self::Text(b) => (0..n).for_each(|_| b.append_null()),
            Self::Number(b) => b.append_nulls(n),
            Self::Texts(b) => (0..n).for_each(|_| b.append_null()),
            Self::Numbers(b) => (0..n).for_each(|_| b.append_null()),
        }
    }
    /// The column.
    pub fn finish(&mut self) -> ArrayRef {
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
    /// Where it goes.
    pub column: Option<(&'a OnlineColumn, &'a mut Builder)>,
    /// The keys of the rows before.
    pub key: Option<&'a mut Vec<Key>>,
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
#[allow(clippy::elidable_lifetime_names)]
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
