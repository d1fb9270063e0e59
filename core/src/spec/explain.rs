//! What `explain` and `list` say, read off the schema: whatever has a doc comment explains itself.

use super::manual::PluginManual;
use super::schema::schema;
use crate::diagnostic::suggest::did_you_mean;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::plugin::registry::{self, Kind, Plugin};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Explains the language as a whole (no topic), a key (`train.batch_rows`, `stage.click.tower`), or a plugin (`tower mlp`).
///
/// # Errors
/// There is no such topic; near ones are suggested.
pub fn explain(topic: &[String]) -> Result<String, Diagnostics> {
    let kind = |word: &str| Kind::ALL.into_iter().find(|k| k.to_string() == word || format!("{k}s") == word);
    match topic {
        [] => Ok(overview()),
        [word, name] if kind(word).is_some() => kind(word).map_or_else(|| Ok(overview()), |kind| plugin_named(kind, name)),
        [word] if kind(word).is_some_and(|k| matches!(k, Kind::Tower | Kind::Source)) => Ok(kind(word).map_or_else(String::new, names)),
        keys => key(&keys.join(".")),
    }
}

/// The plugins of this build, or those of one kind: kind, name, summary, crate.
#[must_use]
pub fn list(kind: Option<Kind>) -> Vec<(Kind, &'static str, String, &'static str)> {
    Kind::ALL
        .into_iter()
        .filter(|k| kind.is_none_or(|wanted| wanted == *k))
        .flat_map(registry::all)
        .map(|p| (p.kind(), p.name, summary(&(p.schema)().to_value()), p.crate_name))
        .collect()
}

/// The description of a schema, in one line up to the first full stop.
pub(super) fn summary(schema: &Value) -> String {
    let text = description(schema);
    let first = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let end = first.match_indices(". ").find(|(at, _)| first[at + 2..].starts_with(|c: char| !c.is_ascii_digit()));
    match end {
        Some((at, _)) => first[..=at].to_owned(),
        None => first,
    }
}
pub(super) fn description(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn overview() -> String {
    let root = schema();
    let mut out = String::from("A spec is a TOML file of these sections. `explain KEY` says more, as in `explain train.batch_rows`.\n");
    for (name, section) in object(&root, "properties") {
        let (inner, named) = section_of(&root, section);
        let title = match (named, inner.get("properties").is_some() || inner.get("oneOf").is_some()) {
            (true, _) => format!("[{name}.NAME]"),
            (false, true) => format!("[{name}]"),
            (false, false) => name.clone(),
        };
        let text = summary(section);
        let text = capital(text.strip_prefix(&format!("`{title}`: ")).unwrap_or(&text));
        let _ = write!(out, "\n{title}\n    {text}\n");
        let keys: Vec<&String> = object(inner, "properties").map(|(k, _)| k).collect();
        if !keys.is_empty() {
            let keys: Vec<&str> = keys.into_iter().map(String::as_str).collect();
            let _ = writeln!(out, "    keys: {}", keys.join(", "));
        } else if let Some(kinds) = kinds(&root, inner) {
            let _ = writeln!(out, "    kinds: {}", kinds.iter().map(|(k, _)| k.as_str()).collect::<Vec<_>>().join(", "));
        }
    }
    out += "\n`explain tower NAME`, and so for encoder, objective and source, explains a plugin; `list` names them all.\n";
    out
}

fn object<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema.get(key).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}
/// Follows a reference.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str).and_then(|to| root.pointer(to.strip_prefix('#')?)) {
        Some(to) => resolve(root, to),
        None => schema,
    }
}
/// The schema of a section's table, and whether its tables have names.
fn section_of<'a>(root: &'a Value, section: &'a Value) -> (&'a Value, bool) {
    match section.pointer("/additionalProperties/oneOf/0") {
        Some(inner) => (resolve(root, inner), true),
        None => (resolve(root, section), false),
    }
}
/// The alternatives of a schema that are tables with `kind`.
fn kinds<'a>(root: &'a Value, schema: &'a Value) -> Option<Vec<(String, &'a Value)>> {
    let found: Vec<(String, &Value)> = schema
        .get("oneOf")?
        .as_array()?
        .iter()
        .map(|v| resolve(root, v))
        .filter_map(|v| Some((v.pointer("/properties/kind/const")?.as_str()?.to_owned(), v)))
        .collect();
    if found.is_empty() { None } else { Some(found) }
}
/// The alternatives, without null.
fn alternatives(schema: &Value) -> Vec<&Value> {
    let list = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
    list.into_iter().flatten().filter(|v| v.get("type").and_then(Value::as_str) != Some("null")).collect()
}

