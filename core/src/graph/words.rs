//! The graph in words and equations, for people: what `check` prints, and the names of prediction columns.

use super::{Composition, Graph, Step};

/// What a stage or an outcome is, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetWords {
    /// Name of the stage or outcome.
    pub name: String,
    /// An outcome sums over stages.
    pub is_outcome: bool,
    /// The rows of its conditional space; of an outcome, all rows.
    pub space: String,
    /// When it counts as reached.
    pub label: String,
    /// Its full-space probability, from the towers' logits `z`.
    pub equation: String,
    /// Its prediction columns: full space first, then conditional.
    pub columns: Vec<String>,
}

/// Every stage, then every outcome.
#[must_use]
pub fn describe(graph: &Graph) -> Vec<TargetWords> {
    let everything = format!("all {}", plural(&graph.row));
    graph
        .targets
        .iter()
        .enumerate()
        .map(|(i, target)| {
            let columns = columns(graph, i);
            if i < graph.len() {
                let path = graph.path(i);
                let before = &path[..path.len() - 1];
                let conditions: Vec<String> = before.iter().map(|s| condition(graph, s)).collect();
                TargetWords {
                    name: target.name.clone(),
                    is_outcome: false,
                    space: if conditions.is_empty() { everything.clone() } else { format!("rows where {}", conditions.join(" and ")) },
                    label: reached(graph, i),
                    equation: equation(graph, i),
                    columns,
                }
            } else {
                let sum: Vec<String> = target.stages.iter().map(|&s| format!("P({})", graph.nodes[s].name)).collect();
                let ways: Vec<String> = target.stages.iter().map(|&s| format!("({})", reached(graph, s))).collect();
                TargetWords {
                    name: target.name.clone(),
                    is_outcome: true,
                    space: everything.clone(),
                    label: ways.join(" or "),
                    equation: format!("P({}) = {}", target.name, sum.join(" + ")),
                    columns,
                }
            }
        })
        .collect()
}

/// Names of the prediction columns behind the keys: per stage `p_<stage>` and `p_<stage>_given_<condition>`, then `p_<outcome>`.
#[must_use]
pub fn prediction_columns(graph: &Graph) -> Vec<String> {
    (0..graph.targets.len()).flat_map(|i| columns(graph, i)).collect()
}

fn columns(graph: &Graph, target: usize) -> Vec<String> {
    let full = format!("p_{}", graph.targets[target].name);
    if target < graph.len() { vec![full.clone(), format!("{full}_given_{}", graph.given(target))] } else { vec![full] }
}

/// `click = 1`, or `not cart`.
fn condition(graph: &Graph, step: &Step) -> String {
    let label = &graph.nodes[step.stage].label;
    if step.reached { format!("{label} = 1") } else { format!("not {label}") }
}

/// Its own label first, then what its path asks for, in path order from the nearest condition back to the row.
fn reached(graph: &Graph, stage: usize) -> String {
    let path = graph.path(stage);
    let (before, own) = path.split_at(path.len() - 1);
    let parts: Vec<String> = before.iter().chain(own).rev().map(|s| condition(graph, s)).collect();
    let (not, yes): (Vec<String>, Vec<String>) = parts.into_iter().partition(|p| p.starts_with("not "));
    yes.into_iter().chain(not).collect::<Vec<_>>().join(" and ")
}

/// A stage's probability from the towers' logits.
fn equation(graph: &Graph, stage: usize) -> String {
    let node = &graph.nodes[stage];
    let name = &node.name;
    match (graph.composition, node.parent) {
        (Composition::Product, _) => {
            let factors: Vec<String> = graph.path(stage).iter().map(|s| factor(graph, s)).collect();
            format!("P({name}) = {}", factors.join(" · "))
        }
        (Composition::Quotient, None) => format!("P({name}) = σ(z_{name})"),
        (Composition::Quotient, Some(parent)) => {
            let parent = &graph.nodes[parent].name;
            format!("P({name}) = σ(z_{name}); P({name} | {parent}) = σ(z_{name}) / σ(z_{parent}), which may exceed 1")
        }
    }
}

fn factor(graph: &Graph, step: &Step) -> String {
    let name = &graph.nodes[step.stage].name;
    if step.reached { format!("σ(z_{name})") } else { format!("(1 − σ(z_{name}))") }
}

/// Rows are named in the singular: `impression`, `query`.
pub(super) fn plural(word: &str) -> String {
    match word.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) && !stem.is_empty() => format!("{stem}ies"),
        _ if word.ends_with(['s', 'x']) || word.ends_with("ch") || word.ends_with("sh") => format!("{word}es"),
        _ => format!("{word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Node;
    use super::*;

    fn esm2() -> Graph {
        let node = |name: &str, label: &str, parent, unless| Node { name: name.into(), label: label.into(), parent, unless };
        let nodes = vec![
            node("click", "click", None, None),
            node("cart", "cart", Some(0), None),
            node("buy_direct", "purchase", Some(0), Some(1)),
            node("buy_after_cart", "purchase", Some(1), None),
        ];
        Graph::new("impression".into(), nodes, vec![("purchase".into(), vec![3, 2])])
    }

    #[test]
    fn esm2_in_words() {
        let words = describe(&esm2());
        let row = |i: usize| {
            let w: &TargetWords = &words[i];
            (w.name.as_str(), w.space.as_str(), w.label.as_str(), w.equation.as_str())
        };
        assert_eq!(row(0), ("click", "all impressions", "click = 1", "P(click) = σ(z_click)"));
        assert_eq!(row(1), ("cart", "rows where click = 1", "cart = 1 and click = 1", "P(cart) = σ(z_click) · σ(z_cart)"));
        assert_eq!(
            row(2),
            (
                "buy_direct",
                "rows where click = 1 and not cart",
                "purchase = 1 and click = 1 and not cart",
                "P(buy_direct) = σ(z_click) · (1 − σ(z_cart)) · σ(z_buy_direct)"
            )
        );
        assert_eq!(row(3).1, "rows where click = 1 and cart = 1");
        assert_eq!(
            row(4),
            (
                "purchase",
                "all impressions",
                "(purchase = 1 and cart = 1 and click = 1) or (purchase = 1 and click = 1 and not cart)",
                "P(purchase) = P(buy_after_cart) + P(buy_direct)"
            )
        );
        assert!(words[4].is_outcome && !words[3].is_outcome);
    }

    #[test]
    fn quotients_in_words() {
        let node = |name: &str, parent| Node { name: name.into(), label: name.into(), parent, unless: None };
        let graph = Graph::new("impression".into(), vec![node("click", None), node("buy", Some(0))], vec![]);
        let words = describe(&graph.composed_by(Composition::Quotient));
        assert_eq!(words[0].equation, "P(click) = σ(z_click)");
        assert_eq!(words[1].equation, "P(buy) = σ(z_buy); P(buy | click) = σ(z_buy) / σ(z_click), which may exceed 1");
        assert_eq!(words[1].space, "rows where click = 1");
    }

    #[test]
    fn columns_in_contract_order() {
        let expected = [
            "p_click",
            "p_click_given_impression",
            "p_cart",
            "p_cart_given_click",
            "p_buy_direct",
            "p_buy_direct_given_click_unless_cart",
            "p_buy_after_cart",
            "p_buy_after_cart_given_cart",
            "p_purchase",
        ];
        assert_eq!(prediction_columns(&esm2()), expected);
        assert_eq!(describe(&esm2()).into_iter().flat_map(|w| w.columns).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn rows_in_the_plural() {
        assert_eq!(["impression", "query", "day", "search"].map(plural), ["impressions", "queries", "days", "searches"]);
    }
}
