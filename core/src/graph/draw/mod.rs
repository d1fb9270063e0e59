//! The graph as a picture: a tree of text, a Mermaid flowchart, an SVG. Rates stand in it where counts are known.

mod svg;

pub use svg::{svg, svg_with_predictions};

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

/// A stage's or outcome's numbers, ready to print.
struct Rate {
    /// `4.05 %`, or a dash where there is nothing to be a share of.
    share: String,
    /// `11,326`.
    reached: String,
    /// `of clicks without cart`.
    of: String,
}

/// Of `reached` in `space`, in percent with three digits or more, or a dash.
#[allow(clippy::cast_precision_loss)]
fn percent(reached: f64, space: u64) -> String {
    if space == 0 {
        return "–".into();
    }
    let value = 100.0 * reached / space as f64;
    let digits = if value >= 1.0 || reached == 0.0 { 2 } else { 4 };
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
    /// The rows that a target's rate is a share of: of a stage those in its conditional space, of an outcome all.
    fn space_of(&self, graph: &Graph, target: usize) -> u64 {
        if target < graph.len() { self.space[target] } else { self.rows }
    }
    /// Of an expected number of rows: `4.05 % (11,326)`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not below 0
    fn share_of(&self, graph: &Graph, target: usize, expected: f64) -> String {
        format!("{} ({})", percent(expected, self.space_of(graph, target)), thousands(expected.max(0.0).round() as u64))
    }
    /// Of a stage in its conditional space, of an outcome in all rows.
    #[allow(clippy::cast_precision_loss)]
    fn rate(&self, graph: &Graph, target: usize) -> Rate {
        let reached = self.of(graph, target);
        let node = graph.nodes.get(target);
        let space = self.space_of(graph, target);
        let parent = node.and_then(|n| n.parent).map_or(&graph.row, |p| &graph.nodes[p].name);
        let unless = node.and_then(|n| n.unless).map_or_else(String::new, |u| format!(" without {}", graph.nodes[u].name));
        Rate { share: percent(reached as f64, space), reached: thousands(reached), of: format!("of {}{unless}", several(parent)) }
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
    let mut lines = vec![(graph.row.clone(), None)];
    branches(graph, None, "", &mut lines);
    for target in graph.outcomes() {
        lines.push((String::new(), None));
        lines.push((format!("outcome {}", graph.targets[target].name), Some(target)));
        for &stage in &graph.targets[target].stages {
            let step = |s: &Step| format!("{}{}", if s.reached { "" } else { "not " }, graph.nodes[s.stage].name);
            lines.push((format!("  {}", graph.path(stage).iter().map(step).collect::<Vec<_>>().join(" → ")), None));
        }
    }
    match counts {
        None => lines.into_iter().map(|(line, _)| line + "\n").collect(),
        Some(counts) => with_rates(graph, counts, &lines),
    }
}

/// Lines of a tree, each with the stage it shows.
fn branches(graph: &Graph, parent: Option<usize>, indent: &str, lines: &mut Vec<(String, Option<usize>)>) {
    let children: Vec<usize> = graph.children(parent).collect();
    for (i, &stage) in children.iter().enumerate() {
        let (corner, next) = if i + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let branch = graph.branch(stage).map_or_else(String::new, |b| format!("  {b}"));
        lines.push((format!("{indent}{corner}{}{branch}", graph.nodes[stage].name), Some(stage)));
        branches(graph, Some(stage), &format!("{indent}{next}"), lines);
    }
}

/// Share, count and what it is a share of, in columns behind the lines that show a target; the row's count is in the second of them.
fn with_rates(graph: &Graph, counts: &Counts, lines: &[(String, Option<usize>)]) -> String {
    let chars = |text: &str| text.chars().count();
    let rates: Vec<Option<Rate>> = lines.iter().map(|(_, target)| target.map(|t| counts.rate(graph, t))).collect();
    let all = thousands(counts.rows);
    let left = lines.iter().zip(&rates).filter(|(_, r)| r.is_some()).map(|((l, _), _)| chars(l)).max().unwrap_or(0).max(chars(&graph.row));
    let share = rates.iter().flatten().map(|r| chars(&r.share)).max().unwrap_or(0);
    let reached = chars(&all);
    let mut out = String::new();
    for (i, ((line, _), rate)) in lines.iter().zip(&rates).enumerate() {
        let pad = " ".repeat(left.saturating_sub(chars(line)));
        let _ = match rate {
            _ if i == 0 => writeln!(out, "{line}{pad}  {:share$}  {all:>reached$}  rows", ""),
            None => writeln!(out, "{line}"),
            Some(rate) => writeln!(out, "{line}{pad}  {:>share$}  {:>reached$}  {}", rate.share, rate.reached, rate.of),
        };
    }
    out
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
    let rate = |target| {
        counts.map(|c| {
            let Rate { share, reached, of } = c.rate(graph, target);
            format!("{share} {of} ({reached})")
        })
    };
    let mut out = format!("flowchart TD\n    row([{}])\n", label(&graph.row, counts.map(Counts::row)));
    for (stage, node) in graph.nodes.iter().enumerate() {
        let _ = writeln!(out, "    s{stage}[{}]", label(&node.name, rate(stage)));
    }
    for (stage, node) in graph.nodes.iter().enumerate() {
        let from = node.parent.map_or_else(|| "row".to_owned(), |p| format!("s{p}"));
        let arrow = graph.branch(stage).map_or_else(|| "-->".to_owned(), |b| format!("-->|{}|", label(&b, None)));
        let _ = writeln!(out, "    {from} {arrow} s{stage}");
    }
    for target in graph.outcomes() {
        let _ = writeln!(out, "    o{target}{{{{{}}}}}", label(&graph.targets[target].name, rate(target)));
        for stage in &graph.targets[target].stages {
            let _ = writeln!(out, "    s{stage} -.-> o{target}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::Node;
    use super::*;

    pub(super) fn esm2() -> (Graph, Counts) {
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
impression                           279,651  rows
└─ click                     4.05 %   11,326  of impressions
   ├─ cart                  17.66 %    2,000  of clicks
   │  └─ after              25.00 %      500  of carts
   └─ direct  unless cart  0.3538 %       33  of clicks without cart

outcome purchase           0.1906 %      533  of impressions
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
    fn nothing_reached_is_a_dash() {
        let (graph, _) = esm2();
        let none = Counts { rows: 0, space: vec![0; 4], reached: vec![0; 4] };
        assert_eq!(text(&graph, Some(&none)).lines().nth(1), Some("└─ click                   –  0  of impressions"));
    }
}
