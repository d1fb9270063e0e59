//! The graph as a picture: a tree of text, a Mermaid flowchart, an SVG. Rates stand in it where counts are known.

use super::words::plural;
use super::{Graph, Step};
use std::fmt::Write as _;

/// How many rows reached what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// All rows.
    pub rows: u64,
    /// Per stage: the rows in its conditional space (parent reached, `unless` not).
    pub space: Vec<u64>,
    /// Per stage: those of them that reached it.
    pub reached: Vec<u64>,
}

/// Of `reached` in `space`, in percent with three digits or more, or a dash.
#[allow(clippy::cast_precision_loss)]
fn percent(reached: u64, space: u64) -> String {
    if space == 0 {
        return "–".into();
    }
    let value = 100.0 * reached as f64 / space as f64;
    let digits = if value >= 1.0 || reached == 0 { 2 } else { 4 };
    format!("{value:.digits$} %")
}

/// `1234567` → `1,234,567`.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let (head, tail) = digits.split_at(digits.len() % 3);
    let tail = (0..tail.len()).step_by(3).map(|i| &tail[i..i + 3]);
    std::iter::once(head).filter(|h| !h.is_empty()).chain(tail).collect::<Vec<_>>().join(",")
}

/// Names of several words have no plural.
fn several(name: &str) -> String {
    if name.contains(['_', '-', ' ']) { name.to_owned() } else { plural(name) }
}

impl Counts {
    /// Rows of a target, stage or outcome. The stages of an outcome exclude each other.
    #[must_use]
    pub fn of(&self, graph: &Graph, target: usize) -> u64 {
        graph.targets[target].stages.iter().map(|&s| self.reached[s]).sum()
    }
    fn row(&self) -> String {
        format!("{} rows", thousands(self.rows))
    }
    /// `4.05 % of impressions (11,326)`.
    fn stage(&self, graph: &Graph, stage: usize) -> String {
        let node = &graph.nodes[stage];
        let mut of = several(node.parent.map_or(&graph.row, |p| &graph.nodes[p].name));
        if let Some(unless) = node.unless {
            let _ = write!(of, " without {}", graph.nodes[unless].name);
        }
        format!("{} of {of} ({})", percent(self.reached[stage], self.space[stage]), thousands(self.reached[stage]))
    }
    fn outcome(&self, graph: &Graph, target: usize) -> String {
        let n = self.of(graph, target);
        format!("{} of {} ({})", percent(n, self.rows), several(&graph.row), thousands(n))
    }
}

impl Graph {
    fn children(&self, parent: Option<usize>) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(move |&s| self.nodes[s].parent == parent)
    }
    fn outcomes(&self) -> std::ops::Range<usize> {
        self.len()..self.targets.len()
    }
    /// `unless cart`, of a complement branch.
    fn branch(&self, stage: usize) -> Option<String> {
        self.nodes[stage].unless.map(|u| format!("unless {}", self.nodes[u].name))
    }
}

/// A tree, a line a stage; then each outcome with its paths.
#[must_use]
pub fn text(graph: &Graph, counts: Option<&Counts>) -> String {
    let mut out = graph.row.clone();
    if let Some(counts) = counts {
        let _ = write!(out, "  {}", counts.row());
    }
    out.push('\n');
    branches(graph, counts, None, "", &mut out);
    for target in graph.outcomes() {
        let _ = write!(out, "\noutcome {}", graph.targets[target].name);
        if let Some(counts) = counts {
            let _ = write!(out, "  {}", counts.outcome(graph, target));
        }
        out.push('\n');
        for &stage in &graph.targets[target].stages {
            let step = |s: &Step| format!("{}{}", if s.reached { "" } else { "not " }, graph.nodes[s.stage].name);
            let _ = writeln!(out, "  {}", graph.path(stage).iter().map(step).collect::<Vec<_>>().join(" → "));
        }
    }
    out
}

