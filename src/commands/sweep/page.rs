//! A sweep as a page: its tables, the published figures beside one's own, and the figures along the axis.

use super::axis::Point;
use super::table::{Beside, Figure, Found, Table, lead, mean_std, notes, tables, values};
use crate::report::charts::{Axis, BarSeries, Bars, Look, Series, Xy};
use crate::report::page::{Page, folded, grid, note, table};
use maud::{Markup, html};

/// The whole file.
pub fn html(found: &Found<'_>, beside: Option<&Beside>) -> String {
    let Found { plan, tested, points, figures, .. } = found;
    let mut page = Page::new(&format!("Sweep of {}", plan.methods[0].spec.funnel.name)).lead(html! { p { (lead(plan, tested)) } });
    let mut all = tables(found, beside).into_iter();
    if let Some((_, main)) = all.next() {
        page = page.section("table", "AUC × 100", of(&main));
    }
    if plan.methods.len() > 1 {
        let compared = figures.iter().filter(|f| f.compared);
        let bars: Vec<Markup> = compared.map(|f| against_first(found, beside, f)).collect();
        page = page.section("differences", &format!("Against {}", plan.methods[0].name), grid(&bars));
    }
    let (along, others): (Vec<_>, Vec<_>) = all.partition(|(title, _)| title.contains(" along "));
    for ((title, table), (id, short)) in others.into_iter().zip([("seeds", "Over seeds"), ("rows", "Over test rows")]) {
        page = page.section(id, short, html! { p { (plain(&title)) } (of(&table)) });
    }
    if let Some(axis) = &plan.axis {
        let charts: Vec<Markup> = figures.iter().map(|f| chart(found, points, f)).collect();
        let tables = html! { @for (title, table) in &along { h3 { (plain(title.trim_end_matches(':'))) } (of(table)) } };
        let small = note("Mean over seeds; bars through the points are one standard deviation to each side.");
        page = page.section("axis", &format!("Along {}", axis.key), html! { (grid(&charts)) (small) (folded("tables", &tables)) });
    }
    let notes = html! { ul { @for line in &notes(found, beside) { li { (plain(line)) } } } };
    page.section("reading", "How to read it", notes).html()
}

/// Backticks are for text; on a page the names stand bare.
fn plain(text: &str) -> String {
    text.replace('`', "")
}
fn of(Table(header, rows): &Table) -> Markup {
    table(header, rows)
}

/// Each method's difference to the first, and the published one where it is known.
fn against_first(found: &Found<'_>, beside: Option<&Beside>, figure: &Figure) -> Markup {
    let Found { plan, tested, .. } = found;
    let methods = &plan.methods[1..];
    let own = (1..plan.methods.len()).map(|m| {
        let differences: Vec<f64> = super::table::against_first(tested, m, &figure.path).iter().map(|d| 100.0 * d).collect();
        let (mean, std) = mean_std(&differences);
        (mean, mean.zip(std).map(|(m, s)| (m - s, m + s)))
    });
    let (values, spread) = own.unzip();
    let mut series = vec![BarSeries { name: "here".into(), colour: 0, values, spread }];
    let published = |method: &str| beside.and_then(|b| b.mean(method, &figure.path));
    if let Some(first) = published(&plan.methods[0].name) {
        let values = methods.iter().map(|m| Some(published(&m.name)? - first)).collect();
        series.push(BarSeries { name: "published".into(), colour: 1, values, spread: Vec::new() });
    }
    Bars {
        title: format!("{}: AUC minus that of {}", figure.title, plan.methods[0].name),
        of: "method".into(),
        categories: methods.iter().map(|m| m.name.clone()).collect(),
        x: Axis::linear("points"),
        series,
        note: Some("Bars through the ends: one standard deviation of the difference over seeds.".into()),
    }
    .markup()
}

/// One figure along the axis, a line for each method.
fn chart(found: &Found<'_>, points: &[Point], figure: &Figure) -> Markup {
    let Found { plan, .. } = found;
    let by_rows = plan.axis.as_ref().is_some_and(|a| a.key == super::axis::DATA_SHARE);
    // A setting that is no number stands at its place in the list.
    let numbers: Option<Vec<f64>> = points.iter().map(|p| p.value.parse().ok()).collect();
    let at = |i: usize| if by_rows { points[i].train_rows() as f64 } else { numbers.as_ref().map_or(i as f64 + 1.0, |n| n[i]) };
    let series = plan.methods.iter().enumerate().map(|(m, method)| {
        let mut all: Vec<(f64, f64, f64)> = Vec::new();
        for (i, point) in points.iter().enumerate() {
            if let (Some(mean), std) = mean_std(&values(&point.tested[m], &figure.path)) {
                all.push((at(i), 100.0 * mean, 100.0 * std.unwrap_or(0.0)));
            }
        }
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let spread = all.iter().map(|(_, mean, std)| (mean - std, mean + std)).collect();
        let points = all.iter().map(|(x, mean, _)| (*x, *mean)).collect();
        Series { name: method.name.clone(), colour: m, look: Look::LinePoints, points, spread }
    });
    let series = series.collect();
    let key = plan.axis.as_ref().map_or("", |a| a.key.as_str());
    let x = match (by_rows, &numbers) {
        (true, _) => Axis::log("training rows"),
        (false, Some(_)) => Axis::linear(key),
        (false, None) => Axis::linear(&format!("{key}, by place in the list")),
    };
    Xy { title: figure.title.clone(), x, y: Axis::linear("AUC × 100"), series, note: None }.markup()
}