fn key(path: &str) -> Result<String, Diagnostics> {
    let root = schema();
    let mut at: Vec<&Value> = vec![&root];
    let mut shown: Vec<&str> = Vec::new();
    let mut outer: Option<&Value> = None;
    let mut facts = Vec::new();
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        let candidates: Vec<(&String, &Value, &Value)> =
            at.iter().flat_map(|schema| object(schema, "properties").map(|(k, v)| (k, v, *schema))).collect();
        let Some((_, found, parent)) = candidates.iter().find(|(k, ..)| *k == part) else {
            let mut names: Vec<&str> = candidates.iter().map(|(k, ..)| k.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            return Err(unknown(path, part, &shown, &names).into());
        };
        shown.push(part);
        let (inner, named) = section_of(&root, found);
        if named {
            // `stage.click.label`: the name in the middle is the user's.
            let is_key = |p: &&str| object(inner, "properties").any(|(k, _)| k == p);
            if parts.peek().is_some_and(|p| !is_key(p)) && parts.next().is_some() {
                shown.push("NAME");
            }
        }
        outer = Some(found);
        facts = facts_of(&root, found, parent, &candidates.iter().filter(|(k, ..)| *k == part).copied().collect::<Vec<_>>());
        let tables = alternatives(inner).into_iter().map(|v| resolve(&root, v));
        at = std::iter::once(inner).chain(tables.clone()).chain(tables.flat_map(alternatives).map(|v| resolve(&root, v))).collect();
    }
    let (Some(found), Some(inner)) = (outer, at.first()) else { return Ok(overview()) };
    let mut out = format!("{}\n", shown.join("."));
    let text = if description(found).is_empty() { description(inner) } else { description(found) };
    for line in text.lines() {
        let _ = writeln!(out, "    {line}");
    }
    if !facts.is_empty() {
        let _ = write!(out, "\n    {}\n", facts.join("\n    "));
    }
    let values: Vec<&Value> = alternatives(inner).into_iter().filter(|v| v.get("const").is_some()).collect();
    if !values.is_empty() {
        let rows = values.iter().map(|v| (v.get("const").map(literal).unwrap_or_default(), String::new(), description(v)));
        out += &table("values", rows.collect());
    }
    if let Some(kinds) = kinds(&root, inner) {
        let component = Kind::ALL.into_iter().find(|k| inner.get("title").and_then(Value::as_str) == Some(&k.to_string()));
        match component {
            Some(kind) => {
                out.push('\n');
                out += &names(kind);
            }
            None => {
                for (name, schema) in kinds {
                    let _ = write!(out, "\n    kind = \"{name}\"\n    {}\n", description(schema));
                    out += &settings(&root, schema);
                }
            }
        }
    } else {
        out += &settings(&root, inner);
    }
    Ok(out)
}

/// Type and default of a key; `same` holds the key in every table of its surroundings that has it, with the table.
fn facts_of(root: &Value, found: &Value, parent: &Value, same: &[(&String, &Value, &Value)]) -> Vec<String> {
    let target = resolve(root, found);
    if target.get("properties").is_some() || found.pointer("/additionalProperties/oneOf").is_some() {
        return Vec::new();
    }
    let mut facts = vec![format!("type: {}", type_text(root, found))];
    let mut defaults: Vec<(String, Vec<&str>)> = Vec::new();
    for (_, schema, table) in same {
        if let Some(default) = schema.get("default").filter(|d| !d.is_null()).map(literal) {
            let kind = table.pointer("/properties/kind/const").and_then(Value::as_str);
            match defaults.iter_mut().find(|(d, _)| *d == default) {
                Some((_, kinds)) => kinds.extend(kind),
                None => defaults.push((default, kind.into_iter().collect())),
            }
        }
    }
    match defaults.as_slice() {
        [] if found.get("default").is_some() && !description(found).contains("Default:") => facts.push("default: not set".into()),
        [] if is_required(parent, same.first().map_or("", |(k, ..)| k)) => facts.push("required".into()),
        [] => {}
        [(only, _)] => facts.push(format!("default: {only}")),
        several => {
            let each: Vec<String> = several.iter().map(|(d, kinds)| format!("{d} ({})", kinds.join(", "))).collect();
            facts.push(format!("default: {}", each.join(", ")));
        }
    }
    facts
}

