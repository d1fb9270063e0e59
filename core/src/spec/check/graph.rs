//! Stages and outcomes: parents, circles, names, labels, disjoint paths, `monitor`.

use super::super::decode::{Cx, Draft, StageDraft, is_name};
use super::super::{After, Composition, Outcome};
use crate::diagnostic::suggest::did_you_mean;
use crate::diagnostic::{Diagnostic, Place};
use crate::graph::{Event, Graph, Node};
use std::collections::BTreeMap;

/// Reports what is wrong with the graph.
pub fn check(cx: &mut Cx<'_>, draft: &Draft) {
    if draft.stages.is_empty() {
        if !cx.stated.keys().any(|k| k.starts_with("stage.") || k == "funnel.chain") {
            let d = Diagnostic::error("no-stages", "the funnel has no stages").at(cx.key("funnel"), "declares none");
            cx.report(d.help("add `chain = \"impression -> click -> purchase\"` under `[funnel]`, or `[stage.NAME]` tables"));
        }
        return;
    }
    names(cx, draft);
    let before = cx.found.len();
    parents(cx, draft);
    circles(cx, draft);
    let sound = cx.found.len() == before && draft.stages.iter().all(|s| s.after.is_some());
    for outcome in &draft.outcomes {
        members(cx, draft, outcome, sound);
    }
    shared_labels(cx, draft);
    quotient(cx, draft);
    monitor(cx, draft);
}

fn stage_names(draft: &Draft) -> Vec<&str> {
    draft.stages.iter().map(|s| s.name.as_str()).collect()
}
/// Parent and `unless` sibling, each with its place.
fn edges(cx: &Cx<'_>, s: &StageDraft) -> Vec<(String, Option<Place>)> {
    let key = format!("stage.{}.after", s.name);
    match &s.after {
        None => Vec::new(),
        Some(After::Stage(stage)) => vec![(stage.clone(), cx.value(&format!("{key}.stage")).or_else(|| cx.value(&key)))],
        Some(After::Complement { stage, unless }) => {
            vec![(stage.clone(), cx.value(&format!("{key}.stage"))), (unless.clone(), cx.value(&format!("{key}.unless")))]
        }
    }
}

fn names(cx: &mut Cx<'_>, draft: &Draft) {
    let row = &draft.funnel.row;
    if !is_name(row) {
        let d = Diagnostic::error("bad-name", format!("`{row}` is no name for the row"))
            .at(cx.value("funnel.row"), "letters, digits, `_` and `-`");
        cx.report(d.help("the name becomes part of column names"));
    }
    let name = &draft.funnel.name;
    if name.starts_with('.') || name.contains(|c: char| c.is_control() || "/\\:".contains(c)) {
        let d = Diagnostic::error("bad-name", format!("`{name}` is no name for a funnel")).at(cx.value("funnel.name"), "");
        cx.report(d.help("the name becomes that of a folder: no `/`, `\\` or `:`, and no `.` at the start"));
    }
    reserved(cx, draft);
    for stage in &draft.stages {
        if stage.name == *row {
            let d = Diagnostic::error("name-clash", format!("stage `{row}` has the name of the row"))
                .at(cx.key(&format!("stage.{row}")), "a stage")
                .at(cx.value("funnel.row").or_else(|| cx.value("funnel.chain")), "the row");
            cx.report(d.help("rename the stage, or the row with `funnel.row`"));
        }
    }
    for outcome in &draft.outcomes {
        let name = &outcome.name;
        let at = cx.key(&format!("outcome.{name}"));
        if draft.stages.iter().any(|s| s.name == *name) {
            let d = Diagnostic::error("name-clash", format!("outcome `{name}` has the name of a stage"))
                .at(at, "an outcome")
                .at(cx.key(&format!("stage.{name}")), "a stage");
            cx.report(d.help("rename one of the two: both become columns `p_NAME`"));
        } else if name == row {
            cx.report(Diagnostic::error("name-clash", format!("outcome `{name}` has the name of the row")).at(at, "an outcome"));
        }
    }
}

/// Key of `metrics.json` beside those of stages and outcomes.
const SLICES: &str = "slices";

