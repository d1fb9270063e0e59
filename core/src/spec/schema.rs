//! The whole spec language as one JSON Schema (2020-12), with the settings of every plugin of this build: for editors, and for `explain`.

use super::types::{DataTable, DefaultsTable, StageTable};
use super::{Embedding, Entity, Feature, Funnel, Metrics, Outcome, Split, Train};
use crate::plugin::registry::{self, Kind};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The schema. Its order is that of the declarations, plugins by name.
#[must_use]
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let section = |name: &str, schema: Value, what: &str| (name.to_owned(), (schema, what.to_owned()));
    let sections = [
        section("extends", json!({"type": "string"}), "A spec file that this one is laid over; its path starts at this file's folder."),
        section(
            "features",
            json!({"const": "infer"}),
            "`\"infer\"` takes every column but labels, keys and leakage suspects that no `[feature.NAME]` claims. Default: so, if none is declared.",
        ),
        section("funnel", generator.subschema_for::<Funnel>().to_value(), ""),
        section("defaults", generator.subschema_for::<DefaultsTable>().to_value(), ""),
        section("stage", entries(&generator.subschema_for::<StageTable>().to_value()), ""),
        section("outcome", entries(&generator.subschema_for::<Outcome>().to_value()), ""),
        section("encoder", json!({"$ref": "#/$defs/encoder"}), "How the embedded fields become what the towers see. Default: `concat`."),
        section("objective", json!({"$ref": "#/$defs/objective"}), "How stages become one loss. Default: `entire_space`."),
        section("data", generator.subschema_for::<DataTable>().to_value(), ""),
        section("split", generator.subschema_for::<Split>().to_value(), ""),
        section("entity", entries(&generator.subschema_for::<Entity>().to_value()), ""),
        section("feature", entries(&generator.subschema_for::<Feature>().to_value()), ""),
        section("embedding", generator.subschema_for::<Embedding>().to_value(), ""),
        section("train", generator.subschema_for::<Train>().to_value(), ""),
        section("metrics", generator.subschema_for::<Metrics>().to_value(), ""),
    ];
    let mut definitions = generator.take_definitions(true);
    bare_names(&mut definitions, "Optimizer", None);
    bare_names(&mut definitions, "Split", Some("random"));
    for kind in Kind::ALL {
        let component = component(kind, &mut definitions);
        definitions.insert(kind.to_string(), component);
    }
    let mut properties = Map::new();
    for (name, (mut schema, what)) in sections {
        let inner = schema.pointer("/additionalProperties/oneOf/0/$ref").or_else(|| schema.get("$ref")).and_then(Value::as_str);
        let inner = inner.and_then(|r| definitions.get(r.strip_prefix("#/$defs/")?)).and_then(|d| d.get("description")).cloned();
        schema["description"] = if what.is_empty() { inner.unwrap_or_default() } else { Value::String(what) };
        properties.insert(name, schema);
    }
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "esmm-funnel spec",
        "description": "A funnel, from its data to its metrics.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": definitions,
    });
    clean(&mut schema);
    schema
}

/// Tables under names of the user's choice; `false` removes an inherited one.
fn entries(schema: &Value) -> Value {
    json!({"type": "object", "additionalProperties": {"oneOf": [schema, {"const": false, "description": "Removes what was inherited."}]}})
}

/// A table with `kind` may be written as the bare name of one that needs no settings; `implied` may leave `kind` out.
fn bare_names(definitions: &mut Map<String, Value>, name: &str, implied: Option<&str>) {
    let Some(variants) = definitions.get_mut(name).and_then(|d| d.get_mut("oneOf")).and_then(Value::as_array_mut) else { return };
    let mut names = Vec::new();
    for variant in variants.iter_mut() {
        let kind = variant.pointer("/properties/kind/const").cloned().unwrap_or_default();
        let Some(required) = variant.get_mut("required").and_then(Value::as_array_mut) else { continue };
        if required.len() == 1 {
            names.push(kind.clone());
        }
        if implied.is_some() && kind.as_str() == implied {
            required.retain(|r| r != "kind");
        }
    }
    if !names.is_empty() {
        variants.push(json!({"type": "string", "enum": names, "description": "The kind alone, everything else at its default."}));
    }
}