fn is_required(parent: &Value, key: &str) -> bool {
    parent.get("required").and_then(Value::as_array).is_some_and(|r| r.iter().any(|k| k == key))
}

fn unknown(path: &str, part: &str, shown: &[&str], names: &[&str]) -> Diagnostic {
    let mut d = Diagnostic::error("unknown-topic", format!("nothing to explain under `{path}`"));
    let kinds = Kind::ALL.map(|k| k.to_string());
    if shown.is_empty() {
        let words = names.iter().copied().chain(kinds.iter().map(String::as_str));
        d.help.extend(did_you_mean(part, words.collect::<Vec<_>>()));
        if let Some((kind, name, ..)) = list(None).into_iter().find(|(_, name, ..)| *name == part) {
            d = d.help(format!("`{name}` is a {kind}: run `esmm-funnel explain {kind} {name}`"));
        }
        return d.help(format!("keys of a spec: {}; kinds of plugins: {}", names.join(", "), kinds.join(", ")));
    }
    d.help.extend(did_you_mean(part, names));
    if names.is_empty() {
        return d.help(format!("`{}` has no keys", shown.join(".")));
    }
    d.help(format!("keys of `{}`: {}", shown.join("."), names.join(", ")))
}

/// One row for each key of a table.
fn settings(root: &Value, schema: &Value) -> String {
    let row = |key: Setting| {
        let facts = key.default.map_or_else(|| key.values.clone(), |default| format!("{}; {default}", key.values));
        (key.key, facts, key.text)
    };
    table("keys (type; default)", keys(root, schema).into_iter().map(row).collect())
}

/// A key of a table, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// Its type, with the range or the values that it may have.
    pub values: String,
    /// The default as TOML, `not set`, or `required`; `None` where the text says it.
    pub default: Option<String>,
    /// What it is.
    pub text: String,
}

/// The keys of a table, but for `kind`.
pub(super) fn keys(root: &Value, schema: &Value) -> Vec<Setting> {
    let kind = |key: &String| key == "kind" && schema.pointer("/properties/kind/const").is_some();
    object(schema, "properties")
        .filter(|(key, _)| !kind(key))
        .map(|(key, value)| {
            let default = match value.get("default") {
                Some(Value::Null) if description(value).contains("Default:") => None,
                Some(Value::Null) => Some("not set".to_owned()),
                Some(default) => Some(literal(default)),
                None if is_required(schema, key) => Some("required".to_owned()),
                None => None,
            };
            let own = description(value);
            let text = if own.is_empty() { description(resolve(root, value)) } else { own };
            Setting { key: key.clone(), values: type_text(root, value), default, text }
        })
        .collect()
}

fn table(title: &str, rows: Vec<(String, String, String)>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut out = format!("\n    {title}\n");
    let width = rows.iter().map(|(key, ..)| key.chars().count()).max().unwrap_or(0);
    for (key, facts, text) in rows {
        let text = text.replace('\n', " ");
        let first = if facts.is_empty() { &text } else { &facts };
        let _ = writeln!(out, "      {}", format!("{key:width$}  {first}").trim_end());
        if !facts.is_empty() && !text.is_empty() {
            let _ = writeln!(out, "      {:width$}  {text}", "");
        }
    }
    out
}

