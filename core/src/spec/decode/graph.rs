//! `[funnel]`, `[defaults]`, `[stage.NAME]`, `[outcome.NAME]`.

use super::super::read::{Table, Value, dotted, in_order, type_name};
use super::super::types::{DefaultsTable, StageTable};
use super::component::component;
use super::{After, Component, Cx, Funnel, Outcome, StageDraft, Stated};
use crate::diagnostic::suggest::nearest;
use crate::diagnostic::{Diagnostic, Place};
use crate::plugin::registry::Kind;
use toml::Spanned;
use toml::de::DeValue;

/// The funnel and its stages: those of the chain, then the other tables in order.
pub fn funnel_and_stages(cx: &mut Cx<'_>, table: &Table<'_>, default_name: &str) -> (Funnel, Vec<StageDraft>) {
    let mut funnel: Funnel = cx.plain_section(table, "funnel").unwrap_or_default();
    if funnel.name.is_empty() {
        default_name.clone_into(&mut funnel.name);
    }
    let chain = chain(cx, &mut funnel);
    let default_tower = default_tower(cx, table);
    let stages = if table.contains_key("stage") { cx.table(table, "", "stage").map(|(t, _)| t) } else { None };
    let empty = Table::new();
    let stages = stages.unwrap_or(&empty);

    let mut drafts = Vec::new();
    for (i, name) in chain.iter().enumerate() {
        let parent = if i == 0 { funnel.row.clone() } else { chain[i - 1].clone() };
        drafts.push(stage(cx, name, stages.get(name.as_str()), Some(parent), &chain, default_tower.as_ref()));
    }
    for (key, value) in in_order(stages) {
        if !chain.iter().any(|c| c == key.get_ref()) {
            drafts.push(stage(cx, key.get_ref(), Some(value), None, &chain, default_tower.as_ref()));
        }
    }
    (funnel, drafts)
}

/// Names of the chain's stages. Takes removed stages out of an inherited chain, and reports what is not a chain.
fn chain(cx: &mut Cx<'_>, funnel: &mut Funnel) -> Vec<String> {
    let Some(text) = funnel.chain.clone() else { return Vec::new() };
    let example = "a chain is names with arrows between them: `chain = \"impression -> click -> purchase\"`";
    let mut names: Vec<String> = Vec::new();
    let mut start = 0;
    for part in text.split("->") {
        let name = part.trim();
        let from = start + (part.len() - part.trim_start().len());
        let place = cx.part("funnel.chain", &text, from..from + name.len());
        start += part.len() + 2;
        if !is_name(name) {
            let what =
                if name.is_empty() { "a name is missing in the chain".to_owned() } else { format!("`{name}` is no name for a stage") };
            cx.report(Diagnostic::error("chain-syntax", what).at(place, "letters, digits, `_` and `-`").help(example));
            return Vec::new();
        }
        if names.iter().any(|n| n == name) {
            cx.report(Diagnostic::error("chain-syntax", format!("`{name}` stands twice in the chain")).at(place, "").help(example));
            return Vec::new();
        }
        names.push(name.to_owned());
    }
    if names.len() < 2 {
        let d = Diagnostic::error("chain-syntax", "a chain of one name has no stage").at(cx.value("funnel.chain"), "");
        cx.report(d.help(example));
        return Vec::new();
    }
    let row = names.remove(0);
    if cx.stated.contains_key("funnel.row") && funnel.row != row {
        let d = Diagnostic::error("chain-row", format!("the chain starts with `{row}`, but `row` is `{}`", funnel.row))
            .at(cx.part("funnel.chain", &text, 0..text.find("->").unwrap_or(0)), "the chain's row")
            .at(cx.value("funnel.row"), "the funnel's row");
        cx.report(d.help("leave `row` out: the chain declares it"));
    }
    let chain_at = cx.stated.get("funnel.chain").map_or(0, |s| s.value.start);
    let mut kept = Vec::new();
    for name in &names {
        match cx.removed.get(&dotted("stage", name)) {
            Some((span, _))
                if span.start > chain_at && cx.sources.place(span).map(|p| p.source) != cx.value("funnel.chain").map(|p| p.source) => {}
            Some((span, _)) => {
                let d = Diagnostic::error("removed-stage", format!("stage `{name}` is removed, but the chain names it"))
                    .at(cx.sources.place(span), "removed here")
                    .at(cx.value("funnel.chain"), "named here");
                cx.report(d.help(format!("take `{name}` out of the chain")));
            }
            None => kept.push(name.clone()),
        }
    }
    if kept.len() < names.len() {
        funnel.chain = Some([&row].into_iter().chain(&kept).map(String::as_str).collect::<Vec<_>>().join(" -> "));
    }
    funnel.row = row;
    kept
}

