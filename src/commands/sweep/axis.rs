//! A setting along an axis: every method with every value and seed, to see how the figures follow it. AUC against the share of the training data is
//! what it was made for.

use super::plan::{Method, Plan};
use super::runs::{Runner, Tested};
use super::search::Choice;
use super::table::{Figure, Table, spread, values, values_json};
use crate::ui::count;
use anyhow::{Result, bail};
use serde_json::{Value, json};

/// The word for the share of training rows, drawn anew with each seed.
pub const DATA_SHARE: &str = "data-share";

/// `KEY=V1,V2,…`.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// A key of the spec, or `data-share`.
    pub key: String,
    pub values: Vec<String>,
}

impl Axis {
    pub fn parse(text: &str) -> Result<Self> {
        let Some((key, values)) = text.split_once('=') else {
            bail!("`--axis {text}`: expected `KEY=V1,V2,…`, as in `{DATA_SHARE}=0.1,0.3,1.0`");
        };
        let (key, values) = (key.trim().to_owned(), values.split(',').map(|v| v.trim().to_owned()).collect::<Vec<_>>());
        if key.is_empty() || values.iter().any(String::is_empty) {
            bail!("`--axis {text}`: the key and each value must be there, as in `{DATA_SHARE}=0.1,0.3,1.0`");
        }
        if ["train.seed", "train.share_seed"].contains(&key.as_str()) {
            bail!("`--axis {text}`: seeds count up with `--repeat`; name another key");
        }
        if let Some(value) = values.iter().enumerate().find(|(i, v)| values[..*i].contains(v)).map(|(_, v)| v) {
            bail!("`--axis {text}`: the value `{value}` stands twice");
        }
        if let Some(name) = values.iter().chain([&key]).find(|v| v.contains(['/', '\\']) || v.starts_with('.')) {
            bail!("`--axis {text}`: `{name}` becomes the name of a folder: no `/` or `\\`, and no `.` at the start");
        }
        Ok(Self { key, values })
    }

    /// What `--set` says of a point; with a seed that draws the rows anew, where there are rows to draw.
    pub fn sets(&self, value: &str, seed: u64) -> Vec<String> {
        if self.key != DATA_SHARE {
            return vec![format!("{}={value}", self.key)];
        }
        let mut sets = vec![format!("train.share_of_rows={value}")];
        if value.parse::<f64>().is_ok_and(|share| share < 1.0) {
            sets.push(format!("train.share_seed={seed}"));
        }
        sets
    }
}

/// One value of the axis: per method, per seed what its run came to.
pub struct Point {
    pub value: String,
    pub tested: Vec<Vec<Tested>>,
}

/// Trains and tests every point. `None`: interrupted.
pub fn run(plan: &Plan, choices: &[Choice], runner: &mut Runner<'_>) -> Result<Option<Vec<Point>>> {
    let mut points = Vec::new();
    for value in plan.axis.iter().flat_map(|a| &a.values) {
        let Some(tested) = super::test_all(plan, choices, Some(value), runner)? else { return Ok(None) };
        points.push(Point { value: value.clone(), tested });
    }
    Ok(Some(points))
}

impl Point {
    /// Rows of train, the mean over seeds.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn train_rows(&self) -> u64 {
        let all: Vec<f64> = self.tested[0].iter().map(|t| t.rows[0] as f64).collect();
        (all.iter().sum::<f64>() / all.len().max(1) as f64).round() as u64
    }
}

/// How one figure follows the axis: a row for each method, a column for each value.
pub fn table(plan: &Plan, points: &[Point], figure: &Figure) -> Table {
    let title = |p: &Point| format!("{} ({} rows)", p.value, count(p.train_rows()));
    let header = std::iter::once("method".to_owned()).chain(points.iter().map(title)).collect();
    let row = |m: usize, method: &Method| {
        std::iter::once(method.name.clone()).chain(points.iter().map(|p| spread(&values(&p.tested[m], &figure.path)))).collect()
    };
    Table(header, plan.methods.iter().enumerate().map(|(m, method)| row(m, method)).collect())
}

/// `{key, points: [{value, train_rows, methods: {"<method>": {"<figure>": {mean, std, n}}}}]}`.
pub fn as_json(plan: &Plan, points: &[Point], figures: &[Figure]) -> Value {
    let Some(axis) = &plan.axis else { return Value::Null };
    let of = |tested: &[Tested]| -> Value { figures.iter().map(|f| (f.path.clone(), values_json(&values(tested, &f.path)))).collect() };
    let points = points.iter().map(|p| {
        let methods: Value = plan.methods.iter().zip(&p.tested).map(|(m, tested)| (m.name.clone(), of(tested))).collect();
        let runs: Value = plan
            .methods
            .iter()
            .zip(&p.tested)
            .map(|(m, tested)| (m.name.clone(), json!(tested.iter().map(|t| &t.run).collect::<Vec<_>>())))
            .collect();
        json!({ "value": p.value, "train_rows": p.train_rows(), "methods": methods, "runs": runs })
    });
    json!({ "key": axis.key, "points": points.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_read_as_they_are_written() {
        let axis = Axis::parse("data-share=0.1, 1.0").unwrap();
        assert_eq!(axis.sets("0.1", 7), ["train.share_of_rows=0.1", "train.share_seed=7"]);
        assert_eq!(axis.sets("1.0", 7), ["train.share_of_rows=1.0"]);
        assert_eq!(Axis::parse("train.epochs=1,2").unwrap().sets("2", 7), ["train.epochs=2"]);
        for bad in ["data-share", "=1", "a=", "a=1,,2", "a=1,1", "a=../x", "train.seed=1,2"] {
            assert!(Axis::parse(bad).is_err(), "{bad}");
        }
    }
}
