//! The JSON body of a request → columns, in one pass and without a tree of values. What is wrong is told with its place: `rows[3].price`.

use super::cells::Loose;
use super::error::ApiError;
use super::model::Served;
use super::table::{Names, Slot, Table};
use esmm_funnel_core::diagnostic::suggest::did_you_mean;
use serde::de::{self, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// What a request asks.
#[derive(Debug)]
pub struct Asked {
    /// What all rows have in common, if it was said: one row.
    pub shared: Option<Table>,
    /// The rows, or candidates.
    pub rows: Table,
    /// They are candidates.
    pub candidates: bool,
    /// The score expression.
    pub score: Option<String>,
    /// How many rows to answer, the best ones.
    pub top_k: Option<usize>,
}

/// Where reading is.
#[derive(Debug, Clone, Default)]
struct Place {
    part: &'static str,
    row: Option<usize>,
    column: String,
}
impl Place {
    fn field(&self) -> Option<String> {
        let row = self.row.map(|r| format!("[{r}]")).unwrap_or_default();
        match (self.part, self.column.as_str()) {
            ("", _) => None,
            (part, "") => Some(format!("{part}{row}")),
            (part, column) => Some(format!("{part}{row}.{column}")),
        }
    }
}

struct Reading<'a> {
    served: &'a Served,
    max_rows: usize,
    place: Place,
    /// What a limit refused, for its status.
    refused: Option<ApiError>,
    /// The value of a cell or setting is being read: what is wrong is what it says.
    in_value: bool,
}

/// Reads a body.
///
/// # Errors
/// No JSON, unknown or missing keys, a cell of the wrong type, more rows than may be.
pub fn read(body: &[u8], served: &Served, max_rows: usize) -> Result<Asked, ApiError> {
    let mut reading = Reading { served, max_rows, place: Place::default(), refused: None, in_value: false };
    let mut json = serde_json::Deserializer::from_slice(body);
    let asked = Body(&mut reading).deserialize(&mut json).and_then(|asked| json.end().map(|()| asked));
    asked.map_err(|e| reading.fault(&e)).and_then(Given::check)
}

impl Reading<'_> {
    fn fault(self, error: &serde_json::Error) -> ApiError {
        if let Some(refused) = self.refused {
            return refused;
        }
        let text = error.to_string();
        let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
        let place = format!("line {} column {} of the body", error.line(), error.column());
        let field = self.place.field();
        let fault = match &field {
            Some(field) if self.in_value => {
                let message = if error.is_syntax() {
                    format!("{message} (JSON has no NaN and no infinity; null is missing)")
                } else {
                    message.to_owned()
                };
                ApiError::unprocessable("bad_value", format!("{field}: {message}, at {place}"))
            }
            _ if error.is_data() => ApiError::unprocessable("bad_request", format!("{message}, at {place}")),
            _ => ApiError::malformed(format!("the body is not JSON: {message}, at {place}")),
        };
        ApiError { field, ..fault }
    }
    fn refuse<E: de::Error>(&mut self, error: ApiError) -> E {
        self.refused = Some(ApiError { field: self.place.field(), ..error });
        E::custom("refused")
    }
}

#[derive(Default)]
struct Given {
    shared: Option<Table>,
    rows: Option<Table>,
    candidates: Option<Table>,
    score: Option<String>,
    top_k: Option<usize>,
}

impl Given {
    fn check(self) -> Result<Asked, ApiError> {
        let bad = |message: &str, field: &str| Err(ApiError::unprocessable("bad_request", message).at(field));
        let (rows, candidates) = match (self.rows, self.candidates) {
            (Some(_), Some(_)) => return bad("`rows` and `candidates` exclude each other", "candidates"),
            (None, None) => return bad("the body has neither `rows` nor `candidates`; send {\"rows\": [{\"column\": value}]}", "rows"),
            (Some(rows), None) => (rows, false),
            (None, Some(rows)) => (rows, true),
        };
        if self.shared.is_some() && !candidates {
            return bad("`shared` goes with `candidates`; with `rows` each row is whole", "shared");
        }
        if self.top_k.is_some() && self.score.is_none() {
            return bad("`top_k` needs a `score` to rank by, such as \"p_click\"", "top_k");
        }
        Ok(Asked { shared: self.shared, rows, candidates, score: self.score, top_k: self.top_k })
    }
}

