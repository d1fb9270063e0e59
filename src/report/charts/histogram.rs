//! Distributions over the same bins, laid over each other.

use super::axis::{Axis, frame, px};
use super::{SIZE, colour, figure, value};
use crate::report::page::table;
use maud::{Markup, html};

/// One distribution.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistogramSeries {
    /// As the legend says.
    pub name: String,
    /// Index of its colour.
    pub colour: usize,
    /// Per bin.
    pub heights: Vec<f64>,
}

/// A chart of distributions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// Caption.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// Edges of the bins: one more than bins.
    pub edges: Vec<f64>,
    /// The distributions.
    pub series: Vec<HistogramSeries>,
    /// Small print.
    pub note: Option<String>,
}

const LEFT: f64 = 54.0;
const TOP: f64 = 26.0;
const RIGHT: f64 = SIZE.0 - 20.0;
const BOTTOM: f64 = SIZE.1 - 44.0;

impl Histogram {
    /// The figure.
    #[must_use]
    pub fn markup(&self) -> Markup {
        let ends = (self.edges.first().copied().unwrap_or(0.0), self.edges.last().copied().unwrap_or(1.0));
        let x = Axis { range: self.x.range.or(Some(ends)), ..self.x.clone() }.place([].into_iter(), (LEFT, RIGHT));
        let heights = self.series.iter().flat_map(|s| s.heights.iter().copied());
        let y = self.y.place(heights.chain([0.0]), (BOTTOM, TOP));
        let bins = self.edges.len().saturating_sub(1);
        let picture = html! {
            svg.chart viewBox={ "0 0 " (SIZE.0) " " (SIZE.1) } role="img" aria-label=(self.title) {
                (frame(&x, &y, (&self.x.label, &self.y.label), [LEFT, TOP, RIGHT, BOTTOM]))
                @for series in &self.series {
                    @let outline = self.outline(series, |v| x.at(v), |v| y.at(v));
                    g class=(colour(series.colour)) { polygon.area points=(outline) {} }
                }
                @for bin in 0..bins {
                    @let (from, to) = (x.at(self.edges[bin]), x.at(self.edges[bin + 1]));
                    rect.cell x=(px(from)) y=(px(TOP)) width=(px(to - from)) height=(px(BOTTOM - TOP)) { title { (self.title_of(bin)) } }
                }
            }
        };
        let legend: Vec<_> = self.series.iter().map(|s| (s.name.clone(), s.colour, "line")).collect();
        figure(&self.title, &legend, &picture, &self.numbers(), self.note.as_deref())
    }

    fn outline(&self, series: &HistogramSeries, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
        let floor = px(y(0.0));
        let mut points = Vec::new();
        if let Some(first) = self.edges.first() {
            points.push(format!("{},{floor}", px(x(*first))));
        }
        for (bin, height) in series.heights.iter().enumerate().take(self.edges.len().saturating_sub(1)) {
            let top = px(y(*height));
            points.extend([format!("{},{top}", px(x(self.edges[bin]))), format!("{},{top}", px(x(self.edges[bin + 1])))]);
        }
        if let Some(last) = self.edges.last() {
            points.push(format!("{},{floor}", px(x(*last))));
        }
        points.join(" ")
    }

    fn title_of(&self, bin: usize) -> String {
        let mut text = format!("{} to {}", value(self.edges[bin]), value(self.edges[bin + 1]));
        for series in &self.series {
            text += &format!("\n{}: {}", series.name, value(series.heights.get(bin).copied().unwrap_or(0.0)));
        }
        text
    }

    fn numbers(&self) -> Markup {
        let header: Vec<String> = ["from", "to"].map(String::from).into_iter().chain(self.series.iter().map(|s| s.name.clone())).collect();
        let row = |bin: usize| {
            let heights = self.series.iter().map(|s| s.heights.get(bin).copied().unwrap_or(0.0));
            [self.edges[bin], self.edges[bin + 1]].into_iter().chain(heights).map(value).collect()
        };
        let rows: Vec<Vec<String>> = (0..self.edges.len().saturating_sub(1)).map(row).collect();
        table(&header, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bin_has_its_title_and_row() {
        let chart = Histogram {
            edges: vec![0.001, 0.01, 0.1],
            x: Axis::log("p"),
            series: vec![
                HistogramSeries { name: "1".into(), heights: vec![0.25, 0.75], ..HistogramSeries::default() },
                HistogramSeries { name: "0".into(), colour: 1, heights: vec![1.0, 0.0] },
            ],
            ..Histogram::default()
        };
        let html = chart.markup().into_string();
        assert_eq!((html.matches("class=\"cell\"").count(), html.matches("class=\"area\"").count()), (2, 2));
        assert!(html.contains("0.010000 to 0.10000\n1: 0.75000\n0: 0"));
        assert!(Histogram::default().markup().into_string().contains("</figure>"));
    }
}
