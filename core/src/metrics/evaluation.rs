//! The metrics of all stages and spaces, and what is done with them.

use super::summary::Summary;
use super::value::ValueSummary;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

/// Spaces of a stage, in order, with their metrics.
pub type Spaces = Vec<(&'static str, Summary)>;
/// Stages and outcomes, in order.
pub type Targets = Vec<(String, Spaces)>;

/// An evaluation: `{"<stage or outcome>": {"<space>": {…}}, "slices": {"<column>": {"<value>": {"<stage>": …}}}, "value":
/// {"<name>": {…}}}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evaluation {
    /// Stages, then outcomes.
    pub targets: Targets,
    /// Per slice column, per value: the same.
    pub slices: Vec<(String, Vec<(String, Targets)>)>,
    /// Per value expression that was asked for: its name and metrics.
    pub values: Vec<(String, ValueSummary)>,
}

impl Serialize for Evaluation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, spaces) in &self.targets {
            map.serialize_entry(name, &spaces_json(spaces).map_err(serde::ser::Error::custom)?)?;
        }
        if !self.slices.is_empty() {
            let mut slices = Map::new();
            for (column, values) in &self.slices {
                let mut by_value = Map::new();
                for (value, targets) in values {
                    by_value.insert(value.clone(), targets_json(targets).map_err(serde::ser::Error::custom)?);
                }
                slices.insert(column.clone(), Value::Object(by_value));
            }
            map.serialize_entry("slices", &slices)?;
        }
        if !self.values.is_empty() {
            let pairs = self.values.iter().map(|(name, value)| Ok((name.clone(), serde_json::to_value(value)?)));
            let values: serde_json::Result<Map<_, _>> = pairs.collect();
            map.serialize_entry("value", &values.map_err(serde::ser::Error::custom)?)?;
        }
        map.end()
    }
}
fn spaces_json(spaces: &Spaces) -> serde_json::Result<Value> {
    let pairs = spaces.iter().map(|(space, summary)| Ok(((*space).to_owned(), serde_json::to_value(summary)?)));
    Ok(Value::Object(pairs.collect::<serde_json::Result<Map<_, _>>>()?))
}
fn targets_json(targets: &Targets) -> serde_json::Result<Value> {
    let pairs = targets.iter().map(|(name, spaces)| Ok((name.clone(), spaces_json(spaces)?)));
    Ok(Value::Object(pairs.collect::<serde_json::Result<Map<_, _>>>()?))
}

impl Evaluation {
    /// All summaries, slices aside: stage or outcome, space, metrics.
    pub fn summaries(&self) -> impl Iterator<Item = (&str, &'static str, &Summary)> {
        self.targets.iter().flat_map(|(name, spaces)| spaces.iter().map(move |(space, s)| (name.as_str(), *space, s)))
    }
    /// A metric by its path, such as `purchase.full.auc`; `None` if there is no such path, or it is undefined.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<f64> {
        let (rest, metric) = path.rsplit_once('.')?;
        let (name, space) = rest.rsplit_once('.')?;
        self.summaries().find(|(n, s, _)| *n == name && *s == space)?.2.get(metric)
    }
    /// The mean of several evaluations of the same funnel, metric by metric, over those where it is defined.
    #[must_use]
    pub fn mean(all: &[Self]) -> Option<Self> {
        let mut mean = all.first()?.clone();
        mean.slices.clear();
        mean.values.clear();
        for (name, spaces) in &mut mean.targets {
            for (space, s) in spaces {
                let of = |metric: &str| values(all, name, space, metric);
                let average = |metric: &str| {
                    let v = of(metric);
                    #[allow(clippy::cast_precision_loss)]
                    (!v.is_empty()).then(|| v.iter().sum::<f64>() / v.len() as f64)
                };
                (s.auc, s.logloss, s.ne, s.pcoc) = (average("auc"), average("logloss"), average("ne"), average("pcoc"));
                (s.ece, s.mean_p, s.gauc) = (average("ece"), average("mean_p"), average("gauc"));
            }
        }
        Some(mean)
    }
}

fn values(all: &[Evaluation], name: &str, space: &str, metric: &str) -> Vec<f64> {
    all.iter().filter_map(|e| e.get(&format!("{name}.{space}.{metric}"))).collect()
}

/// Mean, sample standard deviation and number of several evaluations, in the shape of one.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn mean_std(all: &[Evaluation]) -> Value {
    let mut stages = Map::new();
    for (name, spaces) in all.first().map(|e| e.targets.as_slice()).unwrap_or_default() {
        let mut by_space = Map::new();
        for (space, _) in spaces {
            let mut metrics = Map::new();
            for metric in Summary::METRICS {
                let v = values(all, name, space, metric);
                if v.is_empty() {
                    continue;
                }
                let n = v.len() as f64;
                let mean = v.iter().sum::<f64>() / n;
                let std = (v.len() > 1).then(|| (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt());
                metrics.insert(metric.into(), json!({ "mean": mean, "std": std, "n": v.len() }));
            }
            by_space.insert((*space).into(), Value::Object(metrics));
        }
        stages.insert(name.clone(), Value::Object(by_space));
    }
    Value::Object(stages)
}

/// Whether `new` is better than `old` in a metric: higher AUC and GAUC, lower losses and errors, PCOC closer to 1 (as a ratio).
#[must_use]
pub fn is_better(metric: &str, new: f64, old: f64) -> bool {
    match metric {
        "pcoc" => new.ln().abs() < old.ln().abs(),
        "logloss" | "ne" | "ece" => new < old,
        _ => new > old,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(auc: f64) -> Evaluation {
        let s = Summary { auc: Some(auc), rows: 3, ..Summary::default() };
        Evaluation { targets: vec![("click".into(), vec![("full", s)])], ..Evaluation::default() }
    }

    #[test]
    fn mean_and_spread() {
        let all = [one(0.6), one(0.7), one(0.8)];
        let m = mean_std(&all);
        assert!((m["click"]["full"]["auc"]["mean"].as_f64().unwrap() - 0.7).abs() < 1e-12);
        assert!((m["click"]["full"]["auc"]["std"].as_f64().unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(m["click"]["full"]["auc"]["n"], 3);
        assert!((Evaluation::mean(&all).unwrap().get("click.full.auc").unwrap() - 0.7).abs() < 1e-12);
        assert_eq!(mean_std(&all[..1])["click"]["full"]["auc"]["std"], Value::Null);
    }

    #[test]
    fn better_depends_on_the_metric() {
        assert!(is_better("auc", 0.7, 0.6) && is_better("logloss", 0.1, 0.2) && is_better("pcoc", 1.1, 0.8) && !is_better("ece", 0.2, 0.1));
    }
}
