//! Lines and points over two axes, with bands or error bars.

use super::axis::{Axis, Placed, frame, px};
use super::{SIZE, colour, figure, value};
use crate::report::page::table;
use maud::{Markup, html};

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Look {
    /// A line; a spread is a band.
    #[default]
    Line,
    /// A dashed line; a spread is a band.
    Dashed,
    /// Points; a spread is a bar through each.
    Points,
    /// Points joined by a line; a spread is a bar through each.
    LinePoints,
    /// A thin grey line to compare with.
    Guide,
}
impl Look {
    fn class(self) -> &'static str {
        match self {
            Self::Line | Self::LinePoints => "line",
            Self::Dashed => "dashed",
            Self::Points => "points",
            Self::Guide => "guide",
        }
    }
    fn has_line(self) -> bool {
        self != Self::Points
    }
    fn has_points(self) -> bool {
        matches!(self, Self::Points | Self::LinePoints)
    }
}

/// Points under one name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// As the legend says.
    pub name: String,
    /// Index of its colour.
    pub colour: usize,
    /// How it is drawn.
    pub look: Look,
    /// In order of x; what is not finite is left out.
    pub points: Vec<(f64, f64)>,
    /// Low and high y of each point; empty: none.
    pub spread: Vec<(f64, f64)>,
}

/// A chart over two axes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Xy {
    /// Caption.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// What is drawn, the first at the back.
    pub series: Vec<Series>,
    /// Small print.
    pub note: Option<String>,
}

const LEFT: f64 = 54.0;
const TOP: f64 = 26.0;
const RIGHT: f64 = SIZE.0 - 20.0;
const BOTTOM: f64 = SIZE.1 - 44.0;
/// A line of as few points shows each of them, so that one alone is seen.
const FEW: usize = 30;

impl Xy {
    /// The figure.
    #[must_use]
    pub fn markup(&self) -> Markup {
        let points = || self.series.iter().flat_map(|s| s.points.iter().copied());
        let spread = || self.series.iter().flat_map(|s| s.spread.iter().flat_map(|(l, h)| [*l, *h]));
        let x = self.x.place(points().map(|p| p.0), (LEFT, RIGHT));
        let y = self.y.place(points().map(|p| p.1).chain(spread()), (BOTTOM, TOP));
        let picture = html! {
            svg.chart viewBox={ "0 0 " (SIZE.0) " " (SIZE.1) } role="img" aria-label=(self.title) data-x=(x.data()) data-y=(y.data()) {
                (frame(&x, &y, (&self.x.label, &self.y.label), [LEFT, TOP, RIGHT, BOTTOM]))
                @for series in &self.series { (series.markup(&x, &y)) }
                line.cursor y1=(px(TOP)) y2=(px(BOTTOM)) visibility="hidden" {}
            }
        };
        let legend: Vec<_> =
            self.series.iter().filter(|s| s.look != Look::Guide).map(|s| (s.name.clone(), s.colour, s.look.class())).collect();
        figure(&self.title, &legend, &picture, &self.numbers(), self.note.as_deref())
    }

    /// One table where all series have the same x; otherwise one each.
    fn numbers(&self) -> Markup {
        let shown: Vec<&Series> = self.series.iter().filter(|s| s.look != Look::Guide).collect();
        let xs = |s: &Series| s.points.iter().map(|p| p.0).collect::<Vec<_>>();
        let together = shown.windows(2).all(|w| xs(w[0]) == xs(w[1]));
        let groups: Vec<&[&Series]> = if together { vec![&shown[..]] } else { shown.chunks(1).collect() };
        html! { @for group in groups { (numbers_of(&self.x.label, group)) } }
    }
}