/// No stage and no outcome may take a key or a column of the outputs.
fn reserved(cx: &mut Cx<'_>, draft: &Draft) {
    let stages = draft.stages.iter().map(|s| ("stage", &s.name));
    for (what, name) in stages.chain(draft.outcomes.iter().map(|o| ("outcome", &o.name))).filter(|(_, name)| *name == SLICES) {
        let d = Diagnostic::error("name-clash", format!("{what} `{name}` has the name of a key of `metrics.json`"));
        let d = d.at(cx.key(&format!("{what}.{name}")), "taken by the metrics per value of `metrics.slices`");
        cx.report(d.help(format!("rename the {what}; `label` may still be `{SLICES}`")));
    }
    for stage in &draft.stages {
        let given = match &stage.after {
            None => continue,
            Some(After::Stage(parent)) => parent.clone(),
            Some(After::Complement { stage, unless }) => format!("{stage}_unless_{unless}"),
        };
        let column = format!("{}_given_{given}", stage.name);
        let taken = draft.stages.iter().map(|s| ("stage", &s.name)).chain(draft.outcomes.iter().map(|o| ("outcome", &o.name)));
        for (what, _) in taken.filter(|(_, name)| **name == column) {
            let d =
                Diagnostic::error("name-clash", format!("{what} `{column}` and stage `{}` both become column `p_{column}`", stage.name))
                    .at(cx.key(&format!("{what}.{column}")), "its full-space probability")
                    .at(cx.key(&format!("stage.{}", stage.name)), "its conditional probability");
            cx.report(d.help(format!("rename the {what}")));
        }
    }
}

fn parents(cx: &mut Cx<'_>, draft: &Draft) {
    let names = stage_names(draft);
    let row = draft.funnel.row.as_str();
    for stage in &draft.stages {
        for (i, (parent, place)) in edges(cx, stage).into_iter().enumerate() {
            let word = if i == 0 { "comes after" } else { "is the complement of" };
            if i == 1 && matches!(&stage.after, Some(After::Complement { stage, .. }) if *stage == parent) {
                let d =
                    Diagnostic::error("not-a-sibling", format!("stage `{}` comes after `{parent}` unless `{parent}`: never", stage.name));
                cx.report(d.at(place, "").help(format!("name a stage that comes after `{parent}` too")));
            } else if parent == stage.name {
                let d = Diagnostic::error("graph-cycle", format!("stage `{}` {word} itself", stage.name));
                cx.report(d.at(place, "").help("name the stage before it, or the row"));
            } else if !names.contains(&parent.as_str()) && (i == 1 || parent != row) {
                let mut d = Diagnostic::error("unknown-stage", format!("stage `{}` {word} an unknown stage `{parent}`", stage.name))
                    .at(place, format!("no `[stage.{parent}]` table"));
                let others: Vec<&str> = [row].into_iter().chain(names.iter().copied()).filter(|n| *n != stage.name).collect();
                d.help.extend(did_you_mean(&parent, &others));
                let declared = if names.len() == 1 { "none but this one".into() } else { others[1..].join(", ") };
                cx.report(d.help(format!("stages: {declared}; the row: {row}")));
            }
        }
        if let Some(After::Complement { stage: parent, unless }) = &stage.after
            && parent != unless
            && let Some(sibling) = draft.stages.iter().find(|s| s.name == *unless && s.name != stage.name)
            && let Some(After::Stage(other) | After::Complement { stage: other, .. }) = &sibling.after
            && other != parent
        {
            let d = Diagnostic::error("not-a-sibling", format!("stage `{}`: `unless = \"{unless}\"` is no sibling", stage.name))
                .at(cx.value(&format!("stage.{}.after.unless", stage.name)), format!("`{unless}` must come after `{parent}` too"))
                .at(cx.value(&format!("stage.{unless}.after")), format!("`{unless}` comes after `{other}`"));
            cx.report(d.help("a complement branch and the stage that it excludes share their parent"));
        }
        complement_of_complement(cx, draft, stage);
    }
}