fn type_text(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    if let Some(value) = schema.get("const") {
        return literal(value);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(literal).collect::<Vec<_>>().join(" | ");
    }
    if let Some(kinds) = kinds(root, schema) {
        return format!("a table with `kind`, one of {}", kinds.iter().map(|(k, _)| k.as_str()).collect::<Vec<_>>().join(", "));
    }
    let several = alternatives(schema);
    if !several.is_empty() {
        let mut words: Vec<String> = several.into_iter().map(|v| type_text(root, v)).collect();
        words.dedup();
        let constants = words.iter().all(|w| w.starts_with('"'));
        return words.join(if constants { " | " } else { " or " });
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect(),
        _ => return "a value".into(),
    };
    let words = types.into_iter().map(|t| match t {
        "integer" => format!("a whole number{}", range(schema)),
        "number" => format!("a number{}", range(schema)),
        "boolean" => "true or false".into(),
        "string" => "a string".into(),
        "array" => {
            let items = schema.get("items").map(|i| type_text(root, i)).unwrap_or_default();
            let items = items.strip_prefix("a ").unwrap_or(&items);
            match items.split_once(',') {
                Some((noun, rest)) => format!("an array of {noun}s,{rest}"),
                None => format!("an array of {items}s"),
            }
        }
        "object" => match object(schema, "properties").map(|(k, _)| k.as_str()).collect::<Vec<_>>().as_slice() {
            keys if keys.is_empty() || keys.len() > 2 => "a table".to_owned(),
            keys => format!("{{ {} }}", keys.iter().map(|k| format!("{k} = …")).collect::<Vec<_>>().join(", ")),
        },
        other => other.to_owned(),
    });
    words.collect::<Vec<_>>().join(" or ")
}

/// The range of a number, in words that follow its type.
fn range(schema: &Value) -> String {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let (least, above) = (bound("minimum"), bound("exclusiveMinimum"));
    // What a type cannot hold anyway is no bound that a user cares for.
    let (most, below) = (bound("maximum").filter(|m| m.abs() < 1e9), bound("exclusiveMaximum"));
    match (least, above, most, below) {
        (Some(least), _, Some(most), _) => format!(", {least} to {most}"),
        (Some(least), _, _, Some(below)) => format!(", {least} or more and below {below}"),
        (Some(least), ..) => format!(", {least} or more"),
        (_, Some(above), Some(most), _) => format!(", above {above}, {most} or less"),
        (_, Some(above), _, Some(below)) => format!(", above {above} and below {below}"),
        (_, Some(above), ..) => format!(", above {above}"),
        (_, _, Some(most), _) => format!(", {most} or less"),
        (_, _, _, Some(below)) => format!(", below {below}"),
        _ => String::new(),
    }
}

/// JSON as it is written in TOML.
fn literal(value: &Value) -> String {
    if let Some(table) = value.as_object().filter(|t| !t.is_empty()) {
        let entries: Vec<String> = table.iter().map(|(k, v)| format!("{} = {}", super::read::quoted(k), literal(v))).collect();
        return format!("{{ {} }}", entries.join(", "));
    }
    match toml::Value::try_from(value) {
        Ok(value) => value.to_string(),
        Err(_) => value.to_string(),
    }
}

fn names(kind: Kind) -> String {
    let rows: Vec<_> = list(Some(kind)).into_iter().map(|(_, name, text, _)| (name.to_owned(), String::new(), text)).collect();
    if rows.is_empty() {
        return format!("    this build has no {kind}s\n");
    }
    let rows = table(&format!("{kind}s in this build"), rows);
    format!("{}\n    run `esmm-funnel explain {kind} NAME` for the settings of one\n", rows.trim_start_matches('\n'))
}

