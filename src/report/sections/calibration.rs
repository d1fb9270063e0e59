//! Reliability diagrams: what is predicted against what happens, with ECE and PCOC.

use super::{colour_of, number};
use crate::report::charts::{Axis, Look, Series, Xy, absent};
use crate::report::facts::{Facts, SpaceFacts};
use crate::report::page::{grid, note};
use crate::ui::plural;
use maud::{Markup, html};

/// From a ratio of the highest mean prediction to the lowest on, axes are logarithmic.
const WIDE: f64 = 30.0;

/// The section.
pub fn body(facts: &Facts<'_>) -> Markup {
    let mut figures = Vec::new();
    for (target, name, spaces) in facts.targets() {
        figures.extend(spaces.iter().map(|s| diagram(&format!("{name}, {}", facts.space_name(target, s.space)), s)));
    }
    html! {
        (grid(&figures))
        (note("Rows are sorted by prediction and cut into bins of equal number, those of ECE. A bar is where the bin's true rate may lie (Wilson, \
               95 %). On logarithmic axes a rate of 0 stands at the lower edge."))
    }
}

fn diagram(title: &str, s: &SpaceFacts) -> Markup {
    let bins = match &s.bins {
        Ok(bins) => bins,
        Err(why) => return absent(title, &format!("undefined: {why}")),
    };
    let low = bins.iter().map(|b| b.mean_p).filter(|p| *p > 0.0).fold(f64::INFINITY, f64::min);
    let high = bins.iter().map(|b| b.mean_p).fold(0.0, f64::max);
    let log = high / low > WIDE && low.is_finite();
    let rates = bins.iter().map(|b| b.rate);
    let (bottom, top) = (rates.clone().filter(|p| *p > 0.0).fold(low, f64::min), rates.fold(high, f64::max));
    // Predictions have a range of their own: often they are close to each other, and rates of small bins are not.
    let axis = |label: &str, low: f64, high: f64| {
        if log {
            Axis::log(label).within(low * 0.8, high * 1.25)
        } else {
            Axis::linear(label).within((low * 0.9).max(0.0), high * 1.1 + 1e-9)
        }
    };
    let (from, to) = if log { (low * 0.8, high * 1.25) } else { (low.min(high) * 0.9, high * 1.1 + 1e-9) };
    let points = bins.iter().map(|b| (b.mean_p, b.rate)).collect();
    let spread = bins.iter().map(|b| b.interval).collect();
    let chart = Xy {
        title: title.to_owned(),
        x: axis("mean prediction", low.min(high), high),
        y: axis("observed rate", if log { bottom } else { 0.0 }, top),
        series: vec![
            Series { name: "calibrated".into(), look: Look::Guide, points: vec![(from, from), (to, to)], ..Series::default() },
            Series {
                name: format!("ECE {}, PCOC {}", number(s.summary.ece, 5), number(s.summary.pcoc, 3)),
                colour: colour_of(s.space),
                look: Look::LinePoints,
                points,
                spread,
            },
        ],
        note: (s.summary.positives < 50).then(|| format!("{} only: the rates are uncertain", plural(s.summary.positives, "positive"))),
    };
    chart.markup()
}
