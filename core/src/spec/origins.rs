//! Every key of a spec with its value and where it came from: the resolved spec, its JSON, and the difference between two specs.

use super::decode::{keys_of, kinds_of};
use super::read::quoted;
use super::sources::normalise;
use super::{After, Component, Embedding, Entity, Feature, Funnel, Metrics, Optimizer, Outcome, Spec, Split, Train};
use crate::diagnostic::Place;
use crate::plugin::Build;
use crate::plugin::registry::{self, Kind};
use schemars::{JsonSchema, schema_for};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;
use toml::Value;

/// Where every stated key was written. Does not count when specs are compared.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    places: BTreeMap<String, Place>,
}
impl PartialEq for Origins {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Origins {
    pub(super) fn new(places: BTreeMap<String, Place>) -> Self {
        Self { places }
    }
    pub(super) fn place(&self, key: &str) -> Option<Place> {
        self.places.get(key).cloned()
    }
}

/// Where a key's value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody stated it.
    Default,
    /// A file or a `--set` option.
    Stated(Place),
}
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Stated(place) if place.source.name == "--set" => f.write_str("--set"),
            Self::Stated(place) => write!(f, "{}:{}", place.source.name, place.line_column().0),
        }
    }
}

/// A key of a spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Dotted key, names quoted where TOML needs it.
    pub key: String,
    /// Its value; `None` for an option that is not set.
    pub value: Option<Value>,
    /// Where the value is from.
    pub origin: Origin,
    path: Vec<String>,
}

/// A key on which two specs differ: key, old value, new value; `None` where a spec has no such key.
pub type Change = (String, Option<Value>, Option<Value>);

/// The keys on which two specs differ, in order of the old one.
#[must_use]
pub fn diff(old: &Spec, new: &Spec) -> Vec<Change> {
    let stated = |spec: &Spec| spec.settings().into_iter().filter_map(|s| Some((s.key, s.value?))).collect::<Vec<_>>();
    let (old, new) = (stated(old), stated(new));
    let find = |list: &[(String, Value)], key: &str| list.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
    let mut changes: Vec<Change> = Vec::new();
    for (key, value) in &old {
        let other = find(&new, key);
        if other.as_ref() != Some(value) {
            changes.push((key.clone(), Some(value.clone()), other));
        }
    }
    changes.extend(new.iter().filter(|(k, _)| find(&old, k).is_none()).map(|(k, v)| (k.clone(), None, Some(v.clone()))));
    changes
}

