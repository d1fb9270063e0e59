//! Which stage follows which, where the stages are not one chain.

use anyhow::{Context, bail, ensure};
use esmm_funnel_core::graph::{Event, Graph, Node};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a stage follows, as in a spec's `stage.NAME.after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Follows {
    /// A stage before it; the empty name is the row.
    Stage(String),
    /// A stage before it, on the rows that did not reach another one that follows the same.
    Complement {
        /// The stage; the empty name is the row.
        stage: String,
        /// The other one.
        unless: String,
    },
}

/// The graph of these stages: each follows the one before it, unless `after` says otherwise.
///
/// # Errors
/// `after` or `labels` name what is not there, or stages share a label that cannot tell them apart.
pub(super) fn graph_of(stages: &[String], after: &BTreeMap<String, Follows>, labels: &BTreeMap<String, String>) -> anyhow::Result<Graph> {
    for (key, name) in after.keys().map(|n| ("after", n)).chain(labels.keys().map(|n| ("labels", n))) {
        ensure!(stages.contains(name), "`{key}`: there is no stage `{name}`; the stages are {}", stages.join(", "));
    }
    let mut nodes: Vec<Node> = Vec::with_capacity(stages.len());
    for (i, name) in stages.iter().enumerate() {
        let earlier = |other: &str| stages[..i].iter().position(|s| s == other);
        let parent = |other: &str| match other {
            "" => Ok(None),
            _ => earlier(other)
                .map(Some)
                .with_context(|| format!("`after`: stage `{name}` follows `{other}`, which is not one of the stages before it")),
        };
        let (parent, unless) = match after.get(name) {
            None => (i.checked_sub(1), None),
            Some(Follows::Stage(stage)) => (parent(stage)?, None),
            Some(Follows::Complement { stage, unless }) => {
                let parent = parent(stage)?;
                let sibling = earlier(unless).filter(|&u| nodes[u].parent == parent && nodes[u].unless.is_none());
                let Some(sibling) = sibling else {
                    bail!(
                        "`after`: stage `{name}` follows `{stage}` unless `{unless}`, which must be a stage before it that follows `{stage}` too, without an `unless`"
                    );
                };
                (parent, Some(sibling))
            }
        };
        nodes.push(Node { name: name.clone(), label: labels.get(name).unwrap_or(name).clone(), parent, unless });
    }
    let graph = Graph::new("row".into(), nodes, Vec::new());
    for b in 0..graph.len() {
        for a in 0..b {
            let (one, other) = (&graph.nodes[a], &graph.nodes[b]);
            // The column of a row in one stage's space must not be 1 because of the other stage.
            ensure!(
                one.label != other.label || one.name == other.name || (is_apart(&graph, a, b) && is_apart(&graph, b, a)),
                "`labels`: stages `{}` and `{}` share the label `{}`, but one row can reach both or pass from one's path into the other's",
                one.name,
                other.name,
                one.label
            );
        }
    }
    Ok(graph)
}

/// Whether no row is in the space of `a` and reaches `b`.
fn is_apart(graph: &Graph, a: usize, b: usize) -> bool {
    let (mut space, path): (Event, Event) = (graph.path(a), graph.path(b));
    space.pop();
    space.iter().any(|s| path.iter().any(|p| p.stage == s.stage && p.reached != s.reached))
}
