//! A setting chosen among values: each is trained once, with the first seed, and the best on *valid* is taken for all seeds.

use super::plan::{Method, Plan};
use super::runs::Runner;
use anyhow::{Result, bail};
use esmm_funnel_core::metrics::is_better;
use serde_json::Value;

/// `METHOD:KEY=V1,V2,…`.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// Key of the spec.
    pub key: String,
    /// Its values, as `--set` takes them.
    pub values: Vec<String>,
}

impl Search {
    /// The method's name and its search.
    pub fn parse(text: &str) -> Result<(String, Self)> {
        let parts = text.split_once(':').and_then(|(method, rest)| Some((method, rest.split_once('=')?)));
        let Some((method, (key, values))) = parts else {
            bail!("`--search {text}`: expected `METHOD:KEY=V1,V2,…`, as in `aman:objective.outside_rate=0.1,0.2,0.5,1.0`");
        };
        let values: Vec<String> = values.split(',').map(|v| v.trim().to_owned()).collect();
        if method.is_empty() || key.is_empty() || values.iter().any(String::is_empty) {
            bail!("`--search {text}`: the method, the key and each value must be there, as in `aman:objective.outside_rate=0.1,0.2`");
        }
        if let Some(value) = values.iter().enumerate().find(|(i, v)| values[..*i].contains(v)).map(|(_, v)| v) {
            bail!("`--search {text}`: the value `{value}` stands twice");
        }
        if let Some(value) = values.iter().find(|v| v.contains(['/', '\\']) || v.starts_with('.')) {
            bail!("`--search {text}`: the value `{value}` becomes the name of a folder: no `/` or `\\`, and no `.` at the start");
        }
        Ok((method.to_owned(), Self { key: key.trim().to_owned(), values }))
    }
}

/// What a search came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// The value that is taken; `None` without a search.
    pub chosen: Option<String>,
    /// Each value with its metric on valid.
    pub candidates: Vec<(String, Option<f64>)>,
}

/// Trains every value of a method's search with the first seed and takes the best on valid. `None`: interrupted.
pub fn choose(method: &Method, plan: &Plan, runner: &mut Runner<'_>) -> Result<Option<Choice>> {
    let Some(search) = &method.search else { return Ok(Some(Choice::default())) };
    let mut candidates = Vec::new();
    for value in &search.values {
        let Some(run) = runner.run(method, Some(value), None, plan.first_seed)? else { return Ok(None) };
        candidates.push((value.clone(), at(&run.metrics["valid"], &plan.search_by)));
    }
    let metric = plan.search_by.rsplit('.').next().unwrap_or_default();
    let Some(chosen) = best(&candidates, metric) else {
        bail!(
            "`{}`: `{}` on valid is undefined for every value of `{}`, so none can be chosen; give valid more rows, or name another metric \
             with `--search-by`",
            method.name,
            plan.search_by,
            search.key
        );
    };
    Ok(Some(Choice { chosen: Some(chosen), candidates }))
}

/// The first of the best.
fn best(candidates: &[(String, Option<f64>)], metric: &str) -> Option<String> {
    let mut best: Option<(&str, f64)> = None;
    for (value, found) in candidates {
        if let Some(found) = found
            && best.is_none_or(|(_, old)| is_better(metric, *found, old))
        {
            best = Some((value, *found));
        }
    }
    best.map(|(value, _)| value.to_owned())
}

/// A number of an evaluation, by its path.
pub fn at(evaluation: &Value, path: &str) -> Option<f64> {
    path.split('.').try_fold(evaluation, |v, key| v.get(key))?.as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_read_as_they_are_written() {
        let (method, search) = Search::parse("aman:objective.outside_rate=0.1, 0.5").unwrap();
        assert_eq!((method.as_str(), search.key.as_str()), ("aman", "objective.outside_rate"));
        assert_eq!(search.values, ["0.1", "0.5"]);
        for bad in ["aman", "aman:key", "key=1,2", ":key=1", "a:=1", "a:key=", "a:key=1,,2", "a:key=1,1", "a:key=../x"] {
            assert!(Search::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_best_on_valid_is_taken_and_the_first_of_equals() {
        let of = |values: &[Option<f64>]| values.iter().enumerate().map(|(i, v)| (i.to_string(), *v)).collect::<Vec<_>>();
        assert_eq!(best(&of(&[None, Some(0.6), Some(0.7), Some(0.7)]), "auc").as_deref(), Some("2"));
        assert_eq!(best(&of(&[Some(0.6), Some(0.7), Some(0.5)]), "logloss").as_deref(), Some("2"));
        assert_eq!(best(&of(&[None, None]), "auc"), None);
    }
}