/// Stage and outcome names go into metric names, column names and file names.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

struct DefaultTower<'a> {
    value: Value<'a>,
    decoded: Option<Component>,
}
fn default_tower<'a>(cx: &mut Cx<'_>, table: &Table<'a>) -> Option<DefaultTower<'a>> {
    let value = if table.contains_key("defaults") { cx.table(table, "", "defaults").map(|(t, s)| (t.clone(), s)) } else { None };
    let (mut defaults, span) = value?;
    let tower = defaults.remove("tower");
    let _: Option<DefaultsTable> = cx.decode("defaults", &defaults, &span);
    let value = tower?;
    Some(DefaultTower { decoded: component(cx, Kind::Tower, "defaults.tower", "", Some(&value)), value })
}

fn stage(
    cx: &mut Cx<'_>,
    name: &str,
    value: Option<&Value<'_>>,
    parent: Option<String>,
    chain: &[String],
    default_tower: Option<&DefaultTower<'_>>,
) -> StageDraft {
    let path = dotted("stage", name);
    let (mut table, span) = match value.map(|v| (v.get_ref(), v.span())) {
        None => (Table::new(), 0..0),
        Some((DeValue::Table(t), span)) => (t.clone(), span),
        Some((other, span)) => {
            let d =
                Diagnostic::error("wrong-type", format!("{path}: expected a table, found {}", type_name(other))).at(cx.value(&path), "");
            cx.report(d.help(format!("write `[{path}]`, or `{name} = false` to remove an inherited stage")));
            (Table::new(), span)
        }
    };
    let is_table = value.is_none_or(|v| v.get_ref().is_table());
    if !is_name(name) {
        let d = Diagnostic::error("bad-name", format!("`{name}` is no name for a stage")).at(cx.key(&path), "letters, digits, `_` and `-`");
        cx.report(d.help("the name becomes part of column, metric and file names"));
    }
    if parent.is_some() {
        // What the chain declares has the chain as its place.
        if let Some(at) = cx.stated.get("funnel.chain").cloned() {
            cx.stated.entry(path.clone()).or_insert_with(|| at.clone());
            cx.stated.entry(format!("{path}.after")).or_insert(at);
        }
    }
    let tower_value = table.remove("tower");
    let after = match table.remove("after") {
        Some(value) => self::after(cx, &path, name, &value),
        None if parent.is_some() => parent.map(After::Stage),
        None => {
            if is_table {
                no_parent(cx, &path, name, chain);
            }
            None
        }
    };
    let plain: StageTable = cx.decode(&path, &table, &span).unwrap_or_default();
    let tower = tower(cx, &path, name, tower_value, default_tower);
    StageDraft {
        name: name.to_owned(),
        after,
        label: plain.label.unwrap_or_else(|| name.to_owned()),
        tower,
        features: plain.features,
        weight: plain.weight,
        loss_weight: plain.loss_weight,
        init_bias: plain.init_bias,
    }
}

fn no_parent(cx: &mut Cx<'_>, path: &str, name: &str, chain: &[String]) {
    let place = cx.key(path);
    let d = if chain.is_empty() {
        let d = Diagnostic::error("no-parent", format!("stage `{name}` has no `after`")).at(place, "what does it come after?");
        d.help("add `after = \"NAME\"` with the name of the row or of another stage, or declare the stages with `funnel.chain`")
    } else {
        let d = Diagnostic::error("no-parent", format!("stage `{name}` is not in the chain and has no `after`"))
            .at(place, "not in the chain")
            .at(cx.value("funnel.chain"), "the chain");
        let source = |place: Option<Place>| place.map(|p| p.source);
        let inherited = source(cx.key(path)) != source(cx.value("funnel.chain"));
        match nearest(name, chain) {
            Some(near) => d.help(format!("did you mean `[stage.{near}]`?")),
            None if inherited => d.help(format!("remove it with `{name} = false` under `[stage]`, or say what it comes after")),
            None => {
                d.help(format!("add it to the chain, or say what it comes after: `after = \"{}\"`", chain.last().map_or("NAME", |c| c)))
            }
        }
    };
    cx.report(d);
}

