//! What a request asks → encoded rows: columns that all candidates have in common are read and encoded once; and the answer in JSON.

use super::batching::Scored;
use super::cells::Key;
use super::error::ApiError;
use super::log::Record;
use super::model::Served;
use super::rows::Asked;
use super::table::Table;
use super::value::Value;
use arrow::array::{ArrayRef, StringArray};
use arrow::record_batch::RecordBatch;
use esmm_funnel_core::data::Batch;
use esmm_funnel_core::diagnostic::suggest::did_you_mean;
use std::sync::Arc;

/// What becomes of a column that rows do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Missing {
    /// The request is refused.
    Error,
    /// The cell is read as missing, and the answer says so.
    Default,
}

/// A request, ready to be scored.
#[derive(Debug)]
pub struct Ready {
    /// What was asked, for the answer.
    pub asked: Asked,
    /// The rows.
    pub batch: Batch,
    /// The score expression.
    pub value: Option<Value>,
    /// For the log.
    pub record: Option<Record>,
    /// What the client should know.
    pub warnings: Vec<String>,
}

impl Ready {
    /// Encodes what was asked.
    ///
    /// # Errors
    /// Columns that are missing or given twice, cells that cannot be read, a mistake in the score expression.
    pub fn of(mut asked: Asked, served: &Served, missing: Missing, logs: bool) -> Result<Self, ApiError> {
        let columns = served.online.columns();
        let shared: Vec<bool> = (0..columns.len()).map(|c| asked.shared.as_ref().is_some_and(|s| s.given(c) > 0)).collect();
        let mut warnings = check(&asked, served, &shared, missing)?;
        let internal = |e: arrow::error::ArrowError| ApiError::internal(e.to_string());
        let rows = asked.rows.finish(columns, |c| !shared[c]).map_err(internal)?;
        let once = match &mut asked.shared {
            Some(table) if shared.contains(&true) => Some(table.finish(columns, |c| shared[c]).map_err(internal)?),
            _ => None,
        };
        let value = asked.score.as_deref().map(|text| Value::of(text, &asked, served, once.as_ref(), &rows)).transpose()?;
        warnings.extend(unknown(&asked, served, value.as_ref()));
        let batch = match &once {
            _ if asked.rows.rows == 0 => Ok(Batch::default()),
            None => served.online.encode(&rows),
            Some(once) => served.online.encode_shared(&served.split(&shared), once, &rows),
        };
        let batch = batch.map_err(|e| {
            let mut error = ApiError::of_encoder(&e, &served.names.all);
            if asked.candidates {
                error.field = error.field.map(|f| f.strip_prefix("rows[").map_or(f.clone(), |rest| format!("candidates[{rest}")));
            }
            error
        })?;
        let expression = value.as_ref().map(|v| v.text().to_owned());
        let record = logs.then(|| Record { keys: keys(&asked, served), shared: once, rows, expression });
        Ok(Self { asked, batch, value, record, warnings })
    }

    /// The answer: the rows in their order, or the best ones first.
    pub fn answer(&self, served: &Served, scored: &Scored) -> Vec<u8> {
        let n = self.asked.rows.rows;
        let mut order: Vec<usize> = (0..n).collect();
        if let (Some(k), Some(values)) = (self.asked.top_k, &scored.values) {
            // Undefined scores come last, equal ones in the order of the request.
            let key = |i: usize| if values[i].is_nan() { f64::NEG_INFINITY } else { values[i] };
            order.sort_by(|a, b| key(*b).total_cmp(&key(*a)).then(values[*a].is_nan().cmp(&values[*b].is_nan())));
            order.truncate(k);
        }
        let carried = carried(&self.asked, served);
        let mut out = Vec::with_capacity(64 + order.len() * (24 * (served.quoted.len() + 2) + 24 * carried.len()));
        out.extend_from_slice(b"{\"rows\":[");
        for (at, &row) in order.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"{" } else { b",{" });
            let start = out.len();
            if self.asked.candidates {
                out.extend_from_slice(b"\"index\":");
                out.extend_from_slice(itoa::Buffer::new().format(row).as_bytes());
                out.push(b',');
            }
            for (name, table, key, in_common) in &carried {
                out.extend_from_slice(name.as_bytes());
                write_key(table.key(*key, if *in_common { 0 } else { row }), &mut out);
                out.push(b',');
            }
            for (name, values) in served.quoted.iter().zip(&scored.probabilities) {
                out.extend_from_slice(name.as_bytes());
                write_number(values[row], &mut out);
                out.push(b',');
            }
            if let Some(values) = &scored.values {
                out.extend_from_slice(b"\"score\":");
                write_number(values[row], &mut out);
                out.push(b',');
            }
            if out.len() > start {
                out.pop();
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"],\"model\":\"");
        out.extend_from_slice(served.online.version().as_bytes());
        out.push(b'"');
        if !self.warnings.is_empty() {
            out.extend_from_slice(b",\"warnings\":");
            out.extend_from_slice(serde_json::Value::from(self.warnings.clone()).to_string().as_bytes());
        }
        out.push(b'}');
        out
    }
}

