//! How training went: losses of train and valid, AUC on valid, step by step.

use crate::report::charts::{Axis, Look, MOST_POINTS, Series, Xy, absent, thinned};
use crate::report::facts::Facts;
use crate::report::page::{grid, note};
use esmm_funnel_core::run::Line;
use maud::{Markup, html};

/// The section.
pub fn body(facts: &Facts<'_>) -> Markup {
    let mut figures = Vec::new();
    for (_, name, _) in facts.targets() {
        figures.push(losses(facts, name));
        figures.push(aucs(facts, name));
    }
    figures.extend(readings(facts));
    html! {
        (grid(&figures))
        (note("A training loss is the mean of its term since the point before. It is comparable with the log loss on valid where the term is the \
               plain log loss of the same rows, which weighting or another objective changes."))
    }
}

/// Points of the lines that fit, in order of steps; thinned.
fn points(facts: &Facts<'_>, fits: impl Fn(&Line) -> bool, value: impl Fn(&Line) -> Option<f64>) -> Vec<(f64, f64)> {
    let all: Vec<(f64, f64)> = facts.journal.iter().filter(|l| fits(l)).filter_map(|l| Some((l.step as f64, value(l)?))).collect();
    thinned(&all, MOST_POINTS)
}

/// The distinct values of `space` among the lines that fit, in order.
fn spaces<'f>(facts: &'f Facts<'_>, fits: impl Fn(&Line) -> bool) -> Vec<&'f str> {
    let mut found: Vec<&str> = Vec::new();
    for line in facts.journal.iter().filter(|l| fits(l)) {
        if !found.contains(&line.space.as_str()) {
            found.push(&line.space);
        }
    }
    found
}

fn chart(title: String, y: &str, series: Vec<Series>) -> Markup {
    let series: Vec<Series> = series.into_iter().filter(|s| !s.points.is_empty()).collect();
    if series.is_empty() {
        return absent(&title, "nothing was recorded");
    }
    Xy { title, x: Axis::linear("step"), y: Axis::linear(y), series, note: None }.markup()
}

fn losses(facts: &Facts<'_>, name: &str) -> Markup {
    let mut series = Vec::new();
    let train = |l: &Line| l.part == "train" && l.stage == name && l.loss.is_some();
    for (i, term) in spaces(facts, train).into_iter().enumerate() {
        let points = points(facts, |l| train(l) && l.space == term, |l| l.loss);
        series.push(Series { name: format!("train: {term}"), colour: 3 + i, points, ..Series::default() });
    }
    series.extend(of_valid(facts, name, |l| l.logloss));
    chart(format!("{name}: loss"), "loss", series)
}

fn aucs(facts: &Facts<'_>, name: &str) -> Markup {
    chart(format!("{name}: AUC on valid"), "AUC", of_valid(facts, name, |l| l.auc))
}

/// A line for each space; those that say the same as `full`, as of a stage right after the row, are left out.
fn of_valid(facts: &Facts<'_>, name: &str, value: impl Fn(&Line) -> Option<f64> + Copy) -> Vec<Series> {
    let valid = |l: &Line| l.part == "valid" && l.stage == name;
    let mut series: Vec<Series> = spaces(facts, valid)
        .into_iter()
        .map(|space| Series {
            name: format!("valid: {space}"),
            colour: super::colour_of(space),
            look: Look::Dashed,
            points: points(facts, |l| valid(l) && l.space == space, value),
            ..Series::default()
        })
        .collect();
    let full = series.iter().find(|s| s.name == "valid: full").map(|s| s.points.clone());
    series.retain(|s| s.name == "valid: full" || Some(&s.points) != full.as_ref());
    series
}

/// What the objective tells besides its terms.
fn readings(facts: &Facts<'_>) -> Option<Markup> {
    let fits = |l: &Line| l.part == "train" && l.value.is_some();
    let names = spaces(facts, fits);
    let series = |(i, name): (usize, &&str)| Series {
        name: (*name).to_owned(),
        colour: i,
        points: points(facts, |l| fits(l) && l.space == **name, |l| l.value),
        ..Series::default()
    };
    (!names.is_empty()).then(|| chart("What the objective read".into(), "mean", names.iter().enumerate().map(series).collect()))
}
