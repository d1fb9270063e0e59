//! `list`: the plugins of this build.

use crate::cli::ListArgs;
use crate::ui::{Exit, Ui};
use anyhow::Result;
use esmm_funnel_core::plugin::Kind;
use esmm_funnel_core::spec::explain::list;
use esmm_funnel_core::spec::manual;
use serde_json::{Value, json};

pub fn run(args: &ListArgs, ui: &Ui) -> Result<Exit> {
    let kind = Kind::ALL.into_iter().find(|k| args.kind.as_deref() == Some(k.to_string().as_str()));
    let found = list(kind);
    let name_width = found.iter().map(|p| p.1.len()).max().unwrap_or(0);
    let lines: Vec<String> = found.iter().map(|(kind, name, summary, _)| format!("{kind:10} {name:name_width$}  {summary}")).collect();
    let value: Vec<Value> = found
        .iter()
        .map(|(kind, name, summary, from)| json!({ "kind": kind.to_string(), "name": name, "summary": summary, "crate": from }))
        .collect();
    let text = match (args.markdown, args.settings) {
        (true, true) => manual::page(kind),
        (true, false) => manual::table(kind),
        _ => lines.join("\n"),
    };
    ui.answer(&text, &Value::Array(value))?;
    Ok(Exit::Done)
}