/// Every column of the model stands in one place, and in every row.
fn check(asked: &Asked, served: &Served, shared: &[bool], missing: Missing) -> Result<Vec<String>, ApiError> {
    let part = if asked.candidates { "candidates" } else { "rows" };
    let mut warnings = Vec::new();
    let n = asked.rows.rows;
    for (c, column) in served.online.columns().iter().enumerate() {
        let (name, given) = (&column.name, asked.rows.given(c));
        if shared[c] {
            if given > 0 {
                let message = format!("column `{name}` is given in `shared` and in `candidates`; give it in one of them");
                return Err(ApiError::unprocessable("bad_request", message).at(format!("shared.{name}")));
            }
            continue;
        }
        if given == n {
            continue;
        }
        if missing == Missing::Default {
            warnings.push(format!("column `{name}` is missing in {} of {n} rows and was read as missing", n - given));
            continue;
        }
        let row = asked.rows.gap(c).unwrap_or(0);
        let others = asked.rows.extras.iter().chain(asked.shared.iter().flat_map(|s| &s.extras)).map(|e| e.name.as_str());
        let hint =
            did_you_mean(name, others).map(|h| format!("; {}", h.replace("did you mean", "is it what you call"))).unwrap_or_default();
        let message = format!("{part}[{row}]: column `{name}` is missing, which the model needs; null stands for a missing value{hint}");
        return Err(ApiError::unprocessable("missing_column", message).at(format!("{part}[{row}].{name}")));
    }
    Ok(warnings)
}

/// Columns that neither the model nor the expression knows.
fn unknown(asked: &Asked, served: &Served, value: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    for table in asked.shared.iter().chain([&asked.rows]) {
        for extra in table.extras.iter().filter(|e| value.is_none_or(|v| !v.reads(&e.name))) {
            let rows = if extra.rows == 1 { "row" } else { "rows" };
            let hint = did_you_mean(&extra.name, &served.names.all).map(|h| format!("; {h}")).unwrap_or_default();
            warnings.push(format!("column `{}` is not known to the model and was ignored in {} {rows}{hint}", extra.name, extra.rows));
        }
        if table.more_extras > 0 {
            warnings.push(format!("{} more cells of unknown columns were ignored", table.more_extras));
        }
    }
    warnings
}

/// The keys that were given: name as the answer writes it, table, key, and whether all rows have it in common.
fn carried<'a>(asked: &'a Asked, served: &Served) -> Vec<(String, &'a Table, usize, bool)> {
    let mut out = Vec::new();
    for (key, name) in served.keys.iter().enumerate() {
        let from = [Some((&asked.rows, false)), asked.shared.as_ref().map(|s| (s, true))];
        if let Some((table, in_common)) = from.into_iter().flatten().find(|(t, _)| t.has_key(key)) {
            out.push((format!("{}:", serde_json::Value::from(name.as_str())), table, key, in_common));
        }
    }
    out
}

/// The keys as text, for the log: those that are no columns of the model.
fn keys(asked: &Asked, served: &Served) -> Vec<ArrayRef> {
    let text = |key: &Key| match key {
        Key::Null => None,
        Key::Bool(b) => Some(b.to_string()),
        Key::Integer(i) => Some(i.to_string()),
        Key::Unsigned(u) => Some(u.to_string()),
        Key::Float(f) => Some(f.to_string()),
        Key::Text(t) => Some(t.to_string()),
    };
    let column = |key: usize| {
        let from = [Some((&asked.rows, false)), asked.shared.as_ref().map(|s| (s, true))];
        let found = from.into_iter().flatten().find(|(t, _)| t.has_key(key));
        let cell = |row| found.and_then(|(table, in_common)| text(table.key(key, if in_common { 0 } else { row })));
        Arc::new((0..asked.rows.rows).map(cell).collect::<StringArray>()) as ArrayRef
    };
    served.other_keys().map(|(key, _)| column(key)).collect()
}

