//! The sections that are not about the graph.

use super::super::read::{Table, Value, dotted, implied_kind, in_order, type_name};
use super::super::sources::Span;
use super::super::types::DataTable;
use super::super::{Data, Entity, Feature, Features, Optimizer, Split, Truth};
use super::component::component;
use super::{Cx, keys_of, kinds_of};
use crate::diagnostic::Diagnostic;
use crate::diagnostic::suggest::did_you_mean;
use crate::plugin::registry::{self, Kind};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::DeValue;

/// Decodes every table of a named section, in order.
pub fn named<T>(
    cx: &mut Cx<'_>,
    table: &Table<'_>,
    section: &str,
    mut decode: impl FnMut(&mut Cx<'_>, &str, &str, &Table<'_>, &Span) -> Option<T>,
) -> Vec<T> {
    if !table.contains_key(section) {
        return Vec::new();
    }
    let Some((entries, _)) = cx.table(table, "", section) else { return Vec::new() };
    let mut all = Vec::new();
    for (key, value) in in_order(entries) {
        let name = key.get_ref().as_ref();
        if let Some((inner, span)) = cx.table(entries, section, name) {
            let _ = value;
            all.extend(decode(cx, name, &dotted(section, name), inner, &span));
        }
    }
    all
}

/// `[data]`.
pub fn data(cx: &mut Cx<'_>, table: &Table<'_>) -> Option<Data> {
    let sources = registry::names(Kind::Source).join(", ");
    let help = |d: Diagnostic| {
        d.help("add `[data]` with `source = { kind = \"csv\", files = [\"log.csv\"] }`").help(format!("sources in this build: {sources}"))
    };
    if !table.contains_key("data") {
        cx.report(help(Diagnostic::error("no-data", "the spec has no data source")));
        return None;
    }
    let (inner, span) = cx.table(table, "", "data")?;
    let mut inner = inner.clone();
    let source = if let Some(value) = inner.remove("source") {
        component(cx, Kind::Source, "data.source", "", Some(&value))
    } else {
        cx.report(help(Diagnostic::error("no-data", "`[data]` has no `source`").at(cx.key("data"), "where do rows come from?")));
        None
    };
    let truth = truth(cx, &inner);
    inner.remove("truth");
    let plain: Option<DataTable> = cx.decode("data", &inner, &span);
    let DataTable { mut beside, keys, weight, orphan_labels, .. } = plain?;
    resolve_files(cx, "data.beside", &mut beside);
    Some(Data { source: source?, beside, keys, weight, orphan_labels, truth: truth? })
}

/// Paths and globs, each as seen from the folder of the file that states it.
fn resolve_files(cx: &Cx<'_>, key: &str, files: &mut [String]) {
    for (i, file) in files.iter_mut().enumerate() {
        if let Some(at) = cx.stated.get(&format!("{key}[{i}]")) {
            *file = cx.sources.resolve(&at.value, file);
        }
    }
}

/// `[data.truth.STAGE]` tables; `None` if one of them is broken.
fn truth(cx: &mut Cx<'_>, data: &Table<'_>) -> Option<BTreeMap<String, Truth>> {
    if !data.contains_key("truth") {
        return Some(BTreeMap::new());
    }
    let (entries, _) = cx.table(data, "data", "truth")?;
    let mut one = |stage: &str| {
        let (columns, span) = cx.table(entries, "data.truth", stage)?;
        Some((stage.to_owned(), cx.decode::<Truth>(&dotted("data.truth", stage), columns, &span)?))
    };
    let all: Vec<_> = in_order(entries).into_iter().map(|(stage, _)| one(stage.get_ref())).collect();
    all.into_iter().collect()
}

