//! Columns have one role: a label that is also a feature, a key or a weight would leak or make no sense. And features' own rules.

use super::super::decode::{Cx, Draft};
use super::super::{Feature, FeatureKind, Split, StageFeatures, Vocabulary};
use crate::diagnostic::suggest::did_you_mean;
use crate::diagnostic::{Diagnostic, Place};

/// Reports what is wrong with columns and features.
pub fn check(cx: &mut Cx<'_>, draft: &Draft) {
    labels(cx, draft);
    for feature in &draft.features.declared {
        belongs(cx, feature);
        entity(cx, draft, feature);
    }
    if let Some(by) = draft.train.as_ref().and_then(|t| t.shuffle_by.clone()) {
        known_entity(cx, draft, &by, "train.shuffle_by", format!("train.shuffle_by: there is no entity `{by}`"));
    }
    twice(cx, draft);
    sharing(cx, draft);
    attending(cx, draft);
    for stage in &draft.stages {
        without(cx, draft, &stage.name, &stage.features);
    }
}

fn is_glob(column: &str) -> bool {
    column.contains(['*', '?', '['])
}

/// Columns named one by one, with the role they have.
fn roles(cx: &Cx<'_>, draft: &Draft) -> Vec<(String, &'static str, Option<Place>)> {
    let mut roles = Vec::new();
    let mut add = |cx: &Cx<'_>, column: &str, role, key: String| {
        if !is_glob(column) {
            roles.push((column.to_owned(), role, cx.value(&key).or_else(|| cx.key(key.rsplit_once('.').map_or("", |(parent, _)| parent)))));
        }
    };
    for f in &draft.features.declared {
        let path = super::super::read::dotted("feature", &f.name);
        for (i, column) in f.columns.iter().enumerate() {
            let item = format!("{path}.columns[{i}]");
            add(cx, column, "a feature", if cx.stated.contains_key(&item) { item } else { format!("{path}.columns") });
        }
        if let Some(column) = &f.weights {
            add(cx, column, "the weights of a feature", format!("{path}.weights"));
        }
    }
    if let Some(data) = &draft.data {
        for (i, column) in data.keys.iter().enumerate() {
            add(cx, column, "a key", format!("data.keys[{i}]"));
        }
        if let Some(column) = &data.weight {
            add(cx, column, "the row weight", "data.weight".into());
        }
        for (stage, truth) in &data.truth {
            let path = super::super::read::dotted("data.truth", stage);
            for (column, key) in [(&truth.probability, "probability"), (&truth.outcome, "outcome")] {
                add(cx, column, "a column of the truth", format!("{path}.{key}"));
            }
        }
    }
    if let Some(Split::Group { column, .. } | Split::Column { column, .. }) = &draft.split {
        add(cx, column, "the split's column", "split.column".into());
    }
    for e in &draft.entities {
        add(cx, &e.key, "the key of an entity", format!("{}.key", super::super::read::dotted("entity", &e.name)));
    }
    if let Some(column) = draft.metrics.as_ref().and_then(|m| m.gauc_by.as_ref()) {
        add(cx, column, "the column of `gauc_by`", "metrics.gauc_by".into());
    }
    roles
}

fn labels(cx: &mut Cx<'_>, draft: &Draft) {
    for (column, role, place) in roles(cx, draft) {
        let Some(stage) = draft.stages.iter().find(|s| s.label == column) else { continue };
        let path = format!("stage.{}", stage.name);
        let d = Diagnostic::error("label-reused", format!("column `{column}` is the label of stage `{}` and {role}", stage.name))
            .at(place, format!("named as {role} here"))
            .at(cx.value(&format!("{path}.label")).or_else(|| cx.key(&path)), "its label");
        cx.report(d.help(if role == "a feature" {
            "a label as a feature gives the answer away: take the column out of the feature"
        } else {
            "name another column"
        }));
    }
}

/// The kinds of features, as they are written.
const KINDS: [(FeatureKind, &str); 6] = [
    (FeatureKind::Id, "id"),
    (FeatureKind::Bag, "bag"),
    (FeatureKind::Number, "number"),
    (FeatureKind::Cross, "cross"),
    (FeatureKind::Sequence, "sequence"),
    (FeatureKind::Time, "time"),
];

