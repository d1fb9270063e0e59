//! Decoding a table with every fault found, not just serde's first: the key at fault is taken out and the rest is tried again.

use super::super::read::{Table, Value, in_order};
use super::super::sources::Span;
use crate::diagnostic::suggest::did_you_mean;
use toml::Spanned;
use toml::de::{DeValue, Error};

/// One thing that serde refused.
#[derive(Debug)]
pub struct Fault {
    /// What serde said.
    pub message: String,
    /// The closest place known: of a value, of an unknown key, or of the table.
    pub span: Span,
    /// The key of the table in which the fault is; `None` for a missing one.
    pub key: Option<String>,
}

/// Decodes a table; takes keys at fault out of it until the rest decodes or a required key is missing.
pub fn decode_all<'a, T>(table: &mut Table<'a>, span: &Span, decode: impl Fn(Value<'a>) -> Result<T, Error>) -> (Option<T>, Vec<Fault>) {
    let mut faults: Vec<Fault> = Vec::new();
    loop {
        let error = match decode(Spanned::new(span.clone(), DeValue::Table(table.clone()))) {
            Ok(value) => return (Some(value), faults),
            Err(error) => error,
        };
        let at = error.span().filter(|s| s != span);
        let missing = missing_field(error.message());
        let culprit = match &at {
            Some(at) => table.iter().find(|(k, v)| holds(&k.span(), at) || within(v, at)).map(|(k, _)| k.get_ref().to_string()),
            None if missing.is_some() => None,
            None => by_prefix(table, span, &decode),
        };
        let Some(key) = culprit else {
            let already = missing.is_some_and(|m| faults.iter().any(|f| f.key.as_deref() == Some(m)));
            if !already {
                faults.push(Fault { message: error.message().to_owned(), span: span.clone(), key: None });
            }
            return (None, faults);
        };
        let removed = table.remove(key.as_str());
        let span = at.or_else(|| removed.map(|v| v.span())).unwrap_or_else(|| span.clone());
        faults.push(Fault { message: error.message().to_owned(), span, key: Some(key) });
    }
}

/// The name in serde's ``missing field `x` ``.
pub fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

fn holds(outer: &Span, inner: &Span) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}
/// Whether a value, or anything in it, covers the span. Parts of a merged table may stand in other places than the table.
fn within(value: &Value<'_>, at: &Span) -> bool {
    holds(&value.span(), at)
        || match value.get_ref() {
            DeValue::Table(t) => t.iter().any(|(k, v)| holds(&k.span(), at) || within(v, at)),
            DeValue::Array(a) => a.iter().any(|v| within(v, at)),
            _ => false,
        }
}

/// The first key, in order of the text, with which decoding fails for another reason than a missing key: for types that lose places.
fn by_prefix<'a, T>(table: &Table<'a>, span: &Span, decode: &impl Fn(Value<'a>) -> Result<T, Error>) -> Option<String> {
    let mut some = Table::new();
    let mut entries = in_order(table);
    entries.sort_by_key(|(k, _)| k.get_ref() != "kind");
    for (key, value) in entries {
        some.insert(key.clone(), value.clone());
        match decode(Spanned::new(span.clone(), DeValue::Table(some.clone()))) {
            Err(e) if missing_field(e.message()).is_none() => return Some(key.get_ref().to_string()),
            _ => {}
        }
    }
    None
}

/// serde's words in ours: the message, and lines of help.
pub fn in_words(message: &str) -> (String, Vec<String>) {
    let mut help = Vec::new();
    if let Some(rest) = message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("unknown variant `")) {
        let mut names = rest.split('`').step_by(2);
        let wrong = names.next().unwrap_or_default();
        let allowed: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
        help.extend(did_you_mean(wrong, &allowed));
        return (message.replace("unknown variant", "unknown value"), help);
    }
    for prefix in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some((found, expected)) = message.strip_prefix(prefix).and_then(|r| r.rsplit_once(", expected ")) {
            let found = if prefix == "invalid length " { format!("{found} values") } else { article(found) };
            return (format!("expected {}, found {found}", expectation(expected)), help);
        }
    }
    if message.starts_with("data did not match any variant of untagged enum") {
        return ("no value of this type is allowed here".into(), help);
    }
    (message.to_owned(), help)
}
fn expectation(expected: &str) -> &str {
    match expected {
        "a nonzero usize" | "a nonzero u64" | "a nonzero u32" => "a whole number, 1 or more",
        "usize" | "u64" | "u32" => "a whole number, 0 or more",
        "i64" | "i32" => "a whole number",
        "f64" | "f32" => "a number",
        "a boolean" => "`true` or `false`",
        "a sequence" => "an array",
        "a map" => "a table",
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum") => "a table",
        other => other,
    }
}
fn article(found: &str) -> String {
    match found {
        "sequence" => "an array".into(),
        "map" => "a table".into(),
        other => other.replacen("integer ", "number ", 1).replacen("floating point ", "number ", 1).replacen("boolean ", "", 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_in_our_words() {
        for (serde, ours) in [
            ("invalid type: string \"many\", expected a nonzero usize", "expected a whole number, 1 or more, found string \"many\""),
            ("invalid value: integer `0`, expected a nonzero usize", "expected a whole number, 1 or more, found number `0`"),
            ("invalid type: boolean `true`, expected f64", "expected a number, found `true`"),
            ("invalid type: map, expected a sequence", "expected an array, found a table"),
            ("unknown variant `suum`, expected `sum` or `mean`", "unknown value `suum`, expected `sum` or `mean`"),
        ] {
            assert_eq!(in_words(serde).0, ours);
        }
        assert_eq!(in_words("unknown field `hiden`, expected one of `dropout`, `hidden`").1, ["did you mean `hidden`?"]);
    }
}