/// A table with `kind` that is one of an enum's.
fn tagged<T: DeserializeOwned + JsonSchema>(cx: &mut Cx<'_>, path: &str, what: &str, value: &Value<'_>) -> Option<T> {
    let kinds = kinds_of(&schemars::schema_for!(T));
    let names: Vec<&str> = kinds.iter().map(|(k, _)| k.as_str()).collect();
    let list = format!("kinds of {what}: {}", names.join(", "));
    let first = names.first().copied().unwrap_or_default();
    let DeValue::Table(table) = value.get_ref() else {
        let d = Diagnostic::error("wrong-type", format!("{path}: expected a name or a table, found {}", type_name(value.get_ref())));
        cx.report(d.at(cx.value(path), "").help(format!("write `{{ kind = \"{first}\" }}`")).help(list));
        return None;
    };
    let mut table = table.clone();
    if let Some(implied) = implied_kind(&path.split('.').collect::<Vec<_>>())
        && !table.contains_key("kind")
    {
        table
            .insert(Spanned::new(value.span(), Cow::Borrowed("kind")), Spanned::new(value.span(), DeValue::String(Cow::Borrowed(implied))));
    }
    let name = match table.get("kind").map(Spanned::get_ref) {
        Some(DeValue::String(name)) => name.to_string(),
        Some(other) => {
            let d = Diagnostic::error("wrong-type", format!("{path}.kind: expected a string, found {}", type_name(other)));
            cx.report(d.at(cx.value(&format!("{path}.kind")), "").help(list));
            return None;
        }
        None => {
            let d = Diagnostic::error("missing-key", format!("{path}: no `kind`")).at(cx.value(path), format!("which {what}?"));
            cx.report(d.help(cx.add_kind(path, &value.span(), first)).help(list));
            return None;
        }
    };
    let Some((_, keys)) = kinds.iter().find(|(k, _)| *k == name) else {
        let mut d = Diagnostic::error("unknown-kind", format!("unknown {what} `{name}`")).at(cx.value(&format!("{path}.kind")), "");
        d.help.extend(did_you_mean(&name, &names));
        cx.report(d.help(list));
        return None;
    };
    cx.decode_keys(path, &table, &value.span(), keys)
}

/// `[split]`.
pub fn split(cx: &mut Cx<'_>, table: &Table<'_>) -> Option<Split> {
    let Some(value) = table.get("split") else { return Some(Split::default()) };
    let mut split: Split = tagged(cx, "split", "split", value)?;
    if let Split::Files { valid, test } = &mut split {
        for (part, files) in [("valid", valid), ("test", test)] {
            resolve_files(cx, &format!("split.{part}"), files);
        }
    }
    Some(split)
}

/// Sections with an optimizer, which is decoded on its own.
pub trait WithOptimizer: DeserializeOwned + JsonSchema + Default {
    /// Replaces it.
    fn set_optimizer(&mut self, optimizer: Optimizer);
}
impl WithOptimizer for super::Train {
    fn set_optimizer(&mut self, optimizer: Optimizer) {
        self.optimizer = optimizer;
    }
}
impl WithOptimizer for super::Embedding {
    fn set_optimizer(&mut self, optimizer: Optimizer) {
        self.optimizer = optimizer;
    }
}

/// `[train]` or `[embedding]`.
pub fn with_optimizer<T: WithOptimizer>(cx: &mut Cx<'_>, table: &Table<'_>, name: &str) -> Option<T> {
    if !table.contains_key(name) {
        return Some(T::default());
    }
    let (inner, span) = cx.table(table, "", name)?;
    let mut inner = inner.clone();
    let optimizer = inner.remove("optimizer").map(|v| tagged(cx, &format!("{name}.optimizer"), "optimizer", &v));
    let mut section: T = cx.decode(name, &inner, &span)?;
    if let Some(optimizer) = optimizer {
        section.set_optimizer(optimizer?);
    }
    Some(section)
}

/// `[entity.NAME]` tables.
pub fn entities(cx: &mut Cx<'_>, table: &Table<'_>) -> Vec<Entity> {
    named(cx, table, "entity", |cx, name, path, inner, span| {
        let entity: Option<Entity> = cx.decode(path, inner, span);
        entity.map(|e| Entity { name: name.to_owned(), ..e })
    })
}

/// `features` and `[feature.NAME]` tables.
pub fn features(cx: &mut Cx<'_>, table: &Table<'_>) -> Features {
    let declared: Vec<Feature> = named(cx, table, "feature", |cx, name, path, inner, span| {
        let keys = keys_of(&schemars::schema_for!(Feature));
        let feature: Option<Feature> = cx.decode_keys(path, inner, span, &keys);
        let mut feature = Feature { name: name.to_owned(), ..feature? };
        if feature.columns.is_empty() && !inner.contains_key("columns") {
            feature.columns.push(name.to_owned());
        }
        Some(feature)
    });
    let stated_any = cx.stated.keys().any(|k| k.starts_with("feature."));
    let infer = match table.get("features").map(Spanned::get_ref) {
        None => !stated_any,
        Some(DeValue::String(s)) if s == "infer" => true,
        Some(other) => {
            let d = Diagnostic::error("wrong-value", format!("features: expected \"infer\", found {}", type_name(other)));
            let mut d = d.at(cx.value("features"), "");
            if let DeValue::Table(t) = other {
                let name = in_order(t).first().map_or("NAME".to_owned(), |(k, _)| k.get_ref().to_string());
                d = d.help(format!("did you mean `[feature.{name}]`?"));
            }
            cx.report(d.help(
                "`features = \"infer\"` takes every column but labels, keys and leakage suspects; `[feature.NAME]` tables declare them",
            ));
            false
        }
    };
    Features { infer, declared }
}