/// `c` unless `b`, where `b` itself is `unless` `a`: does it take in the rows with `a`? Not to be guessed, so refused.
fn complement_of_complement(cx: &mut Cx<'_>, draft: &Draft, stage: &StageDraft) {
    let Some(After::Complement { stage: parent, unless }) = &stage.after else { return };
    let Some(sibling) = draft.stages.iter().find(|s| s.name == *unless && s.name != stage.name) else { return };
    let Some(After::Complement { stage: other, unless: first }) = &sibling.after else { return };
    // Circles and stages that are no siblings are faults of their own.
    if other != parent || [parent, unless, &stage.name].contains(&first) {
        return;
    }
    let name = &stage.name;
    let d =
        Diagnostic::error("nested-unless", format!("stage `{name}`: `unless = \"{unless}\"` names a stage that has an `unless` itself"))
            .at(cx.value(&format!("stage.{name}.after.unless")), format!("with or without `{first}`?"))
            .at(cx.value(&format!("stage.{unless}.after.unless")), format!("`{unless}` is for rows without `{first}`"))
            .help(format!("for every row without `{first}`: `after = {{ stage = \"{parent}\", unless = \"{first}\" }}`"));
    cx.report(d.help(format!(
        "for rows with neither: declare those without `{first}` as a stage with a label of its own, and let `{unless}` come after it, and \
         `{name}` after it unless `{unless}`"
    )));
}

/// Circles of `after` and `unless`, each shown once, as a chain of names. A stage that comes after itself has been reported.
fn circles(cx: &mut Cx<'_>, draft: &Draft) {
    let mut done = vec![false; draft.stages.len()];
    for start in 0..draft.stages.len() {
        let mut open = Vec::new();
        if let Some(circle) = visit(cx, draft, start, &mut open, &mut done) {
            let names: Vec<String> = circle.iter().chain(circle.first()).map(|&i| format!("`{}`", draft.stages[i].name)).collect();
            let mut d = Diagnostic::error("graph-cycle", format!("stages come after each other in a circle: {}", names.join(" after ")));
            for (n, &i) in circle.iter().enumerate() {
                let next = &draft.stages[circle[(n + 1) % circle.len()]].name;
                let place = edges(cx, &draft.stages[i]).into_iter().find(|(p, _)| p == next).and_then(|(_, place)| place);
                d = d.at(place, if n == 0 { "closes the circle" } else { "" });
            }
            cx.report(d.help(format!("one of them comes after the row: `after = \"{}\"`", draft.funnel.row)));
            for i in open {
                done[i] = true;
            }
        }
    }
}
fn visit(cx: &Cx<'_>, draft: &Draft, at: usize, open: &mut Vec<usize>, done: &mut [bool]) -> Option<Vec<usize>> {
    if done[at] {
        return None;
    }
    if let Some(first) = open.iter().position(|&o| o == at) {
        return Some(open[first..].to_vec());
    }
    open.push(at);
    for (parent, _) in edges(cx, &draft.stages[at]) {
        if let Some(next) = draft.stages.iter().position(|s| s.name == parent)
            && next != at
            && let Some(circle) = visit(cx, draft, next, open, done)
        {
            return Some(circle);
        }
    }
    open.pop();
    done[at] = true;
    None
}

/// Indices of the stages, parents and `unless` siblings first, else in order of declaration. The graph must have no circle.
pub fn topological(draft: &Draft) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < draft.stages.len() {
        let ready = (0..draft.stages.len()).find(|i| {
            let placed = |name: &String| {
                let at = draft.stages.iter().position(|s| s.name == *name);
                at.is_none_or(|at| order.contains(&at))
            };
            !order.contains(i)
                && match &draft.stages[*i].after {
                    None => true,
                    Some(After::Stage(p)) => placed(p),
                    Some(After::Complement { stage, unless }) => placed(stage) && placed(unless),
                }
        });
        match ready {
            Some(i) => order.push(i),
            None => break,
        }
    }
    order
}