fn after(cx: &mut Cx<'_>, path: &str, name: &str, value: &Value<'_>) -> Option<After> {
    let key = format!("{path}.after");
    match value.get_ref() {
        DeValue::String(stage) => Some(After::Stage(stage.to_string())),
        DeValue::Table(table) => {
            cx.unknown_keys(&key, table, &["stage".to_owned(), "unless".to_owned()]);
            let mut text = |part: &str| match table.get(part).map(Spanned::get_ref) {
                Some(DeValue::String(s)) => Some(s.to_string()),
                Some(other) => {
                    let d =
                        Diagnostic::error("wrong-type", format!("{key}.{part}: expected the name of a stage, found {}", type_name(other)));
                    cx.report(d.at(cx.value(&format!("{key}.{part}")), ""));
                    None
                }
                None if part == "stage" => {
                    let d = Diagnostic::error("missing-key", format!("{key}: no `stage`")).at(cx.value(&key), "what does it come after?");
                    cx.report(d.help("write `after = { stage = \"click\", unless = \"cart\" }`"));
                    None
                }
                None => None,
            };
            let (stage, unless) = (text("stage"), text("unless"));
            match (stage?, unless) {
                (stage, Some(unless)) => Some(After::Complement { stage, unless }),
                (stage, None) if table.contains_key("unless") => {
                    let _ = stage;
                    None
                }
                (stage, None) => Some(After::Stage(stage)),
            }
        }
        other => {
            let d = Diagnostic::error("wrong-type", format!("{key}: expected the name of a stage, found {}", type_name(other)))
                .at(cx.value(&key), "")
                .help(format!(
                    "stage `{name}` comes after one stage: `after = \"click\"`, or `{{ stage = \"click\", unless = \"cart\" }}`"
                ));
            cx.report(d);
            None
        }
    }
}

/// A stage's tower: its own; laid over the default's settings if it names no `kind`; the default.
fn tower(cx: &mut Cx<'_>, path: &str, name: &str, own: Option<Value<'_>>, default: Option<&DefaultTower<'_>>) -> Option<Component> {
    let key = format!("{path}.tower");
    let owner = format!(" in stage `{name}`");
    let own_kind = own.as_ref().is_none_or(|v| v.get_ref().as_table().is_none_or(|t| t.contains_key("kind")));
    let (Some(default), false) = (default, own.is_some() && own_kind) else {
        return component(cx, Kind::Tower, &key, &owner, own.as_ref());
    };
    // Keys taken from the default have the default's places.
    let inherited: Vec<(String, Stated)> = cx
        .stated
        .range("defaults.tower".to_owned()..)
        .take_while(|(k, _)| k.starts_with("defaults.tower"))
        .map(|(k, s)| (k.replacen("defaults.tower", &key, 1), s.clone()))
        .collect();
    for (k, at) in inherited {
        cx.stated.entry(k).or_insert(at);
    }
    let Some(own) = own else {
        return default.decoded.clone().map(|c| Component { path: key, ..c });
    };
    let (DeValue::Table(base), DeValue::Table(over)) = (default.value.get_ref(), own.get_ref()) else {
        return component(cx, Kind::Tower, &key, &owner, Some(&own));
    };
    let mut merged = base.clone();
    for (k, v) in over {
        merged.remove(k.get_ref().as_ref());
        merged.insert(k.clone(), v.clone());
    }
    let merged = Spanned::new(own.span(), DeValue::Table(merged));
    component(cx, Kind::Tower, &key, &owner, Some(&merged))
}

/// `[outcome.NAME]` tables, in order.
pub fn outcomes(cx: &mut Cx<'_>, table: &Table<'_>) -> Vec<Outcome> {
    super::sections::named(cx, table, "outcome", |cx, name, path, inner, span| {
        if !is_name(name) {
            let d = Diagnostic::error("bad-name", format!("`{name}` is no name for an outcome"));
            cx.report(d.at(cx.key(path), "letters, digits, `_` and `-`").help("the name becomes part of column, metric and file names"));
        }
        let outcome: Option<Outcome> = cx.decode(path, inner, span);
        outcome.map(|o| Outcome { name: name.to_owned(), ..o })
    })
}
