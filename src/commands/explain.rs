//! `explain`: a key of the spec, or a plugin and its settings.

use crate::cli::ExplainArgs;
use crate::ui::{Exit, Ui};
use anyhow::Result;
use esmm_funnel_core::spec::explain::explain;
use serde_json::json;

pub fn run(args: &ExplainArgs, ui: &Ui) -> Result<Exit> {
    let text = explain(&args.topic)?;
    ui.answer(&text, &json!({ "topic": args.topic, "text": text }))?;
    Ok(Exit::Done)
}
