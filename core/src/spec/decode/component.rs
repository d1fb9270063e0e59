//! Components: plugins chosen by `kind`, their settings checked by the plugin itself.

use super::super::read::{Table, Value, implied_kind, plain, type_name};
use super::super::sources::Span;
use super::faults::{decode_all, in_words};
use super::{Component, Cx};
use crate::diagnostic::Diagnostic;
use crate::diagnostic::suggest::did_you_mean;
use crate::plugin::Build;
use crate::plugin::registry::{self, Kind, Plugin};
use toml::de::DeValue;

/// `[objective]` or `[encoder]`.
pub fn top_level(cx: &mut Cx<'_>, table: &Table<'_>, name: &'static str) -> Option<Component> {
    let kind = if name == "objective" { Kind::Objective } else { Kind::Encoder };
    component(cx, kind, name, "", table.get(name))
}

/// Decodes a component. `owner` is put behind the kind in messages: `` in stage `click` ``.
pub fn component(cx: &mut Cx<'_>, kind: Kind, path: &str, owner: &str, value: Option<&Value<'_>>) -> Option<Component> {
    let implied = implied_kind(&path.split('.').collect::<Vec<_>>());
    let Some(value) = value else {
        let name = implied?;
        let plugin = find(cx, kind, name, path, owner, None)?;
        return Some(Component { kind: name.to_owned(), settings: (plugin.defaults)(), path: path.to_owned() });
    };
    let span = value.span();
    let DeValue::Table(table) = value.get_ref() else {
        let d = Diagnostic::error(
            "wrong-type",
            format!("{path}: expected the name of a {kind} or a table, found {}", type_name(value.get_ref())),
        )
        .at(cx.sources.place(&span), "");
        cx.report(d.help(in_this_build(kind)).help(format!("write `{{ kind = \"{}\" }}`", example(kind))));
        return None;
    };
    let stated = table.get("kind");
    let name = match stated.map(|k| (k.get_ref(), k.span())) {
        Some((DeValue::String(name), _)) => name.to_string(),
        Some((other, at)) => {
            let d = Diagnostic::error("wrong-type", format!("{path}.kind: expected a string, found {}", type_name(other)));
            cx.report(d.at(cx.sources.place(&at), "").help(in_this_build(kind)));
            return None;
        }
        None => {
            let Some(name) = implied else {
                let d =
                    Diagnostic::error("missing-key", format!("{path}: no `kind`")).at(cx.sources.place(&span), format!("which {kind}?"));
                cx.report(d.help(cx.add_kind(path, &span, example(kind))).help(in_this_build(kind)));
                return None;
            };
            name.to_owned()
        }
    };
    let plugin = find(cx, kind, &name, path, owner, stated.map(toml::Spanned::span))?;
    settings(cx, plugin, path, table, &span)
}

/// A name that this build surely knows, else the usual one.
fn example(kind: Kind) -> &'static str {
    let usual = match kind {
        Kind::Tower => "mlp",
        Kind::Encoder => "concat",
        Kind::Objective => "entire_space",
        Kind::Source => "csv",
    };
    if registry::find(kind, usual).is_some() { usual } else { registry::names(kind).first().copied().unwrap_or(usual) }
}
fn in_this_build(kind: Kind) -> String {
    let names = registry::names(kind);
    if names.is_empty() {
        format!("this build has no {kind}s; link a crate that registers some, as in `use esmm_funnel_plugins as _;`")
    } else {
        format!("{kind}s in this build: {}", names.join(", "))
    }
}

