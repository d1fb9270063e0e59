//! What the run was fed: parts and their labels, files, and what the lint found.

use super::percent;
use crate::report::facts::Facts;
use crate::report::page::{facts as list_of, table};
use crate::ui::{bytes, count};
use maud::{Markup, html};
use serde_json::Value;

/// The section.
pub fn body(facts: &Facts<'_>) -> Markup {
    let data = &facts.manifest.data;
    html! {
        h3 { "Findings" }
        (findings(&facts.lint))
        h3 { "Rows per part" }
        (parts(facts))
        h3 { "Inputs" }
        (list_of(&[
            ("rows".into(), html! { (count(data.rows)) }),
            ("fingerprint of the data".into(), html! { code { (data.fingerprint) } }),
        ]))
        (inputs(facts))
        @if !facts.scored.files.is_empty() { p { "This report is about other rows: " (facts.scored.files.join(", ")) "." } }
    }
}

fn findings(lint: &[Value]) -> Markup {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let class = |severity: &str| match severity {
        "error" => "bad",
        "warning" => "warn",
        _ => "note",
    };
    html! {
        @if lint.is_empty() { p { "The lint found nothing in labels, parts and columns." } }
        ul {
            @for finding in lint {
                @let severity = text(&finding["severity"]);
                li {
                    span class=(class(&severity)) { (severity) } ": " (text(&finding["message"]))
                    @for help in finding["help"].as_array().into_iter().flatten() { div.note { (text(help)) } }
                }
            }
        }
    }
}

fn parts(facts: &Facts<'_>) -> Markup {
    let mut header = vec!["part".to_owned(), "rows".to_owned()];
    header.extend(facts.graph.nodes.iter().map(|n| n.name.clone()));
    let row = |(part, counts): (&String, &Value)| {
        let rows = counts["rows"].as_u64().unwrap_or(0);
        let reached = |stage: &str| counts["reached"][stage].as_u64().unwrap_or(0);
        let share = |n: u64| if rows > 0 { format!("{} ({})", count(n), percent(n as f64 / rows as f64)) } else { count(n) };
        let stages = facts.graph.nodes.iter().map(|n| share(reached(&n.name)));
        [part.clone(), count(rows)].into_iter().chain(stages).collect()
    };
    let rows: Vec<Vec<String>> = facts.manifest.data.parts.iter().map(row).collect();
    table(&header, &rows)
}

fn inputs(facts: &Facts<'_>) -> Markup {
    let rows: Vec<Vec<String>> =
        facts.manifest.data.inputs.iter().map(|i| vec![i.name.clone(), bytes(i.bytes), i.fingerprint.clone()]).collect();
    table(&["input", "size", "fingerprint"], &rows)
}
