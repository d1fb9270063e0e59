//! How the scores of positives and of negatives are spread.

use crate::report::charts::{Axis, Histogram, HistogramSeries, absent};
use crate::report::facts::{Facts, SpaceFacts};
use crate::report::page::{grid, note};
use crate::ui::count;
use maud::{Markup, html};

/// The section.
pub fn body(facts: &Facts<'_>) -> Markup {
    let mut figures = Vec::new();
    for (target, name, spaces) in facts.targets() {
        figures.extend(spaces.iter().map(|s| histogram(&format!("{name}, {}", facts.space_name(target, s.space)), s)));
    }
    html! {
        (grid(&figures))
        (note("Shares of each class per bin. Predictions below the lowest 0.1 % are in the first bin."))
    }
}

fn histogram(title: &str, s: &SpaceFacts) -> Markup {
    let found = match &s.distributions {
        Ok(found) => found,
        Err(why) => return absent(title, &format!("undefined: {why}")),
    };
    let negatives = s.summary.rows - s.summary.positives;
    let classes = [("0", negatives, &found.negatives, 0), ("1", s.summary.positives, &found.positives, 1)];
    let series = classes.into_iter().filter(|c| !c.2.is_empty()).map(|(label, rows, shares, colour)| HistogramSeries {
        name: format!("label {label} ({})", count(rows)),
        colour,
        heights: shares.clone(),
    });
    Histogram {
        title: title.to_owned(),
        x: if found.log { Axis::log("prediction") } else { Axis::linear("prediction") },
        y: Axis::linear("share of the class"),
        edges: found.edges.clone(),
        series: series.collect(),
        note: None,
    }
    .markup()
}