fn numbers_of(x: &str, group: &[&Series]) -> Markup {
    let mut header = vec![x.to_owned()];
    for s in group {
        header.push(s.name.clone());
        if !s.spread.is_empty() {
            header.extend(["low".into(), "high".into()]);
        }
    }
    let rows: Vec<Vec<String>> = (0..group.first().map_or(0, |s| s.points.len()))
        .map(|i| {
            let mut row = vec![value(group[0].points[i].0)];
            for s in group {
                row.push(value(s.points[i].1));
                row.extend(s.spread.get(i).into_iter().flat_map(|(l, h)| [value(*l), value(*h)]));
            }
            row
        })
        .collect();
    table(&header, &rows)
}

impl Series {
    fn markup(&self, x: &Placed, y: &Placed) -> Markup {
        let usable: Vec<usize> =
            (0..self.points.len()).filter(|i| self.points[*i].0.is_finite() && self.points[*i].1.is_finite()).collect();
        let place = |(a, b): (f64, f64)| (px(x.at(a)), px(y.at(b)));
        let join = |points: &mut dyn Iterator<Item = (f64, f64)>| {
            points.map(&place).map(|(a, b)| format!("{a},{b}")).collect::<Vec<_>>().join(" ")
        };
        let spread = |i: usize| self.spread.get(i).copied().filter(|(l, h)| l.is_finite() && h.is_finite());
        let line = join(&mut usable.iter().map(|i| self.points[*i]));
        let upper = usable.iter().filter_map(|i| Some((self.points[*i].0, spread(*i)?.1)));
        let lower = usable.iter().rev().filter_map(|i| Some((self.points[*i].0, spread(*i)?.0)));
        let band = join(&mut upper.chain(lower));
        let marked = self.look.has_points() || (self.look != Look::Guide && usable.len() <= FEW);
        html! {
            g class={ (colour(self.colour)) " " (self.look.class()) } data-name=[(self.look != Look::Guide).then_some(&self.name)] {
                @if !self.look.has_points() && !band.is_empty() { polygon.band points=(band) {} }
                @if self.look.has_line() { polyline.mark points=(line) {} }
                @if marked {
                    @for &i in &usable {
                        @let (a, b) = place(self.points[i]);
                        @if let (true, Some((low, high))) = (self.look.has_points(), spread(i)) {
                            line.whisker x1=(a) x2=(a) y1=(px(y.at(low))) y2=(px(y.at(high))) {}
                        }
                        circle cx=(a) cy=(b) r="3.2" { title { (self.name) ": " (value(self.points[i].1)) " at " (value(self.points[i].0)) } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, points: &[(f64, f64)], look: Look) -> Series {
        Series { name: name.into(), look, points: points.to_vec(), ..Series::default() }
    }

    #[test]
    fn every_number_stands_in_the_table() {
        let spread = vec![(0.6, 0.72), (0.7, 0.78)];
        let chart = Xy {
            title: "AUC <valid>".into(),
            x: Axis::linear("step"),
            y: Axis::linear("AUC"),
            series: vec![
                Series { spread, ..series("click", &[(100.0, 0.65), (200.0, 0.75)], Look::Line) },
                series("buy", &[(100.0, 0.55), (200.0, f64::NAN)], Look::Dashed),
                series("chance", &[(100.0, 0.5), (200.0, 0.5)], Look::Guide),
            ],
            note: None,
        };
        let html = chart.markup().into_string();
        for part in [
            "AUC &lt;valid&gt;",
            "<td class=\"n\">0.75000</td>",
            "<td class=\"n\">0.72000</td>",
            "<td class=\"n\">—</td>",
            "class=\"band\"",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert_eq!((html.matches("<table>").count(), html.matches("<polyline").count(), html.matches("<li class").count()), (1, 3, 2));
        assert!(!html.contains("NaN") && !html.contains("inf"));
    }

    #[test]
    fn curves_with_their_own_x_have_their_own_tables() {
        let chart = Xy { series: vec![series("a", &[(0.0, 0.0)], Look::Line), series("b", &[(0.5, 1.0)], Look::Points)], ..Xy::default() };
        assert_eq!(chart.markup().into_string().matches("<table>").count(), 2);
        assert!(Xy::default().markup().into_string().contains("<svg"));
    }
}
