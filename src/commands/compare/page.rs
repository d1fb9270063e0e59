//! A comparison as a page: what is real, in words and as bars around 0, then the numbers, and the runs side by side.

use super::Compared;
use super::words;
use crate::report::charts::{Axis, BarSeries, Bars, Look, Series, Xy, absent};
use crate::report::page::{Page, facts, folded, grid, note, table};
use esmm_funnel_core::metrics::SpaceComparison;
use esmm_funnel_core::run::{Line, names};
use maud::{Markup, html};

/// The whole file.
pub fn html(compared: &Compared, judged: &[(String, bool)]) -> String {
    let first = &compared.sides[0].name;
    let runs: Vec<(String, Markup)> = compared
        .sides
        .iter()
        .map(|side| {
            let folders: Vec<String> = side.runs.iter().map(|r| r.folder.path.display().to_string()).collect();
            (side.name.clone(), html! { @for folder in &folders { (folder) br; } })
        })
        .collect();
    let mut page = Page::new(&format!("Comparison with {first}")).lead(html! { p { (plain(&words::lead(compared))) } (facts(&runs)) });
    page = page.section("words", "In words", list(&words::sentences(compared)));
    if !judged.is_empty() {
        let lines: Vec<String> =
            judged.iter().map(|(what, failed)| format!("{} {what}", if *failed { "FAILED" } else { "passed" })).collect();
        page = page.section("gates", "Gates", list(&lines));
    }
    let (header, rows) = words::differences_table(compared);
    let bars: Vec<Markup> = (0..4).filter_map(|m| differences(compared, m)).collect();
    page =
        page.section("differences", &format!("Minus {first}"), html! { (grid(&bars)) (folded("all differences", &table(&header, &rows))) });
    let (header, rows) = words::metrics_table(compared);
    page = page.section("metrics", "Metrics with their 95 % intervals", table(&header, &rows));
    let reliability: Vec<Markup> = compared.spaces.iter().map(|s| reliability(compared, s)).collect();
    page = page.section("reliability", "Reliability", html! {
        (grid(&reliability))
        (note("Each point is a fifteenth of the rows by prediction, of each side's first run; on the grey line predictions are right on average. Both axes are logarithmic; a bin without a positive stands at the low end."))
    });
    page = page.section("curves", "Learning curves", curves(compared));
    page.section("reading", "How to read it", list(&words::notes(compared))).html()
}

/// Backticks are for text; on a page the names stand bare.
fn plain(text: &str) -> String {
    text.replace('`', "")
}
fn list(lines: &[String]) -> Markup {
    html! { ul { @for line in lines { li { (plain(line)) } } } }
}

/// Bars of one measure's differences, per space; `None` where none is defined.
fn differences(compared: &Compared, m: usize) -> Option<Markup> {
    let (title, factor) = [("AUC, points", 100.0), ("log loss", 1.0), ("|ln PCOC|", 1.0), ("ECE", 1.0)][m];
    let worse = if m == 0 { "right is better" } else { "left is better" };
    let series = compared.sides[1..].iter().enumerate().map(|(i, side)| {
        let of = |s: &SpaceComparison| {
            let d = &s.differences[i][m];
            (d.value.map(|v| factor * v), d.low.zip(d.high).map(|(l, h)| (factor * l, factor * h)))
        };
        let (values, spread) = compared.spaces.iter().map(of).unzip();
        BarSeries { name: side.name.clone(), colour: i + 1, values, spread }
    });
    let series: Vec<BarSeries> = series.collect();
    series.iter().any(|s| s.values.iter().any(Option::is_some)).then(|| {
        Bars {
            title: format!("{title}: minus {}", compared.sides[0].name),
            of: "stage and space".into(),
            categories: compared.spaces.iter().map(|s| format!("{} {}", s.target, s.space)).collect(),
            x: Axis::linear(&format!("difference in {title}")),
            series,
            note: Some(format!("Bars through the ends: 95 % intervals over rows; {worse}.")),
        }
        .markup()
    })
}

fn reliability(compared: &Compared, space: &SpaceComparison) -> Markup {
    let key = format!("{}.{}", space.target, space.space);
    let mut series = Vec::new();
    for (i, side) in compared.sides.iter().enumerate() {
        let Some(points) = side.reliability.get(&key) else { continue };
        let points = points.iter().map(|[p, rate]| (*p, *rate)).collect();
        series.push(Series { name: side.name.clone(), colour: i, look: Look::Points, points, spread: Vec::new() });
    }
    let ends = series.iter().flat_map(|s| s.points.iter().map(|p| p.0)).filter(|p| *p > 0.0);
    let (low, high) = ends.fold((f64::INFINITY, 0.0f64), |(l, h), p| (l.min(p), h.max(p)));
    if low < high {
        series.insert(0, Series { look: Look::Guide, points: vec![(low, low), (high, high)], ..Series::default() });
    }
    let title = format!("{} {}", space.target, space.space);
    Xy { title, x: Axis::log("mean prediction"), y: Axis::log("rate"), series, note: None }.markup()
}

/// AUC on valid along the steps, of each side's first run.
fn curves(compared: &Compared) -> Markup {
    let lines: Vec<Vec<Line>> = compared.sides.iter().map(|side| journal(&side.runs[0].folder.file(names::JOURNAL))).collect();
    let mut targets: Vec<&str> = Vec::new();
    for space in &compared.spaces {
        if !targets.contains(&space.target.as_str()) {
            targets.push(&space.target);
        }
    }
    let chart = |target: &&str| {
        let of = |(i, lines): (usize, &Vec<Line>)| {
            let here = lines.iter().filter(|l| l.part == "valid" && l.stage == **target && l.space == "full");
            let points: Vec<(f64, f64)> = here.filter_map(|l| Some((l.step as f64, l.auc?))).collect();
            Series { name: compared.sides[i].name.clone(), colour: i, look: Look::LinePoints, points, spread: Vec::new() }
        };
        let series: Vec<Series> = lines.iter().enumerate().map(of).filter(|s| !s.points.is_empty()).collect();
        let title = format!("{target} full: AUC on valid");
        if series.is_empty() {
            return absent(&title, "no run evaluated valid rows while it trained");
        }
        Xy { title, x: Axis::linear("step"), y: Axis::linear("AUC"), series, note: None }.markup()
    };
    let charts: Vec<Markup> = targets.iter().map(chart).collect();
    html! { (grid(&charts)) (note("Of each side's first run.")) }
}

/// The lines of a run's journal that can be read; it is no part of a comparison, so a damaged one is no error.
fn journal(path: &std::path::Path) -> Vec<Line> {
    std::fs::read_to_string(path).unwrap_or_default().lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
}