/// Names with their paths, in topological order.
fn paths(draft: &Draft) -> (Vec<String>, Vec<Event>) {
    let order = topological(draft);
    let names: Vec<String> = order.iter().map(|&i| draft.stages[i].name.clone()).collect();
    let at = |name: &str| names.iter().position(|n| n == name);
    let nodes = order
        .iter()
        .map(|&i| {
            let s = &draft.stages[i];
            let (parent, unless) = match &s.after {
                None => (None, None),
                Some(After::Stage(p)) => (at(p), None),
                Some(After::Complement { stage, unless }) => (at(stage), at(unless)),
            };
            Node { name: s.name.clone(), label: s.label.clone(), parent, unless }
        })
        .collect();
    let graph = Graph::new(draft.funnel.row.clone(), nodes, Vec::new());
    let paths = (0..graph.len()).map(|i| graph.path(i)).collect();
    (names, paths)
}

fn members(cx: &mut Cx<'_>, draft: &Draft, outcome: &Outcome, sound: bool) {
    let key = format!("outcome.{}.any_of", outcome.name);
    let names = stage_names(draft);
    let mut known = Vec::new();
    for (i, member) in outcome.any_of.iter().enumerate() {
        let place = cx.value(&format!("{key}[{i}]"));
        if !names.contains(&member.as_str()) {
            let d = Diagnostic::error("unknown-stage", format!("outcome `{}` sums over an unknown stage `{member}`", outcome.name));
            let mut d = d.at(place, format!("no `[stage.{member}]` table"));
            d.help.extend(did_you_mean(member, &names));
            cx.report(d.help(format!("stages: {}", names.join(", "))));
        } else if outcome.any_of[..i].contains(member) {
            cx.report(Diagnostic::error("outcome-members", format!("outcome `{}` names `{member}` twice", outcome.name)).at(place, ""));
        } else {
            known.push((i, member));
        }
    }
    if outcome.any_of.is_empty() {
        let d = Diagnostic::error("outcome-members", format!("outcome `{}` sums over no stage", outcome.name)).at(cx.value(&key), "");
        cx.report(d.help(format!("stages: {}", names.join(", "))));
    }
    if !sound {
        return;
    }
    let (order, paths) = paths(draft);
    let path = |name: &str| order.iter().position(|n| n == name).map(|i| &paths[i]);
    for (n, (i, a)) in known.iter().enumerate() {
        for (j, b) in &known[..n] {
            let (Some(pa), Some(pb)) = (path(a), path(b)) else { continue };
            let disjoint = pa.iter().any(|x| pb.iter().any(|y| x.stage == y.stage && x.reached != y.reached));
            if !disjoint {
                let d =
                    Diagnostic::error("overlapping-outcome", format!("outcome `{}`: a row can reach both `{b}` and `{a}`", outcome.name))
                        .at(cx.value(&format!("{key}[{i}]")), "")
                        .at(cx.value(&format!("{key}[{j}]")), "")
                        .help("its probability is a sum over paths, so they must exclude each other");
                cx.report(d.help(format!("make one the complement branch, as in `after = {{ stage = \"…\", unless = \"{b}\" }}`")));
            }
        }
    }
}

/// Quotients are of a stage and its parent: a complement branch and an outcome have none.
fn quotient(cx: &mut Cx<'_>, draft: &Draft) {
    if draft.funnel.composition != Composition::Quotient {
        return;
    }
    let branches = draft.stages.iter().filter(|s| matches!(s.after, Some(After::Complement { .. })));
    let branches = branches.map(|s| (format!("stage `{}` has an `unless`", s.name), cx.value(&format!("stage.{}.after", s.name))));
    let outcomes = draft.outcomes.iter().map(|o| (format!("`{}` is an outcome", o.name), cx.key(&format!("outcome.{}", o.name))));
    let found: Vec<_> = branches.chain(outcomes).collect();
    for (what, place) in found {
        let d = Diagnostic::error("no-quotient", format!("{what}, and `composition = \"quotient\"` is for plain stages"))
            .at(place, "")
            .at(cx.value("funnel.composition"), "quotients");
        cx.report(d.help("take `composition = \"product\"`, which composes every graph"));
    }
}