/// Keys that are stated and do not belong to the feature's kind.
fn belongs(cx: &mut Cx<'_>, f: &Feature) {
    let path = super::super::read::dotted("feature", &f.name);
    let keys = [
        "min_count",
        "vocabulary",
        "hash_rows",
        "share_with",
        "weights",
        "separator",
        "pooling",
        "attend_to",
        "keep_last",
        "transform",
        "parts",
        "unit",
        "timezone",
    ];
    for key in keys.into_iter().filter(|k| !f.kind.takes(k)) {
        let full = format!("{path}.{key}");
        if cx.stated.contains_key(&full) {
            let word = KINDS.iter().find(|(k, _)| *k == f.kind).map_or("", |(_, w)| w);
            let owners: Vec<String> = KINDS.iter().filter(|(k, _)| k.takes(key)).map(|(_, w)| format!("`kind = \"{w}\"`")).collect();
            let d = Diagnostic::error("foreign-setting", format!("feature `{}`: `{key}` is no setting of kind `{word}`", f.name))
                .at(cx.key(&full), "")
                .at(cx.value(&format!("{path}.kind")), "kind chosen here");
            cx.report(d.help(format!("`{key}` belongs to {}", owners.join(" and "))));
        }
    }
    if f.kind == FeatureKind::Sequence && f.attend_to.is_none() && !cx.stated.contains_key(&format!("{path}.attend_to")) {
        let d = Diagnostic::error("missing-key", format!("feature `{}`: a sequence needs `attend_to`", f.name));
        let d = d.at(cx.value(&format!("{path}.kind")), "kind chosen here");
        cx.report(d.help("name the column of ids that each value is compared with: `attend_to = \"item_id\"`; without one, it is a `bag`"));
    }
    let hash_rows = format!("{path}.hash_rows");
    match (f.vocabulary, f.hash_rows) {
        (Vocabulary::Hashed, None) if !cx.stated.contains_key(&hash_rows) => {
            let d = Diagnostic::error("missing-key", format!("feature `{}`: vocabulary `hashed` needs `hash_rows`", f.name));
            cx.report(d.at(cx.value(&format!("{path}.vocabulary")), "").help("add the number of table rows: `hash_rows = 1_000_000`"));
        }
        (Vocabulary::Learned, Some(_)) if f.kind.takes("hash_rows") => {
            let d = Diagnostic::error("foreign-setting", format!("feature `{}`: `hash_rows` is for vocabulary `hashed`", f.name));
            cx.report(d.at(cx.key(&hash_rows), "").help("add `vocabulary = \"hashed\"`, or leave `hash_rows` out"));
        }
        _ => {}
    }
    if f.kind == FeatureKind::Cross && (f.columns.len() < 2 || f.columns.iter().any(|c| is_glob(c))) {
        let d = Diagnostic::error(
            "cross-columns",
            format!("feature `{}` crosses columns, so it needs two or more, named without globs", f.name),
        );
        let d = d.at(cx.value(&format!("{path}.columns")).or_else(|| cx.key(&path)), "");
        cx.report(d.help("for example `columns = [\"user_city\", \"item_category\"]`"));
    }
    if f.parts.is_empty() || (1..f.parts.len()).any(|i| f.parts[..i].contains(&f.parts[i])) {
        let d = Diagnostic::error("time-parts", format!("feature `{}`: name one or more parts of the time, each once", f.name));
        cx.report(d.at(cx.value(&format!("{path}.parts")), "").help("for example `parts = [\"hour\", \"weekday\"]`"));
    }
    if f.columns.is_empty() && f.kind != FeatureKind::Cross {
        let d =
            Diagnostic::error("no-columns", format!("feature `{}` has no columns", f.name)).at(cx.value(&format!("{path}.columns")), "");
        cx.report(d.help(format!("name some, or leave `columns` out for the column `{}`", f.name)));
    }
}

fn entity(cx: &mut Cx<'_>, draft: &Draft, f: &Feature) {
    if let Some(of) = &f.of {
        let key = format!("{}.of", super::super::read::dotted("feature", &f.name));
        known_entity(cx, draft, of, &key, format!("feature `{}` is of an unknown entity `{of}`", f.name));
    }
}

/// Reports an entity that no table declares.
fn known_entity(cx: &mut Cx<'_>, draft: &Draft, of: &str, key: &str, message: String) {
    if cx.stated.contains_key(&super::super::read::dotted("entity", of)) {
        return;
    }
    let names: Vec<&str> = draft.entities.iter().map(|e| e.name.as_str()).collect();
    let d = Diagnostic::error("unknown-entity", message);
    let mut d = d.at(cx.value(key), format!("no `[entity.{of}]` table"));
    d.help.extend(did_you_mean(of, &names));
    if !names.is_empty() {
        d = d.help(format!("entities: {}", names.join(", ")));
    }
    cx.report(d.help(format!("add `[entity.{of}]` with `key = \"COLUMN\"`, the column that says which {of} a row belongs to")));
}

/// A column in two features.
fn twice(cx: &mut Cx<'_>, draft: &Draft) {
    let mut seen: Vec<(&str, &str, String)> = Vec::new();
    // A cross adds to what its columns are by themselves.
    for f in draft.features.declared.iter().filter(|f| f.kind != FeatureKind::Cross) {
        let path = super::super::read::dotted("feature", &f.name);
        for (i, column) in f.columns.iter().enumerate().filter(|(_, c)| !is_glob(c)) {
            let item = format!("{path}.columns[{i}]");
            if let Some((_, other, at)) = seen.iter().find(|(c, ..)| c == column) {
                let d = Diagnostic::error("column-twice", format!("column `{column}` is in feature `{other}` and in feature `{}`", f.name))
                    .at(cx.value(&item).or_else(|| cx.key(&path)), "")
                    .at(cx.value(at).or_else(|| cx.key(at)), "claimed here first");
                cx.report(d.help("a column has one treatment: take it out of one of them"));
            } else {
                let at = if cx.stated.contains_key(&item) { item } else { path.clone() };
                seen.push((column, &f.name, at));
            }
        }
    }
}

