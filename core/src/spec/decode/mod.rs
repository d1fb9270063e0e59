//! The merged table → sections of the spec, with every fault found. Sections are decoded one by one; what fails is reported and left out,
//! so that the others, and the rules between them, are still checked.

mod component;
mod faults;
mod graph;
mod sections;

use super::read::{Removed, Table, Value, dotted, in_order, type_name};
use super::sources::{Sources, Span};
use super::{After, InitBias};
use super::{Component, Data, Embedding, Entity, Features, Funnel, Metrics, Outcome, Split, StageFeatures, Train};
use crate::diagnostic::suggest::did_you_mean;
use crate::diagnostic::{Diagnostic, Place};
pub use graph::is_name;

use faults::{Fault, decode_all, in_words, missing_field};
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use toml::de::DeValue;

/// Where a key is stated: the key, and its value.
#[derive(Debug, Clone)]
pub struct Stated {
    /// The key.
    pub key: Span,
    /// Its value.
    pub value: Span,
}

/// What decoding knows and collects.
#[derive(Debug)]
pub struct Cx<'a> {
    /// The texts.
    pub sources: &'a Sources,
    /// `NAME = false`, by dotted key.
    pub removed: &'a Removed,
    /// Faults found.
    pub found: Vec<Diagnostic>,
    /// Every stated key, dotted; items of arrays as `key[0]`.
    pub stated: BTreeMap<String, Stated>,
}

/// A spec in which sections may be missing since they had faults.
#[derive(Debug)]
pub struct Draft {
    pub funnel: Funnel,
    pub stages: Vec<StageDraft>,
    pub outcomes: Vec<Outcome>,
    pub objective: Option<Component>,
    pub encoder: Option<Component>,
    pub data: Option<Data>,
    pub split: Option<Split>,
    pub entities: Vec<Entity>,
    pub features: Features,
    pub embedding: Option<Embedding>,
    pub train: Option<Train>,
    pub metrics: Option<Metrics>,
}

/// A stage of which parts may be missing.
#[derive(Debug)]
pub struct StageDraft {
    pub name: String,
    pub after: Option<After>,
    pub label: String,
    pub tower: Option<Component>,
    pub features: StageFeatures,
    pub weight: f64,
    pub loss_weight: Option<String>,
    pub init_bias: InitBias,
}

/// The keys of a spec.
pub const TOP: [&str; 15] = [
    "extends",
    "features",
    "funnel",
    "defaults",
    "stage",
    "outcome",
    "encoder",
    "objective",
    "data",
    "split",
    "entity",
    "feature",
    "embedding",
    "train",
    "metrics",
];

/// Decodes everything.
pub fn draft(cx: &mut Cx<'_>, table: &Table<'_>, default_name: &str) -> Draft {
    cx.note("", table);
    cx.unknown_keys("", table, &TOP.map(str::to_owned));
    let (funnel, stages) = graph::funnel_and_stages(cx, table, default_name);
    let outcomes = graph::outcomes(cx, table);
    Draft {
        funnel,
        stages,
        outcomes,
        objective: component::top_level(cx, table, "objective"),
        encoder: component::top_level(cx, table, "encoder"),
        data: sections::data(cx, table),
        split: sections::split(cx, table),
        entities: sections::entities(cx, table),
        features: sections::features(cx, table),
        embedding: sections::with_optimizer(cx, table, "embedding"),
        train: sections::with_optimizer(cx, table, "train"),
        metrics: cx.plain_section(table, "metrics"),
    }
}

/// What messages call a section: `` `[train]` ``, or a spec.
pub fn title(path: &str) -> String {
    if path.is_empty() { "a spec".into() } else { format!("`[{path}]`") }
}

