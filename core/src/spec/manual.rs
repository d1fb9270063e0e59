//! A plugin as its user sees it, read off its settings' doc comments: what `explain` prints, and the tables of the documentation.

use super::explain::{Setting, description, keys, list, summary};
use crate::plugin::Build;
use crate::plugin::registry::{self, Kind, Plugin};
use serde::Serialize;
use std::fmt::Write as _;

/// What there is to say of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginManual {
    /// `tower`, `encoder`, `objective` or `source`.
    pub kind: String,
    /// Its name, as in `kind = "…"`.
    pub name: String,
    /// The crate that registers it.
    pub from: String,
    /// One sentence.
    pub summary: String,
    /// The doc comment of its settings.
    pub text: String,
    /// Where it was published: what the doc comment has in brackets, with a year.
    pub paper: Option<String>,
    /// Its settings.
    pub settings: Vec<Setting>,
    /// Its table in a spec, with the defaults: TOML.
    pub example: String,
}

impl PluginManual {
    /// Of a plugin.
    #[must_use]
    pub fn of(plugin: &Plugin) -> Self {
        let schema = (plugin.schema)().to_value();
        let text = description(&schema);
        Self {
            kind: plugin.kind().to_string(),
            name: plugin.name.to_owned(),
            from: plugin.crate_name.to_owned(),
            summary: summary(&schema),
            paper: paper(&text),
            settings: keys(&schema, &schema),
            example: example(plugin),
            text,
        }
    }
    /// Of the plugin that this build has under a name.
    #[must_use]
    pub fn named(kind: Kind, name: &str) -> Option<Self> {
        registry::find(kind, name).map(Self::of)
    }
}

/// The first words in brackets that hold a year: `(Ma et al., SIGIR 2018)`.
fn paper(text: &str) -> Option<String> {
    let text = text.replace('\n', " ");
    let in_brackets = text.split('(').skip(1).filter_map(|rest| rest.split_once(')')).map(|(inside, _)| inside);
    let is_year =
        |word: &str| word.len() == 4 && (word.starts_with("19") || word.starts_with("20")) && word.bytes().all(|b| b.is_ascii_digit());
    let mut cited = in_brackets.filter(|inside| inside.split(|c: char| !c.is_alphanumeric()).any(is_year));
    cited.next().map(|inside| inside.replace('`', ""))
}

/// The plugin's table where a spec has it, each setting at its default; settings without one are left out.
fn example(plugin: &Plugin) -> String {
    let header = match plugin.kind() {
        // What reads the stage before it is no tower of the first.
        Kind::Tower if reads_upstream(plugin) => "stage.purchase.tower",
        Kind::Tower => "stage.click.tower",
        Kind::Encoder => "encoder",
        Kind::Objective => "objective",
        Kind::Source => "data.source",
    };
    let mut out = format!("[{header}]\nkind = \"{}\"\n", plugin.name);
    let defaults = (plugin.defaults)();
    for key in super::decode::keys_of(&(plugin.schema)()) {
        if let Some(value) = defaults.get(&key) {
            let _ = writeln!(out, "{} = {value}", super::read::quoted(&key));
        }
    }
    out
}

fn reads_upstream(plugin: &Plugin) -> bool {
    let Build::Tower(tower) = plugin.build else { return false };
    (tower.needs)(&(plugin.defaults)()).is_ok_and(|needs| needs.upstream)
}

/// A Markdown table of the plugins of this build, or those of one kind: kind, name, one line.
#[must_use]
pub fn table(kind: Option<Kind>) -> String {
    let mut out = String::from("| kind | name | what |\n|---|---|---|\n");
    for (kind, name, summary, _) in list(kind) {
        let _ = writeln!(out, "| {kind} | `{name}` | {} |", cell(&summary));
    }
    out
}

/// A Markdown page of the plugins of this build, or those of one kind, with all their settings.
#[must_use]
pub fn page(kind: Option<Kind>) -> String {
    let mut out = String::from("# Plugins\n\nEvery plugin with its settings, as `esmm-funnel list --markdown --settings` prints it.\n");
    for kind in Kind::ALL.into_iter().filter(|k| kind.is_none_or(|wanted| wanted == *k)) {
        let _ = write!(out, "\n## {}\n", heading(kind));
        for plugin in registry::all(kind) {
            out += &section(&PluginManual::of(plugin));
        }
    }
    out
}

fn heading(kind: Kind) -> &'static str {
    match kind {
        Kind::Tower => "Towers",
        Kind::Encoder => "Encoders",
        Kind::Objective => "Objectives",
        Kind::Source => "Sources",
    }
}

fn section(manual: &PluginManual) -> String {
    let mut out = format!("\n### `{}`\n\n{}\n", manual.name, manual.text.trim());
    if let Some(paper) = &manual.paper {
        let _ = write!(out, "\nPaper: {paper}.\n");
    }
    if !manual.settings.is_empty() {
        out += "\n| setting | values | default | what |\n|---|---|---|---|\n";
        for s in &manual.settings {
            let default = s
                .default
                .as_deref()
                .map_or_else(String::new, |d| if d == "not set" || d == "required" { d.to_owned() } else { format!("`{}`", cell(d)) });
            let _ = writeln!(out, "| `{}` | {} | {default} | {} |", s.key, cell(&s.values), cell(&s.text));
        }
    }
    let _ = write!(out, "\n```toml\n{}```\n", manual.example);
    out
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn papers_are_what_stands_in_brackets_with_a_year() {
        assert_eq!(
            paper("The tower of the ESMM paper (Ma et al.,\nSIGIR 2018, equation 6) here.").as_deref(),
            Some("Ma et al., SIGIR 2018, equation 6")
        );
        assert_eq!(paper("Layers (up to 2000 of them in some (odd) cases), (see `RecSys` 2020)").as_deref(), Some("see RecSys 2020"));
        assert_eq!(paper("One weight (per column), 2018."), None);
    }

    #[test]
    fn a_page_has_every_setting() {
        let page = page(Some(Kind::Tower));
        for part in [
            "## Towers\n",
            "### `mlp`\n",
            "| `dropout` | a number | `0.0` | Share",
            "\"relu\" \\| \"silu\"",
            "```toml\n[stage.click.tower]\nkind = \"mlp\"\n",
        ] {
            assert!(page.contains(part), "no {part:?} in:\n{page}");
        }
        assert!(!page.contains("Encoders"));
        assert!(table(None).contains("| tower | `mlp` | Linear layers with a nonlinearity between them. |\n"));
    }
}
