//! Every metric of every stage and space, and why one is missing.

use super::{list, number};
use crate::report::facts::Facts;
use crate::report::page::{folded, note, table};
use crate::ui::{count, plural};
use esmm_funnel_core::metrics::Summary;
use maud::{Markup, html};

/// The section.
pub fn body(facts: &Facts<'_>) -> Markup {
    let evaluation = facts.scored.evaluation;
    let best = evaluation.summaries().any(|(_, _, s)| s.best.is_some());
    let gauc = evaluation.summaries().any(|(_, _, s)| s.gauc.is_some());
    let mut header = vec!["stage", "space", "rows", "positives", "AUC"];
    header.extend(best.then_some("best AUC"));
    header.extend(["avg. precision", "log loss", "NE", "PCOC", "ECE", "mean p"]);
    header.extend(gauc.then_some("GAUC"));
    // A stage right after the row has one space under several names.
    let precision = |name: &str, space: &str| {
        let find = |space: &str| facts.spaces.iter().find(|s| facts.graph.targets[s.target].name == name && s.space == space);
        find(space).or_else(|| find("full")).and_then(|s| s.precision.as_ref().ok()).map(|p| p.1)
    };
    let mut rows = Vec::new();
    let mut reasons = Vec::new();
    for (name, space, s) in evaluation.summaries() {
        let mut row = vec![name.to_owned(), space.to_owned(), count(s.rows), count(s.positives), number(s.auc, 4)];
        row.extend(best.then(|| number(s.best.as_ref().and_then(|b| b.auc), 4)));
        let precision = precision(name, space);
        row.extend([number(precision, 4), number(s.logloss, 5), number(s.ne, 4), number(s.pcoc, 3), number(s.ece, 5), number(s.mean_p, 5)]);
        row.extend(gauc.then(|| number(s.gauc, 4)));
        rows.push(row);
        reasons.extend(s.auc_reason.as_ref().map(|why| format!("AUC of {name} ({space}) is undefined: {why}")));
        reasons.extend(s.logloss_reason.as_ref().map(|why| format!("log loss of {name} ({space}) is undefined: {why}")));
    }
    html! {
        (table(&header, &rows))
        (list(&reasons))
        @for (column, values) in &evaluation.slices {
            (folded(&format!("by {column}: {}", plural(values.len() as u64, "value")), &slices(column, values)))
        }
        (note(&legend(facts, best)))
    }
}

/// Stages and outcomes, each with its spaces.
type Targets = Vec<(String, Vec<(&'static str, Summary)>)>;

/// The same for the rows of each value of a column.
fn slices(column: &str, values: &[(String, Targets)]) -> Markup {
    let row = |value: &str, name: &str, space: &str, s: &Summary| {
        let numbers = [number(s.auc, 4), number(s.logloss, 5), number(s.pcoc, 3), number(s.ece, 5)];
        [value.to_owned(), name.to_owned(), space.to_owned(), count(s.rows), count(s.positives)].into_iter().chain(numbers).collect()
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (value, targets) in values {
        for (name, spaces) in targets {
            rows.extend(spaces.iter().map(|(space, s)| row(value, name, space, s)));
        }
    }
    table(&[column, "stage", "space", "rows", "positives", "AUC", "log loss", "PCOC", "ECE"], &rows)
}

fn legend(facts: &Facts<'_>, best: bool) -> String {
    let row = &facts.graph.row;
    let mut text = format!(
        "conditional: rows whose parent stage was reached, by the stage's tower alone; full: every {row}, by the product along the path. NE is log \
         loss over that of the base rate, PCOC the sum of predictions over positives."
    );
    if best {
        text += &format!(
            " entire: the tower over every {row}, against the outcome each would have had. best AUC is that of the true probabilities."
        );
    }
    text
}
