//! ROC and precision-recall, a chart each for every stage and outcome, a line for every space.

use super::{colour_of, number};
use crate::report::charts::{Axis, Look, Series, Xy, absent};
use crate::report::facts::{Facts, SpaceFacts};
use crate::report::page::{grid, note};
use maud::{Markup, html};

/// The section.
pub fn body(facts: &Facts<'_>) -> Markup {
    let mut figures = Vec::new();
    for (target, name, spaces) in facts.targets() {
        figures.push(roc(facts, target, name, &spaces));
        figures.push(precision(facts, target, name, &spaces));
    }
    html! { (grid(&figures)) (note("Curves are drawn through at most 400 points; areas are those of all rows.")) }
}

fn unit(label: &str) -> Axis {
    Axis::linear(label).within(0.0, 1.0)
}

fn roc(facts: &Facts<'_>, target: usize, name: &str, spaces: &[&SpaceFacts]) -> Markup {
    let title = format!("{name}: ROC");
    let mut series = vec![Series { name: "chance".into(), look: Look::Guide, points: vec![(0.0, 0.0), (1.0, 1.0)], ..Series::default() }];
    let mut missing = Vec::new();
    for s in spaces {
        let what = facts.space_name(target, s.space);
        match &s.roc {
            Ok(points) => series.push(Series {
                name: format!("{what}: AUC {}", number(s.summary.auc, 4)),
                colour: colour_of(s.space),
                points: points.clone(),
                ..Series::default()
            }),
            Err(why) => missing.push(format!("{what}: {why}")),
        }
    }
    drawn(title, unit("false positive rate"), unit("true positive rate"), series, &missing)
}

fn precision(facts: &Facts<'_>, target: usize, name: &str, spaces: &[&SpaceFacts]) -> Markup {
    let title = format!("{name}: precision and recall");
    let (mut series, mut missing) = (Vec::new(), Vec::new());
    for s in spaces {
        let what = facts.space_name(target, s.space);
        match &s.precision {
            Ok((points, average)) => {
                let rate = s.summary.positives as f64 / s.summary.rows.max(1) as f64;
                series.push(Series { look: Look::Guide, points: vec![(0.0, rate), (1.0, rate)], ..Series::default() });
                // The first point is no row's.
                let points = points.iter().skip(1).copied().collect();
                series.push(Series {
                    name: format!("{what}: average {average:.4}"),
                    colour: colour_of(s.space),
                    points,
                    ..Series::default()
                });
            }
            Err(why) => missing.push(format!("{what}: {why}")),
        }
    }
    let top = series.iter().flat_map(|s| s.points.iter().filter(|p| p.0 > 0.02)).map(|p| p.1).fold(0.0, f64::max);
    let precision = if top > 0.5 { unit("precision") } else { Axis::linear("precision").within(0.0, (top * 1.15).max(1e-6)) };
    drawn(title, unit("recall"), precision, series, &missing)
}

fn drawn(title: String, x: Axis, y: Axis, series: Vec<Series>, missing: &[String]) -> Markup {
    let note = (!missing.is_empty()).then(|| format!("undefined for {}", missing.join("; ")));
    if series.iter().all(|s| s.look == Look::Guide) {
        return absent(&title, note.as_deref().unwrap_or("nothing was scored"));
    }
    Xy { title, x, y, series, note }.markup()
}
