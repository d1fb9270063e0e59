//! Declared truth: of the funnel's stages, of all of them, and of no column that a feature reads.

use super::super::decode::{Cx, Draft};
use super::super::read::dotted;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::suggest::did_you_mean;

/// Reports truth of stages that there are not, stages without it, and features that read it.
pub fn check(cx: &mut Cx<'_>, draft: &Draft) {
    let Some(truth) = draft.data.as_ref().map(|d| &d.truth).filter(|t| !t.is_empty()) else { return };
    let stages: Vec<&str> = draft.stages.iter().map(|s| s.name.as_str()).collect();
    for (stage, columns) in truth {
        let path = dotted("data.truth", stage);
        if !stages.contains(&stage.as_str()) {
            let mut d = Diagnostic::error("unknown-stage", format!("[data.truth]: no stage `{stage}`")).at(cx.key(&path), "");
            d.help.extend(did_you_mean(stage, &stages));
            cx.report(d.help(format!("stages of the funnel: {}", stages.join(", "))));
        }
        for (column, key) in [(&columns.probability, "probability"), (&columns.outcome, "outcome")] {
            let Some(feature) = draft.features.declared.iter().find(|f| f.columns.contains(column)) else { continue };
            let message = format!("column `{column}` is the truth of stage `{stage}`, so feature `{}` cannot read it", feature.name);
            let d = Diagnostic::error("truth-as-feature", message).at(cx.value(&format!("{path}.{key}")), "named as truth here");
            cx.report(d.help("the truth gives the answer away: take the column out of the feature"));
        }
    }
    let missing: Vec<&str> = stages.into_iter().filter(|s| !truth.contains_key(*s)).collect();
    if let Some(first) = missing.first() {
        let message = format!("[data.truth]: no truth of {}", missing.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(", "));
        let d = Diagnostic::error("missing-truth", message).at(cx.key("data.truth"), "");
        let example = format!("[data.truth.{first}] with `probability = \"COLUMN\"` and `outcome = \"COLUMN\"`");
        cx.report(d.help(format!("what is best on a path needs all of its stages: add {example}")));
    }
}