fn shared_labels(cx: &mut Cx<'_>, draft: &Draft) {
    let mut by_label: BTreeMap<&str, Vec<&StageDraft>> = BTreeMap::new();
    for stage in &draft.stages {
        by_label.entry(&stage.label).or_default().push(stage);
    }
    // An outcome with a fault may be the one that covers them.
    let all_decoded = cx.names("outcome").len() <= draft.outcomes.len();
    for (label, stages) in by_label.into_iter().filter(|_| all_decoded) {
        let covered = draft.outcomes.iter().any(|o| stages.iter().all(|s| o.any_of.contains(&s.name)));
        if stages.len() < 2 || covered {
            continue;
        }
        let names: Vec<String> = stages.iter().map(|s| format!("`{}`", s.name)).collect();
        let toml: Vec<String> = stages.iter().map(|s| format!("\"{}\"", s.name)).collect();
        let mut d = Diagnostic::error(
            "shared-label",
            format!("stages {} have one label, `{label}`, and no outcome covers them", names.join(" and ")),
        );
        for (i, stage) in stages.iter().enumerate() {
            let path = format!("stage.{}", stage.name);
            d = d.at(cx.value(&format!("{path}.label")).or_else(|| cx.key(&path)), if i == 0 { "" } else { "the same label" });
        }
        // The outcome's name must be free.
        let taken = draft.stages.iter().any(|s| s.name == label) || draft.outcomes.iter().any(|o| o.name == label);
        let name = if taken { format!("any_{label}") } else { label.to_owned() };
        match draft.outcomes.iter().find(|o| stages.iter().any(|s| o.any_of.contains(&s.name))) {
            Some(o) => d = d.help(format!("add the others to `[outcome.{}]`: `any_of = [{}]`", o.name, toml.join(", "))),
            None => {
                d = d
                    .help(format!("say that they are ways to one outcome: `[outcome.{name}]` with `any_of = [{}]`", toml.join(", ")))
                    .help("or give each stage a label column of its own");
            }
        }
        cx.report(d);
    }
}

const SPACES: [&str; 3] = ["conditional", "full", "entire"];
const METRICS: [&str; 6] = ["auc", "logloss", "ne", "pcoc", "ece", "gauc"];

fn monitor(cx: &mut Cx<'_>, draft: &Draft) {
    let Some(monitor) = draft.train.as_ref().and_then(|t| t.monitor.as_ref()) else { return };
    let key = "train.monitor";
    let parts: Vec<&str> = monitor.split('.').collect();
    let [target, space, metric] = parts.as_slice() else {
        let last = draft.stages.last().map_or("purchase", |s| s.name.as_str());
        let d = Diagnostic::error("bad-monitor", format!("train.monitor: `{monitor}` is not `<stage or outcome>.<space>.<metric>`"));
        cx.report(d.at(cx.value(key), "").help(format!("write `monitor = \"{last}.full.auc\"`")));
        return;
    };
    let outcomes = cx.names("outcome");
    let targets: Vec<&str> = stage_names(draft).into_iter().chain(outcomes.iter().map(String::as_str)).collect();
    let mut start = 0;
    for (part, word, allowed) in [(target, "stage or outcome", &targets[..]), (space, "space", &SPACES), (metric, "metric", &METRICS)] {
        if !allowed.contains(part) {
            let mut d = Diagnostic::error("bad-monitor", format!("train.monitor: unknown {word} `{part}`"))
                .at(cx.part(key, monitor, start..start + part.len()), "");
            d.help.extend(did_you_mean(part, allowed));
            cx.report(d.help(format!("one of: {}", allowed.join(", "))));
        }
        start += part.len() + 1;
    }
    if *space == "conditional" && draft.outcomes.iter().any(|o| o.name == *target) {
        let d = Diagnostic::error("bad-monitor", format!("train.monitor: outcome `{target}` has no conditional space"));
        cx.report(d.at(cx.value(key), "").help(format!("write `monitor = \"{target}.full.{metric}\"`")));
    }
    if *metric == "gauc" && draft.metrics.as_ref().is_some_and(|m| m.gauc_by.is_none()) {
        let d = Diagnostic::error("bad-monitor", "train.monitor: `gauc` needs `metrics.gauc_by`").at(cx.value(key), "");
        cx.report(d.help("say within which column: `[metrics]` with `gauc_by = \"user_id\"`"));
    }
}
