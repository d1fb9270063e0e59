//! Texts → one merged table whose values still know where they were written: `extends`, `--set`, and the rules of merging.

use super::sources::{Sources, Span, normalise, resolve};
use crate::diagnostic::{Diagnostic, Place, SourceText, suggest::did_you_mean};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table with spans on the number line of [`Sources`].
pub type Table<'a> = DeTable<'a>;
/// A value with its span.
pub type Value<'a> = Spanned<DeValue<'a>>;

/// Sections whose entries have names of the user's choice; `NAME = false` in them removes what was inherited.
pub const NAMED: [&str; 4] = ["stage", "outcome", "entity", "feature"];

/// `NAME = false` in a named section, by dotted key: where it stands, and whether it removed a table.
pub type Removed = BTreeMap<String, (Span, bool)>;

/// The texts of a spec, found by following `extends`: bases first.
#[derive(Debug, Default)]
pub struct Texts {
    /// Files, then `--set` options.
    pub sources: Sources,
    /// Faults found.
    pub found: Vec<Diagnostic>,
    open: Vec<PathBuf>,
}

impl Texts {
    /// Reads a file, and what it extends.
    pub fn file(&mut self, path: &Path, from: Option<Place>) {
        let shown = path.display().to_string();
        let identity = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if let Some(first) = self.open.iter().position(|p| p.canonicalize().is_ok_and(|p| p == identity)) {
            let chain: Vec<String> =
                self.open[first..].iter().map(PathBuf::as_path).chain([path]).map(|p| format!("`{}`", p.display())).collect();
            self.found.push(
                Diagnostic::error("extends-cycle", format!("`extends` goes in a circle: {}", chain.join(" → ")))
                    .at(from, "this file is already being read")
                    .help("remove one `extends` of the circle"),
            );
            return;
        }
        match std::fs::read_to_string(path) {
            Ok(text) => {
                self.open.push(path.to_owned());
                let dir = path.parent().unwrap_or(Path::new("")).to_owned();
                self.text(&shown, &text, &dir);
                self.open.pop();
            }
            Err(e) => {
                let why = match e.kind() {
                    std::io::ErrorKind::NotFound => "no such file".to_owned(),
                    std::io::ErrorKind::IsADirectory => "it is a folder, and a spec is a TOML file".to_owned(),
                    std::io::ErrorKind::InvalidData => "it is not UTF-8 text, and a spec is a TOML file".to_owned(),
                    _ => e.to_string(),
                };
                let mut d = Diagnostic::error("unreadable-spec", format!("cannot read `{shown}`: {why}"))
                    .at(from, "relative paths start at this file's folder");
                d.help.extend(neighbour(path));
                self.found.push(d);
            }
        }
    }

    /// Takes a text, and reads what it extends.
    pub fn text(&mut self, name: &str, text: &str, dir: &Path) {
        let source = Arc::new(SourceText { name: name.into(), text: text.into() });
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut lines = Vec::new();
        for error in &errors {
            let place = Place { source: Arc::clone(&source), span: error.span().unwrap_or(0..0) };
            let line = place.line_column().0;
            if !lines.contains(&line) {
                lines.push(line);
                self.found.push(syntax(error.message(), place));
            }
        }
        if let Some(value) = document.get_ref().get("extends") {
            let place = Place { source: Arc::clone(&source), span: value.span() };
            match value.get_ref() {
                DeValue::String(base) => self.file(Path::new(&resolve(dir, base)), Some(place)),
                other => self.found.push(
                    Diagnostic::error("wrong-type", format!("extends: expected a string, found {}", type_name(other)))
                        .at(Some(place), "")
                        .help("a spec extends one file, which may extend another: `extends = \"base.toml\"`"),
                ),
            }
        }
        self.sources.add(source, dir.to_owned(), false);
    }

    /// Takes `--set` options.
    pub fn sets(&mut self, sets: &[String]) {
        for text in sets {
            let source = Arc::new(SourceText { name: "--set".into(), text: text.clone() });
            self.sources.add(source, PathBuf::new(), true);
        }
    }
}

/// Merges the texts, later over earlier. `--set` options are merged among themselves first, so that a `kind` and its settings may come in
/// any order. A text that is not TOML is left out: [`Texts::text`] has said so.
pub fn merged<'a>(sources: &'a Sources, removed: &mut Removed, found: &mut Vec<Diagnostic>) -> Table<'a> {
    let (mut table, mut sets) = (Table::new(), Table::new());
    for (source, start, is_set) in sources.iter() {
        if is_set {
            match parse_set(source, start) {
                Ok(mut own) => {
                    spell_out(&mut own);
                    merge(&mut sets, own, &mut Vec::new(), None);
                }
                Err(d) => found.push(*d),
            }
        } else if let Ok(document) = DeTable::parse(&source.text) {
            let mut own = shift_table(document.into_inner(), start);
            own.remove("extends");
            spell_out(&mut own);
            merge(&mut table, own, &mut Vec::new(), Some(removed));
        }
    }
    merge(&mut table, sets, &mut Vec::new(), Some(removed));
    table
}