fn write_key(key: &Key, out: &mut Vec<u8>) {
    match key {
        Key::Null => out.extend_from_slice(b"null"),
        Key::Bool(b) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
        Key::Integer(i) => out.extend_from_slice(itoa::Buffer::new().format(*i).as_bytes()),
        Key::Unsigned(u) => out.extend_from_slice(itoa::Buffer::new().format(*u).as_bytes()),
        Key::Float(f) => write_number(*f, out),
        Key::Text(t) => out.extend_from_slice(serde_json::Value::from(&**t).to_string().as_bytes()),
    }
}

/// The shortest text that reads back as the same number; null for what is none.
fn write_number(x: f64, out: &mut Vec<u8>) {
    if !x.is_finite() || serde_json::to_writer(&mut *out, &x).is_err() {
        out.extend_from_slice(b"null");
    }
}

/// Rows of a request in arrow form: a batch in the model's columns, ready to be scored.
#[derive(Debug)]
pub struct ReadyRecords {
    /// The rows.
    pub batch: Batch,
    /// For the log.
    pub record: Option<Record>,
    /// Fields and columns of the keys, as they were given.
    pub keys: Vec<(arrow::datatypes::FieldRef, ArrayRef)>,
    /// What the client should know.
    pub warnings: Vec<String>,
    /// N.
    pub rows: usize,
}

impl ReadyRecords {
    /// Encodes record batches.
    ///
    /// # Errors
    /// Columns that are missing or of another type, cells that cannot be read.
    pub fn of(records: &RecordBatch, served: &Served, missing: Missing, logs: bool) -> Result<Self, ApiError> {
        let n = records.num_rows();
        let schema = records.schema();
        let given: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let (mut columns, mut warnings) = (Vec::new(), Vec::new());
        for column in served.online.columns() {
            columns.push(match records.column_by_name(&column.name) {
                Some(array) => column.canonical(array).map_err(|fault| {
                    let place = fault.row.map_or_else(|| fault.column.clone(), |row| format!("rows[{row}].{}", fault.column));
                    ApiError::unprocessable("bad_value", format!("column {}: {}", fault.column, fault.message)).at(place)
                })?,
                None if missing == Missing::Default => {
                    warnings.push(format!("column `{}` is missing and was read as missing", column.name));
                    column.nulls(n)
                }
                None => {
                    let hint =
                        did_you_mean(&column.name, &given).map(|h| format!("; {}", h.replace("did you mean", "is it what you call")));
                    let message = format!("column `{}` is missing, which the model needs{}", column.name, hint.unwrap_or_default());
                    return Err(ApiError::unprocessable("missing_column", message).at(&column.name));
                }
            });
        }
        for name in given.iter().filter(|g| !served.names.all.iter().any(|n| n == *g)) {
            let hint = did_you_mean(name, &served.names.all).map(|h| format!("; {h}")).unwrap_or_default();
            warnings.push(format!("column `{name}` is not known to the model and was ignored{hint}"));
        }
        let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(n));
        let rows = RecordBatch::try_new_with_options(Arc::clone(served.online.schema()), columns, &options);
        let rows = rows.map_err(|e| ApiError::internal(e.to_string()))?;
        let batch =
            if n == 0 { Batch::default() } else { served.online.encode(&rows).map_err(|e| ApiError::of_encoder(&e, &served.names.all))? };
        let key =
            |name: &String| Some((Arc::clone(&schema.fields()[schema.index_of(name).ok()?]), Arc::clone(records.column_by_name(name)?)));
        let keys = served.keys.iter().filter_map(key).collect();
        let text = |name: &str| {
            let found = records.column_by_name(name).and_then(|c| arrow::compute::cast(c, &arrow::datatypes::DataType::Utf8).ok());
            found.unwrap_or_else(|| arrow::array::new_null_array(&arrow::datatypes::DataType::Utf8, n))
        };
        let record =
            logs.then(|| Record { keys: served.other_keys().map(|(_, name)| text(name)).collect(), shared: None, rows, expression: None });
        Ok(Self { batch, record, keys, warnings, rows: n })
    }
}