fn find(cx: &mut Cx<'_>, kind: Kind, name: &str, path: &str, owner: &str, at: Option<Span>) -> Option<&'static Plugin> {
    if let Some(plugin) = registry::find(kind, name) {
        return Some(plugin);
    }
    let mut d = if at.is_some() {
        Diagnostic::error("unknown-plugin", format!("unknown {kind} `{name}`{owner}"))
    } else {
        Diagnostic::error("unknown-plugin", format!("no {kind} is chosen{owner}, and the default, `{name}`, is not in this build"))
    };
    let text = if at.is_some() { "no plugin registered under this name" } else { "" };
    d = d.at(at.and_then(|at| cx.sources.place(&at)).or_else(|| cx.key(path)), text);
    d.help.extend(did_you_mean(name, registry::names(kind)));
    if let Some(other) = Kind::ALL.into_iter().find(|k| *k != kind && registry::find(*k, name).is_some()) {
        d = d.help(format!("`{name}` is a plugin of another kind: {other}"));
    }
    cx.report(d.help(in_this_build(kind)));
    None
}

/// Checks the settings with the plugin, and resolves their paths.
fn settings(cx: &mut Cx<'_>, plugin: &'static Plugin, path: &str, table: &Table<'_>, span: &Span) -> Option<Component> {
    let mut table = table.clone();
    let kind_span = table.remove("kind").map(|k| k.span());
    let (valid, faults) = decode_all(&mut table, span, |v| (plugin.validate)(v));
    let fine = valid.is_some() && faults.is_empty();
    for fault in faults {
        let (message, help) = in_words(&fault.message);
        let unknown = message.starts_with("unknown field");
        let key = fault.key.as_deref().filter(|_| !unknown).map(|k| format!(".{k}")).unwrap_or_default();
        let mut d = Diagnostic::error("plugin-settings", format!("{path}{key}: {message}")).at(cx.sources.place(&fault.span), "");
        if let Some(at) = kind_span.clone().filter(|at| *at != fault.span) {
            d = d.at(cx.sources.place(&at), format!("{} chosen here", plugin.kind()));
        }
        d.help.extend(help);
        let explain = format!("run `esmm-funnel explain {} {}` for every setting and its default", plugin.kind(), plugin.name);
        cx.report(d.help(explain));
    }
    if !fine {
        return None;
    }
    let mut settings = match plain(&DeValue::Table(table.clone())) {
        Some(toml::Value::Table(settings)) => settings,
        _ => toml::Table::new(),
    };
    for (key, value) in (plugin.defaults)() {
        settings.entry(key).or_insert(value);
    }
    if let Build::Source(source) = &plugin.build {
        for key in source.path_keys {
            if let (Some(written), Some(slot)) = (table.get(*key), settings.get_mut(*key)) {
                resolve_paths(cx, written, slot);
            }
        }
    }
    Some(Component { kind: plugin.name.to_owned(), settings, path: path.to_owned() })
}
/// Strings, and strings in arrays and tables, as paths that start at the folder of the file that states them.
pub fn resolve_paths(cx: &Cx<'_>, written: &Value<'_>, slot: &mut toml::Value) {
    match (written.get_ref(), slot) {
        (DeValue::String(path), toml::Value::String(slot)) => *slot = cx.sources.resolve(&written.span(), path),
        (DeValue::Array(paths), toml::Value::Array(slots)) => {
            for (path, slot) in paths.iter().zip(slots) {
                resolve_paths(cx, path, slot);
            }
        }
        (DeValue::Table(paths), toml::Value::Table(slots)) => {
            for (key, path) in paths {
                if let Some(slot) = slots.get_mut(key.get_ref().as_ref()) {
                    resolve_paths(cx, path, slot);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sources::Sources;
    use super::*;

    #[test]
    fn a_default_that_is_not_in_the_build() {
        let (sources, removed) = (Sources::default(), std::collections::BTreeMap::new());
        let mut cx = Cx { sources: &sources, removed: &removed, found: Vec::new(), stated: std::collections::BTreeMap::new() };
        // No tower is called like the default encoder.
        assert_eq!(component(&mut cx, Kind::Tower, "encoder", " in stage `click`", None), None);
        let text = crate::diagnostic::Diagnostics(cx.found).to_string();
        assert!(text.contains("error: no tower is chosen in stage `click`, and the default, `concat`, is not in this build"), "{text}");
        assert!(text.contains("= help: `concat` is a plugin of another kind: encoder\n  = help: towers in this build: "), "{text}");
    }
}
