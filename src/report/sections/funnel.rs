//! The funnel itself, with what was observed and what is predicted.

use super::percent;
use crate::report::facts::Facts;
use crate::report::page::{note, table};
use crate::ui::count;
use esmm_funnel_core::graph::draw::svg_with_predictions;
use maud::{Markup, PreEscaped, html};

/// The section.
pub fn body(facts: &Facts<'_>) -> Markup {
    let weighted = facts.spec.data.weight.is_some().then(|| note("Rows are counted here, not their weights."));
    // Inside HTML an SVG needs no name space, and the page then names no address at all.
    let drawn = svg_with_predictions(facts.graph, &facts.counts, &facts.predicted).replace(" xmlns=\"http://www.w3.org/2000/svg\"", "");
    html! {
        div.scroll.drawing tabindex="0" { (PreEscaped(drawn)) }
        (numbers(facts))
        @if let Some(weighted) = weighted { (weighted) }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // numbers of rows
fn numbers(facts: &Facts<'_>) -> Markup {
    let (graph, counts) = (facts.graph, &facts.counts);
    let row = |t: usize| {
        let (of, rows) = if t < graph.len() { (graph.given(t), counts.space[t]) } else { (graph.row.clone(), counts.rows) };
        let (reached, predicted) = (counts.of(graph, t), facts.predicted[t]);
        let share = |n: f64| if rows > 0 { percent(n / rows as f64) } else { "—".into() };
        let ratio = if reached > 0 { format!("{:.3}", predicted / reached as f64) } else { "—".into() };
        let of = of.replace("_unless_", " unless ");
        let predicted_rows = count(predicted.max(0.0).round() as u64);
        vec![graph.targets[t].name.clone(), of, count(rows), count(reached), share(reached as f64), predicted_rows, share(predicted), ratio]
    };
    let rows: Vec<Vec<String>> = (0..graph.targets.len()).map(row).collect();
    table(&["stage", "of", "rows", "observed", "rate", "predicted", "rate", "predicted / observed"], &rows)
}
