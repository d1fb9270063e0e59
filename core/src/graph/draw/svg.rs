//! The SVG picture: leaves side by side, a parent above the middle of its children, outcomes below all.

use super::{Counts, escaped, text};
use crate::graph::Graph;
use std::fmt::Write as _;

/// Height of a box of three lines, of each line more, and the room between boxes.
const HIGH: f64 = 62.0;
const LINE: f64 = 14.0;
const GAP: (f64, f64) = (28.0, 44.0);
const MARGIN: f64 = 16.0;
/// Radius of corners.
const ROUND: f64 = 8.0;
/// Between the lines that lead to one outcome and those that lead to the next.
const APART: f64 = 10.0;
/// Between an arrow and the words beside it.
const BESIDE: f64 = 9.0;
/// Outcomes take turns at as many colours.
const COLOURS: usize = 4;
/// Widths of a character of a name and of small print, about.
const CHAR: (f64, f64) = (8.8, 6.6);

/// Plain colours first, for readers of SVG that know no more; then those of dark pages.
const STYLE: &str = "<style>
  .funnel text { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; font-size: 11px; fill: #4a5263; text-anchor: middle; }
  .funnel .name { font-size: 14px; font-weight: 600; fill: #1f2430; }
  .funnel .branch { text-anchor: start; font-style: italic; }
  .funnel rect { fill: #ffffff; stroke: #8a93a6; }
  .funnel .row { fill: #eef1f6; }
  .funnel .outcome { fill: #eef4f0; }
  .funnel path { fill: none; stroke: #8a93a6; stroke-width: 1.5; }
  .funnel .head { fill: #8a93a6; stroke: none; }
  .funnel .complement { stroke-dasharray: 7 4; }
  .funnel .sum { stroke-dasharray: 2 4; }
  @media (prefers-color-scheme: dark) {
    .funnel text { fill: #b4bccb; }
    .funnel .name { fill: #eef1f6; }
    .funnel rect { fill: #232834; stroke: #7d879c; }
    .funnel .row { fill: #2d3444; }
    .funnel .outcome { fill: #22302a; }
    .funnel path { stroke: #7d879c; }
    .funnel .head { fill: #7d879c; stroke: none; }
  }
  .funnel .o0 { stroke: #5a9a72; }
  .funnel .o1 { stroke: #9577c4; }
  .funnel .o2 { stroke: #bb8a3c; }
  .funnel .o3 { stroke: #4b93b8; }
</style>
<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">\
<path class=\"head\" d=\"M0 0L8 4L0 8Z\"/></marker></defs>
";

/// Where everything stands. A column is one leaf wide; a line is one box high.
struct Layout {
    /// Width of a box.
    wide: f64,
    /// Its height.
    high: f64,
    /// Column of the row.
    row: f64,
    /// Per stage: its column.
    column: Vec<f64>,
    /// Per stage: the last column of what is below it.
    last: Vec<f64>,
    /// Per stage: its line; the row's is 0.
    line: Vec<usize>,
    /// Outcomes with their columns, from left to right.
    outcomes: Vec<(usize, f64)>,
}

impl Layout {
    fn of(graph: &Graph, labels: &[Vec<String>]) -> Self {
        let (mut column, mut last, mut line) = (vec![0.0; graph.len()], vec![0.0; graph.len()], vec![1; graph.len()]);
        let row = place(graph, None, &mut 0.0, &mut column, &mut last);
        for stage in 0..graph.len() {
            line[stage] = graph.nodes[stage].parent.map_or(1, |p| line[p] + 1);
        }
        let outcomes = outcome_columns(graph, &column);
        #[allow(clippy::cast_precision_loss)] // a few lines
        let high = HIGH + LINE * labels.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(3) as f64;
        Self { wide: width(labels), high, row, column, last, line, outcomes }
    }
    fn columns(&self) -> f64 {
        let stages = self.last.iter().copied().fold(0.0, f64::max);
        self.outcomes.last().map_or(stages, |o| o.1.max(stages)) + 1.0
    }
    fn outcome_line(&self) -> usize {
        self.line.iter().copied().max().unwrap_or(0) + 1
    }
    /// Middle of a column.
    fn x(&self, column: f64) -> f64 {
        MARGIN + column * (self.wide + GAP.0) + self.wide / 2.0
    }
    /// Between a column and the next.
    fn gutter(&self, column: f64) -> f64 {
        self.x(column) + f64::midpoint(self.wide, GAP.0)
    }
    /// Upper edge of a line. There is more room above outcomes, where their lines run side by side.
    #[allow(clippy::cast_precision_loss)] // a few stages
    fn y(&self, line: usize) -> f64 {
        let more = if line == self.outcome_line() { APART * self.outcomes.len().saturating_sub(1) as f64 } else { 0.0 };
        MARGIN + line as f64 * (self.high + GAP.1) + more
    }
    /// Of all, the words beside arrows included.
    #[allow(clippy::cast_precision_loss)] // names
    fn size(&self, graph: &Graph) -> (f64, f64) {
        let lines = self.outcome_line() - usize::from(self.outcomes.is_empty());
        let words = |s: usize| graph.branch(s).map(|b| self.x(self.column[s]) + BESIDE + CHAR.1 * b.chars().count() as f64);
        let boxes = MARGIN + self.columns() * (self.wide + GAP.0) - GAP.0;
        let wide = (0..graph.len()).filter_map(words).fold(boxes, f64::max);
        (wide + MARGIN, self.y(lines) + self.high + MARGIN)
    }
    /// Lines to several outcomes run side by side.
    #[allow(clippy::cast_precision_loss)] // a few outcomes
    fn lane(&self, number: usize) -> f64 {
        APART * (number as f64 - self.outcomes.len().saturating_sub(1) as f64 / 2.0)
    }
}

/// Gives a stage and all below it their columns: `next` is the first that is free.
fn place(graph: &Graph, parent: Option<usize>, next: &mut f64, column: &mut [f64], last: &mut [f64]) -> f64 {
    let children: Vec<usize> = graph.children(parent).collect();
    let places: Vec<f64> = children.iter().map(|&child| place(graph, Some(child), next, column, last)).collect();
    let own = if let (Some(first), Some(end)) = (places.first(), places.last()) {
        f64::midpoint(*first, *end)
    } else {
        *next += 1.0;
        *next - 1.0
    };
    if let Some(stage) = parent {
        (column[stage], last[stage]) = (own, *next - 1.0);
    }
    own
}

/// Each outcome below the middle of its stages, or further right where that is taken.
#[allow(clippy::cast_precision_loss)] // a few stages
fn outcome_columns(graph: &Graph, column: &[f64]) -> Vec<(usize, f64)> {
    let middle = |stages: &[usize]| stages.iter().map(|&s| column[s]).sum::<f64>() / stages.len().max(1) as f64;
    let mut outcomes: Vec<(usize, f64)> = graph.outcomes().map(|t| (t, middle(&graph.targets[t].stages))).collect();
    outcomes.sort_by(|a, b| a.1.total_cmp(&b.1));
    for i in 1..outcomes.len() {
        outcomes[i].1 = outcomes[i].1.max(outcomes[i - 1].1 + 1.0);
    }
    outcomes
}

/// Wide enough for the longest text.
#[allow(clippy::cast_precision_loss)] // names
fn width(labels: &[Vec<String>]) -> f64 {
    let of = |i: usize, text: &str| text.chars().count() as f64 * if i == 0 { CHAR.0 } else { CHAR.1 };
    let widest = labels.iter().flat_map(|l| l.iter().enumerate().map(|(i, text)| of(i, text))).fold(0.0, f64::max);
    (widest + 20.0).ceil().max(120.0)
}

/// What stands in a box: the name, then small print. The row first, then every target.
fn labels(graph: &Graph, counts: Option<&Counts>, predicted: Option<&[f64]>) -> Vec<Vec<String>> {
    let row = std::iter::once(graph.row.clone()).chain(counts.map(Counts::row)).collect();
    let targets = graph.targets.iter().enumerate().map(|(i, target)| {
        let mut label = vec![target.name.clone()];
        if let Some(rate) = counts.map(|c| c.rate(graph, i)) {
            label.push(format!("{} ({})", rate.share, rate.reached));
            if let (Some(counts), Some(expected)) = (counts, predicted.and_then(|p| p.get(i))) {
                label.push(format!("predicted {}", counts.share_of(graph, i, *expected)));
            }
            label.push(rate.of);
        }
        label
    });
    std::iter::once(row).chain(targets).collect()
}

/// A line through points, its corners round, with an arrow's head at the end. Horizontal and vertical pieces alone.
fn line(points: &[(f64, f64)], class: &str) -> String {
    let mut path = format!("M{:.1} {:.1}", points[0].0, points[0].1);
    for corner in points.windows(3) {
        let ((x0, y0), (x, y), (x1, y1)) = (corner[0], corner[1], corner[2]);
        let towards = |a: f64, b: f64| a + (b - a).clamp(-ROUND, ROUND);
        let ((xa, ya), (xb, yb)) = ((towards(x, x0), towards(y, y0)), (towards(x, x1), towards(y, y1)));
        let _ = write!(path, "L{xa:.1} {ya:.1}Q{x:.1} {y:.1} {xb:.1} {yb:.1}");
    }
    let (x, y) = points[points.len() - 1];
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<path{class} d=\"{path}L{x:.1} {y:.1}\" marker-end=\"url(#head)\"/>\n")
}

/// From a stage's parent to it, and what it excludes beside the arrow.
fn edge(graph: &Graph, layout: &Layout, stage: usize) -> String {
    let node = &graph.nodes[stage];
    let (from, above) = node.parent.map_or((layout.row, 0), |p| (layout.column[p], layout.line[p]));
    let (x0, y0, x, y) = (layout.x(from), layout.y(above) + layout.high, layout.x(layout.column[stage]), layout.y(layout.line[stage]));
    let turn = y0 + GAP.1 / 2.0;
    let mut out = line(&[(x0, y0), (x0, turn), (x, turn), (x, y)], if node.unless.is_some() { "complement" } else { "" });
    if let Some(branch) = graph.branch(stage) {
        let _ = writeln!(out, "<text class=\"branch\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + BESIDE, y - 7.0, escaped(&branch));
    }
    out
}

/// From a stage to its outcome: down below a leaf; past what stands below another.
fn sum(graph: &Graph, layout: &Layout, stage: usize, number: usize) -> String {
    let (bottom, lane) = (layout.y(layout.outcome_line()), layout.lane(number));
    let turn = bottom - GAP.1 / 2.0 - layout.lane(layout.outcomes.len() - 1) + lane;
    let to = layout.x(layout.outcomes[number].1);
    let (x, y) = (layout.x(layout.column[stage]), layout.y(layout.line[stage]));
    let start = if graph.children(Some(stage)).next().is_none() {
        vec![(x + lane, y + layout.high)]
    } else {
        vec![
            (x + layout.wide / 2.0, y + layout.high / 2.0 + lane),
            (layout.gutter(layout.last[stage]) + lane, y + layout.high / 2.0 + lane),
        ]
    };
    let down = start[start.len() - 1].0;
    line(&[&start[..], &[(down, turn), (to, turn), (to, bottom)]].concat(), &format!("sum o{}", number % COLOURS))
}

/// A box with its text, centred.
fn block(layout: &Layout, at: (f64, usize), class: &str, label: &[String]) -> String {
    let (x, y) = (layout.x(at.0), layout.y(at.1));
    let mut out = format!(
        "<rect{class} x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{ROUND:.0}\"/>\n",
        x - layout.wide / 2.0,
        layout.wide,
        layout.high
    );
    let small = label.len() - 1;
    #[allow(clippy::cast_precision_loss)] // three lines
    let mut base = y + layout.high / 2.0 + 5.0 - 7.5 * small as f64;
    for (i, text) in label.iter().enumerate() {
        let class = if i == 0 { " class=\"name\"" } else { "" };
        let _ = writeln!(out, "<text{class} x=\"{x:.1}\" y=\"{base:.1}\">{}</text>", escaped(text));
        base += if i == 0 { 16.0 } else { 14.0 };
    }
    out
}

/// A picture of its own, for light and dark pages.
#[must_use]
pub fn svg(graph: &Graph, counts: Option<&Counts>) -> String {
    picture(graph, counts, None)
}

/// The same with what a model expects: of each target, the number of rows that reach it (of a stage, among those in its conditional space).
#[must_use]
pub fn svg_with_predictions(graph: &Graph, counts: &Counts, predicted: &[f64]) -> String {
    picture(graph, Some(counts), Some(predicted))
}

fn picture(graph: &Graph, counts: Option<&Counts>, predicted: Option<&[f64]>) -> String {
    let labels = labels(graph, counts, predicted);
    let layout = Layout::of(graph, &labels);
    let (wide, high) = layout.size(graph);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"funnel\" viewBox=\"0 0 {wide:.0} {high:.0}\" width=\"{wide:.0}\" height=\"{high:.0}\" \
         role=\"img\">\n<title>Funnel of one {}</title>\n<desc>{}</desc>\n{STYLE}",
        escaped(&graph.row),
        escaped(text(graph, counts).trim_end())
    );
    for stage in 0..graph.len() {
        out += &edge(graph, &layout, stage);
    }
    for (number, &(target, _)) in layout.outcomes.iter().enumerate() {
        for &stage in &graph.targets[target].stages {
            out += &sum(graph, &layout, stage, number);
        }
    }
    out += &block(&layout, (layout.row, 0), " class=\"row\"", &labels[0]);
    for stage in 0..graph.len() {
        out += &block(&layout, (layout.column[stage], layout.line[stage]), "", &labels[1 + stage]);
    }
    for (number, &(target, column)) in layout.outcomes.iter().enumerate() {
        let class = format!(" class=\"outcome o{}\"", number % COLOURS);
        out += &block(&layout, (column, layout.outcome_line()), &class, &labels[1 + target]);
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::super::tests::esm2;
    use super::*;
    use crate::graph::Node;

    #[test]
    fn every_box_and_line_once_and_names_escaped() {
        let (mut graph, counts) = esm2();
        graph.row = "a <b> & \"c\"".into();
        for drawn in [svg(&graph, Some(&counts)), svg(&graph, None)] {
            assert_eq!(drawn.matches("<rect").count(), 6);
            assert_eq!(drawn.matches("marker-end").count(), 6);
            assert_eq!(drawn.matches("<text").count(), drawn.matches("</text>").count());
            assert!(drawn.contains("a &lt;b&gt; &amp; &quot;c&quot;") && !drawn.contains("<b>"));
            assert!(drawn.contains("prefers-color-scheme: dark") && drawn.ends_with("</svg>\n"));
        }
        assert!(!svg(&graph, None).contains('%'));
    }

    #[test]
    fn predictions_stand_beside_what_was_observed() {
        let (graph, counts) = esm2();
        let drawn = svg_with_predictions(&graph, &counts, &[11_500.4, 1_900.0, 510.0, 20.0, 530.0]);
        for text in ["4.05 % (11,326)", "predicted 4.11 % (11,500)", "predicted 0.1895 % (530)"] {
            assert!(drawn.contains(text), "{text}: {drawn}");
        }
        assert_eq!(drawn.matches(">predicted").count(), 5);
    }

    #[test]
    fn readers_without_css_variables_see_it_too() {
        let (graph, counts) = esm2();
        let drawn = svg(&graph, Some(&counts));
        assert!(!drawn.contains("var(") && !drawn.contains("currentColor"));
    }

    /// Boxes as left, top, right, bottom.
    fn boxes(drawn: &str) -> Vec<[f64; 4]> {
        let number = |tag: &str, key: &str| -> f64 {
            let rest = tag.split_once(&format!(" {key}=\"")).map_or("", |(_, r)| r);
            rest.split('"').next().and_then(|n| n.parse().ok()).unwrap_or(f64::NAN)
        };
        let of = |tag: &str| [number(tag, "x"), number(tag, "y"), number(tag, "width"), number(tag, "height")];
        drawn.lines().filter(|l| l.starts_with("<rect")).map(of).map(|[x, y, w, h]| [x, y, x + w, y + h]).collect()
    }

    #[test]
    fn boxes_stand_apart_inside_the_picture() {
        let node = |i: usize, parent, unless| Node { name: format!("a_rather_long_name_{i}"), label: format!("{i}"), parent, unless };
        let nodes = vec![
            node(0, None, None),
            node(1, Some(0), None),
            node(2, Some(0), Some(1)),
            node(3, Some(1), None),
            node(4, Some(1), Some(3)),
            node(5, Some(2), None),
            node(6, None, None),
        ];
        // One outcome of inner stages, one of leaves.
        let graph = Graph::new("row".into(), nodes, vec![("x".into(), vec![1, 2]), ("y".into(), vec![3, 4])]);
        let drawn = svg(&graph, None);
        let layout = Layout::of(&graph, &labels(&graph, None, None));
        let (wide, high) = layout.size(&graph);
        let boxes = boxes(&drawn);
        assert_eq!(boxes.len(), 10);
        for (i, a) in boxes.iter().enumerate() {
            assert!(a[0] >= MARGIN - 0.1 && a[1] >= MARGIN - 0.1 && a[2] <= wide && a[3] <= high, "{a:?}");
            for b in &boxes[..i] {
                assert!(a[2] < b[0] || b[2] < a[0] || a[3] < b[1] || b[3] < a[1], "{a:?} and {b:?}");
            }
        }
        // The line from an inner stage runs beside what stands below it.
        let beside = layout.gutter(layout.last[1]) + layout.lane(0);
        let (top, bottom) = (layout.y(layout.line[1]) + layout.high, layout.y(layout.outcome_line()));
        let passed: Vec<_> = boxes.iter().filter(|b| b[1] > top && b[3] < bottom).collect();
        assert!(passed.len() == 3 && passed.iter().all(|b| beside < b[0] || beside > b[2]), "{passed:?}");
    }
}