impl Cx<'_> {
    /// Place of the value of a dotted key.
    pub fn value(&self, key: &str) -> Option<Place> {
        self.sources.place(&self.stated.get(key)?.value)
    }
    /// Place of a dotted key itself.
    pub fn key(&self, key: &str) -> Option<Place> {
        self.sources.place(&self.stated.get(key)?.key)
    }
    /// Place of a part of a string value: `part` is a slice range of `whole`, the string.
    pub fn part(&self, key: &str, whole: &str, part: std::ops::Range<usize>) -> Option<Place> {
        let mut place = self.value(key)?;
        if let Some(at) = place.source.text.get(place.span.clone()).and_then(|raw| raw.find(whole)) {
            let start = place.span.start + at;
            place.span = start + part.start..start + part.end;
        }
        Some(place)
    }
    /// The names stated in a named section, decoded or not: a reference to a table with a fault is not a second fault.
    pub fn names(&self, section: &str) -> Vec<String> {
        let prefix = format!("{section}.");
        let names = self.stated.keys().filter_map(|k| k.strip_prefix(&prefix)).filter(|k| !k.contains(['.', '[', '"']));
        names.map(str::to_owned).collect()
    }
    /// What to type where a table at `span` has no `kind`.
    fn add_kind(&self, path: &str, span: &Span, kind: &str) -> String {
        if self.sources.is_set(span) { format!("add `--set {path}.kind={kind}`") } else { format!("add `kind = \"{kind}\"`") }
    }
    /// Adds a finding, unless the same one is there already.
    pub fn report(&mut self, d: Diagnostic) {
        let same = |f: &Diagnostic| f.id == d.id && !d.annotations.is_empty() && f.annotations.first() == d.annotations.first();
        if !self.found.iter().any(same) {
            self.found.push(d);
        }
    }

    /// Notes where every key of a table stands.
    fn note(&mut self, prefix: &str, table: &Table<'_>) {
        for (key, value) in table {
            let path = dotted(prefix, key.get_ref());
            self.note_value(&path, &key.span(), value);
        }
    }
    fn note_value(&mut self, path: &str, key: &Span, value: &Value<'_>) {
        self.stated.insert(path.to_owned(), Stated { key: key.clone(), value: value.span() });
        match value.get_ref() {
            DeValue::Table(inner) => self.note(path, inner),
            DeValue::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.note_value(&format!("{path}[{i}]"), &item.span(), item);
                }
            }
            _ => {}
        }
    }

    /// The table under a key of another; anything else there is an error.
    fn table<'t, 'v>(&mut self, parent: &'t Table<'v>, path: &str, key: &str) -> Option<(&'t Table<'v>, Span)> {
        let value = parent.get(key)?;
        let full = dotted(path, key);
        if let DeValue::Table(table) = value.get_ref() {
            return Some((table, value.span()));
        }
        let d = Diagnostic::error("wrong-type", format!("{full}: expected a table, found {}", type_name(value.get_ref())));
        let mut d = d.at(self.value(&full), "");
        if path.is_empty() {
            d = d.help(format!("write a table, `[{full}]`; run `esmm-funnel explain {full}` for its keys"));
        }
        self.report(d);
        None
    }

    /// Reports keys that are not in `allowed`.
    fn unknown_keys(&mut self, path: &str, table: &Table<'_>, allowed: &[String]) {
        for (key, _) in in_order(table) {
            let name = key.get_ref().as_ref();
            if allowed.iter().any(|a| a == name) {
                continue;
            }
            let mut d = Diagnostic::error("unknown-key", format!("unknown key `{name}` in {}", title(path)))
                .at(self.sources.place(&key.span()), if path.is_empty() { "not a key of a spec" } else { "not a key of this section" });
            d.help.extend(did_you_mean(name, allowed));
            self.report(d.help(format!("keys of {}: {}", title(path), allowed.join(", "))));
        }
    }

    /// Decodes a table as `T`; keys that `T` does not know, and wrong types, are reported one by one.
    fn decode<T: DeserializeOwned + JsonSchema>(&mut self, path: &str, table: &Table<'_>, span: &Span) -> Option<T> {
        self.decode_keys(path, table, span, &keys_of(&schemars::schema_for!(T)))
    }
    fn decode_keys<T: DeserializeOwned>(&mut self, path: &str, table: &Table<'_>, span: &Span, keys: &[String]) -> Option<T> {
        self.unknown_keys(path, table, keys);
        let known = table.iter().filter(|(k, _)| keys.iter().any(|a| a == k.get_ref()));
        let mut known: Table<'_> = known.map(|(k, v)| (k.clone(), v.clone())).collect();
        let (value, faults) = decode_all(&mut known, span, |v| T::deserialize(toml::de::ValueDeserializer::from(v)));
        for fault in faults {
            let d = self.fault(path, &fault);
            self.report(d);
        }
        value
    }
    fn fault(&self, path: &str, fault: &Fault) -> Diagnostic {
        let place = self.sources.place(&fault.span);
        let Some(key) = &fault.key else {
            let place = self.key(path).or(place);
            return match missing_field(&fault.message) {
                Some(name) => Diagnostic::error("missing-key", format!("{} has no `{name}`", title(path)))
                    .at(place, format!("`{name}` is required here"))
                    .help(format!("run `esmm-funnel explain {}` for its keys", topic(path))),
                None => Diagnostic::error("wrong-value", format!("{path}: {}", in_words(&fault.message).0)).at(place, ""),
            };
        };
        let (message, help) = in_words(&fault.message);
        let mut d = Diagnostic::error("wrong-value", format!("{}: {message}", dotted(path, key))).at(place, "");
        d.help.extend(help);
        d.help(format!("run `esmm-funnel explain {}.{key}` for what it takes", topic(path)))
    }

    /// A section of plain keys; its default if it is not stated.
    fn plain_section<T: DeserializeOwned + JsonSchema + Default>(&mut self, table: &Table<'_>, name: &str) -> Option<T> {
        if !table.contains_key(name) {
            return Some(T::default());
        }
        let (inner, span) = self.table(table, "", name)?;
        self.decode(name, inner, &span)
    }
}

/// `stage.click` → `stage`, `data.truth.click` → `data.truth`: what `explain` knows.
fn topic(path: &str) -> &str {
    if path.starts_with("data.truth.") {
        return "data.truth";
    }
    let section = path.split('.').next().unwrap_or(path);
    if super::read::NAMED.contains(&section) { section } else { path }
}

/// The keys of a struct, in order of declaration.
pub fn keys_of(schema: &Schema) -> Vec<String> {
    schema.get("properties").and_then(|p| p.as_object()).map(|p| p.keys().cloned().collect()).unwrap_or_default()
}
/// The kinds of an internally tagged enum, each with its keys, in order of declaration.
pub fn kinds_of(schema: &Schema) -> Vec<(String, Vec<String>)> {
    let Some(variants) = schema.get("oneOf").and_then(|o| o.as_array()) else { return Vec::new() };
    variants
        .iter()
        .filter_map(|v| {
            let properties = v.get("properties")?.as_object()?;
            Some((properties.get("kind")?.get("const")?.as_str()?.to_owned(), properties.keys().cloned().collect()))
        })
        .collect()
}