fn branches(graph: &Graph, counts: Option<&Counts>, parent: Option<usize>, indent: &str, out: &mut String) {
    let children: Vec<usize> = graph.children(parent).collect();
    for (i, &stage) in children.iter().enumerate() {
        let (corner, next) = if i + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let _ = write!(out, "{indent}{corner}{}", graph.nodes[stage].name);
        if let Some(branch) = graph.branch(stage) {
            let _ = write!(out, "  {branch}");
        }
        if let Some(counts) = counts {
            let _ = write!(out, "  {}", counts.stage(graph, stage));
        }
        out.push('\n');
        branches(graph, counts, Some(stage), &format!("{indent}{next}"), out);
    }
}

/// `&`, `<`, `>` and `"` as entities: for SVG, and for Mermaid, which reads labels as HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A Mermaid flowchart.
#[must_use]
pub fn mermaid(graph: &Graph, counts: Option<&Counts>) -> String {
    let label = |name: &str, under: Option<String>| {
        let under = under.map_or_else(String::new, |u| format!("<br/>{}", escaped(&u)));
        format!("\"{}{under}\"", escaped(name))
    };
    let mut out = format!("flowchart TD\n    row([{}])\n", label(&graph.row, counts.map(Counts::row)));
    for (stage, node) in graph.nodes.iter().enumerate() {
        let _ = writeln!(out, "    s{stage}[{}]", label(&node.name, counts.map(|c| c.stage(graph, stage))));
    }
    for (stage, node) in graph.nodes.iter().enumerate() {
        let from = node.parent.map_or_else(|| "row".to_owned(), |p| format!("s{p}"));
        let arrow = graph.branch(stage).map_or_else(|| "-->".to_owned(), |b| format!("-->|{}|", label(&b, None)));
        let _ = writeln!(out, "    {from} {arrow} s{stage}");
    }
    for target in graph.outcomes() {
        let _ = writeln!(out, "    o{target}{{{{{}}}}}", label(&graph.targets[target].name, counts.map(|c| c.outcome(graph, target))));
        for stage in &graph.targets[target].stages {
            let _ = writeln!(out, "    s{stage} -.-> o{target}");
        }
    }
    out
}

const BOX: (f64, f64) = (216.0, 46.0);
const GAP: (f64, f64) = (24.0, 42.0);
const MARGIN: f64 = 16.0;
/// What fits in a box, about, in characters of its smaller font.
const FITS: usize = 36;