fn syntax(message: &str, place: Place) -> Diagnostic {
    let mut message = message.to_owned();
    if let Some(first) = message.get(..1) {
        message = first.to_lowercase() + &message[1..];
    }
    let duplicate = message.starts_with("duplicate key");
    let d = Diagnostic::error("syntax", format!("not valid TOML: {message}")).at(Some(place), "");
    if duplicate { d.help("a key may be stated once in a file; remove one of the two") } else { d }
}

/// A spec of a near name in the same folder.
fn neighbour(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names: Vec<String> = std::fs::read_dir(dir).ok()?.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    names.retain(|n| Path::new(n).extension().is_some_and(|e| e == "toml") && n != name);
    names.sort_unstable();
    did_you_mean(name, &names)
}

/// `key = value` as TOML; a value that is no TOML is a string.
fn parse_set(source: &Arc<SourceText>, start: usize) -> Result<Table<'_>, Box<Diagnostic>> {
    let text = source.text.as_str();
    let all = Place { source: Arc::clone(source), span: 0..text.len() };
    let Some(equals) = text.find('=').filter(|at| !text[..*at].trim().is_empty()) else {
        let d = Diagnostic::error("set-syntax", format!("`{text}` is not `key=value`")).at(Some(all), "");
        return Err(Box::new(d.help("write `--set train.epochs=2` or `--set stage.click.tower.hidden=[64]`")));
    };
    if text[..equals].trim() == "extends" {
        let place = Place { span: 0..equals, ..all };
        let d = Diagnostic::error("set-extends", "`--set` cannot change what a spec extends").at(Some(place), "");
        return Err(Box::new(d.help("write a spec of two lines, with this `extends` and the changes")));
    }
    if let Ok(table) = DeTable::parse(text)
        && table.get_ref().len() == 1
    {
        return Ok(shift_table(table.into_inner(), start));
    }
    let with_value = format!("{}= 0", &text[..equals]);
    let Ok(table) = DeTable::parse(&with_value) else {
        let place = Place { span: 0..equals, ..all };
        let d = Diagnostic::error("set-syntax", format!("`{}` is not a key", text[..equals].trim())).at(Some(place), "");
        return Err(Box::new(d.help("a key is names with dots between them, as in `stage.click.label`")));
    };
    let raw = &text[equals + 1..];
    let from = start + equals + 1 + (raw.len() - raw.trim_start().len());
    let mut value = Spanned::new(from..from + raw.trim().len(), DeValue::String(Cow::Borrowed(raw.trim())));
    let mut keys = Vec::new();
    let mut level = Some(table.get_ref());
    while let Some((key, inner)) = level.and_then(|t| t.iter().next()) {
        keys.push((key.get_ref().to_string(), key.span().start + start..key.span().end + start));
        level = inner.get_ref().as_table();
    }
    let mut result = Table::new();
    while let Some((key, span)) = keys.pop() {
        let key = Spanned::new(span.clone(), Cow::Owned(key));
        if keys.is_empty() {
            result.insert(key, value);
            break;
        }
        value = Spanned::new(span, DeValue::Table([(key, value)].into_iter().collect()));
    }
    Ok(result)
}

