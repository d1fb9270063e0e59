//! Rules between keys: the graph, names, ranges. All broken rules are reported, each where it is broken.

mod columns;
mod graph;
mod ranges;
mod towers;
mod truth;
mod weights;

use super::decode::{Cx, Draft};
pub use graph::topological;

/// Checks everything that decoded.
pub fn check(cx: &mut Cx<'_>, draft: &Draft) {
    graph::check(cx, draft);
    columns::check(cx, draft);
    ranges::check(cx, draft);
    towers::check(cx, draft);
    truth::check(cx, draft);
    weights::check(cx, draft);
    removals(cx);
}

/// `NAME = false` where nothing was inherited.
fn removals(cx: &mut Cx<'_>) {
    use crate::diagnostic::Diagnostic;
    let idle: Vec<_> = cx.removed.iter().filter(|(_, (_, had))| !had).map(|(k, (s, _))| (k.clone(), s.clone())).collect();
    for (key, span) in idle {
        // A stage of an inherited chain has no table of its own.
        if key.starts_with("stage.") && cx.stated.contains_key("funnel.chain") {
            continue;
        }
        let d = Diagnostic::warning("idle-removal", format!("`{key} = false` removes nothing: no file that is extended states `[{key}]`"));
        cx.report(d.at(cx.sources.place(&span), ""));
    }
}