const STYLE: &str = "<style>
  svg { font-family: system-ui, sans-serif; color: #1f2430; --line: #8a93a6; --fill: #ffffff; --row: #eef1f6; --outcome: #e8f3ec; }
  text { fill: currentColor; text-anchor: middle; }
  .name { font-size: 14px; font-weight: 600; }
  .rate, .branch { font-size: 11px; opacity: 0.85; }
  rect { fill: var(--fill); stroke: var(--line); }
  .row { fill: var(--row); }
  .outcome { fill: var(--outcome); }
  path { fill: none; stroke: var(--line); stroke-width: 1.5; }
  .sum { stroke-dasharray: 2 4; }
  .complement { stroke-dasharray: 7 4; }
  @media (prefers-color-scheme: dark) {
    svg { color: #e6e9f0; --line: #7d879c; --fill: #232834; --row: #2d3444; --outcome: #24382d; }
  }
</style>
";

/// Columns of the stages: leaves stand side by side, a parent in the middle of its children.
fn columns(graph: &Graph, parent: Option<usize>, next: &mut f64, at: &mut [f64]) -> f64 {
    let children: Vec<usize> = graph.children(parent).collect();
    let places: Vec<f64> = children.iter().map(|&child| columns(graph, Some(child), next, at)).collect();
    let place = if let (Some(first), Some(last)) = (places.first(), places.last()) {
        f64::midpoint(*first, *last)
    } else {
        *next += 1.0;
        *next - 1.0
    };
    if let Some(stage) = parent {
        at[stage] = place;
    }
    place
}

/// Middle of a column, and upper edge of a line.
fn x(column: f64) -> f64 {
    MARGIN + column * (BOX.0 + GAP.0) + BOX.0 / 2.0
}
#[allow(clippy::cast_precision_loss)] // a few stages
fn y(line: usize) -> f64 {
    MARGIN + line as f64 * (BOX.1 + GAP.1)
}

/// From the lower edge of a box to the upper edge of another: straight down beside what stands between, then over to it.
fn edge(from: (f64, usize), to: (f64, usize), class: &str) -> String {
    let (x1, y1, x2, y2) = (x(from.0), y(from.1) + BOX.1, x(to.0), y(to.1));
    let middle = y2 - GAP.1 / 2.0;
    format!("<path{class} d=\"M{x1:.0} {y1:.0} V{:.0} C{x1:.0} {middle:.0} {x2:.0} {middle:.0} {x2:.0} {y2:.0}\"/>\n", y2 - GAP.1)
}

fn block(column: f64, line: usize, class: &str, name: &str, rate: Option<&str>) -> String {
    let (middle, top) = (x(column), y(line));
    let mut out = format!(
        "<rect{class} x=\"{:.0}\" y=\"{top:.0}\" width=\"{:.0}\" height=\"{:.0}\" rx=\"8\"/>\n",
        middle - BOX.0 / 2.0,
        BOX.0,
        BOX.1
    );
    let mut line = |class: &str, down: f64, text: &str, fits: usize| {
        // Squeezed where it would be wider than its box.
        let fit = if text.chars().count() <= fits {
            String::new()
        } else {
            format!(" textLength=\"{:.0}\" lengthAdjust=\"spacingAndGlyphs\"", BOX.0 - 16.0)
        };
        let _ = writeln!(out, "<text class=\"{class}\" x=\"{middle:.0}\" y=\"{:.0}\"{fit}>{}</text>", top + down, escaped(text));
    };
    line("name", if rate.is_some() { 20.0 } else { 28.0 }, name, FITS * 3 / 4);
    if let Some(rate) = rate {
        line("rate", 36.0, rate, FITS);
    }
    out
}

/// Outcomes with their columns: each below the middle of its stages where there is room.
#[allow(clippy::cast_precision_loss)] // a few stages
fn outcome_columns(graph: &Graph, at: &[f64]) -> Vec<(usize, f64)> {
    let middle = |stages: &[usize]| stages.iter().map(|&s| at[s]).sum::<f64>() / stages.len().max(1) as f64;
    let mut outcomes: Vec<(usize, f64)> = graph.outcomes().map(|t| (t, middle(&graph.targets[t].stages))).collect();
    outcomes.sort_by(|a, b| a.1.total_cmp(&b.1));
    for i in 1..outcomes.len() {
        outcomes[i].1 = outcomes[i].1.max(outcomes[i - 1].1 + 1.0);
    }
    outcomes
}

/// A picture of its own, for light and dark pages.
#[must_use]
pub fn svg(graph: &Graph, counts: Option<&Counts>) -> String {
    let (mut at, mut width) = (vec![0.0; graph.len()], 0.0);
    let top = columns(graph, None, &mut width, &mut at);
    let mut depth = vec![1_usize; graph.len()];
    for stage in 0..graph.len() {
        depth[stage] = graph.nodes[stage].parent.map_or(1, |p| depth[p] + 1);
    }
    let deepest = depth.iter().copied().max().unwrap_or(0);
    let outcomes = outcome_columns(graph, &at);
    let width = outcomes.last().map_or(width, |o| f64::max(width, o.1 + 1.0)).max(1.0);
    let lines = deepest + usize::from(!outcomes.is_empty()) + 1;
    let (wide, high) = (2.0 * MARGIN + width * (BOX.0 + GAP.0) - GAP.0, y(lines) - GAP.1 + MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide:.0} {high:.0}\" width=\"{wide:.0}\" height=\"{high:.0}\" role=\"img\">\n\
         <title>Funnel of one {}</title>\n<desc>{}</desc>\n{STYLE}",
        escaped(&graph.row),
        escaped(text(graph, counts).trim_end())
    );
    for (stage, node) in graph.nodes.iter().enumerate() {
        let from = node.parent.map_or((top, 0), |p| (at[p], depth[p]));
        out += &edge(from, (at[stage], depth[stage]), if node.unless.is_some() { " class=\"complement\"" } else { "" });
        if let Some(branch) = graph.branch(stage) {
            let (beside, above) = (x(at[stage]) + 52.0, y(depth[stage]) - 6.0);
            let _ = writeln!(out, "<text class=\"branch\" x=\"{beside:.0}\" y=\"{above:.0}\">{}</text>", escaped(&branch));
        }
    }
    for &(target, column) in &outcomes {
        for &stage in &graph.targets[target].stages {
            out += &edge((at[stage], depth[stage]), (column, deepest + 1), " class=\"sum\"");
        }
    }
    out += &block(top, 0, " class=\"row\"", &graph.row, counts.map(Counts::row).as_deref());
    for (stage, node) in graph.nodes.iter().enumerate() {
        out += &block(at[stage], depth[stage], "", &node.name, counts.map(|c| c.stage(graph, stage)).as_deref());
    }
    for (target, column) in outcomes {
        let rate = counts.map(|c| c.outcome(graph, target));
        out += &block(column, deepest + 1, " class=\"outcome\"", &graph.targets[target].name, rate.as_deref());
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::super::Node;
    use super::*;

    fn esm2() -> (Graph, Counts) {
        let node = |name: &str, parent, unless| Node { name: name.into(), label: name.into(), parent, unless };
        let nodes =
            vec![node("click", None, None), node("cart", Some(0), None), node("after", Some(1), None), node("direct", Some(0), Some(1))];
        let counts = Counts { rows: 279_651, space: vec![279_651, 11_326, 2_000, 9_326], reached: vec![11_326, 2_000, 500, 33] };
        (Graph::new("impression".into(), nodes, vec![("purchase".into(), vec![2, 3])]), counts)
    }

    #[test]
    fn a_tree_with_and_without_rates() {
        let (graph, counts) = esm2();
        let expected = "\
impression  279,651 rows
└─ click  4.05 % of impressions (11,326)
   ├─ cart  17.66 % of clicks (2,000)
   │  └─ after  25.00 % of carts (500)
   └─ direct  unless cart  0.3538 % of clicks without cart (33)

outcome purchase  0.1906 % of impressions (533)
  click → cart → after
  click → not cart → direct
";
        assert_eq!(text(&graph, Some(&counts)), expected);
        assert!(text(&graph, None).starts_with("impression\n└─ click\n   ├─ cart\n"));
        assert_eq!([thousands(7), thousands(123), thousands(1234), thousands(1_234_567)], ["7", "123", "1,234", "1,234,567"]);
    }

    #[test]
    fn mermaid_has_every_node_and_edge() {
        let (graph, counts) = esm2();
        let expected = "\
flowchart TD
    row([\"impression\"])
    s0[\"click\"]
    s1[\"cart\"]
    s2[\"after\"]
    s3[\"direct\"]
    row --> s0
    s0 --> s1
    s1 --> s2
    s0 -->|\"unless cart\"| s3
    o4{{\"purchase\"}}
    s2 -.-> o4
    s3 -.-> o4
";
        assert_eq!(mermaid(&graph, None), expected);
        assert!(mermaid(&graph, Some(&counts)).contains("s0[\"click<br/>4.05 % of impressions (11,326)\"]"));
    }

    #[test]
    fn svg_is_balanced_and_escapes_names() {
        let (mut graph, counts) = esm2();
        graph.row = "a <b> & \"c\"".into();
        for drawn in [svg(&graph, Some(&counts)), svg(&graph, None)] {
            assert_eq!(drawn.matches("<rect").count(), 6);
            assert_eq!(drawn.matches("<path").count(), 6);
            assert_eq!(drawn.matches("<text").count(), drawn.matches("</text>").count());
            assert!(drawn.contains("a &lt;b&gt; &amp; &quot;c&quot;") && !drawn.contains("<b>"));
            assert!(drawn.contains("prefers-color-scheme: dark") && drawn.ends_with("</svg>\n"));
        }
        assert!(!svg(&graph, None).contains('%'));
    }

    #[test]
    fn nothing_reached_is_a_dash() {
        let (graph, _) = esm2();
        let none = Counts { rows: 0, space: vec![0; 4], reached: vec![0; 4] };
        assert!(text(&graph, Some(&none)).contains("click  – of impressions (0)"));
    }
}
