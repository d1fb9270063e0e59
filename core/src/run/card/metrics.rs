//! Metrics of a part as a Markdown table, from the form they have in `metrics.json`.

use super::{cell, count};
use serde_json::Value;

const COLUMNS: [(&str, usize); 6] = [("auc", 4), ("logloss", 5), ("ne", 4), ("pcoc", 3), ("ece", 5), ("gauc", 4)];

/// A row per stage and space; below it, why a number is missing.
pub(super) fn table(part: &Value) -> String {
    let all = || {
        let targets = part.as_object().into_iter().flatten().filter(|(name, _)| *name != "slices");
        targets.flat_map(|(stage, spaces)| spaces.as_object().into_iter().flatten().map(move |(space, m)| (stage, space, m)))
    };
    let columns: Vec<(&str, usize)> =
        COLUMNS.into_iter().filter(|(c, _)| *c != "gauc" || all().any(|(_, _, m)| m["gauc"].is_number())).collect();
    let header: Vec<&str> = ["stage", "space", "rows", "positives"].into_iter().chain(columns.iter().map(|c| c.0)).collect();
    let integer = |v: &Value| v.as_u64().map_or_else(|| "—".into(), count);
    let rows = all().map(|(stage, space, m)| {
        let number = |(name, digits): &(&str, usize)| m[*name].as_f64().map_or_else(|| "—".into(), |v| format!("{v:.digits$}"));
        let counts = [cell(stage), space.clone(), integer(&m["rows"]), integer(&m["positives"])];
        counts.into_iter().chain(columns.iter().map(number)).collect()
    });
    let mut text = super::table(&header, rows);
    let reasons: Vec<String> = all()
        .flat_map(|(stage, space, m)| {
            let why = |key: &str, name: &str| m[key].as_str().map(|why| format!("- {name} of {stage} ({space}) is undefined: {why}\n"));
            [why("auc_reason", "auc"), why("logloss_reason", "logloss")].into_iter().flatten()
        })
        .collect();
    if !reasons.is_empty() {
        text += &format!("\n{}", reasons.concat());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_undefined_says_why() {
        let of = |auc: Value| json!({ "rows": 1200, "positives": 0, "auc": auc, "logloss": 0.25, "ne": null, "pcoc": null, "ece": 0.125 });
        let mut broken = of(Value::Null);
        broken["auc_reason"] = "no row has label 1".into();
        let text = table(&json!({ "click": { "full": of(json!(0.5)) }, "buy": { "full": broken }, "slices": { "channel": {} } }));
        let expected = "| stage | space | rows | positives | auc | logloss | ne | pcoc | ece |\n|---|---|---|---|---|---|---|---|---|\n\
                        | click | full | 1,200 | 0 | 0.5000 | 0.25000 | — | — | 0.12500 |\n\
                        | buy | full | 1,200 | 0 | — | 0.25000 | — | — | 0.12500 |\n\n\
                        - auc of buy (full) is undefined: no row has label 1\n";
        assert_eq!(text, expected);
    }
}
