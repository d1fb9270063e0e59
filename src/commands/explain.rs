//! `explain`: a key of the spec, or a plugin and its settings.

use crate::cli::ExplainArgs;
use crate::ui::{Exit, Ui};
use anyhow::Result;
use esmm_funnel_core::plugin::Kind;
use esmm_funnel_core::spec::explain::explain;
use esmm_funnel_core::spec::manual::PluginManual;
use serde_json::json;

pub fn run(args: &ExplainArgs, ui: &Ui) -> Result<Exit> {
    let text = explain(&args.topic)?;
    let mut value = json!({ "topic": args.topic, "text": text });
    if let [kind, name] = args.topic.as_slice()
        && let Some(kind) = Kind::ALL.into_iter().find(|k| k.to_string() == kind.trim_end_matches('s'))
    {
        value["plugin"] = json!(PluginManual::named(kind, name));
    }
    ui.answer(&text, &value)?;
    Ok(Exit::Done)
}