/// `share_with` must lead to a feature that owns its table.
fn sharing(cx: &mut Cx<'_>, draft: &Draft) {
    let declared = &draft.features.declared;
    let owner = |column: &str| declared.iter().position(|f| f.columns.iter().any(|c| c == column));
    for (start, feature) in declared.iter().enumerate() {
        let mut chain = vec![start];
        let mut at = start;
        while let Some(next) = declared[at].shares().and_then(owner) {
            if next == start && chain.iter().min() == Some(&start) {
                let names: Vec<String> = chain.iter().chain([&start]).map(|&i| format!("`{}`", declared[i].name)).collect();
                let key = sharing_key(feature);
                let message = if chain.len() == 1 {
                    format!("feature `{}` shares the table of itself", feature.name)
                } else {
                    format!("features share tables in a circle: {}", names.join(" → "))
                };
                cx.report(Diagnostic::error("share-cycle", message).at(cx.value(&key), "").help("one of them must own the table"));
                break;
            }
            if chain.contains(&next) {
                break;
            }
            chain.push(next);
            at = next;
        }
        if let Some(other) = feature.shares().and_then(owner).map(|i| &declared[i])
            && !other.kind.takes("share_with")
        {
            let key = sharing_key(feature);
            let what = if other.kind == FeatureKind::Time { "time" } else { "number" };
            let d = Diagnostic::error("share-number", format!("feature `{}` shares the table of `{}`, a {what}", feature.name, other.name));
            cx.report(d.at(cx.value(&key), format!("{what}s have no table of ids")));
        }
    }
}

/// The key that says whose table a feature shares.
fn sharing_key(feature: &Feature) -> String {
    let key = if feature.share_with.is_some() { "share_with" } else { "attend_to" };
    format!("{}.{key}", super::super::read::dotted("feature", &feature.name))
}

/// A sequence must attend to a column of single ids, as far as its feature is declared.
fn attending(cx: &mut Cx<'_>, draft: &Draft) {
    for feature in &draft.features.declared {
        let Some(target) = &feature.attend_to else { continue };
        let owner = draft.features.declared.iter().find(|f| f.columns.iter().any(|c| c == target) && f.kind != FeatureKind::Cross);
        if let Some(owner) = owner.filter(|o| o.kind != FeatureKind::Id) {
            let path = super::super::read::dotted("feature", &feature.name);
            let message = format!("feature `{}` attends to `{target}`, which holds no single ids", feature.name);
            let d = Diagnostic::error("attend-to", message).at(cx.value(&format!("{path}.attend_to")), "");
            let kind = super::super::read::dotted("feature", &owner.name) + ".kind";
            cx.report(d.at(cx.value(&kind), format!("`{target}` is declared here")).help("name a column of a feature of `kind = \"id\"`"));
        }
    }
}

/// A stage that drops a feature which is not there. Columns are only known with the data, so near misses of names are a warning.
fn without(cx: &mut Cx<'_>, draft: &Draft, stage: &str, features: &StageFeatures) {
    if draft.features.infer {
        return;
    }
    let stated = cx.names("feature");
    let quoted = draft.features.declared.iter().map(|f| f.name.as_str()).filter(|n| !stated.iter().any(|s| s == n));
    let names: Vec<&str> = stated.iter().map(String::as_str).chain(quoted).collect();
    for (i, name) in features.without.iter().enumerate() {
        let known = names.contains(&name.as_str()) || draft.features.declared.iter().any(|f| names_field(f, name));
        if !known {
            let d = Diagnostic::error(
                "unknown-feature",
                format!("stage `{stage}` is without `{name}`, which is no feature and no column of one"),
            );
            let mut d = d.at(cx.value(&format!("stage.{stage}.features.without[{i}]")), "");
            d.help.extend(did_you_mean(name, &names));
            cx.report(d.help(format!("features: {}", names.join(", "))));
        }
    }
}

/// Whether a name may be that of a field of this feature: of a column, or of a part of a time.
fn names_field(feature: &Feature, name: &str) -> bool {
    if feature.kind != FeatureKind::Time {
        return feature.columns.iter().any(|c| c == name || is_glob(c));
    }
    let of_column = |(column, part): (&str, &str)| {
        feature.parts.iter().any(|p| p.name() == part) && feature.columns.iter().any(|c| c == column || is_glob(c))
    };
    name.rsplit_once(':').is_some_and(of_column)
}