struct Collect<'a> {
    origins: &'a Origins,
    out: Vec<Setting>,
}
impl Collect<'_> {
    fn leaf(&mut self, path: &[String], value: Option<Value>) {
        let key = path.iter().map(|p| quoted(p)).collect::<Vec<_>>().join(".");
        let origin = self.origins.place(&key).map_or(Origin::Default, Origin::Stated);
        self.out.push(Setting { key, value, origin, path: path.to_vec() });
    }
    /// Tables are taken apart, everything else is a leaf.
    fn value(&mut self, path: &[String], value: Value, order: &[String]) {
        let Value::Table(mut table) = value else { return self.leaf(path, Some(value)) };
        if table.is_empty() && order.is_empty() {
            return self.leaf(path, Some(Value::Table(table)));
        }
        for key in order {
            let path = join(path, key);
            match table.remove(key) {
                Some(value) => {
                    let order = nested_order(key, table_kind(&value));
                    self.value(&path, value, &order);
                }
                None => self.leaf(&path, None),
            }
        }
        for (key, value) in kind_first(table) {
            self.value(&join(path, &key), value, &[]);
        }
    }
    fn section<T: Serialize + JsonSchema>(&mut self, path: &[String], section: &T) {
        let schema = schema_for!(T);
        if let Ok(value) = Value::try_from(section) {
            let kind = table_kind(&value);
            let order = match kinds_of(&schema).into_iter().find(|(k, _)| Some(k.as_str()) == kind) {
                Some((_, keys)) => keys,
                None => keys_of(&schema),
            };
            self.value(path, value, &order);
        }
    }
    fn component(&mut self, path: &[String], kind: Kind, component: &Component) {
        self.leaf(&join(path, "kind"), Some(Value::String(component.kind.clone())));
        let plugin = registry::find(kind, &component.kind);
        let order = plugin.map(|p| keys_of(&(p.schema)())).unwrap_or_default();
        let path_keys = match plugin.map(|p| &p.build) {
            Some(Build::Source(source)) => source.path_keys,
            _ => &[],
        };
        let mut settings = component.settings.clone();
        for key in path_keys {
            if let Some(value) = settings.get_mut(*key) {
                make_absolute(value);
            }
        }
        if !settings.is_empty() {
            self.value(path, Value::Table(settings), &order);
        }
    }
}
/// Keys of an optimizer in order of declaration; other nested tables have none of their own.
fn nested_order(key: &str, kind: Option<&str>) -> Vec<String> {
    let kinds = if key == "optimizer" { kinds_of(&schema_for!(Optimizer)) } else { Vec::new() };
    kinds.into_iter().find(|(k, _)| Some(k.as_str()) == kind).map(|(_, keys)| keys).unwrap_or_default()
}
fn table_kind(value: &Value) -> Option<&str> {
    value.get("kind")?.as_str()
}
fn join(path: &[String], key: &str) -> Vec<String> {
    path.iter().cloned().chain([key.to_owned()]).collect()
}
fn kind_first(table: toml::Table) -> Vec<(String, Value)> {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(k, _)| k != "kind");
    entries
}
fn make_absolute(value: &mut Value) {
    match value {
        Value::String(s) if !s.is_empty() && !s.contains("://") => {
            if let Ok(absolute) = std::path::absolute(Path::new(s)) {
                *s = normalise(&absolute).to_string_lossy().into_owned();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_absolute),
        Value::Table(table) => table.iter_mut().for_each(|(_, v)| make_absolute(v)),
        _ => {}
    }
}

fn named(section: &str, name: &str) -> Vec<String> {
    vec![section.to_owned(), name.to_owned()]
}

impl Spec {
    /// Every key with its value and origin; paths are absolute.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let mut c = Collect { origins: &self.origins, out: Vec::new() };
        let top = |name: &str| vec![name.to_owned()];
        if self.features.infer {
            c.leaf(&top("features"), Some(Value::String("infer".into())));
        }
        c.section::<Funnel>(&top("funnel"), &self.funnel);
        for s in &self.stages {
            let path = named("stage", &s.name);
            match &s.after {
                After::Stage(stage) => c.leaf(&join(&path, "after"), Some(Value::String(stage.clone()))),
                After::Complement { stage, unless } => {
                    let after = join(&path, "after");
                    c.leaf(&join(&after, "stage"), Some(Value::String(stage.clone())));
                    c.leaf(&join(&after, "unless"), Some(Value::String(unless.clone())));
                }
            }
            c.leaf(&join(&path, "label"), Some(Value::String(s.label.clone())));
            c.leaf(&join(&path, "weight"), Some(Value::Float(s.weight)));
            c.leaf(&join(&path, "loss_weight"), s.loss_weight.clone().map(Value::String));
            c.leaf(&join(&path, "init_bias"), Value::try_from(&s.init_bias).ok());
            c.section(&join(&path, "features"), &s.features);
            c.component(&join(&path, "tower"), Kind::Tower, &s.tower);
        }
        for o in &self.outcomes {
            c.section::<Outcome>(&named("outcome", &o.name), o);
        }
        c.component(&top("encoder"), Kind::Encoder, &self.encoder);
        c.component(&top("objective"), Kind::Objective, &self.objective);
        let data = top("data");
        let mut beside = Value::from(self.data.beside.clone());
        make_absolute(&mut beside);
        c.leaf(&join(&data, "beside"), Some(beside));
        c.leaf(&join(&data, "keys"), Value::try_from(&self.data.keys).ok());
        c.leaf(&join(&data, "weight"), self.data.weight.clone().map(Value::String));
        c.leaf(&join(&data, "orphan_labels"), Value::try_from(self.data.orphan_labels).ok());
        for (stage, truth) in &self.data.truth {
            c.section(&join(&join(&data, "truth"), stage), truth);
        }
        c.component(&join(&data, "source"), Kind::Source, &self.data.source);
        let mut split = self.split.clone();
        if let Split::Files { valid, test } = &mut split {
            for file in valid.iter_mut().chain(test) {
                let mut value = Value::String(std::mem::take(file));
                make_absolute(&mut value);
                value.as_str().unwrap_or_default().clone_into(file);
            }
        }
        c.section::<Split>(&top("split"), &split);
        for e in &self.entities {
            c.section::<Entity>(&named("entity", &e.name), e);
        }
        for f in &self.features.declared {
            c.section::<Feature>(&named("feature", &f.name), f);
            let path = named("feature", &f.name);
            // Keys of other kinds would be refused when the text is loaded again.
            c.out.retain(|s| !s.path.starts_with(&path) || s.path.get(2).is_some_and(|k| f.kind.takes(k)));
        }
        c.section::<Embedding>(&top("embedding"), &self.embedding);
        c.section::<Train>(&top("train"), &self.train);
        c.section::<Metrics>(&top("metrics"), &self.metrics);
        c.out
    }

    /// The complete spec as TOML: one file without `extends`, absolute paths, and behind every key where its value came from. It loads as an
    /// equal spec.
    #[must_use]
    pub fn resolved(&self) -> String {
        let settings = self.settings();
        let mut tables: Vec<(&[String], Vec<&Setting>)> = Vec::new();
        for s in &settings {
            let parent = &s.path[..s.path.len() - 1];
            match tables.iter_mut().find(|(p, _)| *p == parent) {
                Some((_, list)) => list.push(s),
                None => tables.push((parent, vec![s])),
            }
        }
        let mut out = String::from("# Every key of the spec, with where its value came from.\n");
        for (path, list) in tables {
            if !path.is_empty() {
                let header: Vec<String> = path.iter().map(|p| quoted(p)).collect();
                let _ = writeln!(out, "\n[{}]", header.join("."));
            }
            for s in list {
                let name = quoted(s.path.last().map_or("", String::as_str));
                let origin = s.origin.to_string().replace(char::is_control, " ");
                let _ = match &s.value {
                    Some(value) => writeln!(out, "{name} = {value}  # {origin}"),
                    None => writeln!(out, "# {name} is not set  # {origin}"),
                };
            }
        }
        out
    }

    /// `[{key, value, origin}]`, the same facts as [`Spec::resolved`]; a value that is not set is null.
    #[must_use]
    pub fn settings_json(&self) -> serde_json::Value {
        self.settings().iter().map(|s| json!({"key": s.key, "value": s.value, "origin": s.origin.to_string()})).collect()
    }
}