/// Every plugin of a kind: its name alone, or a table with `kind` and its settings.
fn component(kind: Kind, definitions: &mut Map<String, Value>) -> Value {
    let plugins = registry::all(kind);
    let mut variants = Vec::new();
    for plugin in &plugins {
        let prefix = format!("{kind}_{}", plugin.name);
        let mut own = (plugin.schema)().to_value();
        rename(&mut own, &prefix);
        if let Some(Value::Object(inner)) = own.as_object_mut().and_then(|o| o.remove("$defs")) {
            definitions.extend(inner.into_iter().map(|(k, v)| (format!("{prefix}_{k}"), v)));
        }
        let mut properties = Map::new();
        properties.insert("kind".into(), json!({"const": plugin.name}));
        let Value::Object(mut own) = own else { continue };
        own.remove("$schema");
        if let Some(Value::Object(settings)) = own.remove("properties") {
            properties.extend(settings);
        }
        let mut required = vec![json!("kind")];
        if let Some(Value::Array(more)) = own.remove("required") {
            required.extend(more);
        }
        let mut variant = Map::new();
        variant.insert("title".into(), json!(format!("{kind} {}", plugin.name)));
        own.remove("title");
        variant.extend(own);
        variant.insert("type".into(), json!("object"));
        variant.insert("properties".into(), Value::Object(properties));
        variant.insert("required".into(), Value::Array(required));
        variant.insert("additionalProperties".into(), json!(false));
        definitions.insert(prefix.clone(), Value::Object(variant));
        variants.push(json!({"$ref": format!("#/$defs/{prefix}")}));
    }
    let names: Vec<&str> = registry::names(kind);
    variants.push(json!({"type": "string", "enum": names, "description": "The name alone, every setting at its default."}));
    json!({"title": kind.to_string(), "description": format!("A {kind} of this build, with its settings."), "oneOf": variants})
}

/// Points the references of a plugin's schema at its definitions' new names.
fn rename(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if key == "$ref"
                    && let Value::String(to) = value
                    && let Some(name) = to.strip_prefix("#/$defs/")
                {
                    *to = format!("#/$defs/{prefix}_{name}");
                } else {
                    rename(value, prefix);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| rename(v, prefix)),
        _ => {}
    }
}

/// Takes out marks that say nothing about a TOML file.
fn clean(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("writeOnly");
            map.iter_mut().for_each(|(_, v)| clean(v));
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(schema: &Value, out: &mut Vec<String>) {
        match schema {
            Value::Object(map) => {
                out.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|v| references(v, out));
            }
            Value::Array(items) => items.iter().for_each(|v| references(v, out)),
            _ => {}
        }
    }

    #[test]
    fn nothing_dangles_and_the_order_is_stable() {
        let schema = schema();
        let mut all = Vec::new();
        references(&schema, &mut all);
        assert!(all.len() > 15);
        for to in all {
            assert!(schema.pointer(&to[1..]).is_some(), "{to} leads nowhere");
        }
        assert_eq!(schema.to_string(), super::schema().to_string());
        let keys: Vec<&String> = schema["properties"].as_object().map(|p| p.keys().collect()).unwrap_or_default();
        let mut top = super::super::decode::TOP.map(str::to_owned);
        let mut sorted: Vec<String> = keys.into_iter().cloned().collect();
        sorted.sort_unstable();
        top.sort_unstable();
        assert_eq!(sorted, top, "the schema and the loader know the same keys");
    }

    #[test]
    fn plugins_stand_in_it_with_their_settings() {
        let schema = schema();
        let mlp = &schema["$defs"]["tower_mlp"];
        assert_eq!(mlp["properties"]["kind"], json!({"const": "mlp"}));
        assert_eq!(mlp["properties"]["activation"]["$ref"], "#/$defs/tower_mlp_Activation");
        assert_eq!(mlp["description"], "Linear layers with a nonlinearity between them.");
        let towers = schema["$defs"]["tower"]["oneOf"].as_array().cloned().unwrap_or_default();
        assert!(towers.contains(&json!({"$ref": "#/$defs/tower_linear"})));
        assert_eq!(schema["$defs"]["Stage"]["properties"]["tower"]["$ref"], "#/$defs/tower");
        assert_eq!(schema.pointer("/properties/stage/additionalProperties/oneOf/1/const"), Some(&json!(false)));
        assert_eq!(schema["$defs"]["Train"]["properties"]["batch_rows"]["default"], 4096);
        assert!(schema.to_string().contains("Rows of a step."));
    }
}
