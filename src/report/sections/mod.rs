//! The sections of a run's report, one file each.

pub mod calibration;
pub mod curves;
pub mod data;
pub mod fields;
pub mod funnel;
pub mod learning;
pub mod metrics;
pub mod run;
pub mod scores;
pub mod settings;
pub mod verdict;

use maud::{Markup, html};

/// A metric with as many decimals, or a dash.
fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "—".into(), |v| format!("{v:.decimals$}"))
}

/// In percent.
fn percent(share: f64) -> String {
    let value = 100.0 * share;
    if value.is_finite() { format!("{value:.*} %", if value >= 1.0 || value == 0.0 { 2 } else { 4 }) } else { "—".into() }
}

/// A list of short texts, or nothing.
fn list(items: &[String]) -> Markup {
    html! { @if !items.is_empty() { ul { @for item in items { li { (item) } } } } }
}

/// Colour of a space.
fn colour_of(space: &str) -> usize {
    match space {
        "conditional" => 1,
        "entire" => 2,
        _ => 0,
    }
}