fn plugin_named(kind: Kind, name: &str) -> Result<String, Diagnostics> {
    if let Some(plugin) = registry::find(kind, name) {
        return Ok(self::plugin(kind, plugin));
    }
    let mut d = Diagnostic::error("unknown-topic", format!("no {kind} `{name}` in this build"));
    d.help.extend(did_you_mean(name, registry::names(kind)));
    Err(d.help(format!("{kind}s in this build: {}", registry::names(kind).join(", "))).into())
}
fn plugin(kind: Kind, plugin: &Plugin) -> String {
    let manual = PluginManual::of(plugin);
    let mut out = format!("{kind} `{}`, from `{}`\n", manual.name, manual.from);
    for line in manual.text.lines() {
        let _ = writeln!(out, "{}", format!("    {line}").trim_end());
    }
    if let Some(paper) = &manual.paper {
        let _ = write!(out, "\n    paper: {paper}\n");
    }
    let root = (plugin.schema)().to_value();
    let rows = settings(&root, &root);
    out += if rows.is_empty() { "\n    no settings\n" } else { &rows };
    out += "\n    in a spec, with the defaults:\n";
    for line in manual.example.lines() {
        let _ = writeln!(out, "      {line}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(topic: &[&str]) -> String {
        let topic: Vec<String> = topic.iter().map(|&t| t.into()).collect();
        match explain(&topic) {
            Ok(text) => text,
            Err(e) => e.to_string(),
        }
    }

    #[track_caller]
    fn says(topic: &[&str], parts: &[&str]) {
        let text = said(topic);
        for part in parts {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
    }

    #[test]
    fn the_language_as_a_whole() {
        says(
            &[],
            &[
                "\n[train]\n    The loop.\n    keys: batch_rows, epochs",
                "[stage.NAME]",
                "\nfeatures\n",
                "kinds: random, group, column, files",
            ],
        );
    }

    #[test]
    fn keys() {
        let key = "train.batch_rows\n    Rows of a step.\n\n    type: a whole number, 1 or more\n    default: 4096\n";
        assert_eq!(said(&["train.batch_rows"]), key);
        assert_eq!(said(&["train", "batch_rows"]), key);
        says(&["embedding"], &["dim        a whole number, 1 or more; 18", "Width of a table row.", "lr = 0.0003"]);
        says(&["stage.click.label"], &["stage.NAME.label", "Default: the stage's name.", "type: a string"]);
        says(&["stage.label"], &["stage.label\n"]);
        says(&["data.orphan_labels"], &["\"clear_child\"  Read the child as 0", "default: \"error\""]);
        says(&["split"], &["kind = \"column\"", "train_through  ", "required"]);
        says(&["train.optimizer.lr"], &["default: 0.001 (adam, row_adam), 0.01 (adagrad, row_adagrad, sgd)"]);
        says(&["train.optimizer"], &["default: { kind = \"adam\", lr = 0.001", "Adagrad (Duchi et al. 2011)."]);
        says(&["feature.transform.bucketize.quantiles"], &["type: a whole number, 1 or more"]);
    }

    #[test]
    fn plugins() {
        says(
            &["tower", "mlp"],
            &[
                "tower `mlp`, from `esmm-funnel-core`",
                "hidden      an array of whole numbers, 1 or more; [64, 32]",
                "[stage.click.tower]\n      kind = \"mlp\"",
            ],
        );
        says(&["source", "csv"], &["[data.source]", "delimiter  a string; not set"]);
        says(&["encoder", "concat"], &["no settings"]);
        says(&["stage.click.tower"], &["towers in this build", "One weight per input."]);
        says(&["towers"], &["Linear layers with"]);
        says(&["objective"], &["How stages become one loss.", "Every stage's probability"]);
        let mlp = (Kind::Tower, "mlp", "Linear layers with a nonlinearity between them.".into(), "esmm-funnel-core");
        assert!(list(Some(Kind::Tower)).contains(&mlp) && list(None).contains(&mlp) && !list(Some(Kind::Source)).contains(&mlp));
    }

    #[test]
    fn ranges() {
        let said = |schema: Value| type_text(&Value::Null, &schema);
        let number = |bounds: Value| {
            let mut schema = json!({"type": "number"});
            schema.as_object_mut().unwrap().extend(bounds.as_object().unwrap().clone());
            said(schema)
        };
        assert_eq!(number(json!({})), "a number");
        assert_eq!(number(json!({"minimum": 0.0, "maximum": 1.5})), "a number, 0 to 1.5");
        assert_eq!(number(json!({"minimum": 0.0, "exclusiveMaximum": 1.0})), "a number, 0 or more and below 1");
        assert_eq!(number(json!({"exclusiveMinimum": 0.0})), "a number, above 0");
        assert_eq!(number(json!({"exclusiveMinimum": 0.0, "maximum": 1.0})), "a number, above 0, 1 or less");
        assert_eq!(number(json!({"maximum": 1.0})), "a number, 1 or less");
        assert_eq!(said(json!({"type": "integer", "minimum": 0, "maximum": 18_446_744_073_709_551_615_u64})), "a whole number, 0 or more");
        let items = json!({"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}});
        assert_eq!(said(items), "an array of numbers, 0 to 1");
    }

    #[test]
    fn near_misses() {
        says(
            &["train.bach_rows"],
            &["error: nothing to explain under `train.bach_rows`", "did you mean `batch_rows`?", "keys of `train`: batch_rows,"],
        );
        says(&["mlp"], &["`mlp` is a tower: run `esmm-funnel explain tower mlp`"]);
        says(&["tower", "mpl"], &["no tower `mpl` in this build", "did you mean `mlp`?", "towers in this build: "]);
        says(&["trian"], &["did you mean `train`?"]);
        says(&["train.seed.x"], &["`train.seed` has no keys"]);
    }
}
