//! Bars to the right, one group a name: names may be long, and there may be many.

use super::axis::{Axis, frame, px};
use super::{SIZE, colour, figure, value};
use crate::report::page::table;
use maud::{Markup, html};

/// Bars under one name of the legend.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BarSeries {
    /// As the legend says.
    pub name: String,
    /// Index of its colour.
    pub colour: usize,
    /// Per category; `None`: no bar.
    pub values: Vec<Option<f64>>,
    /// Low and high end of the error bar of each; empty: none.
    pub spread: Vec<Option<(f64, f64)>>,
}

/// A chart of bars.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bars {
    /// Caption.
    pub title: String,
    /// What the categories are, for the table.
    pub of: String,
    /// From top to bottom.
    pub categories: Vec<String>,
    /// Across.
    pub x: Axis,
    /// Beside each other in each category.
    pub series: Vec<BarSeries>,
    /// Small print.
    pub note: Option<String>,
}

/// Height of a bar, and between two categories.
const HIGH: f64 = 11.0;
const GAP: f64 = 9.0;
const TOP: f64 = 8.0;
const RIGHT: f64 = SIZE.0 - 20.0;
/// About as wide is a character of a name; longer names are cut.
const CHAR: f64 = 6.6;
const LONGEST: usize = 22;

impl Bars {
    /// The figure.
    #[must_use]
    pub fn markup(&self) -> Markup {
        let group = HIGH * self.series.len().max(1) as f64 + GAP;
        let bottom = TOP + group * self.categories.len().max(1) as f64;
        let longest = self.categories.iter().map(|c| c.chars().count()).max().unwrap_or(0).min(LONGEST);
        let left = 14.0 + CHAR * longest as f64;
        let values = self.series.iter().flat_map(|s| s.values.iter().flatten().copied());
        let spread = self.series.iter().flat_map(|s| s.spread.iter().flatten().flat_map(|(l, h)| [*l, *h]));
        let x = self.x.place(values.chain(spread).chain([0.0]), (left, RIGHT));
        let mut none = Axis::linear("").within(0.0, 1.0).place([].into_iter(), (bottom, TOP));
        none.ticks.clear();
        let zero = x.at(x.low().max(0.0));
        let picture = html! {
            svg.chart viewBox={ "0 0 " (SIZE.0) " " (px(bottom + 44.0)) } role="img" aria-label=(self.title) {
                (frame(&x, &none, (&self.x.label, ""), [left, TOP, RIGHT, bottom]))
                @for (c, category) in self.categories.iter().enumerate() {
                    @let top = TOP + group * c as f64 + GAP / 2.0;
                    text x=(px(left - 6.0)) y=(px(top + (group - GAP) / 2.0 + 4.0)) text-anchor="end" { (cut(category)) title { (category) } }
                    @for (s, series) in self.series.iter().enumerate() { (series.bar(c, category, top + HIGH * s as f64, zero, &x)) }
                }
            }
        };
        let legend: Vec<_> = self.series.iter().map(|s| (s.name.clone(), s.colour, "line")).collect();
        figure(&self.title, &legend, &picture, &self.numbers(), self.note.as_deref())
    }

    fn numbers(&self) -> Markup {
        let mut header = vec![self.of.clone()];
        for s in &self.series {
            header.push(s.name.clone());
            if !s.spread.is_empty() {
                header.extend(["low".into(), "high".into()]);
            }
        }
        let cell = |v: Option<f64>| v.map_or_else(|| "—".into(), value);
        let rows: Vec<Vec<String>> = self
            .categories
            .iter()
            .enumerate()
            .map(|(c, category)| {
                let mut row = vec![category.clone()];
                for s in &self.series {
                    row.push(cell(s.values.get(c).copied().flatten()));
                    if !s.spread.is_empty() {
                        let ends = s.spread.get(c).copied().flatten();
                        row.extend([cell(ends.map(|e| e.0)), cell(ends.map(|e| e.1))]);
                    }
                }
                row
            })
            .collect();
        table(&header, &rows)
    }
}

fn cut(name: &str) -> String {
    if name.chars().count() <= LONGEST {
        return name.to_owned();
    }
    name.chars().take(LONGEST - 1).chain(['…']).collect()
}

impl BarSeries {
    fn bar(&self, category: usize, name: &str, top: f64, zero: f64, x: &super::axis::Placed) -> Markup {
        let Some(v) = self.values.get(category).copied().flatten().filter(|v| v.is_finite()) else { return html! {} };
        let to = x.at(v);
        let ends = self.spread.get(category).copied().flatten();
        let middle = px(top + HIGH / 2.0);
        html! {
            g class=(colour(self.colour)) {
                rect.bar x=(px(to.min(zero))) y=(px(top + 1.0)) width=(px((to - zero).abs().max(0.75))) height=(px(HIGH - 2.0)) {
                    title { (name) ", " (self.name) ": " (value(v)) @if let Some((l, h)) = ends { " (" (value(l)) " to " (value(h)) ")" } }
                }
                @if let Some((low, high)) = ends {
                    line.whisker x1=(px(x.at(low))) x2=(px(x.at(high))) y1=(middle) y2=(middle) style="color:var(--ink)" {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_start_at_zero_and_have_titles() {
        let series = BarSeries {
            name: "click".into(),
            values: vec![Some(0.2), Some(-0.1), None],
            spread: vec![Some((0.15, 0.25)), None, None],
            ..BarSeries::default()
        };
        let categories = ["price", "a_very_long_name_of_a_column", "none <x>"].map(String::from).to_vec();
        let chart = Bars { title: "t".into(), of: "field".into(), categories, x: Axis::linear("drop"), series: vec![series], note: None };
        let html = chart.markup().into_string();
        assert!(html.contains("price, click: 0.20000 (0.15000 to 0.25000)") && html.contains("a_very_long_name_of_a…"));
        assert!(html.contains("none &lt;x&gt;") && html.contains("<td class=\"n\">−0.10000</td>"));
        assert_eq!((html.matches("class=\"bar\"").count(), html.matches("class=\"whisker\"").count()), (2, 1));
    }
}