/// The body itself.
struct Body<'r, 'a>(&'r mut Reading<'a>);
impl<'de> DeserializeSeed<'de> for Body<'_, '_> {
    type Value = Given;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Given, D::Error> {
        deserializer.deserialize_map(self)
    }
}
impl<'de> Visitor<'de> for Body<'_, '_> {
    type Value = Given;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `rows`, or with `shared` and `candidates`")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        const KEYS: [&str; 5] = ["rows", "shared", "candidates", "score", "top_k"];
        let (reading, mut given) = (self.0, Given::default());
        while let Some(Name(key)) = map.next_key()? {
            let Some(key) = KEYS.into_iter().find(|k| *k == key) else {
                let hint = did_you_mean(&key, &KEYS).map(|h| format!("; {h}")).unwrap_or_default();
                return Err(A::Error::custom(format!("unknown key `{key}`, expected one of {}{hint}", KEYS.join(", "))));
            };
            reading.place = Place { part: key, ..Place::default() };
            let twice = match key {
                "rows" => given.rows.replace(map.next_value_seed(List(reading))?).is_some(),
                "candidates" => given.candidates.replace(map.next_value_seed(List(reading))?).is_some(),
                "shared" => {
                    let mut table = Table::new(&reading.served.names);
                    map.next_value_seed(Row(reading, &mut table))?;
                    given.shared.replace(table).is_some()
                }
                _ => {
                    reading.in_value = true;
                    let twice = if key == "score" {
                        given.score.replace(map.next_value()?).is_some()
                    } else {
                        given.top_k.replace(map.next_value::<std::num::NonZeroUsize>()?.get()).is_some()
                    };
                    reading.in_value = false;
                    twice
                }
            };
            if twice {
                return Err(A::Error::custom(format!("`{key}` is given twice")));
            }
            reading.place = Place::default();
        }
        Ok(given)
    }
}

/// `rows` or `candidates`.
struct List<'r, 'a>(&'r mut Reading<'a>);
impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = Table;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Table, D::Error> {
        deserializer.deserialize_seq(self)
    }
}
impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = Table;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` to be a list of objects", self.0.place.part)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Table, A::Error> {
        let reading = self.0;
        let mut table = Table::new(&reading.served.names);
        loop {
            reading.place.row = Some(table.rows);
            reading.place.column.clear();
            if table.rows == reading.max_rows {
                // One more is one too many, whatever it is.
                if seq.next_element::<IgnoredAny>()?.is_none() {
                    break;
                }
                reading.place.row = None;
                let message = format!("more than {} rows; send several requests, or raise `--max-rows`", reading.max_rows);
                return Err(reading.refuse(ApiError::too_large(message)));
            }
            if seq.next_element_seed(Row(reading, &mut table))?.is_none() {
                break;
            }
        }
        reading.place.row = None;
        Ok(table)
    }
}

/// One row.
struct Row<'r, 'a>(&'r mut Reading<'a>, &'r mut Table);
impl<'de> DeserializeSeed<'de> for Row<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}
impl<'de> Visitor<'de> for Row<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of columns")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(reading, table) = self;
        let served = reading.served;
        let names: &Names = &served.names;
        table.begin();
        while let Some(Name(name)) = map.next_key()? {
            let slot = table.slot(names, &name);
            reading.place.column.clear();
            reading.place.column.push_str(&name);
            reading.in_value = true;
            match slot {
                Slot::Known(i) if table.has(i) => {
                    return Err(A::Error::custom("the column is given twice"));
                }
                Slot::Known(i) => map.next_value_seed(table.cell(names, served.online.columns(), i))?,
                Slot::Extra(i) => {
                    let number = map.next_value_seed(Loose)?;
                    let row = u32::try_from(table.rows).unwrap_or(u32::MAX);
                    let extra = &mut table.extras[i];
                    extra.rows += 1;
                    extra.numbers.extend(number.map(|n| (row, n)));
                }
                Slot::Ignored => drop(map.next_value_seed(Loose)?),
            }
            reading.in_value = false;
        }
        reading.place.column.clear();
        table.end();
        Ok(())
    }
}

/// A name, borrowed where the body has no escapes in it.
struct Name<'de>(Cow<'de, str>);
impl<'de> de::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor).map(Name)
    }
}
struct NameVisitor;
impl<'de> Visitor<'de> for NameVisitor {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }
    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}
