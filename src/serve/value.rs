//! The score expression of a request: its names found among predictions, columns, keys and whatever else the rows bring.

use super::cells::Key;
use super::error::ApiError;
use super::model::Served;
use super::rows::Asked;
use super::table::Table;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use arrow::record_batch::RecordBatch;
use esmm_funnel_core::score::Expression;

/// An expression with the columns that it reads.
#[derive(Debug)]
pub struct Value {
    expression: Expression,
    sources: Vec<Source>,
}

#[derive(Debug)]
enum Source {
    Prediction(usize),
    /// `[N]`; NaN is missing.
    Column(Vec<f64>),
}

impl Value {
    /// Of a request whose tables have become `shared` and `rows`.
    ///
    /// # Errors
    /// A mistake in the expression, or a name that is none of a number.
    pub fn of(text: &str, asked: &Asked, served: &Served, shared: Option<&RecordBatch>, rows: &RecordBatch) -> Result<Self, ApiError> {
        let tables = [asked.shared.as_ref(), Some(&asked.rows)];
        let extras = tables.iter().flatten().flat_map(|t| t.extras.iter().map(|e| e.name.as_str()));
        let names: Vec<&str> = served.online.names().iter().chain(&served.names.all).map(String::as_str).chain(extras).collect();
        let expression = Expression::parse_from("score", text, &names).map_err(|found| {
            let of =
                |d: &esmm_funnel_core::diagnostic::Diagnostic| d.help.iter().fold(d.message.clone(), |all, help| format!("{all}; {help}"));
            let message = found.0.first().map_or_else(|| "no expression".into(), of);
            ApiError::unprocessable("bad_expression", message).at("score")
        })?;
        let n = asked.rows.rows;
        let source = |name: &String| {
            if let Some(p) = served.online.names().iter().position(|p| p == name) {
                return Ok(Source::Prediction(p));
            }
            let found = shared.and_then(|s| of_batch(s, name)).map(|v| v.map(|v| v.repeat(n))).or_else(|| of_batch(rows, name));
            let found = match found {
                Some(found) => found,
                None => Ok(of_table(served, tables, name, n)),
            };
            let list = || {
                ApiError::unprocessable("bad_expression", format!("`{name}` holds lists, and a score is computed of numbers")).at("score")
            };
            found.map(Source::Column).map_err(|()| list())
        };
        let sources = expression.variables().iter().map(source).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { expression, sources })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        self.expression.text()
    }
    /// Whether it reads this column.
    pub fn reads(&self, name: &str) -> bool {
        self.expression.variables().iter().any(|v| v == name)
    }

    /// `[N]`, from the predictions `[P][N]`; NaN where it is undefined.
    pub fn eval(&self, predictions: &[Vec<f64>]) -> Vec<f64> {
        let columns: Vec<&[f64]> = self
            .sources
            .iter()
            .map(|source| match source {
                Source::Prediction(p) => predictions[*p].as_slice(),
                Source::Column(values) => values.as_slice(),
            })
            .collect();
        self.expression.eval_rows(&columns)
    }
}

/// A model's column as numbers; text that is one counts as one. `Err`: lists.
fn of_batch(records: &RecordBatch, name: &str) -> Option<Result<Vec<f64>, ()>> {
    let column = records.column_by_name(name)?;
    Some(match column.data_type() {
        DataType::Float64 => Ok(column.as_primitive::<Float64Type>().iter().map(|v| v.unwrap_or(f64::NAN)).collect()),
        DataType::Utf8 => {
            let number = |t: Option<&str>| t.and_then(|t| t.trim().parse().ok()).unwrap_or(f64::NAN);
            Ok(column.as_string::<i32>().iter().map(number).collect())
        }
        _ if column.null_count() == column.len() => Ok(vec![f64::NAN; column.len()]),
        _ => Err(()),
    })
}

/// A key, or a column that the model does not know.
fn of_table(served: &Served, tables: [Option<&Table>; 2], name: &str, rows: usize) -> Vec<f64> {
    let number = |key: &Key| match key {
        Key::Null => f64::NAN,
        Key::Bool(b) => f64::from(u8::from(*b)),
        Key::Integer(i) => *i as f64,
        Key::Unsigned(u) => *u as f64,
        Key::Float(f) => *f,
        Key::Text(t) => t.trim().parse().unwrap_or(f64::NAN),
    };
    let mut out = vec![f64::NAN; rows];
    let key = served.keys.iter().position(|k| k == name);
    for (is_rows, table) in tables.into_iter().enumerate().filter_map(|(i, t)| Some((i == 1, t?))) {
        if let Some(key) = key.filter(|k| table.has_key(*k)) {
            (0..rows).for_each(|row| out[row] = number(table.key(key, if is_rows { row } else { 0 })));
        }
        if let Some(extra) = table.extras.iter().find(|e| e.name == name) {
            for (row, value) in &extra.numbers {
                if is_rows { out[*row as usize] = *value } else { out.fill(*value) }
            }
        }
    }
    out
}