fn shift_table(table: DeTable<'_>, by: usize) -> Table<'_> {
    table.into_iter().map(|(k, v)| (Spanned::new(k.span().start + by..k.span().end + by, k.into_inner()), shift(v, by))).collect()
}
fn shift(value: Value<'_>, by: usize) -> Value<'_> {
    let span = value.span().start + by..value.span().end + by;
    let inner = match value.into_inner() {
        DeValue::Table(t) => DeValue::Table(shift_table(t, by)),
        DeValue::Array(a) => DeValue::Array(a.into_iter().map(|v| shift(v, by)).collect()),
        other => other,
    };
    Spanned::new(span, inner)
}

/// Merges `over` into `base`: tables deeply, everything else replaced, a changed `kind` replacing its whole table. `removed` collects
/// `NAME = false`; without it they are kept as values.
fn merge<'a>(base: &mut Table<'a>, over: Table<'a>, path: &mut Vec<String>, mut removed: Option<&mut Removed>) {
    for (key, value) in over {
        path.push(key.get_ref().to_string());
        let named = matches!(path.as_slice(), [section, _] if NAMED.contains(&section.as_str()));
        match (&mut removed, value.get_ref()) {
            (Some(removed), DeValue::Boolean(false)) if named => {
                let had = base.remove(key.get_ref().as_ref()).is_some();
                removed.insert(path.join("."), (value.span(), had));
                path.pop();
                continue;
            }
            (Some(removed), _) if named => {
                removed.remove(&path.join("."));
            }
            _ => {}
        }
        let keep = match (base.get(key.get_ref().as_ref()).map(Spanned::get_ref), value.get_ref()) {
            (Some(DeValue::Table(old)), DeValue::Table(new)) => !changes_kind(old, new, path),
            _ => false,
        };
        let span = value.span();
        match (keep, value.into_inner()) {
            (true, DeValue::Table(new)) => {
                if let Some(DeValue::Table(old)) = base.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut) {
                    merge(old, new, path, removed.as_deref_mut());
                }
            }
            (_, DeValue::Table(new)) => {
                // Through the same rules, so that `NAME = false` is seen in a section that nothing was inherited for.
                let mut fresh = Table::new();
                merge(&mut fresh, new, path, removed.as_deref_mut());
                base.remove(key.get_ref().as_ref());
                base.insert(key, Spanned::new(span, DeValue::Table(fresh)));
            }
            (_, other) => {
                base.remove(key.get_ref().as_ref());
                base.insert(key, Spanned::new(span, other));
            }
        }
        path.pop();
    }
}
/// Whether `new` states another `kind` than `old` has, stated or implied.
fn changes_kind(old: &Table<'_>, new: &Table<'_>, path: &[String]) -> bool {
    let kind = |t: &Table<'_>| t.get("kind").and_then(|k| k.get_ref().as_str().map(str::to_owned));
    let Some(stated) = kind(new) else { return false };
    match kind(old).or_else(|| implied_kind(path).map(str::to_owned)) {
        Some(old) => old != stated,
        None => false,
    }
}

/// The kind of a component table that states none.
pub fn implied_kind(path: &[impl AsRef<str>]) -> Option<&'static str> {
    let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
    match path.as_slice() {
        ["stage", _, "tower"] | ["defaults", "tower"] => Some("mlp"),
        ["objective"] => Some("entire_space"),
        ["encoder"] => Some("concat"),
        ["split"] => Some("random"),
        _ => None,
    }
}

/// Rewrites a bare name where a component is expected: `tower = "linear"` becomes `tower = { kind = "linear" }`.
fn spell_out(table: &mut Table<'_>) {
    for path in [
        &["objective"][..],
        &["encoder"],
        &["split"],
        &["defaults", "tower"],
        &["data", "source"],
        &["train", "optimizer"],
        &["embedding", "optimizer"],
    ] {
        spell_out_at(table, path);
    }
    if let Some(DeValue::Table(stages)) = table.get_mut("stage").map(Spanned::get_mut) {
        for (_, stage) in stages.iter_mut() {
            if let DeValue::Table(stage) = stage.get_mut() {
                spell_out_at(stage, &["tower"]);
            }
        }
    }
}
fn spell_out_at(table: &mut Table<'_>, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else { return };
    let Some(value) = table.get_mut(*first) else { return };
    let span = value.span();
    match value.get_mut() {
        DeValue::Table(inner) => spell_out_at(inner, rest),
        DeValue::String(name) if rest.is_empty() => {
            let name = Spanned::new(span.clone(), DeValue::String(name.clone()));
            let inner: Table<'_> = [(Spanned::new(span, Cow::Borrowed("kind")), name)].into_iter().collect();
            *value.get_mut() = DeValue::Table(inner);
        }
        _ => {}
    }
}

/// What messages call a value: `string "many"`, `a table`.
pub fn type_name(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(s) => format!("string {s:?}"),
        DeValue::Integer(n) => format!("number `{n}`"),
        DeValue::Float(n) => format!("number `{n}`"),
        DeValue::Boolean(b) => format!("`{b}`"),
        DeValue::Datetime(d) => format!("date `{d}`"),
        DeValue::Array(_) => "an array".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// A key as it is written in TOML: quoted where needed.
pub fn quoted(key: &str) -> String {
    if !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        key.to_owned()
    } else {
        toml::Value::String(key.to_owned()).to_string()
    }
}
/// `prefix.key`, the key quoted where needed.
pub fn dotted(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { quoted(key) } else { format!("{prefix}.{}", quoted(key)) }
}

/// Entries in the order in which they were first declared.
pub fn in_order<'t, 'a>(table: &'t Table<'a>) -> Vec<(&'t Spanned<Cow<'a, str>>, &'t Value<'a>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(k, _)| k.span().start);
    entries
}

/// A plain value, paths and all.
pub fn plain(value: &DeValue<'_>) -> Option<toml::Value> {
    use serde::Deserialize;
    toml::Value::deserialize(toml::de::ValueDeserializer::from(Spanned::new(0..0, value.clone()))).ok()
}

/// A file name without folder and ending.
pub fn stem(name: &str) -> String {
    normalise(Path::new(name)).file_stem().map_or_else(|| "funnel".to_owned(), |s| s.to_string_lossy().into_owned())
}
